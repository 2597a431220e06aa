"""Black boxes as sources of predictions."""

from calibrant.models.adapters import open_model
from calibrant.models.blackbox import ModelPredictions
from calibrant.models.blocks import BlockPredictions
from calibrant.models.declared import DeclaredScores
from calibrant.models.ensemble import EnsemblePredictions
from calibrant.models.opened import OpenedModel
from calibrant.models.windows import InViews, mean_of_views, slide

__all__ = [
    "BlockPredictions",
    "DeclaredScores",
    "EnsemblePredictions",
    "InViews",
    "ModelPredictions",
    "OpenedModel",
    "mean_of_views",
    "open_model",
    "slide",
]
