"""Black boxes as sources of predictions."""

from calibrant.models.segmenter import train_segmenter

__all__ = ["train_segmenter"]
