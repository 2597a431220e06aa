"""Calibrators on the Hugging Face hub: saved with a card, loaded by name; nothing is unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from torch import nn

from calibrant._shapes import Float, Tensor
from calibrant.calibrators import Calibrator, load, save

TAGS = ["calibration", "semantic-segmentation", "image-segmentation"]
"""Words under which the hub finds calibrators."""


class HubCalibrator(nn.Module, ModelHubMixin, library_name="calibrant", tags=TAGS):
    """A calibrator with ``save_pretrained``, ``push_to_hub`` and ``from_pretrained`` of the hub.

    :param calibrator: what is saved, as :func:`calibrant.calibrators.save` does.

    >>> from tempfile import TemporaryDirectory
    >>> from calibrant.calibrators import TemperatureScaling
    >>> with TemporaryDirectory() as folder:
    ...     _ = HubCalibrator(TemperatureScaling(1.5)).save_pretrained(folder)
    ...     HubCalibrator.from_pretrained(folder).calibrator
    TemperatureScaling(temperature=1.5)
    """

    def __init__(self, calibrator: Calibrator) -> None:
        super().__init__()
        self.calibrator = calibrator

    def forward(
        self, logits: Float[Tensor, "n c *s"], image: Float[Tensor, "n k *s"] | None = None
    ) -> Float[Tensor, "n c *s"]:
        """Return calibrated logits.

        :param logits: raw logits, class axis second.
        :param image: the images, for calibrators that look at them.
        """
        return self.calibrator(logits, image)

    def _save_pretrained(self, save_directory: Path) -> None:
        save(self.calibrator, save_directory)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        kinds: Mapping[str, type] | None = None,
        **_: Any,
    ) -> "HubCalibrator":
        if not Path(model_id).is_dir():
            model_id = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=["calibrator.json", "*.safetensors"],
            )
        return cls(load(model_id, kinds=kinds))

    def generate_model_card(self, *arguments: Any, **options: Any) -> ModelCard:
        """Return the card: what the calibrator is, what its fit had to say, and how it is used."""
        notes = "".join(f"- {note}\n" for note in self.calibrator.notes)
        keeps = "keeps" if self.calibrator.keeps_labels else "may change"
        tags = "".join(f"- {tag}\n" for tag in TAGS)
        return ModelCard(
            f"---\nlibrary_name: calibrant\ntags:\n{tags}---\n# {type(self.calibrator).__name__}\n\n"
            f"A calibrator of a semantic segmentation model, fitted after its training; it {keeps} the label map.\n\n"
            f"    {type(self.calibrator).__name__}({self.calibrator.extra_repr()})\n\n{notes}\n"
            "```python\nfrom calibrant.integrations.hub import HubCalibrator\n\n"
            'calibrator = HubCalibrator.from_pretrained("owner/name")\nlogits = calibrator(model(images))\n```\n'
        )
