"""From predictions to tallies, and from tallies to comparisons.

``tally`` counts a source of predictions, ``tally_all`` through several calibrators in one read, ``tally_hypotheses``
what a sampler draws from it (``draw_hypotheses`` yields the drawn maps themselves). ``compare`` sets methods side by
side. ``Areas`` are those of every class in every image, with intervals.
"""

from calibrant.evaluation.areas import Areas, ClassArea
from calibrant.evaluation.comparison import Comparison, compare
from calibrant.evaluation.counting import Count, tally, tally_all
from calibrant.evaluation.hypotheses import CountHypotheses, Draws, draw_hypotheses, tally_hypotheses

__all__ = [
    "Areas",
    "ClassArea",
    "Comparison",
    "Count",
    "CountHypotheses",
    "Draws",
    "compare",
    "draw_hypotheses",
    "tally",
    "tally_all",
    "tally_hypotheses",
]
