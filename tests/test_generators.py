"""Generators depend on a seed and on what they are for; their numbers are those of version 0.1.0."""

import zlib

import pytest
import torch

from calibrant._statistics.generators import generator_for, seeded


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**40 + 3])
@pytest.mark.parametrize("key", ["", "a", "frankfurt/000001", "żółć"])
def test_an_image_has_the_numbers_it_always_had(seed, key):
    expected = torch.Generator().manual_seed(zlib.crc32(key.encode(), seed))
    assert torch.equal(torch.rand(5, generator=generator_for(seed, key)), torch.rand(5, generator=expected))


def test_numbers_are_those_of_version_1():
    assert torch.randint(1000, (4,), generator=generator_for(7, "image")).tolist() == [533, 732, 408, 891]
    assert torch.randint(1000, (4,), generator=seeded(7, "noise", 3)).tolist() == [11, 443, 336, 516]


def test_seed_and_key_both_count():
    drawn = [torch.rand((), generator=generator_for(seed, key)).item() for seed in (0, 1) for key in ("a", "b")]
    assert len(set(drawn)) == 4
