"""Write the tables of the docs from the records of the experiments: ``python -m experiments.pages``.

No figure between two marks of a page, ``<!-- NAME -->`` and ``<!-- end of NAME -->``, is copied by hand; a test holds
the pages to what the records say.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from calibrant.samplers.storage import LEARNT
from experiments._page_cells import SCORES, Records, first, markdown, short
from experiments._record import RESULTS
from experiments._stacked_tables import corrupted_rows, every_row, gate_rows, stacked_table
from experiments.car.rivals_config import MILLISECONDS
from experiments.selective_scaling._tables import as_markdown, figure

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class PageTable:
    """A table of a page.

    :param page: the page, below ``docs``.
    :param name: stands in the marks around the table.
    :param records: names of the records that it is made from.
    :param make: from these records, by name, to the table in Markdown.
    """

    page: str
    name: str
    records: tuple[str, ...]
    make: Callable[[Records], str]

    def within(self, text: str, records: Records) -> str:
        """Return a page with this table between its marks.

        :param text: of the page.
        :param records: by name.
        """
        before, rest = text.split(f"<!-- {self.name} -->")
        _, after = rest.split(f"<!-- end of {self.name} -->")
        return f"{before}<!-- {self.name} -->\n{self.make(records)}\n<!-- end of {self.name} -->{after}"


def _black_boxes(name: str) -> Callable[[Records], str]:
    titles = {"ece_images": "image-wise ECE", "nll": "NLL"}
    return lambda records: "\n\n".join(
        as_markdown(title, records["tables"][name][score]) for score, title in titles.items()
    )


def _in_domain(records: Records) -> str:
    values = records["in_domain"]["40 images to fit"]["values"]
    rows = [[method, *(figure(first(row[score])) for score in SCORES)] for method, row in values.items()]
    return markdown(["40 images to fit", *SCORES.values()], rows)


def _shift(records: Records) -> str:
    places = {
        "dusk": "dusk",
        "gaussian_noise 3": "noise, strength 3",
        "motion_blur 3": "motion blur, strength 3",
        "fog 3": "fog, strength 3",
        "KITTI": "KITTI",
    }
    shown = {
        "uncalibrated": "as it is",
        "temperature": "temperature",
        "selective, published": "selective, published",
        "selective": "selective, validated",
        "correctness": "correctness",
        "stacked": "stacked",
    }
    values = {title: records["shift"][f"own U-Net, {name}"]["values"] for name, title in places.items()}
    there = [method for method in shown if method in next(iter(values.values()))]
    rows = [
        [title, *(f"{short(first(found[m]['ece_images']))} / {short(first(found[m]['nll']))}" for m in there)]
        for title, found in values.items()
    ]
    return markdown(["image-wise ECE / NLL", *(shown[method] for method in there)], rows)


def _peers(records: Records) -> str:
    """Return the calibrators of several libraries, the likeliest first."""
    shown = ("nll", "brier", "ece", "ece_images")
    table = sorted(records["peers"]["table"].items(), key=lambda each: first(each[1]["nll"]))
    lines = []
    for name, row in table:
        figures = [figure(first(row[score])) for score in shown]
        better = [SCORES[score] for score, said in row["default is"].items() if said == "+"]
        worse = [SCORES[score] for score, said in row["default is"].items() if said == "-"]
        cells = [", ".join(scores) or "–" for scores in (better, worse)]
        lines.append([name, *figures, f"{100 * float(row['labels changed']):.1f} %", f"{row['seconds']:.1f}", *cells])
    head = ["", *(SCORES[score] for score in shown), "labels changed", "seconds to fit"]
    return markdown([*head, "the default is better in", "and worse in"], lines)


OF_MAPS = {"GED 16": "GED 16", "GED 100": "GED 100", "HM-IoU 16": "HM-IoU 16", "diversity": "diversity"}
SEES = {"image": "image", "image and F": "image, F"}


def _nodules(records: Records) -> str:
    held, car = _held_with_ties_spread(records["rivals_areas"]), records["lidc"]["table"]["CAR"]
    rows = [[*cells, held.get(name, "")] for name, cells in _sampler_rows(records["rivals"]["table"])]
    floor, apart = (short(car[each]["value"]) for each in ("floor 16", "annotators' diversity"))
    last = ["a sampler that draws what the annotators draw (floor)", "", "", floor, "", "", apart, "", ".90"]
    head = ["", "sees", "seeds", *OF_MAPS.values(), "90 % area intervals hold", TIES_SPREAD]
    return markdown(head, [*rows, last])


TIES_SPREAD = "…, ties spread"


def _held_with_ties_spread(areas: Mapping[str, Any]) -> dict[str, str]:
    """Return, of each row, the share of radiologists whose area 90 % intervals hold, with ties spread."""
    return {name: f"{row['90 %, ties spread']['value']:.2f}".removeprefix("0") for name, row in areas["table"].items()}


def _nodules_of(name: str, areas: str | None = None) -> Callable[[Records], str]:
    def make(records: Records) -> str:
        table = records[name]["table"]
        held = {} if areas is None else _held_with_ties_spread(records[areas])
        more = {"excess": "excess", "presence": "of it presence", MILLISECONDS: "ms a sample"}
        more = {score: title for score, title in more.items() if any(score in row for row in table.values())}
        rows = [
            [
                *cells,
                *([held.get(row, "")] if held else []),
                short(table[row]["ECE of the mean"]["value"]),
                *(_if_known(table[row], score) for score in more),
            ]
            for row, cells in _sampler_rows(table)
        ]
        hold = ["90 % area intervals hold", *([TIES_SPREAD] if held else [])]
        return markdown(["", "sees", "seeds", *OF_MAPS.values(), *hold, "ECE of the mean", *more.values()], rows)

    return make


def _if_known(row: Mapping[str, Any], score: str) -> str:
    """Return a score of a row; nothing if it is not defined for it, or was not measured."""
    return "" if score not in row or isnan(row[score]["value"]) else short(row[score]["value"])


OTHER_DRAWS = {"spread": "spread draws", "all orientations": "mean over orientations"}
"""What other ways to draw than independently, from the image as it is, are called on the page."""


def _sampler_rows(table: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the rows of samplers with their names in the record, the least GED at 16 first."""
    rows = []
    for name, row in sorted(table.items(), key=lambda each: each[1]["GED 16"]["value"]):
        kind, *how = name.split(", ")
        title, sees = name.removesuffix(", behind F"), "image, F"
        if kind in LEARNT:
            sees, drawn = SEES[how[0]], how[1] if how[1:] else "independent draws"
            title = f"{LEARNT[kind].__name__}, {OTHER_DRAWS.get(drawn, drawn)}"
        rows.append((name, [title, sees, *_of_maps(row)]))
    return rows


