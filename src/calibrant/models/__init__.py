"""Black boxes as sources of predictions."""

from calibrant.models.blackbox import ModelPredictions
from calibrant.models.ensemble import EnsemblePredictions
from calibrant.models.segmenter import train_segmenter

__all__ = ["EnsemblePredictions", "ModelPredictions", "train_segmenter"]
