"""Label maps of an image that annotators disagree about: a copula sampler fitted to them, and independent pixels."""

from functools import partial

import torch

from calibrant.calibrators import TemperatureScaling
from calibrant.data import BlobAnnotators
from calibrant.evaluation import tally_hypotheses
from calibrant.metrics import HypothesisDistances, ged_floor, generalised_energy_distance
from calibrant.predictions import Prediction
from calibrant.samplers import CopulaSampler, IndependentSampler

blobs = BlobAnnotators(24, num_annotators=4, seed=0)  # stand-in data: a blob that some see, and some see larger
predictions = [
    Prediction(blob.key, 2 * blobs.probabilities(i).float().clamp_min(1e-4).log(), blob.labels, blob.image)
    for i, blob in enumerate(blobs)
]  # of a model that is twice too sure
to_fit, to_test = predictions[:12], predictions[12:]

calibrator = TemperatureScaling.fit(to_fit)
samplers = {
    "independent pixels": IndependentSampler(),
    "one field an image": CopulaSampler(image=1),
    "fitted copula": CopulaSampler.fit(to_fit, calibrator),
}
for name, sampler in samplers.items():
    rng = torch.Generator().manual_seed(0)
    count = partial(HypothesisDistances.of, num_classes=2)
    distances = tally_hypotheses(count, sampler, to_test, calibrator, num_samples=16, generator=rng)
    ged, floor = generalised_energy_distance(distances).mean(), ged_floor(distances, 16).mean()
    print(f"{name}: GED {ged:.3f}; a perfect sampler would have {floor:.3f}")

logits = calibrator(to_test[0].logits[None])
maps = samplers["fitted copula"].sample(logits, num_samples=16, generator=torch.Generator().manual_seed(1))
areas = maps[:, 0].eq(1).sum((1, 2))
print(f"area of the blob in {to_test[0].key}: {areas.min()} to {areas.max()} pixels in 16 maps")
