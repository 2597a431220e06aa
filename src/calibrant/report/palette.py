"""Colours, markers and line styles: Okabe and Ito's hues, set darker on white and lighter on black.

Nothing is shown by colour alone: every method also has its own marker and line style, and every figure is labelled.
Figures are drawn in the light colours; the page swaps each for a custom property, so that they follow the reader's
choice of a light or a dark page.
"""

import colorsys
from dataclasses import dataclass

LIGHT = {
    "paper": "#ffffff",
    "card": "#f6f6f3",
    "ink": "#1b1c1e",
    "soft": "#55585c",
    "rule": "#b9bbb6",
    "link": "#005f94",
    "better": "#00694e",
    "worse": "#a34300",
}
DARK = {
    "paper": "#16181b",
    "card": "#1f2226",
    "ink": "#ececea",
    "soft": "#b4b8bd",
    "rule": "#5a5f66",
    "link": "#7cc4f2",
    "better": "#3fd0a5",
    "worse": "#f59a5f",
}
TEXT = ("ink", "soft", "link", "better", "worse")
"""Colours that words are written in."""

LIGHT_LINES = ("#2b2b2c", "#0072b2", "#b34a00", "#00785a", "#a04878", "#8a5f00", "#5f56b0")
DARK_LINES = ("#e8e8e6", "#56b4e9", "#f08a4b", "#2dc49b", "#e59ac4", "#e69f00", "#b4adf5")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))


@dataclass(frozen=True)
class Style:
    """How one method is drawn everywhere.

    :param color: the colour of line and marker, ``#rrggbb``.
    :param marker: matplotlib's letter for the marker.
    :param dashes: matplotlib's style of the line.
    """

    color: str
    marker: str
    dashes: str | tuple[float, tuple[float, ...]]


def style_of(number: int) -> Style:
    """Return the style of a method by its place in the comparison; 140 places differ.

    :param number: the place of the method, from 0.

    >>> style_of(0).marker, style_of(1).marker
    ('o', 's')
    """
    return Style(LIGHT_LINES[number % len(LIGHT_LINES)], MARKERS[number % len(MARKERS)], DASHES[number % len(DASHES)])


def properties(dark: bool) -> str:
    """Return the colours as CSS custom properties.

    :param dark: those of the dark scheme.
    """
    named, lines = (DARK, DARK_LINES) if dark else (LIGHT, LIGHT_LINES)
    pairs = [*named.items(), *((f"line{i}", color) for i, color in enumerate(lines))]
    return "".join(f"--{name}:{color};" for name, color in pairs)


def as_property(color: str) -> str | None:
    """Return the custom property that stands for a light colour, or None.

    :param color: a colour, ``#rrggbb``.

    >>> as_property("#0072b2")
    'var(--line1)'
    """
    for name, value in (*LIGHT.items(), *((f"line{i}", line) for i, line in enumerate(LIGHT_LINES))):
        if value == color:
            return f"var(--{name})"
    return None


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, section 1.4.3): from 1 to 21.

    :param one: a colour, ``#rrggbb``.
    :param other: another.

    >>> round(contrast("#000000", "#ffffff"), 2)
    21.0
    """
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def class_colors(count: int) -> list[tuple[int, int, int]]:
    """Return colours of classes: Okabe and Ito's first, then hues a golden angle apart in three lightnesses.

    Beyond eight, colours alone do not tell classes apart for everyone: maps carry the class numbers too.

    :param count: the number of classes.
    """
    first = ["#56b4e9", "#d55e00", "#cc79a7", "#009e73", "#f0e442", "#0072b2", "#e69f00", "#8c8c8c"]
    colors = [(int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16)) for c in first[:count]]
    for i in range(len(colors), count):
        shade = colorsys.hls_to_rgb((i * 0.381966) % 1, (0.32, 0.5, 0.72)[i % 3], (0.75, 0.55)[i % 2])
        red, green, blue = (round(255 * part) for part in shade)
        colors.append((red, green, blue))
    return colors
