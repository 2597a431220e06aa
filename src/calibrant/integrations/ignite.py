"""Calibration in a loop of Ignite or MONAI: scores of tallies, in ``engine.state.metrics``."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.metrics import Metric

from calibrant._shapes import Tensor
from calibrant.errors import InputError
from calibrant.integrations.torchmetrics import TallyMetric


class TallyHandler(Metric):
    """Scores of tallies of an evaluator, over all images and processes: an ``ignite.metrics.Metric``.

    The evaluator returns logits (n, c, *s) and labels (n, *s) of a batch. That of MONAI returns dictionaries of single
    images, before ``AsDiscrete``: pass ``monai.handlers.from_engine(["pred", "label"])`` for ``output_transform``.

    :param output_transform: from what the engine returned to logits and labels, of a batch.
    :param device: where counts are kept.
    :param options: those of :class:`~calibrant.integrations.torchmetrics.TallyMetric`: scores, tally, pooled,
        ignore_index.

    >>> from ignite.engine import Engine
    >>> logits, labels = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]]), torch.tensor([[[0, 1]]])
    >>> evaluator = Engine(lambda engine, batch: batch)
    >>> TallyHandler().attach(evaluator, "calibration")
    >>> round(float(evaluator.run([(logits, labels)]).metrics["ece"]), 4)
    0.018
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = lambda output: output,
        *,
        device: str | torch.device = "cpu",
        **options: Any,
    ) -> None:
        self._metric = TallyMetric(**options).to(device)
        super().__init__(output_transform, device)

    def reset(self) -> None:
        """Count from zero."""
        self._metric.reset()

    def update(self, output: Sequence[Any]) -> None:
        """Count a batch.

        :param output: logits (n, c, *s) and labels (n, *s) or (n, 1, *s); of lists Ignite passes one image at a time.
        :raises InputError: the labels are none: one-hot, or numbers with a fraction.
        """
        logits, labels = (each.as_subclass(Tensor) for each in output)  # those of MONAI carry more
        self._metric.update(logits, _whole(labels, logits))

    def compute(self) -> dict[str, Any]:
        """Return the scores of all images that were counted, by name."""
        return self._metric.compute()


def _whole(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels as whole numbers: those of MONAI are float.

    :raises InputError: they are one-hot, or have fractions.
    """
    if labels.is_floating_point():
        whole = labels.long()
        if not torch.equal(whole.to(labels.dtype), labels):
            raise InputError("expected labels that are numbers of classes; got numbers with a fraction. Round them.")
        labels = whole
    if labels.shape == logits.shape and torch.equal(labels.sum(1), torch.ones_like(labels[:, 0])) and labels.min() == 0:
        raise InputError(
            f"expected labels that are numbers of classes, (n, *s) or (n, 1, *s); got one-hot ones, "
            f"{tuple(labels.shape)}. Take logits and labels before AsDiscrete, or pass labels.argmax(1)."
        )
    return labels
