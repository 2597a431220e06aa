"""Figures of the studies, drawn with matplotlib and kept beside the numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments._record import RESULTS

SETTINGS = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "calibrant",
}


@contextmanager
def drawn(name: str, panels: int, *, size: tuple[float, float], keep: bool) -> Iterator[list[Axes]]:
    """Hand out panels side by side and write ``results/<name>.svg`` at the end: the same bytes for the same numbers.

    :param keep: write the figure; on made data it is drawn and thrown away.
    """
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        yield list(figure.subplots(1, panels, squeeze=False, sharey=True)[0])
        path = RESULTS / f"{name}.svg"
        if keep:
            figure.savefig(path.with_suffix(".tmp"), format="svg", metadata={"Date": None})
            os.replace(path.with_suffix(".tmp"), path)
            print(path)
        else:
            figure.draw_without_rendering()
