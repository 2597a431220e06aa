"""Build the wheel, install it into an empty environment, run ``calibrant demo`` there: ``python tools/try_wheel.py``.

The demo is trained for a few steps: what is looked for is a file that the wheel lacks, or a package that nobody named.
"""

import tempfile
from pathlib import Path

from fresh import ROOT, UV, environment, run

WRITTEN = ("report.html", "figures.json", "store/manifest.json")


def main() -> None:
    """Build, install, run; print what was found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([UV, "build", "-q", "--wheel", "--out-dir", str(folder), str(ROOT)])
        (wheel,) = folder.glob("*.whl")
        command = str(environment(folder / "venv", str(wheel)).with_name("calibrant"))
        version = run([command, "--version"], folder=folder).strip()
        if f"-{version}-" not in wheel.name:
            raise SystemExit(f"{wheel.name} says that it is version {version}")
        run([command, "demo", "--num-steps", "20", "-o", "demo"], folder=folder)
        missing = [each for each in WRITTEN if not (folder / "demo" / each).is_file()]
        if missing:
            raise SystemExit(f"calibrant demo did not write {', '.join(missing)}")
        print(f"{wheel.name}: installed into an empty environment, calibrant demo has written its report")


if __name__ == "__main__":
    main()
