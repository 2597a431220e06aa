"""Training a segmenter by plain cross-entropy: a black box to practise on."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from calibrant._shapes import Tensor
from calibrant._statistics.generators import seeded
from calibrant.predictions import Examples, resized
from calibrant.training.annotators import annotator_cross_entropy, chosen_annotator
from calibrant.training.augment import Augmentation
from calibrant.training.batches import Batch, Batches
from calibrant.training.devices import SingleDevice
from calibrant.training.loop import Watch, train
from calibrant.training.network import NetworkTraining
from calibrant.training.rates import cosine


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
    watch: Watch | None = None,
) -> nn.Module:
    """Train the network in place, on the device where it lives, and return it in eval mode.

    Cross-entropy over labelled pixels, AdamW with a cosine to zero, images mirrored left to right at random, one
    annotator at random each time an image is used.

    :param network: images ``n k *s`` to logits ``n c *t``, upsampled to the labels if its stride is not one.
    :param examples: images with labels; up to 2 GB of them are kept once read.
    :param num_steps: by default, with ``batch_size`` and ``learning_rate``, what 40 street scenes need for a network
        that is right at nine pixels in ten and overconfident: each scene is used 80 times and its annotator's labels
        are memorised.
    :param batch_size: images a step.
    :param crop: the size of random crops; the whole image by default, and then all images must be of one size.
    :param learning_rate: AdamW's learning rate in the first step.
    :param weight_decay: AdamW's weight decay, a step at learning rate one.
    :param seed: the seed of the order of images, crops, mirroring and annotators, and of dropout in the network.
    :param watch: called every ten steps, and after the last, with the number of steps done and the mean
        "cross-entropy" (nats a pixel) since the last call.
    :raises FitError: there is no example, or the loss is not finite.
    :raises ShapeError: images of unlike sizes without ``crop``, or smaller than it.

    >>> from calibrant.predictions import Example
    >>> examples = [Example("a", torch.rand(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long))]
    >>> network = train_segmenter(nn.Conv2d(3, 2, 1), examples, num_steps=20, batch_size=1, learning_rate=0.1)
    >>> bool((network(examples[0].image[None]).argmax(1) == 0).all())
    True
    """
    devices = SingleDevice(next(network.parameters()).device)
    training = NetworkTraining(
        network,
        torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=weight_decay),
        Batches(examples, batch_size, Augmentation.of_scenes(crop=crop), seed),
        partial(_one_annotator_loss, seed=seed),
        learning_rate=lambda number: learning_rate * cosine(number, num_steps),
        devices=devices,
    )
    train(training, num_steps=num_steps, seed=seed, identity={}, look_every=10, watch=watch, devices=devices)
    return network.eval()


def _one_annotator_loss(network: nn.Module, batch: Batch, number: int, *, seed: int) -> Mapping[str, Tensor]:
    """Return the cross-entropy with one annotator, drawn for each image and step."""
    assert batch.image is not None
    layout = torch.channels_last if batch.image.ndim == 4 else torch.channels_last_3d
    labels = chosen_annotator(batch.labels, seeded(seed, "annotator", number))[:, None]
    logits = network(batch.image.contiguous(memory_format=layout))
    return {"cross-entropy": annotator_cross_entropy(resized(logits, tuple(labels.shape[2:])), labels)}
