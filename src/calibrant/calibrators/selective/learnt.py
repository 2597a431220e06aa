"""A selector learnt from the model's own mistakes (Wang et al., CVPR 2023, Sec. 3.2 and its released code)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from calibrant._shapes import Bool, Float, Int, Tensor
from calibrant.calibrators._descend import descend, index_batches, map_batches
from calibrant.calibrators._likelihood import floored_log_softmax
from calibrant.calibrators._tensors import keep_tensors
from calibrant.calibrators.calibrator import by_pixel_blocks
from calibrant.calibrators.pixels import Pixels
from calibrant.calibrators.selective.selector import Selector, SelectorQuality
from calibrant.errors import FitError


class LearntSelector(Selector):
    """A small network on each pixel's log-probabilities; it flags pixels whose predicted error probability exceeds 1/2.

    It is stored as it is applied: normalisation is folded into the layers, so that training and evaluation mode are
    the same and a pixel never depends on its neighbours.

    :param weights: one matrix (out, in) a layer; the last has one row, the log-odds of a mistake.
    :param biases: one vector (out,) a layer.
    :param quality: how well it does on images it was not trained on, if that was measured.
    """

    reach = 0

    def __init__(
        self, weights: Sequence[Tensor], biases: Sequence[Tensor], *, quality: SelectorQuality | None = None
    ) -> None:
        super().__init__(quality=quality)
        self.num_layers = len(weights)
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            keep_tensors(self, **{f"weight{number}": weight, f"bias{number}": bias})

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight and bias of each layer."""
        return [(getattr(self, f"weight{i}"), getattr(self, f"bias{i}")) for i in range(self.num_layers)]

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Bool[Tensor, "n *s"]:
        """Return true where the prediction is suspected to be a mistake.

        :param logits: raw logits, class axis second, in any floating-point type.
        :param image: not used.
        """
        return self.log_odds(logits).squeeze(1) > 0

    def log_odds(self, logits: Float[Tensor, "n c *s"]) -> Float[Tensor, "n 1 *s"]:
        """Return the log-odds that the prediction is a mistake.

        :param logits: raw logits, class axis second, in any floating-point type.
        """
        return by_pixel_blocks(self._log_odds, logits)

    def _log_odds(self, z: Float[Tensor, "n c p"]) -> Float[Tensor, "n 1 p"]:
        x = floored_log_softmax(z)
        *hidden, (weight, bias) = self.layers()
        for w, b in hidden:
            x = _affine(w, x, b).relu_()
        return _affine(weight, x, bias)

    def arguments(self) -> dict[str, Any]:
        """Return weights, biases and quality."""
        weights, biases = zip(*self.layers(), strict=True)
        return {"weights": list(weights), "biases": list(biases), "quality": self.quality}

    def with_quality(self, quality: SelectorQuality) -> "LearntSelector":
        """Return the same selector with its quality, once that was measured.

        :param quality: on images that the selector was not trained on.
        """
        weights, biases = zip(*self.layers(), strict=True)
        return LearntSelector(weights, biases, quality=quality)

    def extra_repr(self) -> str:
        """Show the widths of the layers, from the classes to the log-odds."""
        layers = self.layers()
        return f"widths={(layers[0][0].shape[1], *(len(bias) for _, bias in layers))}"

    @classmethod
    def fit(
        cls,
        kept: Pixels,
        held_out: Pixels,
        *,
        widths: Sequence[int] | None = None,
        num_epochs: int = 10,
        learning_rate: float = 3e-3,
        pixels_per_batch: int | None = None,
        batch_size: int | None = None,
        anneal: bool = True,
        patience: int | None = 4,
        mistake_weight: float = 1.0,
        seed: int = 0,
    ) -> "LearntSelector":
        """Return a selector trained to tell right pixels from mistakes, by cross-entropy.

        :param kept: pixels to train on.
        :param held_out: pixels of other images, on which epochs are compared.
        :param widths: number of units in each hidden layer. By default the paper's (c, 2 c, c), but no
            wider than (48, 64, 48), which at 150 classes takes an eighth of its time.
        :param num_epochs: passes over the pixels.
        :param learning_rate: AdamW's learning rate at the first step.
        :param pixels_per_batch: pixels in a batch; by default a 32nd of them, within 256 and 4096.
        :param batch_size: images in a batch, as the paper has it; None for batches of ``pixels_per_batch`` pixels.
        :param anneal: lower the learning rate to zero along a half cosine.
        :param patience: stop after this many epochs without improvement; None never.
        :param mistake_weight: how often a mistake counts.
        :param seed: decides the first weights and the order of the batches.
        :raises FitError: the kept pixels are all right or all mistakes.
        """
        c = kept.logits.shape[0]
        if pixels_per_batch is None:
            pixels_per_batch = min(4096, max(256, len(kept) // 32))
        widths = (min(c, 48), min(2 * c, 64), min(c, 48)) if widths is None else widths
        x, right = _rows(kept), _right(kept)
        x_held, right_held = _rows(held_out), _right(held_out)
        _check_both(right)
        network = _network(c, widths, torch.Generator().manual_seed(seed)).to(x.device)
        weight = torch.tensor([mistake_weight, 1.0], device=x.device)

        def batches(generator: torch.Generator) -> list[Int[Tensor, " _"]]:
            if batch_size is not None:
                return list(map_batches(kept.image, batch_size, generator))
            return list(index_batches(len(right), pixels_per_batch, generator))

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
            num_epochs=num_epochs,
            learning_rate=learning_rate,
            anneal=anneal,
            patience=patience,
            also_kept=list(network.buffers()),
            seed=seed,
            name="selector",
        )
        return cls(*_folded(network))


def _affine(
    weight: Float[Tensor, "o c"], x: Float[Tensor, "n c p"], bias: Float[Tensor, " o"]
) -> Float[Tensor, "n o p"]:
    if not torch.compiler.is_compiling() and len(x) == 1:
        return torch.addmm(bias[:, None], weight, x[0])[None]  # a sixth faster than the batched product
    return weight @ x + bias[:, None]


def _rows(pixels: Pixels) -> Float[Tensor, "p c"]:
    return by_pixel_blocks(floored_log_softmax, pixels.logits[None])[0].T.contiguous()


def _right(pixels: Pixels) -> Int[Tensor, " p"]:
    return (pixels.logits.argmax(0) == pixels.labels).long()


def _check_both(right: Int[Tensor, " p"]) -> None:
    """Raise unless some of the pixels are right and some are mistakes."""
    if bool(right.all()) or not bool(right.any()):
        raise FitError(
            f"expected right and mistaken pixels to train a selector on; got {int(right.sum())} right of "
            f"{len(right)}. Add images, or use temperature scaling."
        )


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
