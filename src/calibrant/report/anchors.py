"""Names of places in a page, by which others are sent to an image or a method."""

import re
from collections.abc import Iterable


def anchors(kind: str, names: Iterable[str]) -> dict[str, str]:
    """Return the identifier of each name in a page: the kind, and what letters and digits the name has.

    :param kind: what the names are of; no two kinds share identifiers.
    :param names: all that the page shows, in order.

    >>> anchors("image", ["a b/c.png", "a b c.png", "ø"])
    {'a b/c.png': 'image-a-b-c.png', 'a b c.png': 'image-a-b-c.png-2', 'ø': 'image-ø'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w.]+", "-", name).strip("-")[:80]
        identifier = base = f"{kind}-{plain}"
        count = 1
        while identifier in taken:
            count += 1
            identifier = f"{base}-{count}"
        taken.add(identifier)
        found[name] = identifier
    return found
