import torch

from calibrant.calibrators.pixels import Pixels
from calibrant.predictions import Prediction


def test_pixels_drawn_depend_on_the_seed_and_on_the_key():
    logits = torch.arange(1000.0).expand(2, 1000)
    predictions = [Prediction(key, logits, torch.zeros(1, 1000, dtype=torch.long)) for key in "ab"]
    first, same, other = (Pixels.draw(predictions, per_image=20, seed=seed).logits for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:, :20], first[:, 20:])
