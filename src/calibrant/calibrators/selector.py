"""Selectors: which pixels are suspected mistakes, seen from their logits alone (Wang et al., CVPR 2023, Sec. 3.2)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from calibrant._shapes import IGNORE, Bool, Float, Int, Tensor
from calibrant.calibrators._descend import descend, index_batches, map_batches
from calibrant.calibrators.calibrator import in_blocks
from calibrant.errors import FitError
from calibrant.predictions import Pixels, Predictions


@dataclass(frozen=True)
class SelectorQuality:
    """How well a selector finds mistakes, counted over the labelled pixels of images it was not trained on.

    :param precision: share of mistakes among the flagged pixels; None where nothing is flagged.
    :param recall: share of flagged pixels among the mistakes; None where there is no mistake.
    :param flagged_share: share of flagged pixels among all.
    :param flagged_accuracy: share of right pixels among the flagged ones, 1 - precision.
    :param flagged_confidence: mean confidence of the flagged pixels in the raw logits.
    :param num_classes: the number of classes, whose inverse is the least confidence there is.
    :param num_pixels: how many pixels were counted.
    """

    precision: float | None
    recall: float | None
    flagged_share: float
    flagged_accuracy: float | None
    flagged_confidence: float | None
    num_classes: int
    num_pixels: int

    @classmethod
    def of(cls, selector: "Selector", predictions: Predictions) -> "SelectorQuality":
        """Return the quality of a selector over all labelled pixels of the predictions."""
        pixels = flagged = mistakes = hits = num_classes = 0
        confidence = 0.0
        for prediction in predictions:
            num_classes = prediction.num_classes
            z = prediction.logits.float()
            flags = select(selector, prediction.logits, prediction.image).flatten()
            top = (1 / (z - z.amax(0)).exp().sum(0)).flatten()
            winner = z.argmax(0).flatten()
            for labels in prediction.labels.flatten(1):
                valid = labels != IGNORE
                wrong = valid & (winner != labels)
                pixels += int(valid.sum())
                flagged += int((flags & valid).sum())
                mistakes += int(wrong.sum())
                hits += int((flags & wrong).sum())
                confidence += float(top[flags & valid].sum(dtype=torch.float64))
        return cls(
            precision=hits / flagged if flagged else None,
            recall=hits / mistakes if mistakes else None,
            flagged_share=flagged / pixels if pixels else 0.0,
            flagged_accuracy=1 - hits / flagged if flagged else None,
            flagged_confidence=confidence / flagged if flagged else None,
            num_classes=num_classes,
            num_pixels=pixels,
        )

    @property
    def uniform_is_harmful(self) -> bool:
        """Whether sending flagged pixels to the uniform distribution moves confidence further from accuracy.

        |1/K - a| < |conf - a| holds only if the flagged accuracy a is below (conf + 1/K) / 2.
        """
        if self.flagged_accuracy is None or self.flagged_confidence is None:
            return False
        return self.flagged_accuracy >= (self.flagged_confidence + 1 / self.num_classes) / 2

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs."""
        return asdict(self)


class Selector(nn.Module, ABC):
    """A map from logits (and image) to suspected mistakes.

    :param quality: how well it does on images it was not trained on, if that was measured.
    """

    def __init__(self, quality: SelectorQuality | None = None) -> None:
        super().__init__()
        self.quality = quality

    @abstractmethod
    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return true where the prediction is suspected to be a mistake."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return what the constructor needs to make this selector again."""


