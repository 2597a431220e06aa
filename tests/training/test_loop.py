"""Stopping, going on, and trouble told in words, on a training of four numbers."""

import logging
import os
import signal

import pytest
import torch

from calibrant.errors import FitError, PackageError, StoreError
from calibrant.training import SingleDevice, open_fabric, reproducible, seeded, train


class Walk:
    """Weights on a random walk, by dropout's global generator."""

    def __init__(self):
        self.at = torch.zeros(4)
        self.also = lambda number: None
        self.figure = 1.0

    def step(self, number):
        self.also(number)
        self.at = self.at + torch.nn.functional.dropout(torch.ones(4), 0.5)
        return {"height": torch.tensor(self.figure)}

    def state(self):
        return {"at": self.at}

    def restore(self, state):
        self.at = state["at"]

    def complaints(self, figures):
        if figures["height"] > 5:
            yield "too high: come down"


def run(walk, folder=None, **options):
    train(
        walk,
        **{
            "num_steps": 20,
            "seed": 3,
            "identity": {"walk": "up", "width": 4},
            "checkpoint_path": folder,
            "look_every": 5,
            **options,
        },
    )
    return walk.at


@pytest.mark.parametrize(
    ("sort", "ended"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["SIGINT", "SIGTERM"]
)
def test_stopped_and_gone_on_it_ends_with_the_same_bits(tmp_path, sort, ended):
    whole = run(Walk())

    def interrupt(number):
        if number == 7:
            os.kill(os.getpid(), sort)

    walk = Walk()
    walk.also = interrupt
    before = signal.getsignal(sort)
    with pytest.raises(ended) as caught:
        run(walk, tmp_path)
    assert getattr(caught.value, "code", 143) == 143
    assert signal.getsignal(sort) is before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    seen = []
    other = Walk()
    other.also = seen.append
    assert torch.equal(run(other, tmp_path), whole)
    assert seen[0] == 8  # step 7 was finished before it stopped
    assert not torch.equal(whole, run(Walk(), seed=4))


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path):
    class Killed(Exception):
        pass

    def kill(number):
        if number == 13:
            raise Killed

    walk = Walk()
    walk.also = kill
    with pytest.raises(Killed):
        run(walk, tmp_path, checkpoint_every=5)
    assert torch.equal(run(Walk(), tmp_path), run(Walk()))


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    run(Walk())
    assert torch.equal(torch.rand(3), expected)


def test_seeds_of_unlike_places_differ():
    drawn = {float(torch.rand((), generator=seeded(*place))) for place in [(0, 1), (1, 0), (0, "1"), (0, 1, 0), (0,)]}
    assert len(drawn) == 5
    with reproducible(0, "a"):
        one = torch.rand(2)
    with reproducible(0, "a"):
        assert torch.equal(torch.rand(2), one)


def test_a_checkpoint_of_another_training_is_refused_and_what_differs_is_named(tmp_path):
    run(Walk(), tmp_path)
    words = r"one of another: width is 4 there and 5 now; height is nothing there and 1 now\. Train into another folder"
    with pytest.raises(StoreError, match=words):
        run(Walk(), tmp_path, identity={"walk": "up", "width": 5, "height": 1})
    with pytest.raises(StoreError, match=r"another: width is 4 there and nothing now\."):
        run(Walk(), tmp_path, identity={"walk": "up"})
    assert torch.equal(run(Walk(), tmp_path, identity={"width": 4, "walk": "up"}), run(Walk()))


def test_a_checkpoint_of_version_1_is_refused(tmp_path):
    torch.save({"of": "a walk", "steps": 3, "trainee": {"at": torch.zeros(4)}}, tmp_path / "checkpoint.pt")
    with pytest.raises(
        StoreError, match=r"setting by setting; this one does not, as those of calibrant 0\.1\.0\. Train"
    ):
        run(Walk(), tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_checkpoint_is_refused(tmp_path, share):
    run(Walk(), tmp_path)
    data = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(StoreError, match="Remove the file to begin anew"):
        run(Walk(), tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    run(Walk(), tmp_path, num_steps=10)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        with pytest.raises(StoreError, match="No space left"):
            run(Walk(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert torch.equal(run(Walk(), tmp_path), run(Walk()))


def test_figures_are_means_between_looks():
    seen = []
    walk = Walk()

    def climb(number):
        walk.figure = float(number)

    walk.also = climb
    run(walk, watch=lambda done, figures: seen.append((done, figures["height"])))
    assert [done for done, _ in seen] == [5, 10, 15, 20]
    assert seen[1][1] == pytest.approx(7.0)


def test_divergence_ends_it_and_names_the_figure():
    walk = Walk()
    walk.figure = float("nan")
    with pytest.raises(FitError, match=r"by step 5 of 20 height was nan .* Lower the learning rate"):
        run(walk)


def test_a_complaint_is_told_once_and_again_when_it_comes_back(caplog):
    walk = Walk()

    def climb(number):
        walk.figure = 9.0 if number < 10 or number >= 15 else 1.0

    walk.also = climb
    with caplog.at_level(logging.WARNING, "calibrant"):
        run(walk)
    assert [record.message for record in caplog.records] == [
        "step 5: too high: come down",
        "step 20: too high: come down",
    ]


def test_fabric_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lightning_fabric", None)
    with pytest.raises(PackageError, match=r"package lightning_fabric.*calibrant\[train\]"):
        open_fabric()


def test_alone():
    module = torch.nn.Linear(1, 1)
    optimiser = torch.optim.SGD(module.parameters())
    assert SingleDevice().setup(module, optimiser) == (module, optimiser)
    assert SingleDevice().setup(module) is module
