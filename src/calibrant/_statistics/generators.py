"""Random numbers that depend on a seed and on what they are for, and on nothing drawn before.

So a training that was stopped goes on with the very numbers it would have had, what is drawn for an image depends
neither on the images before it nor on the machine that reads it, and no state of a generator is stored.
"""

import zlib
from collections.abc import Generator
from contextlib import contextmanager

import torch


def generator_for(seed: int, key: str, *, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of one image.

    :param seed: the seed of the whole; its lowest 32 bits count.
    :param key: the name of the image.
    :param device: where the generator lives and draws.

    >>> draws = [torch.rand(2, generator=generator_for(0, key)).tolist() for key in ("a", "b", "a")]
    >>> draws[0] == draws[2], draws[0] == draws[1]
    (True, False)
    """
    # torch's generator on the CPU looks at the lowest 32 bits of its seed alone, and a CRC has 32.
    return torch.Generator(device).manual_seed(zlib.crc32(key.encode(), seed))


def seeded(*place: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator of one place in a training.

    :param place: what tells the place from others, such as a seed, a purpose and the number of a step.
    :param device: where the generator lives and draws.

    >>> torch.equal(torch.rand(2, generator=seeded(0, "noise", 7)), torch.rand(2, generator=seeded(0, "noise", 7)))
    True
    """
    return torch.Generator(device).manual_seed(_number(*place))


@contextmanager
def reproducible(*place: int | str, device: torch.device | str = "cpu") -> Generator[None]:
    """Seed torch's global generators (dropout draws from them) within a block, and restore their state after it.

    :param place: what tells the place from others, as for :func:`seeded`.
    :param device: the generator of a CUDA device is seeded besides that of the CPU.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(_number(*place))
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(_number(*place))
        yield


def _number(*place: int | str) -> int:
    return zlib.crc32(repr(place).encode())
