"""Figures that are worked out once and kept beside what was trained."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any


def kept_figures(path: Path | None, config: Any, work_out: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return figures from a file, or work them out and keep them there; another config has other figures.

    :param path: the file; None keeps nothing.
    :param config: a dataclass, on which they depend.
    :param work_out: called where there are none.
    """
    of = json.loads(json.dumps(asdict(config)))
    if path is not None and path.exists() and (kept := json.loads(path.read_text()))["config"] == of:
        return kept["figures"]
    figures = work_out()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(json.dumps({"config": of, "figures": figures}))
        os.replace(path.with_suffix(".tmp"), path)
    return figures
