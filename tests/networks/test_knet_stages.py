"""What the stages of K-Net do: the paper's equations written out, and what must follow from them."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("transformers", reason="transformers is not installed")

from published_knet import TINY, images, random_weights

from calibrant.networks import KNet
from calibrant.networks.knet import KernelUpdate

HEAD, UPDATE = "decode_head.kernel_generate_head.", "decode_head.kernel_update_head."


def norm_slowly(x, part):
    mean, variance = x.mean(), x.var(unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * part["weight"] + part["bias"]


def update_slowly(features, kernels, masks, size, w):
    """One stage on one image, class by class, from a checkpoint's own names."""

    def named(name):
        prefix = f"{UPDATE}0.{name}."
        return {key.removeprefix(prefix): value for key, value in w.items() if key.startswith(prefix)}

    def linear(name, x):
        part = named(name)
        return part["weight"] @ x + part.get("bias", 0)

    transform = named("feat_transform.conv")
    height, width = features.shape[1:]
    pixels = [features[:, y, x] for y in range(height) for x in range(width)]
    pixels = [transform["weight"][:, :, 0, 0] @ pixel + transform["bias"] for pixel in pixels]
    shares = masks.flatten(1).exp() / masks.flatten(1).exp().sum(0)
    updated = []
    for number, kernel in enumerate(kernels):
        found = sum(share * pixel for share, pixel in zip(shares[number], pixels, strict=True))
        groups = []
        for at in range(0, size.channels, size.group):
            here = slice(at, at + size.group)
            of_found = linear("kernel_update_conv.dynamic_layer", found[here])
            of_kernel = linear("kernel_update_conv.input_layer", kernel[here])
            both = of_found[: size.group] * of_kernel[: size.group]
            gates = [
                torch.sigmoid(
                    norm_slowly(linear(f"kernel_update_conv.{gate}", both), named(f"kernel_update_conv.{norm}"))
                )
                for gate, norm in (("update_gate", "norm_in"), ("input_gate", "input_norm_in"))
            ]
            new = gates[0] * norm_slowly(of_found[size.group :], named("kernel_update_conv.norm_out"))
            new = new + gates[1] * norm_slowly(of_kernel[size.group :], named("kernel_update_conv.input_norm_out"))
            new = norm_slowly(linear("kernel_update_conv.fc_layer", new), named("kernel_update_conv.fc_norm"))
            groups.append(new.clamp(min=0))
        updated.append(torch.cat(groups))
    attention = named("attention.attn")
    parts = [(attention["in_proj_weight"] @ each + attention["in_proj_bias"]).chunk(3) for each in updated]
    attended = []
    for query, _, _ in parts:
        heads = []
        for head in range(8):
            here = slice(head * size.channels // 8, (head + 1) * size.channels // 8)
            logits = torch.stack([query[here] @ key[here] for _, key, _ in parts]) / (size.channels / 8) ** 0.5
            weights = logits.exp() / logits.exp().sum()
            heads.append(sum(weight * value[here] for weight, (_, _, value) in zip(weights, parts, strict=True)))
        attended.append(linear("attention.attn.out_proj", torch.cat(heads)))
    answers, after = [], []
    for kernel, more in zip(updated, attended, strict=True):
        kernel = norm_slowly(kernel + more, named("attention_norm"))
        hidden = linear("ffn.layers.0.0", kernel).clamp(min=0)
        kernel = norm_slowly(kernel + linear("ffn.layers.1", hidden), named("ffn_norm"))
        after.append(kernel)
        mask = linear("fc_mask", norm_slowly(linear("mask_fcs.0", kernel), named("mask_fcs.1")).clamp(min=0))
        answers.append(torch.stack([mask @ pixel for pixel in pixels]).view(height, width))
    return torch.stack(answers), torch.stack(after)


def test_the_paper_written_out_gives_the_same_masks():
    size = TINY["upernet-swin"]
    weights = {key: value.double() for key, value in random_weights(size).items()}
    stage = KNet.from_mmsegmentation(weights).stages[0]
    features, kernels, masks = images(16, 3, 4).double(), images(5, 16, seed=2).double(), images(5, 3, 4).double()
    expected = update_slowly(features, kernels, masks, size, weights)
    # Beside another image, which changes nothing.
    pair = [torch.stack([torch.randn_like(each), each]) for each in (features, kernels, masks)]
    with torch.no_grad():
        found = stage(*pair)
    torch.testing.assert_close(tuple(each[1] for each in found), expected)


def test_a_stage_that_keeps_its_kernels_keeps_the_masks():
    """Kernels of 1 and -1 pass every norm as they are: a stage can be set to leave them alone."""
    stage = KernelUpdate(16, group=8, hidden=24).eval()
    updater = stage.updater
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.zero_()
        for name in ("kernel_norm", "out_norm"):
            getattr(updater, name).weight.fill_(1)
        for norm in (stage.attention_norm, stage.feedforward_norm, stage.into_mask[1]):
            norm.weight.fill_(1)
        updater.kernel_gate_norm.bias.fill_(50)  # open
        updater.feature_gate_norm.bias.fill_(-50)  # shut
        updater.of_kernels.weight[8:] = torch.eye(8)
        updater.out.weight[:] = torch.eye(8)
        stage.transform.weight[:, :, 0, 0] = torch.eye(16)
        stage.into_mask[0].weight[:] = torch.eye(16)
        # Undo the ReLU: 0 and 1 to -1 and 1.
        stage.mask.weight[:] = 2 * torch.eye(16)
        stage.mask.bias.fill_(-1)
    signs = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1])
    halves = [signs[torch.randperm(8, generator=torch.Generator().manual_seed(seed))] for seed in range(12)]
    kernels = torch.cat(halves).view(2, 3, 16)
    features = images(2, 16, 5, 7)
    masks = torch.einsum("nck,nkhw->nchw", kernels, features)
    with torch.no_grad():
        found, after = stage(features, kernels, masks)
    torch.testing.assert_close(found, masks, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(after, kernels, rtol=1e-4, atol=1e-4)


def test_stages_follow_each_other_and_the_last_one_answers():
    network = KNet.from_mmsegmentation(random_weights(TINY["deeplabv3-resnet"]))
    view = images(2, 3, 48, 64)
    with torch.no_grad():
        first, second, last = network.by_stage(view)
        assert torch.equal(network(view), last)
        features = network.decoder(network.backbone(view).feature_maps)
        weight, bias = network.classifier.weight[:, :, 0, 0], network.classifier.bias[:, None, None]
        torch.testing.assert_close(first, torch.einsum("ck,nkhw->nchw", weight, features) + bias)
        masks, kernels = network.stages[0](features, weight.expand(2, -1, -1), first)
        torch.testing.assert_close(second, masks)
        torch.testing.assert_close(last, network.stages[1](features, kernels, masks)[0])
        assert len(KNet(5, size=replace(TINY["upernet-resnet"], num_stages=0)).eval().by_stage(view)) == 1


def test_classes_in_another_order_are_answered_in_that_order():
    weights = random_weights(TINY["deeplabv3-resnet"])
    order = torch.tensor([3, 0, 4, 1, 2])
    other = weights | {
        f"{HEAD}conv_seg.{part}": weights[f"{HEAD}conv_seg.{part}"][order] for part in ("weight", "bias")
    }
    view = images(1, 3, 40, 40)
    with torch.no_grad():
        expected, found = (KNet.from_mmsegmentation(each)(view) for each in (weights, other))
    torch.testing.assert_close(found, expected[:, order])


@pytest.mark.parametrize(("name", "stride"), [("deeplabv3-resnet", 8), ("upernet-resnet", 4), ("upernet-swin", 4)])
def test_every_weight_is_learnt(name, stride):
    network = KNet(3, size=TINY[name])
    logits = network(images(2, 3, 41, 64))
    assert logits.shape == (2, 3, -(-41 // stride), 64 // stride)
    labels = torch.randint(3, logits[:, 0].shape, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(logits, labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        # What is the same for all keys drops out of the softmax.
        assert name.endswith("k_proj.bias") or parameter.grad.abs().sum() > 0, name


def test_images_may_have_other_channels():
    for name in ("upernet-resnet", "upernet-swin"):
        network = KNet(3, size=TINY[name], in_channels=4).eval()
        assert network(images(1, 4, 32, 32)).shape == (1, 3, 8, 8)
