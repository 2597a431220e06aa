"""New environments with a checkout or a wheel in them, from the versions in constraints.txt."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = str(Path(sys.executable).with_name("uv"))


def environment(folder: Path, wanted: str) -> Path:
    """Make an environment that holds what is wanted and what that needs, and return its Python.

    :param folder: where it goes.
    :param wanted: what to install, as pip takes it.
    """
    python = folder / "bin" / "python"
    run([UV, "venv", "-q", "--python", sys.executable, str(folder)])
    run([UV, "pip", "install", "-q", "--python", str(python), "-c", str(ROOT / "constraints.txt"), wanted])
    return python


def run(command: Sequence[str], *, folder: Path | None = None) -> str:
    """Run a command away from this environment and this checkout, and return what it printed.

    :param command: program and arguments.
    :param folder: where it runs; here if None.
    :raises SystemExit: it failed; with the end of what it printed.
    """
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(command, cwd=folder, env=kept, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout
