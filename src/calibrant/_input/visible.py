"""Text of other people's making, on its way to a terminal."""

import unicodedata


def visible(text: str) -> str:
    """Return a text in which every character that a terminal may obey is written as Python writes it.

    Names of files, classes and models may hold anything: an escape sets a terminal's title or colours, a carriage
    return or a line break forges a line, and marks of writing direction turn a name round.

    :param text: what is to be shown, in one line.

    >>> visible("a\\x1b]0;owned\\x07.png"), visible("söße 猫")
    ('a\\\\x1b]0;owned\\\\x07.png', 'söße 猫')
    """
    return "".join(each if _is_shown(each) else each.encode("unicode_escape").decode("ascii") for each in text)


def _is_shown(character: str) -> bool:
    category = unicodedata.category(character)
    return not category.startswith("C") and category not in ("Zl", "Zp")
