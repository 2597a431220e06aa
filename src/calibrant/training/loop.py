"""The loop around the steps of a long training: progress, checkpoints, Ctrl-C, and warnings.

Every step draws from generators seeded by the seed and its number (:mod:`calibrant._statistics.generators`), so a
training that was stopped and goes on from its checkpoint ends, on a CPU, with bit-identical weights.
"""

import logging
import math
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol, runtime_checkable

from calibrant._shapes import Tensor
from calibrant._statistics.generators import reproducible
from calibrant.errors import FitError
from calibrant.training.checkpoint import read_checkpoint, write_checkpoint
from calibrant.training.devices import Devices, SingleDevice

log = logging.getLogger("calibrant")

Watch = Callable[[int, Mapping[str, float]], None]
"""Called with the number of steps done and the figures since the last call."""


@runtime_checkable
class Trainee(Protocol):
    """What is trained."""

    def step(self, number: int) -> Mapping[str, Tensor]:
        """Take one step and return figures of it: losses, and what shows how the training goes.

        :param number: the number of the step, from 0.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return everything that the next step needs."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take a state back.

        :param state: what :meth:`state` returned.
        """
        ...

    def complaints(self, figures: Mapping[str, float]) -> Iterable[str]:
        """Return what a trainer should know when figures, means over some steps, look wrong.

        :param figures: means of the figures over some steps, by name.
        """
        ...


def train(
    trainee: Trainee,
    *,
    num_steps: int,
    seed: int,
    identity: Mapping[str, object],
    checkpoint_path: str | Path | None = None,
    checkpoint_every: int = 500,
    look_every: int = 50,
    watch: Watch | None = None,
    devices: Devices | None = None,
) -> None:
    """Take steps up to a number, going on from the checkpoint in a folder if there is one.

    Ctrl-C, or SIGTERM, ends it after the step that runs, with a checkpoint; a second one at once.

    :param trainee: what is trained; changed in place.
    :param num_steps: how many steps the whole training has.
    :param seed: seeds torch's global generators in each step.
    :param identity: what training this is: all settings that must be the same for going on with it, by name.
    :param checkpoint_path: the folder for checkpoints; None writes none.
    :param checkpoint_every: steps from one checkpoint to the next.
    :param look_every: steps from one look at the figures to the next; a look waits for the device.
    :param watch: called at each look with the number of steps done and the means of the figures since the last look.
    :param devices: where it runs; by default the processor.
    :raises FitError: a figure is not finite: the training has diverged.
    :raises StoreError: the folder holds the checkpoint of another training, or cannot be written.
    """
    devices = SingleDevice() if devices is None else devices
    folder = None if checkpoint_path is None else Path(checkpoint_path)
    state = None if folder is None else read_checkpoint(folder, identity)
    begin = 0
    if state is not None:
        trainee.restore(state["trainee"])
        begin = int(state["steps"])
        log.info("going on from step %d of %d", begin, num_steps)

    def keep(done: int) -> None:
        if folder is not None:
            if devices.global_rank == 0:
                write_checkpoint(folder, {"steps": done, "trainee": trainee.state()}, identity)
            devices.barrier()

    sums = _Sums()
    reported: set[str] = set()
    with _interruptible() as interrupted:
        for number in range(begin, num_steps):
            with reproducible(seed, "step", number, devices.global_rank, device=devices.device):
                sums.add(trainee.step(number))
            done = number + 1
            if done % look_every == 0 or done == num_steps:
                figures = sums.take()
                _look(trainee, done, num_steps, figures, reported)
                if watch is not None:
                    watch(done, figures)
            if interrupted() or done % checkpoint_every == 0 or done == num_steps:
                keep(done)
            if number_of_signal := interrupted():
                _end(number_of_signal)


class _Sums:
    """Sums of figures, left on the device until they are looked at."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, figures: Mapping[str, Tensor]) -> None:
        for name, value in figures.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


def _look(trainee: Trainee, done: int, steps: int, figures: Mapping[str, float], reported: set[str]) -> None:
    listed = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
    for name, value in figures.items():
        if not math.isfinite(value):
            raise FitError(
                f"the training diverged: by step {done} of {steps} {name} was {value} ({listed}). "
                "Lower the learning rate, or look for images or logits far larger than the others."
            )
    log.info("step %d of %d: %s", done, steps, listed)
    complaints = set(trainee.complaints(figures))
    for complaint in sorted(complaints - reported):
        log.warning("step %d: %s", done, complaint)
    reported.intersection_update(complaints)  # one that has gone is reported again if it comes back
    reported.update(complaints)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _interruptible() -> Generator[Callable[[], int]]:
    """Turn the first Ctrl-C, or the first request to end, into a question that can be asked between two steps."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    asked = 0
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            _end(number)
        asked = number
        log.warning(
            "stopping after this step; %s to stop at once", "press Ctrl-C again" if number == 2 else "ask again"
        )

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int) -> NoReturn:
    """End as a program does that was asked to: by Ctrl-C, or as one that is terminated."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
