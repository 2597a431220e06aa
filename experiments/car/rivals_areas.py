"""Do the samplers of ``experiments.car.rivals`` know how large a nodule is? Areas against those of four radiologists.

    python -m experiments.car.rivals_areas [--half-hour] [--data FOLDER]

Of each sampler that is trained, a hundred maps are drawn of each crop of the val patients: free, and that of the energy
score also in all orientations. ``--half-hour`` takes the samplers of ``experiments.car.rivals --half-hour``. Told are
the shares of radiologists whose area lies within intervals of the areas drawn: with the bounds inside, and with ties
spread, for in 38 % of the masks there is no nodule, so that an interval whose lower bound is 0 holds more than its
level even if all is right; and the ranks of the radiologists among the maps. Areas are kept under ``runs/``.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from calibrant.metrics import AreaSamples, area_ranks, interval_coverage, interval_width
from experiments._data import add_option, use
from experiments._record import RESULTS, record
from experiments.car._timed import folder_name
from experiments.car.figures import INK, save
from experiments.car.lidc_jobs import Images
from experiments.car.lidc_scores import Columns, Patients
from experiments.car.rivals_config import Config
from experiments.car.rivals_rows import Source, behind_f, in_another_way, sampler_of, sources
from experiments.car.rivals_scores import drawn, keep_columns, kept_columns

LEVELS = (0.5, 0.8, 0.9)
BINS = 10
"""Of ranks, in the picture and the record."""


def titles_of(source: Source) -> list[str]:
    """Return the rows of a source whose maps are drawn independently and coupled to nothing."""
    return [source.title, *([f"{source.title}, all orientations"] if source.name == "energy" else [])]


def areas_of(config: Config, source: Source, title: str, images: Images) -> AreaSamples | None:
    """Return the areas of the nodule in the maps that a source's sampler draws; None if it is not trained."""
    path = Path(config.runs) / "areas" / f"{folder_name(title)}-{source.seed}.npz"
    of = f"{config.num_samples} samples, {config.steps}, {config.widths}, {dict(config.sizes)}, {config.crop}"
    held = kept_columns(path, of)
    if held is None:
        behind = behind_f(config, source.seed, train=False) if source.inputs == "both" else None
        sampler = sampler_of(config, source, behind, train=False)
        if sampler is None:
            return None
        if title != source.title:
            sampler = in_another_way(title, source.title, sampler)
            assert sampler is not None
        rows = []
        for image in (images if behind is None else behind).test:
            maps = drawn(sampler, image, config.num_samples, source.seed)
            rows.append(AreaSamples.of(maps[:, None], image.labels[None], num_classes=2, of_class=1))
        held = _columns(AreaSamples.stack(rows))
        keep_columns(path, of, held)
    return AreaSamples(**held)


def _columns(areas: AreaSamples) -> Columns:
    return {"sampled": areas.sampled, "labelled": areas.labelled, "weights": areas.weights}


def scores(areas: AreaSamples) -> dict[str, Tensor]:
    """Return the scores of each image."""
    found = {"90 %, bounds inside": interval_coverage(areas, level=0.9)}
    found |= {f"{100 * x:.0f} %, ties spread": interval_coverage(areas, level=x, ties="spread") for x in LEVELS}
    found["width of 90 %"] = interval_width(areas, level=0.9)
    found["empty, drawn"] = (areas.sampled == 0).double().mean(1)
    found["empty, radiologists"] = areas.over_annotators((areas.labelled == 0).double())
    return found


def binned_ranks(areas: AreaSamples) -> list[float]:
    """Return the shares of ranks in bins alike wide, times their number: 1 throughout for a perfect sampler."""
    ranks = area_ranks(areas).nanmean(0)
    edges = torch.linspace(0, len(ranks), BINS + 1, dtype=torch.float64)
    below = torch.cat([torch.zeros(1, dtype=torch.float64), ranks.cumsum(0)])
    whole = edges.floor().long().clamp_max(len(ranks) - 1)
    at_edges = below[whole] + (edges - whole) * ranks[whole]
    return [round(BINS * float(each), 4) for each in at_edges.diff()]


def picture(found: Mapping[str, Any]) -> Figure:
    """Return the ranks of the radiologists among the maps of each sampler: flat if all is right."""
    columns = 3
    rows = -(-len(found) // columns)
    figure = Figure((3.0 * columns, 1.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for panel, (name, each) in zip(panels, found.items(), strict=False):
        at = [(number + 0.5) / BINS for number in range(BINS)]
        panel.bar(at, each["ranks"], width=0.9 / BINS, color=INK[0])
        panel.axhline(1, color="#999999", linewidth=0.8)
        panel.set_title(name, fontsize=8)
    for panel in panels[len(found) :]:
        panel.set_axis_off()
    figure.supxlabel("rank of a radiologist's area among those drawn", fontsize=9)
    figure.supylabel("frequency, 1 if all is right", fontsize=9)
    return figure


def main(config: Config) -> dict[str, Any]:
    """Draw what is missing, print, draw the picture and record; return the figures."""
    begun = time.monotonic()
    images = Images.read(config.lidc)
    patients = Patients([each.key for each in images.test], num_resamples=config.num_resamples)
    held: dict[str, dict[int, AreaSamples]] = {}
    for source in sources(config):
        for title in titles_of(source):
            areas = areas_of(config, source, title, images)
            if areas is not None:
                held.setdefault(title, {})[source.seed] = areas
    found: dict[str, Any] = {}
    for title, of_seeds in held.items():
        each = [scores(areas) for areas in of_seeds.values()]
        means = {name: torch.stack([one[name] for one in each]).mean(0) for name in each[0]}
        ranks = torch.tensor([binned_ranks(areas) for areas in of_seeds.values()]).mean(0)
        found[title] = {"seeds": sorted(of_seeds), "ranks": [round(float(share), 4) for share in ranks]}
        found[title] |= {name: asdict(patients.interval(value)) for name, value in means.items()}
    show(found)
    if found:
        save(picture(found), (RESULTS if config.folder else Path(config.runs)) / f"{config.record}_areas.svg")
    if found and config.folder:
        print(record(f"{config.record}_areas", config, time.monotonic() - begun, {"table": found}))
    return found


def show(found: Mapping[str, Any]) -> None:
    """Print the table, with the 95 % interval over patients of the 90 % intervals with ties spread."""
    if not found:
        print("nothing is trained yet")
        return
    names = [name for name, value in next(iter(found.values())).items() if isinstance(value, dict)]
    print(f"{'':44}" + "".join(f"{name:>22}" for name in names))
    for title, row in found.items():
        print(f"{title:44}" + "".join(f"{row[name]['value']:22.3f}" for name in names))
    for title, row in found.items():
        told = row["90 %, ties spread"]
        print(f"{title}: 90 %, ties spread: {told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half-hour", action="store_true", help="the energy score trained for half an hour")
    add_option(parser)
    given = parser.parse_args()
    use(given.data)
    torch.set_num_threads(1)
    main(Config.half_an_hour() if given.half_hour else Config())
