"""Train a segmenter of Hugging Face's from scratch on real images; ``calibrant predict`` opens the folder it saves.

    python -m experiments.selective_scaling.train_black_boxes [--dataset camvid] [--family segformer-b0] [-o runs/b0]
    calibrant predict runs/b0 data/CamVid --dataset camvid --shorter-side 180 -o runs/b0-test

Stopped by Ctrl-C or otherwise, the same command goes on from the last checkpoint, and ends with the same weights.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibrant.data import StreetScenes
from calibrant.predictions import IGNORE, Example, Examples, Prediction
from calibrant.training import Augmentation, Batches, Devices, SingleDevice, open_fabric, train
from experiments._data import add_option, aerial, camvid, davis, place, use

STAGES = ["stage1", "stage2", "stage3", "stage4"]


@dataclass(frozen=True)
class Config:
    """What is trained; the defaults suit two cores, ``full_size`` a GPU.

    :param data: a name in ``DATA``; empty for synthetic street scenes.
    :param split: which of its images to train on.
    :param size: rows and columns that images are reduced to.
    :param crop: rows and columns of the windows that are learnt from.
    """

    data: str = "camvid"
    split: str = "lighting_day_train"
    family: str = "segformer-b0"
    size: tuple[int, int] = (180, 240)
    crop: tuple[int, int] = (128, 160)
    steps: int = 2000
    batch: int = 4
    rate: float = 1e-3
    warm_up: int = 100
    weight_decay: float = 0.01
    checkpoint_every: int = 200
    seed: int = 0

    def full_size(self) -> "Config":
        """Return the same for a GPU: twice the size, more images."""
        size, crop = ((2 * rows, 2 * columns) for rows, columns in (self.size, self.crop))
        return replace(self, size=size, crop=crop, steps=20_000, batch=16, rate=6e-4)

    @classmethod
    def smoke(cls, family: str = "segformer-tiny") -> "Config":
        """Seconds, on synthetic street scenes."""
        return cls(
            *("", "", family), size=(32, 48), crop=(32, 32), steps=6, batch=2, rate=3e-3, warm_up=1,
            checkpoint_every=2,
        )  # fmt: skip


DATA: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "camvid": ("camvid", camvid),
    "davis": ("davis2016_val", davis),
    "aerial": ("dubai_aerial", aerial),
}
"""By name, the folder of a data set among the data and its reader."""

USUAL: Mapping[str, Config] = {
    "camvid": Config(),
    "davis": Config(
        "davis", "temporal_first_half_train", "segformer-quarter",
        size=(120, 216), crop=(96, 160), steps=1000,
    ),
    "aerial": Config(
        "aerial", "spatial_source_train", "segformer-quarter",
        size=(192, 224), crop=(128, 160), steps=600,
    ),
}  # fmt: skip
"""What is trained on each data set if nothing else is said."""


def segformer(labels: Mapping[str, Any], depth: int, widths: list[int], decoder: int) -> nn.Module:
    """Return a SegFormer (Xie et al., NeurIPS 2021); B0 has depth 2, widths 32 to 256 and a decoder of 256."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    heads = [max(1, width // widths[0]) for width in widths]
    sizes = {
        "depths": [depth] * 4,
        "hidden_sizes": widths,
        "num_attention_heads": heads,
        "decoder_hidden_size": decoder,
    }
    return SegformerForSemanticSegmentation(SegformerConfig(**sizes, **labels))


def upernet(labels: Mapping[str, Any], depths: list[int], widths: list[int], decoder: int) -> nn.Module:
    """Return UperNet (Xiao et al., ECCV 2018) on a ConvNeXt (Liu et al., CVPR 2022)."""
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ConvNextConfig(hidden_sizes=widths, depths=depths, out_features=STAGES)
    config = UperNetConfig(backbone_config=backbone, hidden_size=decoder, use_auxiliary_head=False, **labels)
    return UperNetForSemanticSegmentation(config)


FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "segformer-b0": lambda labels: segformer(labels, 2, [32, 64, 160, 256], 256),
    "segformer-half": lambda labels: segformer(labels, 2, [16, 32, 80, 128], 128),
    "segformer-quarter": lambda labels: segformer(labels, 2, [8, 16, 40, 64], 64),
    "segformer-tiny": lambda labels: segformer(labels, 1, [8, 8, 16, 16], 16),
    "upernet-convnext": lambda labels: upernet(labels, [2, 2, 4, 2], [32, 64, 128, 256], 64),
    "upernet-tiny": lambda labels: upernet(labels, [1, 1, 1, 1], [8, 8, 16, 16], 16),
}


