"""Numbers that must not move: every score of a published model's logits, and the same from a few lines of float64.

The golden file says where its numbers come from. To write it anew after a change that is meant to move them:

    PYTHONPATH=src:tests/golden python -c "import test_golden_scores as golden; golden.write()"
"""

import json
from pathlib import Path

import numpy as np
import pytest
from experiments._data import find
from PIL import Image
from sklearn.metrics import roc_auc_score

from calibrant.evaluation import tally
from calibrant.metrics import SCORES, Measurement, image_mean
from calibrant.predictions import prediction_from

GOLDEN = Path(__file__).with_name("camvid_espnet.json")
DATA = find("camvid_espnet_logits")
ORIGIN = (
    "ESPNet (Mehta et al., 2018; repository sacmehta/ESPNet, checkpoint espnet_p_2_q_8_camvid) on the first ten, by "
    "name, of the CamVid test images in camvid_espnet_logits: 11 classes, 120 x 160 pixels, float16 logits, void 255; "
    "15 bins, boundary width 2."
)

pytestmark = pytest.mark.skipif(DATA is None, reason="camvid_espnet_logits is not here")


def load():
    found = []
    for path in sorted((DATA / "logits").glob("*.npy"))[:10]:
        labels = np.asarray(Image.open(DATA / "labels" / f"{path.stem}.png"))
        found.append(prediction_from(path.stem, np.load(path), labels.astype(np.int64), ignore_index=255))
    return found


def scores() -> dict[str, float]:
    rows = tally(Measurement.of, load())
    return {
        name: score.of(rows.pooled()).item() if score.pooled else image_mean(score.of(rows))
        for name, score in SCORES.items()
    }


def write() -> None:
    GOLDEN.write_text(json.dumps({"origin": ORIGIN, "scores": scores()}, indent=2) + "\n")


def test_scores_have_not_moved():
    golden = json.loads(GOLDEN.read_text())
    assert golden["origin"] == ORIGIN
    assert scores() == pytest.approx(golden["scores"], abs=1e-6)


def test_golden_scores_are_those_of_float64():
    """The same images without this library: softmax of all pixels in float64, then each definition in a line."""
    golden = json.loads(GOLDEN.read_text())["scores"]
    rows, by_image = [], []
    for path in sorted((DATA / "logits").glob("*.npy"))[:10]:
        labels = np.asarray(Image.open(DATA / "labels" / f"{path.stem}.png")).ravel()
        z = np.load(path).astype(np.float64).reshape(11, -1)[:, labels != 255]
        labels = labels[labels != 255].astype(int)
        log_probs = z - z.max(0) - np.log(np.exp(z - z.max(0)).sum(0))
        right = z.argmax(0) == labels
        confidence = np.exp(log_probs.max(0))
        brier = np.square(np.exp(log_probs) - np.eye(11)[:, labels]).sum(0)
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
    assert {name: golden[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert golden["auroc"] == pytest.approx(roc_auc_score(right, confidence), abs=5e-5)
    risk = np.cumsum(wrong[np.argsort(-confidence, kind="stable")]) / np.arange(1, wrong.size + 1)
    assert golden["aurc"] == pytest.approx(risk.mean(), abs=5e-5)


def ece(confidence, right) -> float:
    number = np.digitize(confidence, np.linspace(0, 1, 16), right=True)
    return sum(abs((confidence - right)[number == b].sum()) for b in range(1, 16)) / confidence.size
