"""Tables, figures and pages; the only package that draws.

``write_page`` makes one HTML file of a comparison; ``terminal_table`` and ``as_json`` say the same in the terminal and
to programs; ``shift_table`` sets several places to test on side by side. ``worst_images`` and ``case_of`` choose and
prepare the single images a page shows.
"""

from calibrant.report.cases import Case, case_of, worst_images
from calibrant.report.page import render_page, write_page
from calibrant.report.shift import mean_ranks, shift_table
from calibrant.report.tables import as_json, terminal_table
from calibrant.report.words import near_ties_in_words

__all__ = [
    "Case",
    "as_json",
    "case_of",
    "mean_ranks",
    "near_ties_in_words",
    "render_page",
    "shift_table",
    "terminal_table",
    "worst_images",
    "write_page",
]
