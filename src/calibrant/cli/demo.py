"""``calibrant demo``: the whole job on built-in scenes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli import _options
from calibrant.cli._made_from import Overwrite


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for stores, calibrators and the report.")
    ] = Path("demo"),
    num_steps: Annotated[int, _options.count("Training steps of the small segmenter.")] = 700,
    seed: Annotated[int, _options.seed("The seed of scenes, training and fits.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Do the whole job on synthetic street scenes, in two minutes.

    A small segmenter is trained on streets whose true probabilities are known, measured, calibrated, and reported.
    Example: calibrant demo -o demo
    """

    from calibrant._storage.origin import check_same, options_of
    from calibrant.cli._console import console
    from calibrant.cli._run import Plan, run_study
    from calibrant.cli._study import check_free
    from calibrant.data import StoredPredictions, StreetScenes
    from calibrant.methods import parse_methods

    # Few streets seen often: the segmenter becomes surer than it is right, as real ones do.
    train, test = StreetScenes(40, seed=seed), StreetScenes(80, seed=seed + 1000)
    made_from = {"data": "synthetic street scenes", **options_of({"num-steps": num_steps, "seed": seed})}
    if (output / "store" / "manifest.json").exists() and not overwrite:
        check_same(output / "store", StoredPredictions(output / "store").made_from, made_from, "store")
    check_free(output / "measurements", made_from, overwrite=overwrite)
    network = _trained(train, num_steps, seed)
    stored = _store(network, test, num_steps, output / "store", made_from, overwrite=overwrite)
    plan = Plan(seeds=[seed], fraction=0.5, pixels_per_image=5_000, num_bins=15, boundary_width=2)
    (study,) = run_study(stored, [], parse_methods("uncalibrated,temperature,selective,stacked"), plan)
    limit = _limit(test, study.measurements["uncalibrated"][0].keys)
    study = study.changed(facts=dict(study.facts) | {"the best possible": limit}, made_from=made_from)
    study.show()
    console.print(f"The best possible: {limit}", highlight=False)
    study.save(output / "measurements", made_from, overwrite=overwrite)
    study.write_json(output / "figures.json")
    study.write_page(output / "report.html", title="Calibration of a small segmenter on synthetic street scenes")
    console.print(str(output / "report.html"), highlight=False, soft_wrap=True)


def _trained(scenes: Any, num_steps: int, seed: int) -> Any:
    """Return a small U-Net trained on the scenes."""
    import torch

    from calibrant.cli._console import bars, with_progress
    from calibrant.networks import SmallUNet
    from calibrant.training import train_segmenter

    weights = torch.Generator().manual_seed(seed)
    network = SmallUNet(3, scenes.num_classes, stride=2, generator=weights)
    with bars() as progress:
        examples = list(with_progress(scenes, progress, "making streets"))
        task = progress.add_task("training a small segmenter", total=num_steps)
        train_segmenter(
            network,
            examples,
            num_steps=num_steps,
            seed=seed,
            watch=lambda done, _: progress.update(task, completed=done),
        )
    return network


def _store(
    network: Any, scenes: Any, num_steps: int, path: Path, made_from: Mapping[str, str], *, overwrite: bool
) -> Any:
    """Run the network over the scenes and return its stored predictions."""
    from calibrant.cli._console import bars, with_progress
    from calibrant.data import Provenance, write_store
    from calibrant.models import ModelPredictions

    provenance = Provenance(
        model=f"a small U-Net, {num_steps} training steps",
        data="synthetic street scenes",
        resolution="the scenes' own size",
        class_names=scenes.class_names,
        ignore="the rim of the image and the bonnet of the camera's car count nowhere",
    )
    with bars() as progress:
        source = with_progress(ModelPredictions(network, scenes, batch_size=8), progress, "running the segmenter")
        return write_store(source, path, provenance=provenance, made_from=made_from, overwrite=overwrite)


def _limit(scenes: Any, keys: Sequence[str]) -> str:
    """What the true probabilities score on the same images: no calibrator can do better."""
    from calibrant.evaluation import tally
    from calibrant.metrics import SCORES, Measurement
    from calibrant.predictions import Prediction, from_probabilities

    numbers = [scenes.keys.index(key) for key in keys]
    truth = [
        Prediction(scenes[i].key, from_probabilities(scenes.probabilities(i).float()), scenes[i].labels)
        for i in numbers
    ]
    pooled = tally(Measurement.of, truth).pooled()
    figures = ", ".join(
        f"{SCORES[name].title} {float(SCORES[name].of(pooled)):.4f}" for name in ("nll", "brier", "ece")
    )
    return f"{figures}, by the true probabilities of these streets"
