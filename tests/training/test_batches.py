"""What is drawn, moved and joined."""

import pytest
import torch

from calibrant.errors import FitError, InputError, ShapeError
from calibrant.predictions import IGNORE, Prediction
from calibrant.testing import toy_predictions
from calibrant.training import Augmentation, Batches, Standardise, annotator_cross_entropy, chosen_annotator, seeded


def numbered(count, size=(6, 6)):
    """Predictions whose every map counts its pixels, after the number of the image."""
    maps = torch.arange(float(torch.tensor(size).prod())).reshape(1, *size)
    return [Prediction(f"{i}", torch.cat([maps + 100 * i] * 2), maps.long(), maps) for i in range(count)]


def batches(predictions, **options):
    return Batches(predictions, **{"batch_size": 3, "augmentation": Augmentation(), "seed": 0, **options})


def test_every_image_once_an_epoch_whatever_the_batch():
    source = batches(numbered(7))
    drawn = [int(z[0, 0, 0] // 100) for step in range(14) for z in source.draw(step).logits]
    epochs = [drawn[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_depends_on_its_step_alone():
    options = {"augmentation": Augmentation(crop=(4, 4), shift=2, flips=(1, 2), turns=True)}
    one, other = batches(numbered(7), **options), batches(numbered(7), memory=0, **options)
    for step in (5, 0, 9):
        other.draw(step + 1)
        assert torch.equal(one.draw(step).logits, other.draw(step).logits)
    assert not torch.equal(one.draw(0).logits, batches(numbered(7), seed=1, **options).draw(0).logits)


def test_processes_share_a_batch():
    source, parts = batches(numbered(8), batch_size=4), batches(numbered(8), batch_size=2)
    halves = [parts.draw(1, part=part, parts=2).logits for part in range(2)]
    assert torch.equal(torch.cat(halves), source.draw(1).logits)


def test_images_are_kept_up_to_the_memory():
    class Counted(list):
        reads = 0

        def __getitem__(self, i):
            self.reads += 1
            return super().__getitem__(i)

    source = Counted(numbered(4))
    kept = batches(source, batch_size=4, memory=10**6)
    for step in range(5):
        kept.draw(step)
    assert source.reads == 4
    read = batches(source, batch_size=4, memory=0)
    for step in range(5):
        read.draw(step)
    assert source.reads == 4 + 20


def test_all_maps_move_alike():
    augmentation = Augmentation(crop=(4, 4), shift=3, flips=(1, 2), turns=True)
    seen = set()
    for number in range(200):
        p = numbered(1)[0]
        placement = augmentation.draw((6, 6), seeded(number))
        moved = [placement.of(maps)[0] for maps in (p.logits, p.labels, p.image)]
        assert torch.equal(moved[0], moved[2])
        assert torch.equal(moved[1].float(), moved[2])
        seen.add(tuple(moved[1].flatten().tolist()))
    assert len(seen) > 100


def test_the_eight_symmetries_and_no_other():
    augmentation = Augmentation(flips=(1, 2), turns=True)
    square = torch.arange(9).reshape(1, 3, 3)
    found = {tuple(augmentation.draw((3, 3), seeded(n)).of(square).flatten().tolist()) for n in range(200)}
    turns = [square.rot90(k, (1, 2)) for k in range(4)]
    assert found == {tuple(x.flatten().tolist()) for turn in turns for x in (turn, turn.flip(2))}


def test_scenes_stay_upright():
    picture = torch.arange(12).reshape(1, 3, 4)
    found = {tuple(Augmentation.of_scenes().draw((3, 4), seeded(n)).of(picture).flatten().tolist()) for n in range(50)}
    assert found == {tuple(picture.flatten().tolist()), tuple(picture.flip(2).flatten().tolist())}


def test_shifts_repeat_the_edge():
    row = torch.arange(5).reshape(1, 1, 5)
    found = {tuple(Augmentation(shift=2).draw((1, 5), seeded(n)).of(row).flatten().tolist()) for n in range(100)}
    assert found == {(0, 0, 0, 1, 2), (0, 0, 1, 2, 3), (0, 1, 2, 3, 4), (1, 2, 3, 4, 4), (2, 3, 4, 4, 4)}


def test_three_dimensions():
    solid = torch.rand(2, 4, 5, 6)
    assert Augmentation(crop=(2, 3, 3), flips=(3,), turns=True).draw((4, 5, 6), seeded(0)).of(solid).shape == (
        2,
        2,
        3,
        3,
    )


def test_what_cannot_be_drawn():
    with pytest.raises(ShapeError, match=r"\(8, 8\) pixels or larger"):
        Augmentation(crop=(8, 8)).draw((6, 9), seeded(0))
    with pytest.raises(InputError, match="flips of axes"):
        Augmentation(flips=(0,))
    with pytest.raises(FitError, match="0 images"):
        batches([])
    words = (
        r"image '0': expected logits \(2, 6, 6\), image \(1, 6, 6\), labels over \(6, 6\), like image .* Give a crop"
    )
    with pytest.raises(ShapeError, match=words):
        batches([*numbered(2), *numbered(1, (6, 7))]).draw(0)
    with pytest.raises(ShapeError, match=r"image '.': expected images of \(8, 8\) pixels or larger"):
        batches(numbered(3), augmentation=Augmentation(crop=(8, 8))).draw(0)


def test_fewer_annotators_are_filled_up():
    predictions = toy_predictions(num_images=2, num_annotators=3, void=0.0)
    predictions[1] = Prediction("toy1", predictions[1].logits, predictions[1].labels[:1], predictions[1].image)
    labels = batches(predictions, batch_size=2).draw(0).labels
    assert sorted((each != IGNORE).flatten(1).any(1).sum().item() for each in labels) == [1, 3]
    # One who said nothing is never drawn, and the others are drawn alike.
    drawn = torch.stack([chosen_annotator(labels, seeded(n)) for n in range(300)])
    assert (drawn != IGNORE).all()
    full = int((labels != IGNORE).flatten(2).any(2).sum(1).argmax())
    counts = [int((drawn[:, full] == labels[full, a]).flatten(1).all(1).sum()) for a in range(3)]
    assert sum(counts) == 300
    assert min(counts) > 60


def test_cross_entropy_of_all_annotators_is_that_of_each_on_average():
    generator = seeded(0)
    logits, labels = (
        torch.randn(4, 3, 5, 5, generator=generator),
        torch.randint(0, 3, (4, 2, 5, 5), generator=generator),
    )
    labels[0, 0, 0] = IGNORE
    each = [
        torch.nn.functional.cross_entropy(logits, labels[:, a], ignore_index=IGNORE, reduction="sum") for a in range(2)
    ]
    expected = sum(each) / int((labels != IGNORE).sum())
    torch.testing.assert_close(annotator_cross_entropy(logits, labels), expected)


def test_standardised_images():
    predictions = [
        Prediction(str(i), torch.zeros(2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long), 50 + 7 * torch.randn(2, 4, 4))
        for i in range(30)
    ]
    standard = Standardise.of(predictions)
    images = standard(torch.stack([p.image for p in predictions]))
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(2), rtol=1e-3, atol=0)
    flat = [Prediction("a", p.logits, p.labels, torch.ones(1, 4, 4)) for p in predictions[:1]]
    assert Standardise.of(flat)(torch.ones(1, 1, 4, 4)).abs().max() < 1e-3
    assert Standardise.of([Prediction("a", p.logits, p.labels) for p in predictions]) is None
    with pytest.raises(ShapeError, match="2 channels"):
        standard(torch.zeros(1, 3, 4, 4))
