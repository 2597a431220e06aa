"""A figure of matplotlib's as an SVG element of a page, without what would collide with others or differ by machine."""

import io
import re

from matplotlib.figure import Figure

from calibrant.report.palette import as_property


def svg_of(figure: Figure, name: str, label: str) -> str:
    """Return a figure as an SVG element.

    :param figure: drawn.
    :param name: starts every identifier; unlike in any other figure of the page.
    :param label: the text alternative.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r'\b(id)="', rf'\1="{name}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    # The page says which font; matplotlib's list of families would name one that readers may not have.
    text = re.sub(r"font: (?:\d+ )?([\d.]+)px [^;\"]+", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]+; ?", "", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: as_property(found[0]) or found[0], text)
    text = re.sub(r"(\d+\.\d{2})\d+", r"\1", text)
    text = re.sub(r"\n\s*", "\n", text)
    box = re.search(r'viewBox="([^"]+)"', text)
    head = f'<svg class="figure" role="img" aria-label="{_escaped(label)}" viewBox="{box[1] if box else ""}">'
    return head + text[text.index(">", text.index("<svg")) + 1 :].strip()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
