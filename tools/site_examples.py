"""An extension of griffe: docstrings of the package, as its parser of the Sphinx style wants them.

Examples become blocks of code and stand before the parameters (the parser would take them for a part of the last one);
``:raises A, B: why`` becomes a line for each error; references and literals become code; what begins with an indented
word and a colon becomes an item of a list.
"""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*(?:\n\n>>> .*(?:\n.+)*)*", re.MULTILINE)
FIELD = re.compile(r"^:(?:param|raises|returns?)\b", re.MULTILINE)
RAISES = re.compile(r"^:raises (?P<errors>\w+(?:, \w+)+): (?P<why>.+(?:\n .+)*)", re.MULTILINE)
REFERENCE = re.compile(r":\w+:`~?([^`]+)`")
ITEM = re.compile(r"^    ([a-z][a-z ]*:)$", re.MULTILINE)
LITERAL = re.compile(r"``([^`]+)``")


def as_markdown(text: str) -> str:
    """Return a docstring for the parser.

    :param text: the docstring, without the indentation of its place.
    """
    text = ITEM.sub(r"\n- \1", text)
    examples = "".join(f"```pycon\n{found}\n```\n\n" for found in EXAMPLE.findall(text))
    rest = LITERAL.sub(r"`\1`", REFERENCE.sub(r"`\1`", EXAMPLE.sub("", text))).rstrip() + "\n\n"
    rest = RAISES.sub(
        lambda found: "\n".join(f":raises {error}: {found['why']}" for error in found["errors"].split(", ")), rest
    )
    field = FIELD.search(rest)
    at = field.start() if field else len(rest)
    return (rest[:at] + examples + rest[at:]).rstrip()


class Examples(griffe.Extension):
    """Rewrites the docstring of every object."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring:
            text = as_markdown(obj.docstring.value)
            named_tuple = isinstance(obj, griffe.Class) and "NamedTuple" in map(str, obj.bases)
            obj.docstring.value = text.replace(":param ", ":var ") if named_tuple else text
