"""A loop over batches, as in a notebook: keep the logits, fit a calibrator, measure on other images."""

import torch

from calibrant.calibrators import VectorScaling
from calibrant.evaluation import tally
from calibrant.metrics import LikelihoodSums, negative_log_likelihood, paired_difference
from calibrant.predictions import from_arrays, split

torch.manual_seed(0)
shades = torch.tensor([0.2, 0.5, 0.8])
labels = torch.rand(40, 1, 8, 8).mul(3).floor().clamp(max=2)  # stand-in data: blocks of three classes, as noisy shades
labels = torch.nn.functional.interpolate(labels, scale_factor=8)[:, 0].long()
images = shades[labels][:, None] + 0.15 * torch.randn(40, 1, 64, 64)
loader = torch.utils.data.DataLoader(list(zip(images, labels, strict=True)), batch_size=8)


def model(batch):
    """Stand in for a trained network: logits (n, 3, h, w), three times too sure."""
    return -3 * 20 * (batch - shades[:, None, None]) ** 2


logits, seen = zip(*[(model(batch), labels) for batch, labels in loader], strict=True)
to_fit, to_test = split(from_arrays(torch.cat(logits), torch.cat(seen)), 0.5, seed=0)

scaling = VectorScaling.fit(to_fit)
before = tally(LikelihoodSums.of, to_test)
after = tally(LikelihoodSums.of, to_test, calibrator=scaling)
change = paired_difference(negative_log_likelihood, after, before, generator=torch.Generator().manual_seed(0))
print(f"negative log-likelihood: {change.value:+.4f} nats, 95 % of {change.low:+.4f} to {change.high:+.4f}")

probabilities = scaling(model(images[:1])).softmax(1)  # an nn.Module, behind the model
