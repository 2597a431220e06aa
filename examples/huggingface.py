"""Calibrate a Hugging Face model (needs calibrant[hf]): from its folder to calibrated probabilities of an image."""

import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from calibrant.calibrators import TemperatureScaling, save
from calibrant.data import StreetScenes
from calibrant.evaluation import tally
from calibrant.metrics import CalibrationBins, bootstrap
from calibrant.metrics import expected_calibration_error as ece
from calibrant.models import BlockPredictions, open_model
from calibrant.predictions import split

torch.manual_seed(0)  # a stand-in for your model: trained on two images until it is too sure of itself
sizes = {"depths": [1] * 4, "hidden_sizes": [16, 32, 40, 64], "num_attention_heads": [1, 1, 2, 2]}
config = SegformerConfig(**sizes, decoder_hidden_size=32, id2label=dict(enumerate(StreetScenes(1, seed=0).class_names)))
network = SegformerForSemanticSegmentation(config)
optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
seen = list(StreetScenes(2, size=(48, 96), seed=0))
images, labels = torch.stack([each.image for each in seen]), torch.cat([each.labels for each in seen])
for _ in range(100):
    logits = torch.nn.functional.interpolate(network(images).logits, labels.shape[1:], mode="bilinear")
    torch.nn.functional.cross_entropy(logits, labels).backward()
    optimiser.step()
    optimiser.zero_grad()
network.eval().save_pretrained("segformer")

model = open_model("segformer", normalise="none")  # or a name on the hub
predictions = BlockPredictions(model.run, StreetScenes(16, size=(48, 96), seed=1), batch_size=8)  # any examples
to_fit, to_test = split(list(predictions), 0.5, seed=0)
scaling = TemperatureScaling.fit(to_fit)
for name, calibrator in {"as it is": None, f"temperature {scaling.temperature:.2f}": scaling}.items():
    counts = tally(CalibrationBins.of, to_test, calibrator=calibrator)
    error = bootstrap(ece, counts, pooled=True, generator=torch.Generator().manual_seed(0))
    print(f"{name}: calibration error {error.value:.1%} ({error.low:.1%} to {error.high:.1%})")
save(scaling, "temperature")
probabilities = scaling(model(images[:1])).softmax(1)
