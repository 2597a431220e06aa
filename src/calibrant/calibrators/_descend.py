"""Mini-batch descent for what is not small, smooth and convex, with early stopping on held-out images.

What is minimised is a loss over batches, by AdamW, whose state at the epoch with the lowest held-out score is kept.
AdamW is ours because the first step of torch's imports its compiler, which takes 3.8 s, longer than most of our fits.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch.nn.functional import cross_entropy

from calibrant._shapes import Float, Int, Tensor
from calibrant.calibrators._notes import warn_and_note
from calibrant.calibrators.pixels import Pixels
from calibrant.errors import FitError

log = logging.getLogger("calibrant")

B = TypeVar("B")


class AdamW:
    """AdamW with torch's defaults (Loshchilov and Hutter, ICLR 2019).

    ``torch.optim.AdamW`` gives the same numbers.
    """

    def __init__(self, parameters: Sequence[Tensor], learning_rate: float, weight_decay: float) -> None:
        self.parameters, self.learning_rate, self.weight_decay = list(parameters), learning_rate, weight_decay
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.square = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters against their gradients."""
        self.steps += 1
        first, second = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for p, g, mean, square in zip(self.parameters, gradients, self.mean, self.square, strict=True):
            p.mul_(1 - self.learning_rate * self.weight_decay)
            mean.lerp_(g, 0.1)
            square.mul_(0.999).addcmul_(g, g, value=0.001)
            p.addcdiv_(mean, (square / second).sqrt_().add_(1e-8), value=-self.learning_rate / first)


def descend(
    parameters: Sequence[Tensor],
    *,
    loss: Callable[[B], Float[Tensor, ""]],
    batches: Callable[[torch.Generator], Iterable[B]],
    score: Callable[[], float],
    num_epochs: int,
    learning_rate: float,
    weight_decay: float = 1e-6,
    anneal: bool = False,
    patience: int | None = None,
    also_kept: Sequence[Tensor] = (),
    seed: int = 0,
    name: str = "fit",
) -> float:
    """Move the parameters down the loss with AdamW, and leave them where the score was best; return that score.

    :param loss: of one batch, differentiable.
    :param batches: the batches of one epoch, drawn with the given generator; they are listed before the epoch, so
        let them be light (numbers of pixels or images, say) and let the loss read what they stand for.
    :param score: on held-out images, smaller is better; looked at before the first epoch and after each.
    :param anneal: lower the learning rate to zero along a half cosine.
    :param patience: stop after so many epochs without a better score; None never.
    :param also_kept: tensors that are not descended but belong to the state (running means, say).
    :raises FitError: the score was never finite.
    """
    generator = torch.Generator().manual_seed(seed)
    state = [*parameters, *also_kept]
    optimiser = AdamW(parameters, learning_rate, weight_decay)
    best, best_epoch = _scored(score), 0
    kept = [tensor.detach().clone() for tensor in state]
    for epoch in range(1, num_epochs + 1):
        total, count = 0.0, 0
        epoch_batches = list(batches(generator))
        for number, batch in enumerate(epoch_batches):
            if anneal:
                done = (epoch - 1 + number / len(epoch_batches)) / num_epochs
                optimiser.learning_rate = learning_rate * (1 + math.cos(math.pi * done)) / 2
            with torch.enable_grad():  # a caller may well fit under no_grad
                value = loss(batch)
                gradients = torch.autograd.grad(value, list(parameters))
            optimiser.step(gradients)
            total, count = total + float(value.detach()), count + 1
        now = _scored(score)
        log.info("%s: epoch %d of %d, loss %.4f, held out %.4f", name, epoch, num_epochs, total / max(1, count), now)
        if not math.isfinite(total):
            warn_and_note(
                f"{name} stopped in epoch {epoch} of {num_epochs}: the loss is {total} there. The state after epoch "
                f"{best_epoch} is kept; a lower learning rate may go further."
            )
            break
        if now < best:
            best, best_epoch = now, epoch
            kept = [tensor.detach().clone() for tensor in state]
        elif patience is not None and epoch - best_epoch >= patience:
            break
    with torch.no_grad():
        for tensor, value in zip(state, kept, strict=True):
            tensor.copy_(value)
    if not math.isfinite(best):
        raise FitError(f"{name}: expected a finite held-out loss; got {best}. Look for logits beyond float32's range.")
    return best


def _scored(score: Callable[[], float]) -> float:
    with torch.no_grad():
        value = score()
    return value if math.isfinite(value) else math.inf


def index_batches(count: int, size: int, generator: torch.Generator) -> Iterator[Int[Tensor, " b"]]:
    """Return the numbers below ``count`` in random order, ``size`` at a time; a last one that stands alone is left out.

    (A mean and a variance, as in batch normalisation, need two.)

    >>> [len(b) for b in index_batches(7, 3, torch.Generator())]
    [3, 3]
    """
    order = torch.randperm(count, generator=generator)
    return (part for part in order.split(size) if len(part) > 1 or count == 1)


def map_batches(image: Int[Tensor, " p"], maps: int, generator: torch.Generator) -> Iterator[Int[Tensor, " b"]]:
    """Return the numbers of the pixels of ``maps`` images at a time, images in random order."""
    numbers = torch.unique(image)
    for part in numbers[torch.randperm(len(numbers), generator=generator)].split(maps):
        yield torch.isin(image, part).nonzero().squeeze(1)


def held_out(pixels: Pixels, fraction: float, *, seed: int) -> tuple[Pixels, Pixels]:
    """Return (kept, held out) by image; a single image is both."""
    if len(torch.unique(pixels.image)) < 2:
        return pixels, pixels
    return pixels.hold_out(fraction, seed=seed)


def published(
    parameters: Sequence[Tensor],
    scale: Callable[[Float[Tensor, "c p"]], Float[Tensor, "c p"]],
    pixels: Pixels,
    *,
    num_epochs: int,
    seed: int,
) -> None:
    """Fit by the recipe of Wang et al. (CVPR 2023, Supp. Table 1), which was the same for all calibrators.

    AdamW, learning rate 1e-3, weight decay 1e-6, batches of 20 maps, mean NLL, lowest held-out NLL kept.
    """
    kept, held = held_out(pixels, 0.2, seed=seed)

    def loss(chosen: Tensor) -> Tensor:
        return cross_entropy(scale(kept.logits[:, chosen]).T, kept.labels[chosen])

    descend(
        parameters,
        loss=loss,
        batches=lambda generator: map_batches(kept.image, 20, generator),
        score=lambda: float(cross_entropy(scale(held.logits).T, held.labels)),
        num_epochs=num_epochs,
        learning_rate=1e-3,
        seed=seed,
        name="published recipe",
    )


def seeded_batches(
    images: Sequence[int], size: int, count: int, generator: torch.Generator
) -> list[tuple[list[int], int]]:
    """Return the batches of an epoch: numbers of images, each image as often as any other, and a seed for each batch.

    :param images: numbers to draw from.
    :param size: images in a batch, the last of a round excepted.
    :param count: batches in an epoch.
    :param generator: where the order and the seeds come from.

    >>> len(seeded_batches([3, 5, 7], 2, 5, torch.Generator().manual_seed(0)))
    5
    """
    listed: list[tuple[list[int], int]] = []
    while len(listed) < count:
        for part in torch.randperm(len(images), generator=generator).split(size):
            chosen = [images[i] for i in part.tolist()]
            listed.append((chosen, int(torch.randint(2**62, (), generator=generator))))
    return listed[:count]
