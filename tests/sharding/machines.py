"""An executor that plays several machines, and images that are awkward to spread over them."""

import pickle
import random
from concurrent.futures import Future
from dataclasses import replace

from calibrant.predictions import IGNORE
from calibrant.testing import toy_predictions


class Machines:
    """Runs pickled tasks in a random order, some of them twice, as engines do when they lose a worker."""

    def __init__(self, seed=0, window=10):
        self.random, self.window = random.Random(seed), window
        self.waiting, self.num_tasks, self.largest = [], 0, 0

    def submit(self, fn, /, *args):
        task = pickle.dumps((fn, args))
        self.num_tasks, self.largest = self.num_tasks + 1, max(self.largest, len(task))
        future = _Waited(self)
        self.waiting.append((task, future))
        return future

    def run(self):
        self.random.shuffle(self.waiting)
        for task, future in self.waiting:
            for _ in range(self.random.choice([1, 1, 2])):
                fn, args = pickle.loads(task)
                try:
                    made = pickle.dumps(fn(*args))
                except Exception as error:
                    future.set_exception(pickle.loads(pickle.dumps(error)))
                    break
            else:
                future.set_result(pickle.loads(made))
        self.waiting = []


class _Waited(Future):
    def __init__(self, machines):
        super().__init__()
        self.machines = machines

    def result(self, timeout=None):
        if not self.done():
            self.machines.run()
        return super().result(timeout)


def awkward(num_images=70, num_classes=3):
    """Images of unlike size, one of them unlabelled, two keys that differ in case, logits of very unlike sizes."""
    sizes = [(6, 7), (1, 50), (13, 3)]
    made = []
    for number in range(num_images):
        size, seed = sizes[number % 3], number
        (image,) = toy_predictions(
            num_images=1, num_classes=num_classes, size=size, seed=seed, spread=10 ** (number % 5 - 2)
        )
        made.append(replace(image, key=f"im {number:03d}"))
    made[1] = replace(made[1], labels=made[1].labels.fill_(IGNORE))
    made[2], made[-1] = replace(made[2], key="Street"), replace(made[-1], key="street")
    return made
