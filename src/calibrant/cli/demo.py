"""``calibrant demo``: the whole job on built-in scenes."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for stores, calibrators and the report.")
    ] = Path("demo"),
    num_steps: Annotated[int, typer.Option(min=1, help="Training steps of the small segmenter.")] = 300,
    seed: Annotated[int, typer.Option(help="Of scenes, training and fits.")] = 0,
) -> None:
    """Train a small segmenter on made streets whose truth is known, measure it, calibrate it, and write a report."""
    import torch

    from calibrant.cli._console import Watched, bars, console
    from calibrant.cli._study import run_study
    from calibrant.cli.methods import parse_methods
    from calibrant.data import Provenance, StreetScenes, write_store
    from calibrant.models import ModelPredictions, train_segmenter
    from calibrant.networks import SmallUNet

    torch.manual_seed(seed)
    train, test = StreetScenes(100, seed=seed), StreetScenes(80, seed=seed + 1)
    network = SmallUNet(3, train.num_classes)
    with bars() as progress:
        examples = list(Watched(train, progress, "making streets"))
        task = progress.add_task("training a small segmenter", total=num_steps)

        def step(done: int, _: int, loss: float) -> None:
            progress.update(task, completed=done, description=f"training a small segmenter [dim]loss {loss:.3f}[/]")

        train_segmenter(network, examples, num_steps=num_steps, seed=seed, progress=step)
        progress.remove_task(task)
        provenance = Provenance(
            model=f"a small U-Net, {num_steps} training steps",
            data="made streets",
            resolution="the scenes' own size",
            class_names=train.class_names,
            ignore="the rim of the image and the bonnet of the camera's car count nowhere",
        )
        source = Watched(ModelPredictions(network, test, batch_size=8), progress, "running the segmenter")
        stored = write_store(source, output / "store", provenance=provenance, overwrite=True)
    study = run_study(
        stored,
        None,
        parse_methods("uncalibrated,temperature,vector,selective"),
        seeds=[seed],
        share=0.5,
        pixels_per_image=5_000,
        num_bins=15,
        boundary_width=2,
    )
    study.show()
    study.save(output / "measurements")
    study.write_json(output / "figures.json")
    study.write_page(output / "report.html", title="Calibration of a small segmenter on made streets")
    console.print(str(output / "report.html"), highlight=False, soft_wrap=True)
