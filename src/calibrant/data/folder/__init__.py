"""Folders of scores and labels as people have them, as predictions."""

from calibrant.data.folder._regions import Region, regions_in
from calibrant.data.folder.folder import FolderPredictions, open_folder

__all__ = [
    "FolderPredictions",
    "Region",
    "open_folder",
    "regions_in",
]
