"""Folders of scores and labels as people have them, as predictions."""

from calibrant.data.folder.folder import FolderPredictions, open_folder

__all__ = [
    "FolderPredictions",
    "open_folder",
]
