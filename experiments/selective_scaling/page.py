"""Write the tables of ``docs/results/black_boxes.md`` from the record of ``tables``: no figure is copied by hand.

python -m experiments.selective_scaling.page
"""

import json
from collections.abc import Mapping
from pathlib import Path

from experiments._record import RESULTS
from experiments.selective_scaling._tables import as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "results" / "black_boxes.md"
SCORES = {"ece_images": "image-wise ECE", "nll": "NLL"}


def with_tables(page: str, record: Mapping[str, Mapping]) -> str:
    """Return the page with the tables of the record between its marks.

    :param page: Markdown; ``<!-- Table 1 -->`` and ``<!-- end of Table 1 -->`` enclose a table.
    :param record: what ``tables`` has recorded.
    """
    for name in ("Table 1", "Table 2"):
        before, rest = page.split(f"<!-- {name} -->")
        _, after = rest.split(f"<!-- end of {name} -->")
        tables = "\n\n".join(as_markdown(title, record[name][score]) for score, title in SCORES.items())
        page = f"{before}<!-- {name} -->\n{tables}\n<!-- end of {name} -->{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(), json.loads((RESULTS / "tables.json").read_text())))
    print(PAGE)
