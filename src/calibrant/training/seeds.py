"""Random numbers that depend on a seed and on where in a training they are drawn, and on nothing before.

So a training that was stopped goes on with the very numbers it would have had, and nothing of a generator is stored.
"""

import zlib
from collections.abc import Generator
from contextlib import contextmanager

import torch


def seeded(*place: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator for a place, such as a seed, a purpose and the number of a step.

    >>> torch.equal(torch.rand(2, generator=seeded(0, "noise", 7)), torch.rand(2, generator=seeded(0, "noise", 7)))
    True
    """
    return torch.Generator(device).manual_seed(_number(*place))


@contextmanager
def reproducible(*place: int | str, device: torch.device | str = "cpu") -> Generator[None]:
    """Seed torch's global generators (dropout draws from them) for a while, and leave them as they were found."""
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(_number(*place))
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(_number(*place))
        yield


def _number(*place: int | str) -> int:
    return zlib.crc32(repr(place).encode())
