"""Tables, figures and pages; the only package that draws.

``write_page`` makes one HTML file of a comparison; ``terminal_table`` and ``as_json`` say the same in the terminal and
to programs; ``shift_table`` sets several places to test on side by side. ``telling_images`` and ``worst_images`` choose
the single images a page shows, ``case_of`` and ``cases_of`` prepare them, ``save_cases`` and ``load_cases`` keep them
on disk. ``measured`` measures predictions, logits with labels, or a loader, and returns a ``Result``, which a notebook
shows as a table.
``write_samples_page`` makes the page of samplers, of ``Drawn`` counts and ``sampled_case`` images.
"""

from calibrant.report.case_files import load_cases, save_cases
from calibrant.report.cases import Case, Sureness, case_of, cases_of, telling_images, worst_images
from calibrant.report.page import render_page, write_page
from calibrant.report.result import Result, measured
from calibrant.report.sampled import Drawn, SampledCase, areas_in_words, sampled_case, telling_draws
from calibrant.report.samples_page import write_samples_page
from calibrant.report.shift import mean_ranks, shift_table
from calibrant.report.tables import as_json, terminal_table
from calibrant.report.words import deciding_method, near_ties_in_words

__all__ = [
    "Case",
    "Drawn",
    "Result",
    "SampledCase",
    "Sureness",
    "areas_in_words",
    "as_json",
    "case_of",
    "cases_of",
    "deciding_method",
    "load_cases",
    "mean_ranks",
    "measured",
    "near_ties_in_words",
    "render_page",
    "sampled_case",
    "save_cases",
    "shift_table",
    "telling_draws",
    "telling_images",
    "terminal_table",
    "worst_images",
    "write_page",
    "write_samples_page",
]
