"""Numbers that must not move: every score of stored logits, and the same from a few lines of float64.

The streets are shipped in ``version1/store``; the published model's logits are too large for that, and their tests are
skipped where they are not found. Each golden file says where its numbers come from. To write both anew after a change
that is meant to move them:

    PYTHONPATH=src:tests/golden python -c "import test_golden_scores as golden; golden.write()"
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from experiments._data import find
from PIL import Image
from sklearn.metrics import roc_auc_score

from calibrant.data import StoredPredictions
from calibrant.evaluation import tally
from calibrant.metrics import SCORES, Measurement, image_mean
from calibrant.predictions import IGNORE, Prediction, prediction_from

HERE = Path(__file__).parent
CAMVID = find("camvid_espnet_logits")


@dataclass(frozen=True)
class Golden:
    """Predictions, the file of their golden scores, and where they come from."""

    name: str
    origin: str

    @property
    def file(self) -> Path:
        return HERE / f"{self.name}.json"

    @property
    def scores(self) -> dict[str, float]:
        return json.loads(self.file.read_text())["scores"]

    def predictions(self) -> list[Prediction]:
        if self is STREETS:
            return list(StoredPredictions(HERE / "version1" / "store"))
        if CAMVID is None:
            pytest.skip("camvid_espnet_logits is not here")
        return [self._camvid(path) for path in sorted((CAMVID / "logits").glob("*.npy"))[:10]]

    @staticmethod
    def _camvid(path: Path) -> Prediction:
        labels = np.asarray(Image.open(CAMVID / "labels" / f"{path.stem}.png"))
        return prediction_from(path.stem, np.load(path), labels.astype(np.int64), ignore_index=255)


STREETS = Golden(
    "street_scenes",
    "The first three street scenes of `calibrant demo`, cropped, predicted by the small U-Net that the demo trains: "
    "9 classes, 64 x 64 pixels, float16 logits; 15 bins, boundary width 2.",
)
ESPNET = Golden(
    "camvid_espnet",
    "ESPNet (Mehta et al., 2018; repository sacmehta/ESPNet, checkpoint espnet_p_2_q_8_camvid) on the first ten, by "
    "name, of the CamVid test images in camvid_espnet_logits: 11 classes, 120 x 160 pixels, float16 logits, void 255; "
    "15 bins, boundary width 2.",
)
BOTH = pytest.mark.parametrize("golden", [STREETS, ESPNET], ids=lambda golden: golden.name)


def scores_of(predictions: list[Prediction]) -> dict[str, float]:
    rows = tally(Measurement.of, predictions)
    return {
        name: score.of(rows.pooled()).item() if score.pooled else image_mean(score.of(rows))
        for name, score in SCORES.items()
    }


def write() -> None:
    for golden in (STREETS, ESPNET):
        found = {"origin": golden.origin, "scores": scores_of(golden.predictions())}
        golden.file.write_text(json.dumps(found, indent=2) + "\n")


@BOTH
def test_scores_have_not_moved(golden):
    assert json.loads(golden.file.read_text())["origin"] == golden.origin
    assert scores_of(golden.predictions()) == pytest.approx(golden.scores, abs=1e-6)


@BOTH
def test_golden_scores_are_those_of_float64(golden):
    """The same images without this library: softmax of all pixels in float64, then each definition in a line."""
    rows, by_image = [], []
    for prediction in golden.predictions():
        labels = prediction.labels[0].flatten().numpy()
        z = prediction.logits.numpy().astype(np.float64).reshape(prediction.num_classes, -1)[:, labels != IGNORE]
        labels = labels[labels != IGNORE]
        log_probs = z - z.max(0) - np.log(np.exp(z - z.max(0)).sum(0))
        right = z.argmax(0) == labels
        confidence = np.exp(log_probs.max(0))
        brier = np.square(np.exp(log_probs) - np.eye(len(z))[:, labels]).sum(0)
        entropy = -(np.exp(log_probs) * log_probs).sum(0)
        rows.append(np.stack([confidence, right, -log_probs[labels, np.arange(labels.size)], brier, entropy]))
        by_image.append(ece(confidence, right))
    confidence, right, nll, brier, entropy = np.concatenate(rows, 1)
    wrong = right == 0
    expected = {
        "ece": ece(confidence, right),
        "ece_images": np.mean(by_image),
        "gap": np.mean(confidence - right),
        "nll": np.mean(nll),
        "brier": np.mean(brier),
        "brier_top": np.mean(np.square(confidence - right)),
        "entropy": np.mean(entropy),
        "accuracy": np.mean(right),
        "confidence_mistaken": np.mean(confidence[wrong]),
        "confidence_correct": np.mean(confidence[~wrong]),
    }
    assert {name: golden.scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert golden.scores["auroc"] == pytest.approx(roc_auc_score(right, confidence), abs=5e-5)
    risk = np.cumsum(wrong[np.argsort(-confidence, kind="stable")]) / np.arange(1, wrong.size + 1)
    assert golden.scores["aurc"] == pytest.approx(risk.mean(), abs=5e-5)


def ece(confidence, right) -> float:
    number = np.digitize(confidence, np.linspace(0, 1, 16), right=True)
    return sum(abs((confidence - right)[number == b].sum()) for b in range(1, 16)) / confidence.size
