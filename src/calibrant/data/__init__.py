"""Where images, labels and stored predictions come from."""

from calibrant.data.synthetic import StreetScenes

__all__ = ["StreetScenes"]
