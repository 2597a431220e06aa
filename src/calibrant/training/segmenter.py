"""Training a segmenter by plain cross-entropy: a black box to practise on."""

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._check import shape_of
from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import FitError, ShapeError
from calibrant.predictions import Example, Examples, resized


def train_segmenter(
    network: nn.Module,
    examples: Examples,
    *,
    num_steps: int = 800,
    batch_size: int = 4,
    crop: tuple[int, ...] | None = None,
    learning_rate: float = 5e-3,
    weight_decay: float = 1e-4,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> nn.Module:
    """Train the network in place, on the device where it lives, and return it in eval mode.

    Cross-entropy over labelled pixels, AdamW with a cosine to zero, images mirrored left to right at random, one
    annotator at random each time an image is seen. Each image is read anew whenever it is
    used: pass a list if all fit in memory.

    :param network: images ``n k *s`` to logits ``n c *t``, upsampled to the labels if its stride is not one.
    :param num_steps, batch_size, learning_rate: by default what 40 street scenes need for a network that is right at
        nine pixels in ten and surer than that: each scene is seen 80 times, so that its annotator is learnt by heart.
    :param crop: the size of random crops; the whole image by default, and then all images must be of one size.
    :param progress: called after each step with (steps done, num_steps, loss).
    :raises FitError: there is no example.
    :raises ShapeError: images of unlike sizes without ``crop``, or smaller than it.

    >>> from torch import nn
    >>> examples = [Example("a", torch.rand(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long))]
    >>> network = train_segmenter(nn.Conv2d(3, 2, 1), examples, num_steps=20, batch_size=1, learning_rate=0.1)
    >>> bool((network(examples[0].image[None]).argmax(1) == 0).all())
    True
    """
    if len(examples) == 0:
        raise FitError("expected at least one example to train on; got none. Check the folder or the split.")
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    numbers = _shuffled_for_ever(len(examples), generator)
    network.train()
    for step in range(1, num_steps + 1):
        batch = [_view(examples[next(numbers)], crop, generator) for _ in range(batch_size)]
        images, labels = _stack(batch)
        layout = torch.channels_last if images.ndim == 4 else torch.channels_last_3d
        logits = network(images.to(device, memory_format=layout))
        labels = labels.to(device)
        logits = resized(logits, tuple(labels.shape[1:]))
        # A crop may hold no labelled pixel; the mean of none is no number.
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum") / (labels != IGNORE).sum().clamp(1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step, num_steps, float(loss.detach()))
    return network.eval()


def _shuffled_for_ever(count: int, generator: torch.Generator) -> Iterator[int]:
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


def _view(
    example: Example, crop: tuple[int, ...] | None, generator: torch.Generator
) -> tuple[Float[Tensor, "k *s"], Int[Tensor, " *s"]]:
    def below(bound: int) -> int:
        return int(torch.randint(bound, (), generator=generator))

    image, labels = example.image, example.labels[below(example.labels.shape[0])]
    if crop is not None:
        if len(crop) != labels.ndim or any(c > s for c, s in zip(crop, labels.shape, strict=False)):
            raise ShapeError(
                f"image {example.key!r}: expected images of at least the size of the crop, {crop}; got "
                f"{shape_of(image)} (channels first). Choose a smaller crop."
            )
        inner = tuple(slice(at, at + c) for c, s in zip(crop, labels.shape, strict=True) for at in (below(s - c + 1),))
        image, labels = image[(slice(None), *inner)], labels[inner]
    if below(2):
        image, labels = image.flip(-1), labels.flip(-1)
    return image.float(), labels.long()


def _stack(batch: list[tuple[Tensor, Tensor]]) -> tuple[Float[Tensor, "n k *s"], Int[Tensor, "n *s"]]:
    sizes = {tuple(image.shape) for image, _ in batch}
    if len(sizes) > 1:
        raise ShapeError(
            f"expected images of one size in a batch; got {', '.join(map(str, sorted(sizes)))}. "
            "Pass crop=(rows, columns), or batch_size=1."
        )
    images, labels = zip(*batch, strict=True)
    return torch.stack(images), torch.stack(labels)
