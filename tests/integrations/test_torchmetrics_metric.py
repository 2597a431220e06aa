"""A torchmetrics metric over tallies: any batches give the score of one tally."""

import pickle
import subprocess
import sys

import pytest
import torch

from calibrant.errors import InputError
from calibrant.metrics import (
    CalibrationBins,
    LikelihoodSums,
    Measurement,
    expected_calibration_error,
    negative_log_likelihood,
)
from calibrant.predictions import IGNORE

LOGITS = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (5, 6, 6), generator=torch.Generator().manual_seed(1))
LABELS[:, 0] = 255
KNOWN = LABELS.masked_fill(LABELS == 255, IGNORE)

pytestmark = pytest.mark.slow  # importing torchmetrics takes seconds


@pytest.fixture(scope="module")
def metric_class():
    pytest.importorskip("torchmetrics")
    from calibrant.integrations.torchmetrics import TallyMetric

    return TallyMetric


@pytest.mark.parametrize("pooled", [True, False])
def test_batches_give_the_score_of_the_whole(metric_class, pooled):
    metric = metric_class(pooled=pooled)
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(LOGITS[part], LABELS[part])
    whole = CalibrationBins.of(LOGITS, KNOWN)
    expected = expected_calibration_error(whole.pooled() if pooled else whole).mean()
    assert float(metric.compute()["ece"]) == pytest.approx(float(expected), rel=1e-6)
    again = pickle.loads(pickle.dumps(metric))
    assert again.compute()["ece"] == metric.compute()["ece"]
    metric.reset()
    metric.update(LOGITS[:1], LABELS[:1])
    assert float(metric.compute()["ece"]) != pytest.approx(float(expected), rel=1e-3)


def test_other_tallies_and_scores(metric_class):
    metric = metric_class({"nll": negative_log_likelihood}, tally=LikelihoodSums)
    metric.update(LOGITS, LABELS)
    expected = negative_log_likelihood(LikelihoodSums.of(LOGITS, KNOWN).pooled())
    assert float(metric.compute()["nll"]) == pytest.approx(float(expected), rel=1e-6)
    with pytest.raises(InputError, match="Make a metric for each"):
        metric_class(tally=Measurement)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_image_is_a_sentence(metric_class):
    with pytest.raises(InputError, match="expected images to score; got none"):
        metric_class().compute()


TWO = """
import sys, torch
import torch.distributed as dist
from calibrant.integrations.torchmetrics import TallyMetric
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
data = torch.load(sys.argv[3], weights_only=True)
part = slice(0, 2) if rank == 0 else slice(2, 5)
metric = TallyMetric()
metric.update(data["logits"][part], data["labels"][part])
print(repr(float(metric.compute()["ece"])))
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_with_unlike_numbers_of_images_give_the_score_of_the_whole(metric_class, tmp_path):
    torch.save({"logits": LOGITS, "labels": LABELS}, tmp_path / "data.pt")
    command = [sys.executable, "-c", TWO]
    both = [
        subprocess.Popen([*command, str(rank), tmp_path / "meet", tmp_path / "data.pt"], stdout=subprocess.PIPE)
        for rank in (0, 1)
    ]
    said = [float(process.communicate(timeout=300)[0].split()[-1]) for process in both]
    whole = expected_calibration_error(CalibrationBins.of(LOGITS, KNOWN).pooled())
    assert said == pytest.approx([float(whole)] * 2, rel=1e-6)
