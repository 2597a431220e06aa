"""Small models of each family, from their configurations, with random weights; as folders that they saved."""

import json
from pathlib import Path

import torch

CLASSES = ("road", "sky", "tree", "car", "house")
SWIN = {
    "embed_dim": 12,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
LABELS = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: k for k, name in enumerate(CLASSES)}}


def segformer():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
    return SegformerForSemanticSegmentation(SegformerConfig(**sizes, decoder_hidden_size=16, **LABELS))


def upernet_swin():
    from transformers import SwinConfig, UperNetConfig, UperNetForSemanticSegmentation

    config = UperNetConfig(backbone_config=SwinConfig(**SWIN), hidden_size=16, use_auxiliary_head=False, **LABELS)
    return UperNetForSemanticSegmentation(config)


def upernet_convnext():
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, out_features=SWIN["out_features"])
    config = UperNetConfig(backbone_config=backbone, hidden_size=16, use_auxiliary_head=False, **LABELS)
    return UperNetForSemanticSegmentation(config)


def beit():
    from transformers import BeitConfig, BeitForSemanticSegmentation

    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    config = BeitConfig(**sizes, image_size=64, out_indices=[1, 2, 3, 4], auxiliary_channels=8, **LABELS)
    return BeitForSemanticSegmentation(config)


def dpt():
    from transformers import DPTConfig, DPTForSemanticSegmentation

    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    necks = {"backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}
    return DPTForSemanticSegmentation(DPTConfig(**sizes, **necks, image_size=64, **LABELS))


def mask2former():
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    sizes = {"hidden_dim": 32, "feature_size": 32, "mask_feature_size": 32, "num_queries": 6, "num_attention_heads": 2}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_feedforward_dim": 16, "dim_feedforward": 16}
    config = Mask2FormerConfig(backbone_config=SwinConfig(**SWIN), **sizes, **layers, **LABELS)
    return Mask2FormerForUniversalSegmentation(config)


def maskformer():
    from transformers import DetrConfig, MaskFormerConfig, MaskFormerForInstanceSegmentation, SwinConfig
    from transformers.utils import logging

    decoder = DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=6,
    )  # fmt: skip
    logging.set_verbosity_error()
    sizes = {"fpn_feature_size": 32, "mask_feature_size": 32}
    config = MaskFormerConfig(backbone_config=SwinConfig(**SWIN), decoder_config=decoder, **sizes, **LABELS)
    return MaskFormerForInstanceSegmentation(config)


def eomt():
    from transformers import EomtConfig, EomtForUniversalSegmentation

    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    return EomtForUniversalSegmentation(EomtConfig(**sizes, image_size=64, num_queries=6, num_blocks=1, **LABELS))


PIXELS = {each.__name__: each for each in (segformer, upernet_swin, upernet_convnext, beit, dpt)}
MASKS = {each.__name__: each for each in (mask2former, maskformer, eomt)}


def saved(make, folder: Path, *, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)):
    """Make a model whose answers are not all alike, save it with its image processor, and return it."""
    from transformers import SegformerImageProcessor

    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    model.save_pretrained(folder)
    SegformerImageProcessor(image_mean=list(mean), image_std=list(std)).save_pretrained(folder)
    return model


def oneformer():
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation, SwinConfig

    config = OneFormerConfig(
        backbone_config=SwinConfig(**SWIN), num_queries=6, hidden_dim=32, conv_dim=32, mask_dim=32,
        num_attention_heads=2, dim_feedforward=16, encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2,
        text_encoder_width=16, text_encoder_num_layers=1, text_encoder_vocab_size=64, text_encoder_n_ctx=2, **LABELS,
    )  # fmt: skip
    return OneFormerForUniversalSegmentation(config)


def letters(folder: Path):
    """A tokenizer of single letters, in the form of CLIP's, from files in a new folder."""
    from transformers import CLIPTokenizer

    alphabet = [chr(number) for number in range(ord("a"), ord("z") + 1)]
    words = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder)  # its constructor takes other arguments in each version