class NoSelector(Selector):
    """Flag nothing: what a fit falls back to where no selector helps.

    >>> NoSelector()(torch.zeros(1, 3, 2)).tolist()
    [[False, False]]
    """

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return false everywhere."""
        return torch.zeros_like(logits[:, 0], dtype=torch.bool)

    def arguments(self) -> dict[str, Any]:
        """Return the quality of the selector that was given up, if any."""
        return {"quality": self.quality}


class LearntSelector(Selector):
    """A small network on each pixel's log-probabilities; flagged where it finds a mistake likelier than not.

    It is stored as it is applied: normalisation is folded into the layers, so that training and evaluation mode are
    the same and a pixel never depends on its neighbours.

    :param weights: of each layer (out, in); the last has one row, the log-odds of a mistake.
    :param biases: of each layer.
    :param quality: how well it does on images it was not trained on, if that was measured.
    """

    def __init__(
        self, weights: Sequence[Tensor], biases: Sequence[Tensor], quality: SelectorQuality | None = None
    ) -> None:
        super().__init__(quality)
        self.num_layers = len(weights)
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self.register_buffer(f"weight{number}", weight.detach().float().clone())
            self.register_buffer(f"bias{number}", bias.detach().float().clone())

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of each layer."""
        return [(getattr(self, f"weight{i}"), getattr(self, f"bias{i}")) for i in range(self.num_layers)]

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return true where the prediction is suspected to be a mistake."""
        return self.log_odds(logits).squeeze(1) > 0

    def log_odds(self, logits: Float[Tensor, "n c *s"]) -> Float[Tensor, "n 1 *s"]:
        """Return the log-odds that the prediction is a mistake."""
        return in_blocks(self._log_odds, logits)

    def _log_odds(self, z: Float[Tensor, "n c p"]) -> Float[Tensor, "n 1 p"]:
        x = floored_log_softmax(z)
        *hidden, (weight, bias) = self.layers()
        for w, b in hidden:
            x = (w @ x).add_(b[:, None]).relu_()
        return weight @ x + bias[:, None]

    def arguments(self) -> dict[str, Any]:
        """Return weights, biases and quality."""
        weights, biases = zip(*self.layers(), strict=True)
        return {"weights": list(weights), "biases": list(biases), "quality": self.quality}

    @classmethod
    def fit(
        cls,
        kept: Pixels,
        held_out: Pixels,
        *,
        widths: Sequence[int] | None = None,
        epochs: int = 10,
        learning_rate: float = 3e-3,
        batch: int | None = None,
        maps_per_batch: int | None = None,
        anneal: bool = True,
        patience: int | None = 4,
        mistake_weight: float = 1.0,
        seed: int = 0,
    ) -> "LearntSelector":
        """Return a selector trained to tell right pixels from mistakes, by cross-entropy.

        :param widths: of the hidden layers. By default the paper's (c, 2 c, c), but no wider than (48, 64, 48), which
            at 150 classes takes an eighth of its time.
        :param batch: pixels in a batch; by default a 32nd of them, within 256 and 4096.
        :param maps_per_batch: make batches of whole images, as the paper does, and not of ``batch`` pixels.
        :param mistake_weight: how often a mistake counts.
        :raises FitError: the kept pixels are all right or all mistakes.
        """
        c = kept.logits.shape[0]
        batch = min(4096, max(256, len(kept) // 32)) if batch is None else batch
        widths = (min(c, 48), min(2 * c, 64), min(c, 48)) if widths is None else widths
        x, right = _rows(kept), _right(kept)
        x_held, right_held = _rows(held_out), _right(held_out)
        if bool(right.all()) or not bool(right.any()):
            raise FitError(
                f"expected right and mistaken pixels to train a selector on; got {int(right.sum())} right of "
                f"{len(right)}. Add images, or use temperature scaling."
            )
        network = _network(c, widths, torch.Generator().manual_seed(seed)).to(x.device)
        weight = torch.tensor([mistake_weight, 1.0], device=x.device)

        def batches(generator: torch.Generator) -> list[Int[Tensor, " b"]]:
            if maps_per_batch is not None:
                return list(map_batches(kept.image, maps_per_batch, generator))
            return list(index_batches(len(right), batch, generator))

        def loss(chosen: Int[Tensor, " b"]) -> Tensor:
            network.train()
            chosen = chosen.to(x.device)
            return cross_entropy(network(x[chosen]), right[chosen], weight=weight)

        def score() -> float:
            network.eval()
            return float(cross_entropy(network(x_held), right_held, weight=weight))

        descend(
            list(network.parameters()),
            loss=loss,
            batches=batches,
            score=score,
            epochs=epochs,
            learning_rate=learning_rate,
            anneal=anneal,
            patience=patience,
            also_kept=list(network.buffers()),
            seed=seed,
            name="selector",
        )
        return cls(*_folded(network))


def select(
    selector: Selector, logits: Float[Tensor, "c *s"], image: Float[Tensor, "k *s"] | None
) -> Bool[Tensor, " *s"]:
    """Return the suspected mistakes of one image."""
    with torch.no_grad():
        return selector(logits[None], None if image is None else image[None])[0]


def floored_log_softmax(z: Float[Tensor, "n c p"]) -> Float[Tensor, "n c p"]:
    """Return log(softmax(z) + 1e-16), which ends at -36.8 and does not run off where a class is out of the question."""
    probs = (z - z.amax(1, keepdim=True)).exp()
    return (probs / probs.sum(1, keepdim=True) + 1e-16).log()


def _rows(pixels: Pixels) -> Float[Tensor, "p c"]:
    return in_blocks(floored_log_softmax, pixels.logits[None])[0].T.contiguous()


def _right(pixels: Pixels) -> Int[Tensor, " p"]:
    return (pixels.logits.argmax(0) == pixels.labels).long()


def _network(c: int, widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Linear, batch normalisation and ReLU three times and two logits, mistake and right; the first layer starts at
    the identity where it is square (the released code), the others as torch starts them."""
    sizes = [c, *widths, 2]
    layers: list[nn.Module] = []
    for number, (into, out) in enumerate(pairwise(sizes)):
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # a new layer draws from torch's global generator
            linear = nn.Linear(into, out)
            if number == 0 and into == out:
                nn.init.eye_(linear.weight)
                nn.init.zeros_(linear.bias)
            else:
                linear.weight.uniform_(-(into**-0.5), into**-0.5, generator=generator)
                linear.bias.uniform_(-(into**-0.5), into**-0.5, generator=generator)
        layers.append(linear)
        if number < len(widths):
            layers += [nn.BatchNorm1d(out), nn.ReLU()]
    return nn.Sequential(*layers)


@torch.no_grad()
def _folded(network: nn.Sequential) -> tuple[list[Tensor], list[Tensor]]:
    """The layers with normalisation folded in, and the difference of the two last logits."""
    weights, biases = [], []
    for layer in network:
        if isinstance(layer, nn.Linear):
            weights.append(layer.weight.double())
            biases.append(layer.bias.double())
        elif isinstance(layer, nn.BatchNorm1d):
            assert layer.running_var is not None
            assert layer.running_mean is not None
            gain = layer.weight.double() / (layer.running_var.double() + layer.eps).sqrt()
            weights[-1] = gain[:, None] * weights[-1]
            biases[-1] = gain * (biases[-1] - layer.running_mean.double()) + layer.bias.double()
    weights[-1] = weights[-1][:1] - weights[-1][1:]
    biases[-1] = biases[-1][:1] - biases[-1][1:]
    return weights, biases
