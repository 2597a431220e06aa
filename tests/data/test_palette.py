"""Label maps of colours, with a palette: classes, unlabelled pixels, and colours that are none."""

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.data import image_folder, open_folder
from calibrant.data._formats.palette import read_palette
from calibrant.errors import DataError, LabelError
from calibrant.predictions import IGNORE

PALETTE = {"road": (128, 64, 128), "sky": (70, 130, 180), "unlabelled": (0, 0, 0)}
NUMBERS = np.array([[0, 1, 1, 0], [IGNORE, 0, 1, 1], [0, IGNORE, 0, 1]])


@pytest.fixture
def folder(tmp_path):
    colours = {0: PALETTE["road"], 1: PALETTE["sky"], IGNORE: PALETTE["unlabelled"]}
    mask = np.array([[colours[int(n)] for n in row] for row in NUMBERS], np.uint8)
    for name in ("images", "labels", "logits"):
        (tmp_path / name).mkdir()
    Image.fromarray(mask).save(tmp_path / "labels/a.png")
    Image.fromarray(mask).quantize(4).save(tmp_path / "labels/b.png")  # a PNG with a palette of its own
    for seed, key in enumerate("ab"):
        Image.fromarray(mask).save(tmp_path / f"images/{key}.png")
        np.save(tmp_path / f"logits/{key}.npy", np.random.default_rng(seed).normal(size=(2, 3, 4)).astype(np.float32))
    return tmp_path


def test_colours_become_classes(folder):
    expected = torch.from_numpy(NUMBERS)[None]
    for example in image_folder(folder, class_names=["road", "sky"], palette=PALETTE):
        assert torch.equal(example.labels, expected)
    found = open_folder(folder, palette=PALETTE)
    assert found.class_names == ("road", "sky")
    for prediction in found:
        assert torch.equal(prediction.labels, expected)


def test_the_command_line_reads_a_palette(calibrant, folder, tmp_path):
    (tmp_path / "palette.csv").write_text("".join(f"{n},{','.join(map(str, c))}\n" for n, c in PALETTE.items()))
    assert read_palette(tmp_path / "palette.csv") == PALETTE
    code, _, err = calibrant("import", folder, "-o", tmp_path / "s")
    assert code == 2
    assert "--palette" in err
    code, out, err = calibrant("import", folder, "--palette", tmp_path / "palette.csv", "-o", tmp_path / "s")
    assert code == 0, err
    assert "16.67% of the pixels unlabelled" in out


def test_other_colours_and_palettes_that_are_none_are_one_sentence(folder, tmp_path):
    with pytest.raises(LabelError, match=r"a\.png: expected colours of the palette; got \(70, 130, 180\) in 5 of 12"):
        open_folder(folder, palette={"road": (128, 64, 128), "sky": (1, 2, 3), "unlabelled": (0, 0, 0)})[0]
    with pytest.raises(DataError, match="a colour for each of 3 classes"):
        image_folder(folder, class_names=["road", "sky", "tree"], palette=PALETTE)
    with pytest.raises(DataError, match="road and sky share one"):
        open_folder(folder, palette={"road": (1, 1, 1), "sky": (1, 1, 1)})
    for text in ("road,1,2\n", "road,1,2,300\n", "road,1,2,3\nroad,1,2,4\n", "unlabelled,0,0,0\n"):
        (tmp_path / "p.csv").write_text(text)
        with pytest.raises(DataError, match=r"p\.csv: expected"):
            read_palette(tmp_path / "p.csv")