@dataclass(frozen=True)
class Reduced:
    """Examples at a smaller size, in the form that batches are drawn from; one annotator, no logits."""

    examples: Any
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Prediction:
        example: Example = self.examples[i]
        image = F.interpolate(example.image[None], self.size, mode="bilinear", antialias=True)[0]
        labels = F.interpolate(example.labels[:1].float()[None], self.size, mode="nearest-exact")[0].long()
        return Prediction(example.key, torch.zeros(1, *self.size), labels, image)


class Segmentation:
    """Cross-entropy over labelled pixels, AdamW, a rate that rises, then falls to zero in a straight line."""

    def __init__(self, network: nn.Module, batches: Batches, config: Config, devices: Devices, scale: Any):
        self.plain, self.batches, self.config, self.devices, self.scale = network, batches, config, devices, scale
        optimiser = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=config.weight_decay)
        self.network, self.optimiser = devices.setup(network, optimiser)

    def step(self, number: int) -> Mapping[str, Tensor]:
        """Take one step."""
        config, devices = self.config, self.devices
        rate = config.rate * min((number + 1) / config.warm_up, 1 - number / config.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = self.batches.draw(number, part=devices.global_rank, parts=devices.world_size).to(devices.device)
        assert batch.image is not None
        labels = batch.labels[:, 0]
        with devices.autocast():
            logits = self.network(pixel_values=self.scale(batch.image)).logits
            logits = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear")
            loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
            loss = loss / (labels != IGNORE).sum().clamp(1)
        self.optimiser.zero_grad()
        devices.backward(loss)
        self.optimiser.step()
        seen = labels != IGNORE
        right = (logits.detach().argmax(1) == labels)[seen].float().mean()
        return {"loss": loss.detach(), "pixel accuracy": right}

    def state(self) -> dict[str, Any]:
        """Return everything that the next step needs."""
        return {"network": self.plain.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        self.plain.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def complaints(self, figures: Mapping[str, float]) -> Iterable[str]:
        """Nothing beyond what diverges."""
        return ()


def examples_of(config: Config) -> tuple[Examples, tuple[str, ...]]:
    """Return the images to train on and the names of their classes; synthetic street scenes if no data set is named."""
    if config.data:
        folder, read = DATA[config.data]
        examples = read(place(folder), config.split)
        return examples, examples.class_names
    scenes = StreetScenes(4, size=config.size, seed=config.seed)
    return scenes, tuple(scenes.class_names)


def main(config: Config, output: Path, *, device: str = "cpu", precision: str = "32-true") -> nn.Module:
    """Train, save the folder, and return the model in eval mode."""
    from transformers import SegformerImageProcessor

    from calibrant.models._normalise import Normalisation, Normalise

    begun = time.monotonic()
    examples, names = examples_of(config)
    torch.manual_seed(config.seed)
    network = FAMILIES[config.family](
        {"id2label": dict(enumerate(names)), "label2id": {n: k for k, n in enumerate(names)}}
    )
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{config.family}: {count:,} parameters, {len(examples)} images", flush=True)
    devices = SingleDevice(device) if precision == "32-true" else open_fabric(accelerator=device, precision=precision)
    network.train()
    batches = Batches(
        Reduced(examples, config.size), config.batch, Augmentation.of_scenes(crop=config.crop), config.seed
    )
    scale = Normalise(Normalisation.named("imagenet")).to(devices.device)
    trainee = Segmentation(network, batches, config, devices, scale)

    def tell(done: int, figures: Mapping[str, float]) -> None:
        told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        print(f"step {done} of {config.steps}: {told}; {time.monotonic() - begun:.0f} s", flush=True)

    train(
        trainee, num_steps=config.steps, seed=config.seed, identity=asdict(config), checkpoint_path=output / "training",
        checkpoint_every=config.checkpoint_every, watch=tell, devices=devices,
    )  # fmt: skip
    network.eval().cpu().save_pretrained(output)
    rows, columns = config.size
    SegformerImageProcessor(size={"height": rows, "width": columns}).save_pretrained(output)
    print(f"saved: {output}", flush=True)
    return network


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=DATA, default="camvid")
    add_option(parser)
    parser.add_argument("--split", help="a part of the data set, or a list in its splits/")
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--steps", type=int, help="of training")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--full-size", action="store_true", help="twice the size, for a GPU")
    parser.add_argument("--output", "-o", type=Path, help="runs/FAMILY if not said")
    parser.add_argument("--smoke", action="store_true", help="synthetic street scenes, in seconds")
    given = parser.parse_args()
    use(given.data)
    chosen = Config.smoke() if given.smoke else USUAL[given.dataset]
    chosen = chosen.full_size() if given.full_size else chosen
    said = {name: getattr(given, name) for name in ("split", "family", "steps")}
    chosen = replace(chosen, **{name: value for name, value in said.items() if value is not None})
    main(chosen, given.output or Path("runs") / chosen.family, device=given.device, precision=given.precision)
