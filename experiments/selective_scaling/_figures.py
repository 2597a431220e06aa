"""Figures of the studies, drawn with matplotlib and kept beside the numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SETTINGS = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "calibrant",
}


@contextmanager
def drawn(
    name: str, panels: int, *, size: tuple[float, float], folder: Path | None, share_y: bool = True
) -> Iterator[list[Axes]]:
    """Hand out panels side by side and write ``<name>.svg`` at the end: the same bytes for the same numbers.

    :param folder: where it goes; None, on synthetic data, draws it and throws it away.
    """
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        yield list(figure.subplots(1, panels, squeeze=False, sharey=share_y)[0])
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.svg"
            figure.savefig(path.with_suffix(".tmp"), format="svg", metadata={"Date": None})
            os.replace(path.with_suffix(".tmp"), path)
            print(path)
        else:
            figure.draw_without_rendering()
