import pytest
import torch
from torch import nn
from torch.nn import functional as F

from calibrant.data import StreetScenes
from calibrant.errors import FitError, ShapeError
from calibrant.networks import SmallUNet
from calibrant.predictions import IGNORE, Example
from calibrant.training import train_segmenter

SEED = torch.Generator().manual_seed(0)


def coloured(count: int = 4, size: tuple[int, int] = (8, 12)) -> list[Example]:
    """Images whose channel says the class; some pixels are unlabelled."""
    labels = torch.randint(0, 3, (count, 1, *size), generator=torch.Generator().manual_seed(0))
    images = F.one_hot(labels[:, 0], 3).movedim(-1, 1).float()
    labels[..., 0] = IGNORE
    return [Example(f"{i}", images[i], labels[i]) for i in range(count)]


class Spy(nn.Module):
    """A pixel-wise network that keeps what it saw."""

    def __init__(self, num_classes: int = 3):
        super().__init__()
        self.head = nn.Conv2d(3, num_classes, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return self.head(images)


def test_it_learns_what_can_be_known():
    examples = list(StreetScenes(1, size=(16, 24), seed=0))
    network = SmallUNet(3, 9, width=8, depth=1, generator=torch.Generator().manual_seed(0))
    looks = []
    trained = train_segmenter(
        network, examples, num_steps=60, batch_size=2, learning_rate=1e-2, watch=lambda *look: looks.append(look)
    )
    assert trained is network
    assert not network.training
    assert [done for done, _ in looks] == [10, 20, 30, 40, 50, 60]
    labels = examples[0].labels[0]
    correct = (network(examples[0].image[None])[0].argmax(0) == labels)[labels != IGNORE]
    assert float(correct.double().mean()) > 0.85 > 0.2 + labels[labels != IGNORE].bincount().max() / len(correct)
    assert looks[-1][1]["cross-entropy"] < 0.3 * looks[0][1]["cross-entropy"]


def test_the_loss_is_the_mean_over_labelled_pixels():
    # A pixel-wise network's loss does not depend on mirroring, so the first one is known.
    examples, losses = coloured(1), []
    network = Spy()
    with torch.no_grad():
        network.head.weight.normal_(generator=SEED)
    logits = network(examples[0].image[None]).detach()
    expected = -logits.log_softmax(1)[0].gather(0, examples[0].labels.clamp(0))[:, :, 1:].mean()
    train_segmenter(
        network, examples, num_steps=1, batch_size=1, watch=lambda _, figures: losses.append(figures["cross-entropy"])
    )
    assert losses == pytest.approx([expected.item()], rel=1e-5)


def test_unlabelled_images_teach_nothing():
    network = Spy()
    blank = [Example("a", torch.rand(3, 4, 4), torch.full((1, 4, 4), IGNORE))]
    train_segmenter(network, blank, num_steps=3, weight_decay=0.0)
    assert all(torch.equal(p, torch.zeros_like(p)) for p in network.parameters())


def test_image_and_labels_are_mirrored_and_cropped_together():
    network, examples = Spy(), coloured(4, (9, 13))
    train_segmenter(network, examples, num_steps=60, batch_size=4, crop=(5, 6), learning_rate=0.3, seed=1)
    assert {images.shape for images in network.seen} == {(4, 3, 5, 6)}
    # Only where labels go with their pixels can a pixel-wise network tell the classes without a mistake.
    image, labels = examples[0].image, examples[0].labels[0]
    assert ((network(image[None])[0].argmax(0) == labels) | (labels == IGNORE)).all()


def test_both_mirrorings_are_seen():
    network, examples = Spy(), coloured(1)
    train_segmenter(network, examples, num_steps=20, batch_size=1)
    as_is = [torch.equal(images[0], examples[0].image) for images in network.seen]
    mirrored = [torch.equal(images[0], examples[0].image.flip(-1)) for images in network.seen]
    assert sum(as_is) + sum(mirrored) == 20
    assert min(sum(as_is), sum(mirrored)) >= 3


def test_annotators_who_disagree_are_averaged():
    labels = torch.stack([torch.zeros(4, 4), torch.ones(4, 4), torch.ones(4, 4), torch.ones(4, 4)]).long()
    examples = [Example("a", torch.ones(3, 4, 4), labels)]
    network = train_segmenter(Spy(2), examples, num_steps=60, batch_size=16, learning_rate=0.1, weight_decay=0.0)
    probs = network(examples[0].image[None])[0].softmax(0)
    assert torch.allclose(probs[1], torch.tensor(0.75), atol=0.05)


def test_a_network_with_a_stride_is_upsampled():
    network = nn.Conv2d(3, 3, 2, stride=2)
    examples = [Example("a", torch.rand(3, 8, 8, generator=SEED), torch.zeros(1, 8, 8, dtype=torch.long))]
    train_segmenter(network, examples, num_steps=30, learning_rate=0.1, batch_size=1)
    assert (network(examples[0].image[None]).argmax(1) == 0).all()


def test_the_seed_decides():
    def weights(seed):
        return train_segmenter(Spy(), coloured(), num_steps=5, batch_size=2, seed=seed).head.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(FitError, match="images to train on, 1 or more a batch; got 0 images"):
        train_segmenter(Spy(), [], num_steps=1)
    unlike = [coloured(1)[0], coloured(1, (6, 6))[0]]
    with pytest.raises(
        ShapeError, match=r"image \(3, .*, labels over .*, like image '0' of the same batch; .* one image a"
    ):
        train_segmenter(Spy(), unlike, num_steps=1, batch_size=2)
    with pytest.raises(ShapeError, match=r"'0': expected images of \(16, 4\) pixels or larger; got \(8, 12\)"):
        train_segmenter(Spy(), coloured(1), num_steps=1, crop=(16, 4))
