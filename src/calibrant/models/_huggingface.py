"""Models of Hugging Face ``transformers``: from a folder that ``save_pretrained`` wrote, or from the hub by name."""

import importlib
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from calibrant._input.checks import needs
from calibrant._input.own_code import must_trust
from calibrant._shapes import Float, Tensor
from calibrant.errors import DataError
from calibrant.models._normalise import Normalisation
from calibrant.models.opened import OpenedModel, Scaled, digest

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def open_hugging_face(
    spec: str, *, device: str, trust_code: bool, normalisation: Normalisation | None, resolution: str
) -> OpenedModel:
    """Open a folder or a name on the hub as a model for semantic segmentation."""
    transformers = needs("transformers", "runs this model", name=spec)
    with _quiet(transformers):
        said = _read(spec, lambda: transformers.PretrainedConfig.get_config_dict(spec)[0], "config.json")
        auto = _auto_class(transformers, spec, said, trust_code)
        if normalisation is None:
            mixin = importlib.import_module("transformers.image_processing_base").ImageProcessingMixin
            hint = " Without it nobody knows how images are to be scaled; say it: normalise=… (--normalise)."
            found = _read(spec, lambda: mixin.get_image_processor_dict(spec)[0], "preprocessor_config.json", hint)
            normalisation = Normalisation.of_hugging_face(found)
        network, loading = _read(
            spec,
            lambda: auto.from_pretrained(spec, trust_remote_code=trust_code, output_loading_info=True),
            "weights as safetensors, or such as torch.load opens with weights_only=True",
        )
        missing = sorted(loading["missing_keys"])
        if missing or loading["mismatched_keys"]:
            raise DataError(
                f"{spec}: expected all weights of {type(network).__name__}; {len(missing)} are missing, such as "
                f"{(missing or ['of another shape'])[0]}. A backbone alone is no segmentation model: give one whose "
                "head was trained too."
            )
        extra = _task(transformers, spec) if said.get("model_type") == "oneformer" else {}
    config = network.config
    model = Masks(network, at_image_size=resolution == "label", **extra)
    kind = type(network).__name__
    size = getattr(config, "image_size", None)
    hint = "" if size is None else f"It was made for images of {size} pixels a side: give windows of that size, --crop."
    names = tuple(str(config.id2label[k]) for k in sorted(config.id2label))
    named = not all(name == f"LABEL_{k}" for k, name in enumerate(names))
    folder = Path(spec)
    files = sorted(file for pattern in WEIGHTS for file in folder.glob(pattern)) if folder.is_dir() else []
    weights = f"weights {digest(files)}" if files else f"commit {str(config._commit_hash)[:12]}"
    return OpenedModel(
        Scaled(model, normalisation, name=spec, hint=hint).to(device),
        f"{spec} ({kind}, {weights}, {normalisation})",
        class_names=names if named else (),
        num_classes=config.num_labels if config.num_labels > 1 else 2,
        answers=model.answers if auto is transformers.AutoModelForUniversalSegmentation else "",
    )


class Masks(nn.Module):
    """A network of ``transformers`` that answers with logits, whether it classifies pixels or masks.

    A mask classifier (MaskFormer, Mask2Former, OneFormer, EoMT) has for each query q a distribution over classes, of
    which the last is "no object", and a mask. As their authors do, the score of class k in a pixel is

        sum over q of softmax(class_q)_k x sigmoid(mask_q)

    over masks upsampled to the image. Scores do not sum to one; their logarithm, less that of their sum, is the logit:
    the probability of a class is its share of the scores, and the winner is the authors'.

    :param at_image_size: upsample masks to the image before they are combined, as published; otherwise combine them as
        they are, and let logits be upsampled later, which is smaller and not quite the same.
    """

    def __init__(self, network: nn.Module, *, at_image_size: bool, task: Tensor | None = None):
        super().__init__()
        self.network, self.at_image_size = network, at_image_size
        self.register_buffer("task", task, persistent=False)

    @property
    def answers(self) -> str:
        """At what resolution masks become logits."""
        return "masks upsampled to the image" if self.at_image_size else "masks combined at their own resolution"

    def forward(self, images: Float[Tensor, "n k h w"]) -> Float[Tensor, "n c *t"]:
        """Return logits of images that are scaled already."""
        extra = {}
        if isinstance(self.task, Tensor):
            extra["task_inputs"] = self.task.expand(len(images), -1)
        output = self.network(pixel_values=images, **extra)
        if hasattr(output, "logits"):
            return output.logits
        masks = output.masks_queries_logits.float()
        if self.at_image_size:
            masks = F.interpolate(masks, images.shape[2:], mode="bilinear")
        classes = output.class_queries_logits.float().softmax(-1)[..., :-1]
        with torch.autocast(images.device.type, enabled=False):
            scores = torch.einsum("nqc,nqhw->nchw", classes, masks.sigmoid())
        logarithms = scores.clamp_min(torch.finfo(torch.float32).tiny).log()
        return logarithms.log_softmax(1)


def _auto_class(transformers: Any, spec: str, said: dict[str, Any], trust_code: bool) -> Any:
    names = importlib.import_module("transformers.models.auto.modeling_auto")
    kind = said.get("model_type", "")
    pixels = set(names.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES)
    masks = set(names.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES) - {"detr"}  # whose masks are of things alone
    if kind in pixels:
        return transformers.AutoModelForSemanticSegmentation
    if kind in masks:
        return transformers.AutoModelForUniversalSegmentation
    if "auto_map" in said:
        if not trust_code:
            raise must_trust(spec, "its config.json names Python files of its own (auto_map)")
        return transformers.AutoModelForSemanticSegmentation
    raise DataError(
        f"{spec}: expected a model for semantic segmentation, of the kinds {', '.join(sorted({*pixels, *masks}))}; got "
        f"{kind or 'a config.json without model_type'}. Anything else: write a function that returns it, and pass "
        "module:function."
    )


def _task(transformers: Any, spec: str) -> dict[str, Tensor]:
    """Return the text input of OneFormer: the tokens of "the task is semantic"."""
    found = _read(spec, lambda: transformers.AutoTokenizer.from_pretrained(spec), "the tokenizer of OneFormer")
    if len(found) < 4:  # where its files are missing transformers makes one without an alphabet
        raise DataError(f"{spec}: expected the tokenizer of OneFormer; got none. Save it into the folder, too.")
    length = 77  # OneFormerProcessor's own
    tokens = found(["the task is semantic"], padding="max_length", max_length=length, truncation=True)
    # The processor multiplies token ids by the attention mask, which sets the padding to 0.
    ids, mask = (torch.tensor(tokens[name]) for name in ("input_ids", "attention_mask"))
    return {"task": ids * mask}


def _read(spec: str, read: Any, what: str, hint: str = "") -> Any:
    try:
        return read()
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, UnpicklingError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{spec}: expected {what}; it cannot be read: {first}{hint} Give a folder that save_pretrained wrote, or a "
            "name on the hub."
        ) from error


@contextmanager
def _quiet(transformers: Any) -> Generator[None]:
    """Keep the package from reporting what calibrant reports itself."""
    tell = transformers.utils.logging
    level, bars = tell.get_verbosity(), tell.is_progress_bar_enabled()
    tell.set_verbosity(logging.ERROR)
    tell.disable_progress_bar()
    try:
        yield
    finally:
        tell.set_verbosity(level)
        if bars:
            tell.enable_progress_bar()
