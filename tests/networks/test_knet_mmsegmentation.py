"""K-Net against mmsegmentation itself: run by whoever has its maintained fork, see docs/models.md."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmseg", reason="opt-in: needs the maintained fork of mmsegmentation, see docs/models.md")
pytest.importorskip("transformers", reason="transformers is not installed")

from published_knet import CONFIGURATIONS, PUBLISHED, images, published_shapes, random_weights

from calibrant.networks import KNet
from calibrant.networks._knet_layout import SIZES


@pytest.fixture
def mmsegmentation():
    import mmseg
    from mmengine.config import Config
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()

    def build(name, backbone, *, head=None, update=None, classes=150, stages=3):
        file = Path(mmseg.__file__).parent / ".mim" / "configs" / "knet" / CONFIGURATIONS[name][0]
        model = Config.fromfile(file).model
        model.pretrained = model.data_preprocessor = model.auxiliary_head = None
        model.backbone.update(backbone)
        decode = model.decode_head
        decode.kernel_generate_head.update({"num_classes": classes} | (head or {}))
        decode.kernel_update_head, decode.num_stages = decode.kernel_update_head[:stages], stages
        for each in decode.kernel_update_head:
            group = (update or {}).get("group", 256)
            each.update({key: value for key, value in (update or {}).items() if key != "group"})
            each.kernel_updator_cfg.update({"in_channels": group, "feat_channels": group, "out_channels": group})
        return MODELS.build(model)

    return build


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PUBLISHED)
def test_mmsegmentation_has_these_keys(mmsegmentation, name):
    theirs = mmsegmentation(name, CONFIGURATIONS[name][1])
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    assert shapes == published_shapes(SIZES[name], 150)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == PUBLISHED[name][0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", [(64, 64), (50, 93)])
@pytest.mark.parametrize("name", ["deeplabv3-resnet50", "upernet-resnet50", "upernet-swin-tiny"])
def test_mmsegmentation_gives_the_same_logits(mmsegmentation, name, shape):
    width = 32 if "swin" in name else 8
    size = replace(SIZES[name], width=width, channels=32, group=16, hidden=48, num_stages=2)
    if size.backbone == "swin":
        backbone, first = {"embed_dims": 32, "num_heads": [1, 2, 4, 8]}, 32
    else:
        backbone, first = {"base_channels": 8, "stem_channels": 8}, 32
    widths = [first * 2**stage for stage in range(4)]
    head = {"in_channels": widths[-1] if size.decoder == "deeplabv3" else widths, "channels": 32}
    update = {"in_channels": 32, "out_channels": 32, "feedforward_channels": 48, "group": 16}
    theirs = mmsegmentation(name, backbone, head=head, update=update, classes=5, stages=2)
    weights = random_weights(size)
    pairs = [key for key in weights if key.endswith("relative_position_index")]
    assert all(torch.equal(theirs.state_dict()[key], weights[key]) for key in pairs)
    theirs.load_state_dict(weights)
    theirs.eval()
    view = images(2, 3, *shape)
    with torch.no_grad():
        expected = theirs.decode_head(theirs.backbone(view))
        found = KNet.from_mmsegmentation(weights)(view)
    assert found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
