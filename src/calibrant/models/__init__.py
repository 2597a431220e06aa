"""Black boxes as sources of predictions."""

from calibrant.models.blackbox import ModelPredictions
from calibrant.models.segmenter import train_segmenter

__all__ = ["ModelPredictions", "train_segmenter"]
