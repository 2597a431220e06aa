"""Keeping what an experiment found, with what is needed to find it again."""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from calibrant._storage.files import replacing

RESULTS = Path(__file__).parent / "results"


def record(name: str, config: Any, seconds: float, figures: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write ``<name>.json`` into ``results/``, or another folder: figures, configuration, commit and time."""
    about = {"commit": commit(), "seconds": round(seconds), "config": asdict(config)}
    path = folder / f"{name}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(about | figures, indent=1, default=str) + "\n")
    return path


def commit() -> str:
    """Return the commit, "-dirty" if a file has changed since; results do not count, or a second record would."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", ":(top,exclude)experiments/results")
    return (_git("describe", "--always") or "unknown") + ("-dirty" if changed else "")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # a machine without git
        return ""
