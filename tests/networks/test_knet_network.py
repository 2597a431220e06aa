"""K-Net against the published configurations: sizes, keys, and where each weight goes."""

import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("transformers", reason="transformers is not installed")

from published_knet import PUBLISHED, TINY, images, number_of_parameters, published_shapes, random_weights

from calibrant.errors import InputError, MethodError, PackageError
from calibrant.models import open_model
from calibrant.networks import KNet
from calibrant.networks._knet_layout import SIZES, renamed

HEAD, UPDATE = "decode_head.kernel_generate_head.", "decode_head.kernel_update_head."


def swin_stages(backbone):
    """Where they are in either release of transformers."""
    return getattr(backbone, "swin", backbone).encoder.layers


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_published(name):
    with torch.device("meta"):
        network = KNet(150, size=name)
    count, _ = PUBLISHED[name]
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert number_of_parameters(published_shapes(SIZES[name], 150)) == count


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_checkpoint_fits_key_by_key(name):
    shapes = published_shapes(SIZES[name], 150)
    listed = "\n".join(sorted(f"{key} {shape}" for key, shape in shapes.items()))
    assert sha256(listed.encode()).hexdigest() == PUBLISHED[name][1]
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    weights["auxiliary_head.conv_seg.weight"] = torch.empty(150, 256, 1, 1, device="meta")
    network = KNet.from_mmsegmentation(weights)
    assert len(network.stages) == 3
    assert network.classifier.out_channels == 150
    backbone, size = network.backbone, SIZES[name]
    stages = backbone.encoder.stages if size.backbone == "resnet" else swin_stages(backbone)
    assert tuple(len(getattr(stage, "layers", getattr(stage, "blocks", ()))) for stage in stages) == size.depths


@pytest.mark.parametrize("name", TINY)
def test_each_weight_goes_to_its_own_place(name):
    weights = random_weights(TINY[name])
    network = KNet.from_mmsegmentation(weights)
    ours = network.state_dict()
    numbers = [
        torch.cat([value.flatten().double() for key, value in each.items() if "position_index" not in key])
        .sort()
        .values
        for each in (weights, ours)
    ]
    assert torch.equal(*numbers)
    for theirs, here in {
        f"{HEAD}conv_seg.weight": network.classifier.weight,
        f"{HEAD}bottleneck.bn.running_var": network.decoder.bottleneck.bn.running_var,
        f"{UPDATE}1.feat_transform.conv.bias": network.stages[1].transform.bias,
        f"{UPDATE}0.kernel_update_conv.norm_in.weight": network.stages[0].updater.feature_gate_norm.weight,
        f"{UPDATE}1.kernel_update_conv.input_norm_out.bias": network.stages[1].updater.kernel_norm.bias,
        f"{UPDATE}1.attention.attn.in_proj_weight": network.stages[1].attention.in_proj_weight,
        f"{UPDATE}0.ffn.layers.1.weight": network.stages[0].feedforward[2].weight,
        f"{UPDATE}1.fc_mask.bias": network.stages[1].mask.bias,
    }.items():
        assert torch.equal(weights[theirs], here), theirs
    if TINY[name].backbone == "resnet":
        found = network.backbone.encoder.stages[2].layers[0]
        assert torch.equal(found.layer[1].convolution.weight, weights["backbone.layer3.0.conv2.weight"])
        assert torch.equal(found.shortcut.normalization.bias, weights["backbone.layer3.0.downsample.1.bias"])
    assert not network.training


@pytest.mark.parametrize("name", TINY)
def test_a_loaded_network_is_one_that_was_built_with_the_same_weights(name):
    """What no checkpoint holds, the pairs of pixels in Swin's windows, is there too."""
    loaded = KNet.from_mmsegmentation(random_weights(TINY[name]))
    built = KNet(5, size=TINY[name])
    built.load_state_dict(loaded.state_dict())
    view = images(1, 3, 40, 56)
    with torch.no_grad():
        assert torch.equal(loaded(view), built.eval()(view))
    assert [name for name, _ in loaded.named_buffers()] == [name for name, _ in built.named_buffers()]


def test_names_of_both_transformers():
    """Those of release 4, as its own modules list them for a window of 3 pixels and one block a stage."""
    size = replace(TINY["upernet-swin"], depths=(1, 1, 1, 1))
    names = renamed(random_weights(size), release_5=False)
    block = "backbone.encoder.layers.1.blocks.0."
    assert {key.removeprefix(block) for key in names if key.startswith(block)} == {
        "attention.self.relative_position_bias_table",
        *(f"attention.self.{name}.{part}" for name in ("query", "key", "value") for part in ("weight", "bias")),
        *(
            f"{name}.{part}"
            for name in ("layernorm_before", "layernorm_after", "attention.output.dense", "intermediate.dense")
            for part in ("weight", "bias")
        ),
        "output.dense.weight",
        "output.dense.bias",
    }
    assert "backbone.embeddings.patch_embeddings.projection.weight" in names
    assert "backbone.hidden_states_norms.stage4.bias" in names


