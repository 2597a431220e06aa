"""Counting and scoring: tallies with one row per image, and pure functions of them."""
