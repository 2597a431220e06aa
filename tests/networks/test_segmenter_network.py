"""Segmenter against the published configurations: sizes, keys, and, where mmsegmentation is there, its logits."""

import pytest
import torch

from calibrant.errors import InputError, MethodError
from calibrant.networks import Segmenter

# Of mmsegmentation's configurations, counted there: width, layers, heads, image size, parameters with 150 classes.
PUBLISHED = {
    "tiny": (192, 12, 3, 512, 6_713_196),
    "small": (384, 12, 6, 512, 26_033_580),
    "base": (768, 12, 12, 512, 102_496_812),
    "large": (1024, 24, 16, 640, 333_233_452),
}


def published_shapes(
    width: int, layers: int, image_size: int, classes: int, bias: bool = True
) -> dict[str, tuple[int, ...]]:
    """The keys of a published checkpoint and the shapes behind them."""
    shapes = {
        "backbone.cls_token": (1, 1, width),
        "backbone.pos_embed": (1, (image_size // 16) ** 2 + 1, width),
        "backbone.patch_embed.projection.weight": (width, 3, 16, 16),
        "backbone.patch_embed.projection.bias": (width,),
        "backbone.ln1.weight": (width,),
        "backbone.ln1.bias": (width,),
        "decode_head.cls_emb": (1, classes, width),
        "decode_head.dec_proj.weight": (width, width),
        "decode_head.dec_proj.bias": (width,),
        "decode_head.patch_proj.weight": (width, width),
        "decode_head.classes_proj.weight": (width, width),
        "decode_head.decoder_norm.weight": (width,),
        "decode_head.decoder_norm.bias": (width,),
        "decode_head.mask_norm.weight": (classes,),
        "decode_head.mask_norm.bias": (classes,),
    }
    if not bias:  # as in the fork that counted the parameters
        del shapes["backbone.patch_embed.projection.bias"]
    for where, count in (("backbone", layers), ("decode_head", 2)):
        for layer in range(count):
            shapes |= {
                f"{where}.layers.{layer}.{name}": shape
                for name, shape in {
                    "ln1.weight": (width,),
                    "ln1.bias": (width,),
                    "ln2.weight": (width,),
                    "ln2.bias": (width,),
                    "attn.attn.in_proj_weight": (3 * width, width),
                    "attn.attn.in_proj_bias": (3 * width,),
                    "attn.attn.out_proj.weight": (width, width),
                    "attn.attn.out_proj.bias": (width,),
                    "ffn.layers.0.0.weight": (4 * width, width),
                    "ffn.layers.0.0.bias": (4 * width,),
                    "ffn.layers.1.weight": (width, 4 * width),
                    "ffn.layers.1.bias": (width,),
                }.items()
            }
    return shapes


def random_weights(width=192, layers=12, image_size=64, classes=7, bias=True):
    generator = torch.Generator().manual_seed(0)
    shapes = published_shapes(width, layers, image_size, classes, bias)
    return {key: torch.randn(shape, generator=generator) * shape[-1] ** -0.5 for key, shape in shapes.items()}


@pytest.mark.parametrize("size", PUBLISHED)
def test_as_many_parameters_as_published(size):
    width, layers, _, image_size, count = PUBLISHED[size]
    with torch.device("meta"):
        network = Segmenter(150, size=size, patch_bias=False)
    shapes = published_shapes(width, layers, image_size, 150, bias=False)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == count


@pytest.mark.parametrize("size", PUBLISHED)
def test_a_published_checkpoint_fits_key_by_key(size):
    width, layers, _, image_size, _ = PUBLISHED[size]
    weights = {k: torch.empty(s, device="meta") for k, s in published_shapes(width, layers, image_size, 150).items()}
    weights["decode_head.conv_seg.weight"] = torch.empty(150, width, 1, 1, device="meta")
    network = Segmenter.from_mmsegmentation(weights)
    assert len(network.layers) == layers
    assert network.layers[0].self_attn.num_heads == PUBLISHED[size][2]
    assert network.classes.shape[1] == 150


def test_each_weight_goes_to_its_own_place():
    weights = random_weights()
    network = Segmenter.from_mmsegmentation(weights)
    theirs, ours = (
        sorted(float(w.detach().double().sum()) for w in each) for each in (weights.values(), network.parameters())
    )
    assert theirs == ours
    assert torch.equal(network.layers[3].linear1.weight, weights["backbone.layers.3.ffn.layers.0.0.weight"])
    assert torch.equal(network.decoder_layers[1].norm2.bias, weights["decode_head.layers.1.ln2.bias"])
    assert not network.training


def attention_slowly(tokens, weight, bias, out_weight, out_bias, heads):
    query, key, value = (tokens @ weight.T + bias).chunk(3, -1)
    parts = []
    for q, k, v in zip(*(each.chunk(heads, -1) for each in (query, key, value)), strict=True):
        parts.append((q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v)
    return torch.cat(parts, -1) @ out_weight.T + out_bias


def norm_slowly(x, weight, bias, eps):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt() * weight + bias


def layer_slowly(x, w, eps, heads):
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    attention = [w[f"attn.attn.{name}"] for name in names]
    x = x + attention_slowly(norm_slowly(x, w["ln1.weight"], w["ln1.bias"], eps), *attention, heads)
    hidden = (
        norm_slowly(x, w["ln2.weight"], w["ln2.bias"], eps) @ w["ffn.layers.0.0.weight"].T + w["ffn.layers.0.0.bias"]
    )
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    return x + hidden @ w["ffn.layers.1.weight"].T + w["ffn.layers.1.bias"]


def test_the_paper_written_out_gives_the_same_logits():
    weights = {key: value.double() for key, value in random_weights(image_size=32).items()}
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1)).double()

    def part(prefix):
        return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}

    patches = [
        image[:, y : y + 16, x : x + 16].flatten() for y in range(0, 32, 16) for x in range(0, 32, 16)
    ]  # fmt: skip
    kernel, bias = weights["backbone.patch_embed.projection.weight"], weights["backbone.patch_embed.projection.bias"]
    tokens = torch.stack([kernel.flatten(1) @ patch + bias for patch in patches])
    tokens = torch.cat([weights["backbone.cls_token"][0], tokens]) + weights["backbone.pos_embed"][0]
    for layer in range(12):
        tokens = layer_slowly(tokens, part(f"backbone.layers.{layer}."), 1e-6, 3)
    tokens = norm_slowly(tokens, weights["backbone.ln1.weight"], weights["backbone.ln1.bias"], 1e-6)[1:]
    tokens = tokens @ weights["decode_head.dec_proj.weight"].T + weights["decode_head.dec_proj.bias"]
    tokens = torch.cat([tokens, weights["decode_head.cls_emb"][0]])
    for layer in range(2):
        tokens = layer_slowly(tokens, part(f"decode_head.layers.{layer}."), 1e-5, 3)
    tokens = norm_slowly(tokens, *(weights[f"decode_head.decoder_norm.{name}"] for name in ("weight", "bias")), 1e-5)
    seen, classes = tokens[:4] @ weights["decode_head.patch_proj.weight"].T, tokens[4:]
    classes = classes @ weights["decode_head.classes_proj.weight"].T
    cosine = (seen / seen.norm(dim=-1, keepdim=True)) @ (classes / classes.norm(dim=-1, keepdim=True)).T
    masks = norm_slowly(cosine, *(weights[f"decode_head.mask_norm.{name}"] for name in ("weight", "bias")), 1e-5)
    network = Segmenter.from_mmsegmentation(weights)
    torch.testing.assert_close(network(image[None])[0].flatten(1), masks.T)