@torch.no_grad()
def test_patches_are_merged_in_the_order_of_the_checkpoint():
    """mmsegmentation's is that of torch's unfold: channels outermost, then rows and columns of the four pixels."""
    weights = random_weights(TINY["upernet-swin"])
    stage = swin_stages(KNet.from_mmsegmentation(weights).backbone)[1]
    name, x = "backbone.stages.1.downsample.", images(2, 64, 5, 8)
    pixels = F.unfold(F.pad(x, (0, 0, 0, 1)), 2, stride=2).movedim(1, 2)
    pixels = F.layer_norm(pixels, (256,), weights[f"{name}norm.weight"], weights[f"{name}norm.bias"])
    found = stage.downsample(x.flatten(2).movedim(1, 2), (5, 8))
    torch.testing.assert_close(found, pixels @ weights[f"{name}reduction.weight"].T)


def test_queries_keys_and_values_are_told_apart():
    weights = random_weights(TINY["upernet-swin"])
    names = renamed(weights, release_5=True)
    whole = weights["backbone.stages.2.blocks.1.attn.w_msa.qkv.weight"]
    for number, part in enumerate("qkv"):
        found = names[f"backbone.swin.encoder.layers.2.blocks.1.attention.{part}_proj.weight"]
        assert torch.equal(found, whole[number * 128 : (number + 1) * 128])


def test_a_checkpoint_is_opened_by_a_function(tmp_path, monkeypatch):
    weights = random_weights(TINY["deeplabv3-resnet"])
    torch.save({"meta": {}, "state_dict": weights}, tmp_path / "knet_s3_deeplabv3.pth")
    (tmp_path / "my_models.py").write_text(documented())
    monkeypatch.chdir(tmp_path)
    opened = open_model("my_models.py:knet", trust_code=True, normalise="imagenet")
    view = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(1))
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = KNet.from_mmsegmentation(weights)((view - mean) / deviation)
        torch.testing.assert_close(opened(view), expected)


def documented() -> str:
    """The file that the documentation tells users to write."""
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    return page.split("## K-Net")[1].split("```python\n")[1].split("```")[0]


def test_other_weights_are_refused(monkeypatch):
    with pytest.raises(InputError, match=r"conv_seg\.weight' is missing\. Pass the checkpoint's state_dict"):
        KNet.from_mmsegmentation({"model": torch.zeros(1)})
    weights = random_weights(TINY["deeplabv3-resnet"])
    with pytest.raises(InputError, match=r"with 5 classes; stages\.1\.mask\.bias is missing"):
        KNet.from_mmsegmentation({key: value for key, value in weights.items() if "1.fc_mask.bias" not in key})
    for unknown in ("something", "backbone.layer1.x", "backbone.stages.x", "backbone.normal.weight"):
        with pytest.raises(InputError, match=f"{unknown} is unknown"):
            KNet.from_mmsegmentation(weights | {unknown: torch.zeros(1)})
    with pytest.raises(InputError, match=r"stages\.0\.feedforward\.2\.bias is \(9,\), not \(16,\)"):
        KNet.from_mmsegmentation(weights | {f"{UPDATE}0.ffn.layers.1.bias": torch.zeros(9)})
    pspnet = {key: value for key, value in weights.items() if "image_pool" not in key}
    with pytest.raises(InputError, match=r"over DeepLabV3 or UperNet.*Take a checkpoint of knet_s3_deeplabv3_\*"):
        KNet.from_mmsegmentation(pspnet)
    with pytest.raises(InputError, match=r"backbone\.patch_embed\.projection\.weight' is missing"):
        KNet.from_mmsegmentation({key: value for key, value in weights.items() if "backbone" not in key})
    with pytest.raises(MethodError, match="expected a size of K-Net of: deeplabv3-resnet50"):
        KNet(3, size="huge")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PackageError, match=r"package transformers.*pip install 'calibrant\[hf\]'"):
        KNet(3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": "vit"}, "backbone of K-Net of: resnet, swin; got 'vit'"),
        ({"decoder": "fcn"}, "decoder of K-Net of: deeplabv3, upernet; got 'fcn'"),
        ({"channels": 36, "group": 12}, "divide by 8 heads and by the group, 12; got 36 channels"),
        ({"channels": 32, "group": 12}, "divide by 8 heads and by the group, 12; got 32 channels"),
        ({"decoder": "deeplabv3"}, "expected a backbone with stride 8 for deeplabv3, resnet; got swin"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        replace(TINY["upernet-swin"], **changes)
