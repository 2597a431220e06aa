"""Models in one file: ONNX, TorchScript, ``torch.export``, and pickled modules."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calibrant._input.checks import needs
from calibrant._input.own_code import must_trust
from calibrant._shapes import Float, Tensor
from calibrant.errors import DataError, InputError, LogitsError
from calibrant.models._normalise import Normalisation
from calibrant.models.opened import OpenedModel, Scaled, digest


def open_onnx(path: Path, *, device: str, normalisation: Normalisation) -> OpenedModel:
    """Open an ONNX file with onnxruntime; its metadata may name ``class_names``, with commas between."""
    runtime = needs("onnxruntime", "runs ONNX files", name=str(path))
    providers = ["CPUExecutionProvider"]
    if torch.device(device).type != "cpu":
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise InputError(
                f"{path}: expected an onnxruntime that runs on {device}; this one runs on the CPU only. Install "
                "onnxruntime-gpu, or pass device='cpu' (--device cpu)."
            )
        providers.insert(0, "CUDAExecutionProvider")
    try:
        session = runtime.InferenceSession(str(path), providers=providers)
    except Exception as error:  # onnxruntime raises classes of its own
        raise DataError(f"{path}: expected an ONNX model; it cannot be opened: {error}. Export it again.") from error
    inputs = [each for each in session.get_inputs() if each.name not in _initial_values(session)]
    if len(inputs) != 1 or inputs[0].type not in _TYPES:
        raise DataError(
            f"{path}: expected an ONNX model with one input, images (n, k, *space) as floating-point numbers; got "
            f"{', '.join(f'{each.name} {each.type} {each.shape}' for each in inputs)}. Export it with that input."
        )
    model = _Onnx(session, inputs[0].name, inputs[0].type, inputs[0].shape, _output(session, path, inputs[0]))
    names = session.get_modelmeta().custom_metadata_map.get("class_names", "")
    class_names = tuple(name.strip() for name in names.split(",") if name.strip())
    fixed = [length for length in inputs[0].shape[2:] if isinstance(length, int)]
    hint = f"It takes images of {' x '.join(map(str, fixed))} only: give such windows, --crop." if fixed else ""
    return OpenedModel(
        Scaled(model, normalisation, name=str(path), hint=hint).to(device),
        f"{path} (ONNX, sha256 {digest([path])}, {normalisation})",
        class_names=class_names,
        num_classes=len(class_names) or None,
    )


_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class _Onnx:
    """Runs a session, one image at a time if it was exported for one."""

    def __init__(self, session: Any, name: str, kind: str, shape: list[Any], output: str):
        self.session, self.name, self.dtype, self.output = session, name, _TYPES[kind], output
        self.count = shape[0] if isinstance(shape[0], int) else None

    def __call__(self, images: Float[Tensor, "n k *s"]) -> Float[Tensor, "n c *t"]:
        parts = [images] if self.count is None else images.split(self.count)
        answers = []
        for part in parts:
            array = np.ascontiguousarray(part.detach().cpu().numpy().astype(self.dtype))
            try:
                answers.append(self.session.run([self.output], {self.name: array})[0])
            except Exception as error:  # onnxruntime raises classes of its own
                raise RuntimeError(str(error).split("] ", 1)[-1]) from error
        return torch.from_numpy(np.concatenate(answers))


def _initial_values(session: Any) -> set[str]:
    return {each.name for each in session.get_overridable_initializers()}


def _output(session: Any, path: Path, entry: Any) -> str:
    maps = [each for each in session.get_outputs() if each.type in _TYPES and len(each.shape) == len(entry.shape)]
    named = [each for each in maps if each.name in ("logits", "out")]
    if len(named or maps) != 1:
        outputs = ", ".join(f"{each.name} {each.type} {each.shape}" for each in session.get_outputs())
        raise LogitsError(
            f"{path}: expected one output of logits (n, classes, *space), or one called logits; got {outputs}. "
            "Export the scores before the softmax or argmax, under that name."
        )
    return (named or maps)[0].name


def open_torch_file(path: Path, *, device: str, trust_code: bool, normalisation: Normalisation) -> OpenedModel:
    """Open a TorchScript file, one of ``torch.export``, or a pickled module. All of them are code."""
    kind = _kind(path)
    if kind == "weights" or path.suffix == ".safetensors":
        raise DataError(
            f"{path}: expected a whole model; a file of weights alone does not say what network they are for. Write a "
            "function that builds the network and loads them (weights_only=True), and pass it as module:function."
        )
    because = {
        "TorchScript": "TorchScript is a program",
        "torch.export": "torch.export.load may unpickle what the file holds",
        "pickle": "a pickled module is code, which torch.load runs",
    }[kind]
    if not trust_code:
        raise must_trust(str(path), because)
    readers: dict[str, Callable[[], Any]] = {
        "TorchScript": lambda: torch.jit.load(str(path), map_location=device),
        "torch.export": lambda: torch.export.load(str(path)).module(),
        "pickle": lambda: torch.load(path, map_location=device, weights_only=False),
    }
    try:
        model = readers[kind]()
    except Exception as error:  # what unpickles may raise anything
        raise DataError(f"{path}: expected a file of {kind}; it cannot be opened: {error}. Save it again.") from error
    if not isinstance(model, nn.Module):
        raise DataError(
            f"{path}: expected a model; got {type(model).__name__}, which is no module. Pass module:function."
        )
    return OpenedModel(
        Scaled(model, normalisation, name=str(path)).to(device),
        f"{path} ({kind}, sha256 {digest([path])}, {normalisation})",
    )


def _kind(path: Path) -> str:
    """Return which kind of file of torch this is, from its table of contents and, of a pickle, without running it."""
    if not zipfile.is_zipfile(path):
        return "pickle" if path.suffix != ".safetensors" else "weights"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    parts = {name.split("/")[1] for name in names if name.count("/")}
    if "code" in parts and any(name.endswith("constants.pkl") for name in names):
        return "TorchScript"
    if path.suffix == ".pt2" or any("serialized_exported_program" in n or n.endswith("archive_format") for n in names):
        return "torch.export"
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # it holds more than tensors
        return "pickle"
    return "weights"