def _of_maps(row: Mapping[str, Any]) -> list[str]:
    """Return a sampler's number of seeds, its scores, and how many of the annotators' areas its intervals hold."""
    return [
        str(len(row["seeds"])),
        *(short(row[score]["value"]) for score in OF_MAPS),
        f"{row['coverage']['value']:.2f}".removeprefix("0"),
    ]


def _lidc(records: Records) -> str:
    table = records["lidc"]["table"]
    names = ("copula, one level", "copula, fitted", "CAR, four times as long", "CAR", "independent pixels")
    names += ("cGAN, lambda 0", "cGAN + cross-entropy", "cGAN + cross-entropy, four times as long", "F's argmax")
    rows = [[name, *_of_maps(table[name])] for name in names]
    rows.append(["two annotators", "", "", "", "", short(table["CAR"]["annotators' diversity"]["value"]), ""])
    return markdown(["", "seeds", *OF_MAPS.values(), "90 % area intervals hold"], rows)


BOXES = {"trained": "trained black box", "labels": "true labels as black box", "truth": "true distribution"}


def _flips(records: Records) -> str:
    published = {"CAR": ".164; given the truth .038", "cGAN + cross-entropy": ".632"}
    names = {"true flips of the likeliest map": "true flips of the black box's own map", "CAR": "CAR"}
    names |= {
        "cGAN + cross-entropy": "cGAN + cross-entropy",
        "copula, one field an image": "copula, one field an image",
    }
    names |= {name: name for name in ("copula, one field a region", "independent pixels")}
    found = {box: records["flips"][box] for box in BOXES}
    rows = [
        [title, published.get(name, ""), *(short(each[name]["GED"]) if name in each else "" for each in found.values())]
        for name, title in names.items()
    ]
    return markdown(["GED at 16", "paper (Cityscapes)", *BOXES.values()], rows)


def _offsets(records: Records) -> str:
    found = {box: records["flips"][box] for box in BOXES}

    def both(row: Mapping[str, float]) -> str:
        return f"{100 * row['mean offset']:.1f} %, {100 * row['worst offset']:.1f} %"

    rows = [
        ["F, mean and worst (where the black box is right)", "1.6 %, 6 %"]
        + [both(each["F"]["where the black box is right"]) if "F" in each else "" for each in found.values()],
        ["G, mean and worst", "", *(both(each["CAR"]) for each in found.values())],
        ["cGAN + cross-entropy, mean and worst", ""]
        + [both(each["cGAN + cross-entropy"]) if "cGAN + cross-entropy" in each else "" for each in found.values()],
        ["F, expected calibration error", "2.15 %"]
        + [f"{100 * each['F']['ECE']:.2f} %" if "F" in each else "" for each in found.values()],
    ]
    return markdown(["flip frequencies, offset from the truth", "paper", *BOXES.values()], rows)


