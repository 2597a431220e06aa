"""Ray: here, or a cluster that is there. Lost workers' tasks are done again by others."""

import logging
import os
from collections.abc import Callable
from typing import Any

from calibrant.engines.engine import Engine, package
from calibrant.errors import EngineError

RETRIES = 3
"""How often a task whose worker was lost is begun again."""


class Ray(Engine):
    """A cluster of Ray.

    :param place: ``auto`` for the one on this machine, or its address; empty to start one here.
    :raises PackageError: the package is not installed.
    :raises EngineError: there is no such cluster.
    """

    def __init__(self, place: str = "") -> None:
        self.name = f"ray:{place}" if place else "ray"
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # which is read when it is imported
        self._ray = package("ray", "ray")
        try:
            self._ray.init(address=place or "local", logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise EngineError(
                f"{self.name}: expected a cluster of Ray; {str(error).strip().splitlines()[0].rstrip('.')}. Start "
                "one, or check the address."
            ) from error
        self._remote: dict[Callable[..., Any], Any] = {}

    @property
    def window(self) -> int:
        """Twice the cores, and two."""
        return 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1))) + 2

    def start(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start a call on a worker.

        :param function: a function of a module.
        :param arguments: what the function is called with.
        """
        if function not in self._remote:
            self._remote[function] = self._ray.remote(max_retries=RETRIES, num_cpus=1)(function)
        return self._remote[function].remote(*arguments).future()

    def share(self, value: Any) -> Any:
        """Put an argument where all workers find it, and return what stands for it.

        :param value: the argument.
        """
        return self._ray.put(value)

    def look(self) -> None:
        """Do nothing: Ray itself fails a task that no worker can take."""

    def of_loss(self, error: BaseException) -> EngineError | None:
        """Return the sentence for workers that were lost.

        :param error: what a future raised.
        """
        kinds = self._ray.exceptions
        if isinstance(error, kinds.RayError) and not isinstance(error, kinds.RayTaskError):
            crashed = isinstance(error, kinds.WorkerCrashedError)
            what = "workers that live through a task" if crashed else "Ray to go on"
            return EngineError(
                f"{self.name}: expected {what}; {str(error).strip().splitlines()[0].rstrip('.')}. Run the same command "
                "again."
            )
        return None

    def close(self) -> None:
        """Let go of the cluster; end it if it was started here."""
        self._ray.shutdown()
