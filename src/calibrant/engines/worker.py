"""What runs in a worker before a task: it must be the calibrant of whoever sent the task, on one thread."""

import platform
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from calibrant.errors import EngineError


@cache
def versions() -> Mapping[str, str]:
    """Return the versions that results depend on."""
    import numpy
    import torch

    from calibrant import __version__

    return {
        "calibrant": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }


def run(sent_by: Mapping[str, str], function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task.

    :param sent_by: the versions of who sent it.
    :param function: the task.
    :param arguments: those of the task.
    :raises EngineError: the versions here are others.
    """
    _use_one_thread()
    here = versions()
    for name, version in sent_by.items():
        if here[name] != version:
            raise EngineError(
                f"expected workers with {name} {version}, as the process that sends them work has; one has {name} "
                f"{here[name]}, and its figures could differ in the last digits. Install the same versions everywhere."
            )
    return function(*arguments)


@cache
def _use_one_thread() -> None:
    """Workers are as many as cores: threads of one would wait for those of another."""
    import torch

    torch.set_num_threads(1)
