"""Small images whose truth is known, measured and compared: what the tests of the report are made from."""

import torch

from calibrant.evaluation import Comparison, compare
from calibrant.metrics import SCORES, Measurement
from calibrant.predictions import IGNORE, Prediction
from calibrant.report import Case, case_of

NAMES = ["road", "sky", "tree", "never seen"]
SCORES_USED = {
    name: SCORES[name] for name in ("ece_images", "ece_images_null", "ece", "nll", "brier", "auroc", "gap", "miou")
}


def images(count: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits whose softmax is the truth by which labels were drawn, and the labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2.5 * torch.randn(count, 4, 12, 16, generator=generator)
    logits[:, 3] = -30
    drawn = torch.multinomial(logits.softmax(1).movedim(1, -1).flatten(0, -2), 1, generator=generator)
    labels = drawn.view(count, 12, 16)
    labels[:, 0] = IGNORE
    return logits, labels


def measure(factor: float, *, seed: int, count: int = 12) -> Measurement:
    logits, labels = images(count, seed=seed)
    rows = Measurement.of(factor * logits, labels, num_bins=10)
    return Measurement(
        **{name: getattr(rows, name) for name in rows.__dataclass_fields__ if name not in ("keys", "left_out")},
        keys=tuple(f"image {i}" for i in range(count)),
    )


def compared(factors: dict[str, float]) -> tuple[dict[str, list[Measurement]], Comparison]:
    measurements = {name: [measure(factor, seed=s) for s in (0, 1)] for name, factor in factors.items()}
    generator = torch.Generator().manual_seed(0)
    return measurements, compare(measurements, generator=generator, scores=SCORES_USED, num_resamples=200)


def small_case() -> Case:
    logits, labels = images(1, seed=0)
    image = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    return case_of(
        Prediction("image 0", 3 * logits[0], labels, image),
        {"uncalibrated": 3 * logits[0], "good": logits[0]},
        scores={"uncalibrated": {"ece_images": 0.123}},
    )
