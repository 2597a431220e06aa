"""Tallies as a ``torchmetrics.Metric``: counted batch by batch, gathered over processes, then scored."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from calibrant._shapes import IGNORE, Float, Int, Tensor
from calibrant.errors import InputError
from calibrant.metrics import CalibrationBins, ScoreFunction, Tally, expected_calibration_error


class TallyMetric(Metric):
    """Scores of tallies, one row an image, whatever the batches and processes.

    :param scores: by name, functions of the tally; the pooled expected calibration error if None.
    :param tally: the kind of tally, whose fields are tensors and which has ``of(logits, labels)``.
    :param pooled: whether every pixel counts once, or every image.
    :param ignore_index: the label of unlabelled pixels; None if every pixel is labelled.
    :param options: those of ``torchmetrics.Metric``.
    :raises InputError: the fields of the tally are not tensors.

    >>> import torch
    >>> metric = TallyMetric()
    >>> metric.update(torch.tensor([[[4.0, 0.0]], [[0.0, 4.0]]])[None], torch.tensor([[[0, 1]]]))
    >>> round(float(metric.compute()["ece"]), 4)
    0.018
    """

    full_state_update = False

    def __init__(
        self,
        scores: Mapping[str, ScoreFunction] | None = None,
        *,
        tally: type[Tally] = CalibrationBins,
        pooled: bool = True,
        ignore_index: int | None = 255,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.scores = {"ece": expected_calibration_error} if scores is None else dict(scores)
        self.tally, self.pooled, self.ignore_index = tally, pooled, ignore_index
        self.columns = [each.name for each in fields(tally) if each.name not in ("keys", "left_out")]
        nested = [each.name for each in fields(tally) if isinstance(each.type, type) and issubclass(each.type, Tally)]
        if nested:
            raise InputError(
                f"expected a tally whose fields are tensors; got {tally.__name__}, which holds {', '.join(nested)}. "
                "Make a metric for each of them."
            )
        for name in self.columns:
            self.add_state(f"rows_{name}", default=[], dist_reduce_fx="cat")

    def update(self, logits: Float[Tensor, "n c *s"], labels: Int[Tensor, "n *s"]) -> None:
        """Count a batch.

        :param logits: (n, c, *s), before the softmax.
        :param labels: (n, *s), or (n, a, *s) with several annotators.
        """
        maps = labels if self.ignore_index is None else labels.masked_fill(labels == self.ignore_index, IGNORE)
        kind: Any = self.tally
        rows = kind.of(logits.detach(), maps)
        for name in self.columns:
            getattr(self, f"rows_{name}").append(getattr(rows, name).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """Return the scores of all images that were counted, by name.

        :raises InputError: none was.
        """
        if not len(getattr(self, f"rows_{self.columns[0]}")):  # a list, or of several processes one tensor
            raise InputError("expected images to score; got none. Pass logits and labels to update first.")
        columns: dict[str, Any] = {name: dim_zero_cat(getattr(self, f"rows_{name}")) for name in self.columns}
        rows = self.tally(**columns)
        found = rows.pooled() if self.pooled else rows
        return {name: score(found).nanmean().float() for name, score in self.scores.items()}
