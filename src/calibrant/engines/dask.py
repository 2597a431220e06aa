"""Dask: a cluster that is there, or one on this machine. Lost workers' tasks are done again by others."""

import logging
import math
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

from calibrant.engines.engine import LOOKS, Engine, package
from calibrant.errors import EngineError

log = logging.getLogger("calibrant.engines")
"""What becomes of workers is shown, and no part of a result: a remark on a fit is of 'calibrant' itself."""

RETRIES = 3
"""How often a task that raised is tried again: a bucket may have been out of reach for a moment."""

SHARED = 2**16
"""An argument of more bytes than this is sent to each worker once, not with each task."""

PATIENCE = 60.0
"""How long to wait for a scheduler, and for its first worker, in seconds."""


class Dask(Engine):
    """A cluster of Dask.

    :param place: the address of a scheduler, the name of a scheduler file, or how many processes to start here; empty
        for one a core.
    :raises PackageError: the package distributed is not installed.
    :raises EngineError: there is no such scheduler, or it has no worker.
    """

    def __init__(self, place: str = "") -> None:
        self.name = f"dask:{place}" if place else "dask"
        self._distributed = package("distributed", "dask")
        elsewhere = bool(place) and not place.isdecimal()
        self._cluster = None if elsewhere else self._started(int(place) if place else os.cpu_count() or 1)
        try:
            self._client = self._connected(place)
            if self._cluster is None:
                self._client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            self.close()
            raise EngineError(
                f"{self.name}: expected a scheduler of Dask with a worker; {_words(error)}. Start both (dask "
                "scheduler, dask worker), or check the address."
            ) from error
        self._executor = self._client.get_executor(retries=RETRIES, pure=False)
        self._looked = self._seen = -math.inf
        self._workers = self._threads = 0
        self.look()

    def _connected(self, place: str) -> Any:
        if self._cluster is not None:
            return self._distributed.Client(self._cluster, timeout=PATIENCE)
        if "://" in place:
            return self._distributed.Client(place, timeout=PATIENCE)
        if not os.path.isfile(place):
            raise ValueError(f"there is no scheduler file {place}")
        return self._distributed.Client(scheduler_file=place, timeout=PATIENCE)

    def _started(self, count: int) -> Any:
        """A cluster that only this machine can reach: whoever reaches a scheduler can run anything."""
        # Its profiler looks at every worker a hundred times a second. By default workers give every freed page back to
        # the system at once (MALLOC_TRIM_THRESHOLD_), which has each tensor's pages made anew.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
        package("dask", "dask").config.set(
            {"distributed.worker.profile.enabled": False, "distributed.nanny.pre-spawn-environ": threads}
        )
        return self._distributed.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )

    @property
    def window(self) -> int:
        """Twice the workers' threads, and two."""
        self.look()
        return 2 * self._threads + 2

    def look(self) -> None:
        """Count the workers now and then, and say so if some are lost.

        :raises EngineError: all are lost, and none has come for a minute.
        """
        now = time.monotonic()
        if now - self._looked < LOOKS:
            return
        workers = self._client.nthreads()
        if workers:
            self._seen = now
        elif now - self._seen > PATIENCE:
            raise EngineError(
                f"{self.name}: expected a worker; all were lost, and none has come back for {PATIENCE:.0f} s. Start "
                "workers (dask worker), and run the same command again."
            )
        lost = self._workers - len(workers)
        if lost > 0:
            log.warning("%d of %d workers lost; what they had not finished is done by others", lost, self._workers)
        self._looked, self._workers, self._threads = now, len(workers), max(1, sum(workers.values()))

    def start(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start a call on a worker.

        :param function: a function of a module.
        :param arguments: what the function is called with.
        """
        return self._executor.submit(function, *arguments)

    def share(self, value: Any) -> Any:
        """Send a large argument to all workers, and return what stands for it.

        :param value: the argument.
        """
        if len(pickle.dumps(value)) <= SHARED:
            return value
        return self._client.scatter(value, broadcast=True, hash=False)

    def of_loss(self, error: BaseException) -> EngineError | None:
        """Return the sentence for workers or a scheduler that were lost.

        :param error: what a future raised.
        """
        if isinstance(error, self._distributed.KilledWorker):
            return EngineError(
                f"{self.name}: expected workers that live through a task; several ended during the same one, for want "
                "of memory perhaps. Give workers more memory, or start fewer on a machine."
            )
        if isinstance(error, self._distributed.comm.CommClosedError | CancelledError):
            return EngineError(
                f"{self.name}: expected the scheduler to answer until the end; the connection was lost "
                f"({_words(error)}). Start it again, and run the same command again."
            )
        return None

    def close(self) -> None:
        """Cancel what is queued; end the cluster if it was started here."""
        if hasattr(self, "_executor"):
            self._executor.shutdown(wait=False)
        if hasattr(self, "_client"):
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def _words(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0].rstrip(".")