def test_other_sizes_are_padded_and_positions_interpolated():
    network = Segmenter.from_mmsegmentation(random_weights())
    image = torch.rand(1, 3, 50, 90, generator=torch.Generator().manual_seed(1))
    padded = torch.zeros(1, 3, 64, 96)
    padded[:, :, :50, :90] = image
    with torch.no_grad():
        assert network(image).shape == (1, 7, 4, 6)
        assert torch.equal(network(image), network(padded))


def test_every_weight_is_learnt():
    network = Segmenter(2, size="tiny", image_size=32)
    labels = torch.tensor([[[0, 1], [1, 0]]])
    torch.nn.functional.cross_entropy(network(torch.rand(1, 3, 32, 32)), labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_other_weights_are_refused():
    with pytest.raises(InputError, match=r"backbone\.cls_token.*is missing\. Pass the checkpoint's state_dict"):
        Segmenter.from_mmsegmentation({"model": torch.zeros(1)})
    weights = random_weights()
    del weights["backbone.layers.5.ln2.bias"]
    with pytest.raises(InputError, match=r"tiny, with 7 classes; layers\.5\.norm2\.bias is missing"):
        Segmenter.from_mmsegmentation(weights)
    with pytest.raises(InputError, match=r"something is unknown"):
        Segmenter.from_mmsegmentation(random_weights() | {"something": torch.zeros(1)})
    wrong = random_weights() | {"decode_head.mask_norm.bias": torch.zeros(8)}
    with pytest.raises(InputError, match=r"mask_norm\.bias is \(8,\), not \(7,\)"):
        Segmenter.from_mmsegmentation(wrong)
    with pytest.raises(InputError, match="expected a width of 192, 384, 768, 1024; got 64"):
        Segmenter.from_mmsegmentation(random_weights(width=64))
    with pytest.raises(MethodError, match="expected a size of Segmenter of: tiny"):
        Segmenter(3, size="huge")


@pytest.mark.parametrize(("size", "shape"), [("tiny", (64, 64)), ("tiny", (50, 90)), ("small", (64, 96))])
@pytest.mark.filterwarnings("ignore")
def test_mmsegmentation_gives_the_same_logits(size, shape):
    pytest.importorskip("mmseg", reason="opt-in: needs the maintained fork of mmsegmentation, see docs/models.md")
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()
    width, layers, heads, _, _ = PUBLISHED[size]
    backbone = {
        "type": "VisionTransformer", "img_size": (64, 64), "patch_size": 16, "in_channels": 3, "embed_dims": width,
        "num_layers": layers, "num_heads": heads, "drop_path_rate": 0.1, "final_norm": True,
        "norm_cfg": {"type": "LN", "eps": 1e-6}, "with_cls_token": True, "interpolate_mode": "bicubic",
    }  # fmt: skip
    head = {
        "type": "SegmenterMaskTransformerHead", "in_channels": width, "channels": width, "num_classes": 7,
        "num_layers": 2, "num_heads": heads, "embed_dims": width, "dropout_ratio": 0.0,
        "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
    }  # fmt: skip
    theirs = MODELS.build(
        {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head, "test_cfg": {"mode": "whole"}}
    )
    weights = random_weights(width, bias=hasattr(theirs.backbone.patch_embed.projection.bias, "shape"))
    missing, surplus = theirs.load_state_dict(weights, strict=False)
    assert not surplus
    assert all(key.startswith("decode_head.conv_seg") for key in missing)
    theirs.eval()
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.decode_head(theirs.backbone(image))
        found = Segmenter.from_mmsegmentation(weights)(image)
    assert found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
