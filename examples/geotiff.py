"""Calibrated probabilities of GeoTIFF tiles (needs calibrant[geo]), on the grid that the tiles have."""

from pathlib import Path

import numpy as np
import rasterio

from calibrant.calibrators import VectorScaling
from calibrant.data import open_folder

names, nodata = ("soil", "crop", "water"), -9999
rng = np.random.default_rng(0)  # stand-in data: logits of a model that is three times too sure, and prefers crop
for number in range(6):
    true = 2 * rng.normal(size=(3, 8, 8)).repeat(8, 1).repeat(8, 2).astype(np.float32)
    shares = np.exp(true) / np.exp(true).sum(0)
    labels = (shares.cumsum(0) < rng.random((64, 64))).sum(0).clip(max=2).astype(np.uint8)
    logits = 3 * true + np.array([0, 1, 0], np.float32)[:, None, None]
    labels[:6], logits[:, :6] = 255, nodata  # the satellite's path ends here
    place = rasterio.Affine(10, 0, 412340 + 640 * number, 0, -10, 5654320)
    grid = {"driver": "GTiff", "width": 64, "height": 64, "crs": "EPSG:32633", "transform": place}
    for folder, bands, missing in (("logits", logits, nodata), ("labels", labels[None], 255)):
        Path(f"tiles/{folder}").mkdir(parents=True, exist_ok=True)
        kind = {"count": len(bands), "dtype": bands.dtype, "nodata": missing}
        with rasterio.open(f"tiles/{folder}/tile_{number}.tif", "w", **grid, **kind) as file:
            file.write(bands)

tiles = open_folder("tiles", class_names=names, class_axis=-1)
calibrator = VectorScaling.fit(tiles)
Path("maps").mkdir(exist_ok=True)
for tile in tiles:
    probabilities = calibrator(tile.logits[None])[0].softmax(0).numpy()
    with rasterio.open(f"tiles/logits/{tile.key}.tif") as source:
        outside = (source.read() == nodata).all(0)
        probabilities[:, outside] = nodata
        with rasterio.open(f"maps/{tile.key}.tif", "w", **source.profile) as made:
            made.write(probabilities)
    print(f"{tile.key}: {probabilities[1, ~outside].sum() * 100 / 10_000:.1f} ha of crop expected")
