"""Words of errors that a check of shapes would raise first."""

import numpy as np
import pytest
import torch

from calibrant.data import corrupt
from calibrant.errors import ShapeError


def test_an_image_with_its_channels_last():
    with pytest.raises(ShapeError, match=r"\(3, h, w\), channels first; got \(8, 8, 3\)"):
        corrupt(torch.full((8, 8, 3), 0.5), "fog", strength=1, generator=np.random.default_rng(0))
