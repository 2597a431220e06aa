"""MONAI bundles: built as their configuration says, and only with leave."""

import json

import pytest
import torch

from calibrant.errors import DataError, InputError, ShapeError
from calibrant.models import open_model


@pytest.fixture
def bundle(tmp_path):
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")
    sizes = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]}
    torch.manual_seed(0)
    network = nets.UNet(**sizes)
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
    metadata = {
        "version": "0.1.0",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "spatial_shape": [8, 8, 8], "is_patch_data": True}},
            "outputs": {"pred": {"num_channels": 3, "channel_def": {"0": "background", "1": "liver", "2": "tumour"}}},
        },
    }
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(metadata))
    inference = {"imports": ["$import torch"], "depth": 3, "network_def": {"_target_": "UNet", **sizes}}
    inference["network_def"]["spatial_dims"] = "@depth"
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(inference))
    return tmp_path, network.eval()


def test_a_bundle_is_built_and_its_weights_read(bundle):
    folder, network = bundle
    with pytest.raises(InputError, match=r"a bundle's configuration names classes and expressions.*--trust"):
        open_model(folder)
    opened = open_model(folder, trust_code=True)
    assert opened.class_names == ("background", "liver", "tumour")
    volumes = torch.rand(1, 1, 8, 16, 8)
    with torch.no_grad():
        torch.testing.assert_close(opened(volumes), network(volumes))
    with pytest.raises(ShapeError, match=r"images of 1 channels, of size \[8, 8, 8\]"):
        opened(torch.rand(1, 2, 8, 8, 8))


def test_bundles_that_are_not_whole(bundle):
    folder, _ = bundle
    torch.save({"other": torch.zeros(1)}, folder / "models" / "model.pt")
    with pytest.raises(DataError, match="expected the weights of the bundle's UNet; they do not fit"):
        open_model(folder, trust_code=True)
    (folder / "configs" / "inference.json").write_text("{}")
    with pytest.raises(DataError, match="expected a network called network_def"):
        open_model(folder, trust_code=True)
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(DataError, match=r"models/model\.pt is missing"):
        open_model(folder, trust_code=True)
