"""Calibration in a training with Lightning: scores of tallies, logged beside the loss."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from calibrant._shapes import Tensor
from calibrant.errors import InputError
from calibrant.integrations.torchmetrics import TallyMetric

Read = Callable[[Any, Any], tuple[Tensor, Tensor]]
"""From what a step returned, and its batch, to logits (n, c, *s) and labels (n, *s) or (n, a, *s)."""


def read_mapping(outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Return the entries "logits" and "labels" of what a step returned.

    :param outputs: what ``validation_step`` or ``test_step`` returned.
    :param batch: what it was given, which is not looked at.
    :raises InputError: the entries are not there.
    """
    if isinstance(outputs, Mapping) and {"logits", "labels"} <= outputs.keys():
        return outputs["logits"], outputs["labels"]
    got = f"a mapping of {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else type(outputs).__name__
    raise InputError(
        f'expected a step that returns {{"loss": …, "logits": …, "labels": …}}; got {got}. Return them from '
        "validation_step and test_step, or pass read=, a function of what the step returned and of the batch."
    )


class TallyCallback(Callback):
    """Logs scores of tallies at the end of each epoch of validation and of test, over all images and processes.

    They are logged as ``val_ece`` and ``test_ece``; of several loaders as ``val_ece/1``, the number of the loader last.

    :param read: from what a step returned, and its batch, to logits (n, c, *s), before the softmax, and labels (n, *s).
    :param options: those of :class:`~calibrant.integrations.torchmetrics.TallyMetric`: scores, tally, pooled,
        ignore_index.
    :raises InputError: in the first step, if it returned no logits and labels.

    >>> trainer = Trainer(callbacks=[TallyCallback()], logger=False, enable_checkpointing=False, barebones=False)
    >>> [type(each).__name__ for each in trainer.callbacks][0]
    'TallyCallback'
    """

    def __init__(self, read: Read = read_mapping, **options: Any) -> None:
        super().__init__()
        self.read, self.options = read, options
        TallyMetric(**options)  # what is wrong with the options is said before the training
        self.metrics: dict[int, TallyMetric] = {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from zero.

        :param trainer: as Lightning passes it.
        :param pl_module: the module that is trained.
        """
        self.metrics = {}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch.

        :param trainer: as Lightning passes it.
        :param pl_module: the module that is trained.
        :param outputs: what the step returned.
        :param batch: what it was given.
        :param batch_idx: the number of the batch.
        :param dataloader_idx: the number of its loader.
        """
        if dataloader_idx not in self.metrics:
            self.metrics[dataloader_idx] = TallyMetric(**self.options).to(pl_module.device)
        self.metrics[dataloader_idx].update(*self.read(outputs, batch))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores.

        :param trainer: as Lightning passes it.
        :param pl_module: the module that is trained.
        """
        self._log(pl_module, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from zero, as before a validation."""
        self.on_validation_epoch_start(trainer, pl_module)

    def on_test_batch_end(self, *arguments: Any, **options: Any) -> None:
        """Count a batch, as of a validation."""
        self.on_validation_batch_end(*arguments, **options)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the scores, as of a validation."""
        self._log(pl_module, "test")

    def _log(self, module: LightningModule, stage: str) -> None:
        for number, metric in self.metrics.items():
            loader = f"/{number}" if len(self.metrics) > 1 else ""
            module.log_dict({f"{stage}_{name}{loader}": value for name, value in metric.compute().items()})
