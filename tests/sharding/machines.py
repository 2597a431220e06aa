"""An executor, and an engine, that play several machines."""

import pickle
import random
from concurrent.futures import Future

from calibrant.engines import Engine


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


class Played(Engine):
    """An engine that plays machines, for commands."""

    name = "played"

    def __init__(self):
        self.machines, self.closed = Machines(), False

    @property
    def window(self):
        return self.machines.window

    def start(self, function, *arguments):
        return self.machines.submit(function, *arguments)

    def share(self, value):
        return value

    def look(self):
        pass

    def of_loss(self, error):
        return None

    def close(self):
        self.closed = True