def _unseen(records: Records) -> str:
    rows = []
    for name, row in records["flips_unseen"].items():
        if isinstance(row, dict) and "F" in row:
            offsets, right = row["F"]["where the black box is right"], row["the black box on them"]["pixel accuracy"]
            cells = [f"{100 * each:.1f} %" for each in (right, offsets["mean offset"], offsets["worst offset"])]
            rows.append(
                [name, str(row["images"]), *cells, f"{100 * row['F']['ECE']:.1f} %", short(row["copula"]["GED"])]
            )
    head = [
        "F learns from",
        "images",
        "pixels right",
        "flips off by, mean",
        "worst",
        "calibration error",
        "copula's GED",
    ]
    return markdown(head, rows)


def _learnt_flips(records: Records) -> str:
    rows = []
    for box in ("labels", "trained"):
        for name, row in records["flips_learnt"].get(box, {}).items():
            kind, _, how = name.partition(", ")
            title = ", ".join([LEARNT[kind].__name__, *([how] if how else [])])
            offsets = [f"{100 * row['of many samples'][each]:.1f} %" for each in ("mean offset", "worst offset")]
            rows.append([title, BOXES[box], short(row["GED"]), *offsets])
    return markdown(["", "black box", "GED at 16", "flips off by, mean", "worst"], rows)


def _ablation(records: Records) -> str:
    found = records["car_energy_ablation"]
    rows = []
    for name, row in found["table"].items():
        gap = found["differences"].get(f"{name} - as it is", {}).get("GED 16")
        beside = f"{gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})".replace("0.", ".") if gap else ""
        rows.append([name, *(short(row[score]["value"]) for score in OF_MAPS), beside])
    return markdown(["", *OF_MAPS.values(), "GED 16 against as it is"], rows)


TABLES = (
    PageTable("peers.md", "On the same logits", ("peers",), _peers),
    PageTable("results/black_boxes.md", "Table 1", ("tables",), _black_boxes("Table 1")),
    PageTable("results/black_boxes.md", "Table 2", ("tables",), _black_boxes("Table 2")),
    PageTable("results/stacked.md", "Likelihood", ("default",), stacked_table("nll")),
    PageTable("results/stacked.md", "Brier score", ("default",), stacked_table("brier")),
    PageTable("results/stacked.md", "Pooled ECE", ("default",), stacked_table("ece")),
    PageTable("results/stacked.md", "Image-wise ECE", ("default",), stacked_table("ece_images")),
    PageTable("results/stacked.md", "AUROC", ("default",), stacked_table("auroc")),
    PageTable("results/stacked.md", "Every row", ("default",), every_row),
    PageTable("results/stacked.md", "Corrupted images", ("default",), corrupted_rows),
    PageTable("results/stacked.md", "Constants of the gate", ("gate_constants",), gate_rows),
    PageTable("results/claims.md", "In-domain", ("in_domain",), _in_domain),
    PageTable("results/claims.md", "Shift", ("shift",), _shift),
    PageTable("results/samplers.md", "Samplers of nodules", ("rivals", "lidc", "rivals_areas"), _nodules),
    PageTable(
        "results/samplers.md",
        "Samplers in half an hour",
        ("rivals_half_hour", "rivals_half_hour_areas"),
        _nodules_of("rivals_half_hour", "rivals_half_hour_areas"),
    ),
    PageTable("results/samplers.md", "Samplers in a fifth of the steps", ("rivals_0.2",), _nodules_of("rivals_0.2")),
    PageTable(
        "results/samplers.md", "Samplers in published widths", ("rivals_published",), _nodules_of("rivals_published")
    ),
    PageTable("results/samplers.md", "Nodules", ("lidc",), _lidc),
    PageTable("results/samplers.md", "Flips", ("flips",), _flips),
    PageTable("results/samplers.md", "Frequencies of flips", ("flips",), _offsets),
    PageTable("results/samplers.md", "Learnt on flips", ("flips_learnt",), _learnt_flips),
    PageTable("results/samplers.md", "What F learns from", ("flips_unseen",), _unseen),
    PageTable("results/samplers.md", "Ablation", ("car_energy_ablation",), _ablation),
)


def recorded() -> dict[str, dict[str, Any]]:
    """Return all records that a table is made from, by name."""
    names = {name for table in TABLES for name in table.records}
    return {name: json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in sorted(names)}


def main() -> None:
    """Write every page that has tables."""
    records = recorded()
    for page in dict.fromkeys(table.page for table in TABLES):
        text = (DOCS / page).read_text("utf-8")
        for table in TABLES:
            text = table.within(text, records) if table.page == page else text
        (DOCS / page).write_text(text, "utf-8")
        print(DOCS / page)


if __name__ == "__main__":
    main()
