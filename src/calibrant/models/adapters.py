"""Opening a model by name: what lies at the path, or what the name means, decides how.

==========================  ======================================================================  =============
what is given               what it is                                                              needs trust
==========================  ======================================================================  =============
folder with config.json     Hugging Face ``transformers``, as ``save_pretrained`` writes it          if it has code
``owner/name``              the same, from the hub                                                  if it has code
``file.onnx``               ONNX, run by onnxruntime                                                no
``file.pt``, ``.pt2`` …     TorchScript, ``torch.export``, or a pickled module                      yes
folder with ``configs/``    a MONAI bundle                                                          yes
``module:function``         your own; also ``path/to/file.py:function``                             yes
==========================  ======================================================================  =============

Weights are read as safetensors, or with ``weights_only=True``. What can run code needs ``trust_code=True``.
"""

import inspect
import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from calibrant._input.checks import check_choice
from calibrant._input.own_code import import_named, must_trust, names_code
from calibrant.errors import DataError, InputError
from calibrant.models._files import open_onnx, open_torch_file
from calibrant.models._huggingface import open_hugging_face
from calibrant.models._monai import is_bundle, open_bundle
from calibrant.models._normalise import Normalisation
from calibrant.models.blocks import RESOLUTIONS
from calibrant.models.opened import OpenedModel, Scaled

TORCH_FILES = (".pt", ".pth", ".pt2", ".ts", ".ptc", ".ckpt", ".bin", ".safetensors")


def open_model(
    spec: str | os.PathLike[str],
    *,
    device: str = "cpu",
    trust_code: bool = False,
    normalise: str | None = None,
    resolution: str = "network",
) -> OpenedModel:
    """Return the model that a path or a name stands for, as a callable from images in [0, 1] to logits.

    :param spec: the path or name of a model; the table above says what it may be. A function is called without
        arguments and returns the model; one that has an argument without default is the model itself: images ``n k *s``
        in [0, 1] to logits ``n c *t``.
    :param device: where it runs: ``cpu``, ``cuda``, ``cuda:1``.
    :param trust_code: allow code that comes with the model to run.
    :param normalise: how images in [0, 1] are scaled: ``none``, ``imagenet``, or ``means/deviations`` with commas. By
        default as a Hugging Face model's ``preprocessor_config.json`` says, and not at all for the others.
    :param resolution: ``label`` or ``network``: whether mask classifiers upsample masks to the image before they
        become logits (as published). All others answer at their own resolution.
    :raises DataError: there is no model there, or it cannot be opened.
    :raises InputError: it needs trust_code, or an option cannot be used.

    >>> open_model("no/such/model.onnx")
    Traceback (most recent call last):
    calibrant.errors.DataError: no/such/model.onnx: expected a file of a model; there is none. Check the path.
    """
    check_choice(resolution, RESOLUTIONS, "resolution")
    _check_device(device)
    name, path = os.fspath(spec), Path(spec)
    how = None if normalise is None else Normalisation.named(normalise)
    plain = how or Normalisation()
    if path.is_dir():
        if is_bundle(path):
            return open_bundle(path, device=device, trust_code=trust_code, normalisation=plain)
        if (path / "config.json").is_file():
            return open_hugging_face(
                name, device=device, trust_code=trust_code, normalisation=how, resolution=resolution
            )
        raise DataError(
            f"{path}: expected a folder with config.json (Hugging Face, save_pretrained) or configs/metadata.json (a "
            f"MONAI bundle); it has {_some(path)}. Give the folder that holds one of these."
        )
    if path.is_file():
        if path.suffix.lower() == ".onnx":
            return open_onnx(path, device=device, normalisation=plain)
        if path.suffix.lower() in TORCH_FILES:
            return open_torch_file(path, device=device, trust_code=trust_code, normalisation=plain)
        raise DataError(
            f"{path}: expected a model file, .onnx or {', '.join(TORCH_FILES[:3])}; got {path.suffix or 'no ending'}. "
            "Write a function that opens it, and pass module:function."
        )
    if names_code(name):
        if not trust_code:
            raise must_trust(name, "it is your own code, or somebody's")
        return _open_function(name, device=device, normalisation=plain)
    if path.suffix.lower() in (".onnx", *TORCH_FILES) or re.match(r"[./~]|[A-Za-z]:\\", name):
        raise DataError(f"{name}: expected a file of a model; there is none. Check the path.")
    # A path of which the folder is there, or a name without an owner, is not one of the hub: it is not asked.
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not path.parent.is_dir():
        return open_hugging_face(name, device=device, trust_code=trust_code, normalisation=how, resolution=resolution)
    raise DataError(
        f"{name}: expected a folder, a file, a name on the Hugging Face hub (owner/name), or module:function; it is "
        f"none of these. {_near(path)}"
    )


def _near(path: Path) -> str:
    """What may have been meant: a neighbour of nearly the same name."""
    there = sorted(each.name for each in path.parent.iterdir()) if path.parent.is_dir() else []
    found = get_close_matches(path.name, there, 1)
    return f"Did you mean {path.with_name(found[0])}?" if found else "Check the path."


def _open_function(name: str, *, device: str, normalisation: Normalisation) -> OpenedModel:
    found = import_named(name)
    if not callable(found):
        raise DataError(f"{name}: expected a function or a model; got {type(found).__name__}. Name the function.")
    model: Callable[..., Any] = found
    if not isinstance(found, torch.nn.Module) and not _required(found):
        model = found()
        if not callable(model):
            raise DataError(
                f"{name}: expected the function to return a model, a callable from images to logits; got "
                f"{type(model).__name__}. Return the module, or a function of images."
            )
    # Errors of the user's own code reach the user as they are, with their traceback.
    run = _Plain(model, normalisation, name=name).to(device)
    return OpenedModel(run, f"{name} ({type(model).__name__}, {normalisation})")


class _Plain(Scaled):
    def forward(self, images: torch.Tensor) -> Any:
        return self.model(self.normalise(images))


def _required(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is inspect.Parameter.empty and p.kind not in kinds for p in parameters)


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InputError(f"expected a device such as cpu, cuda or cuda:1; got {device!r}.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"expected a device that torch can use here; got {device!r}, and torch sees no GPU. Use --device cpu, or "
            "install a torch with CUDA."
        )


def _some(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing in it"
