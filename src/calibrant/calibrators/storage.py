"""Calibrators on disk: a folder with a readable ``calibrator.json`` and the tensors in ``calibrator.safetensors``.

What is stored is what each constructor needs, and loading calls the constructors of :data:`KINDS` and nothing else:
no code is ever loaded. The JSON holds the digest of the tensors, so that halves of two saves are never put together.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from calibrant._check import check_choice
from calibrant._shapes import Tensor
from calibrant.calibrators._alternatives import Alternatives
from calibrant.calibrators._softening import Softening
from calibrant.calibrators.calibrator import Calibrator, Identity
from calibrant.calibrators.correctness import CorrectnessScaling
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.isotonic import IsotonicScaling
from calibrant.calibrators.learnt_selector import LearntSelector
from calibrant.calibrators.local_temperature import LocalTemperatureScaling
from calibrant.calibrators.meta_cal import EntropyAbove, MetaCal, Uniform
from calibrant.calibrators.oracle import OracleSelector
from calibrant.calibrators.selective import SelectiveScaling
from calibrant.calibrators.selector import NoSelector, SelectorQuality
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.calibrators.vector import VectorScaling
from calibrant.errors import MethodError, StoreError
from calibrant.networks import TemperatureTree

FORMAT = 1

KINDS: dict[str, type] = {
    "identity": Identity,
    "temperature scaling": TemperatureScaling,
    "vector scaling": VectorScaling,
    "Dirichlet scaling": DirichletScaling,
    "selective scaling": SelectiveScaling,
    "correctness scaling": CorrectnessScaling,
    "softening": Softening,
    "alternatives": Alternatives,
    "isotonic scaling": IsotonicScaling,
    "local temperature scaling": LocalTemperatureScaling,
    "temperature tree": TemperatureTree,
    "Meta-Cal": MetaCal,
    "uniform": Uniform,
    "no selector": NoSelector,
    "entropy": EntropyAbove,
    "oracle": OracleSelector,
    "learnt selector": LearntSelector,
    "selector quality": SelectorQuality,
}
"""What can be stored. A new calibrator is one more line."""

JSON, TENSORS = "calibrator.json", "calibrator.safetensors"


def save(calibrator: Calibrator, path: str | os.PathLike[str]) -> None:
    """Write a calibrator into a folder, which is made if missing; one that is there is replaced.

    :raises StoreError: the calibrator, or a part of it, is of no kind in :data:`KINDS`, or cannot be written.
    """
    folder, tensors = Path(path), {}
    stored = _encode(calibrator, "", tensors)
    data = save_tensors(tensors)
    text = json.dumps({"format": FORMAT, "digest": hashlib.sha256(data).hexdigest(), "calibrator": stored}, indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / TENSORS, data)
        _replace(folder / JSON, (text + "\n").encode())
    except OSError as error:
        raise StoreError(f"{folder}: expected to write a calibrator; {error}. Choose another folder.") from error


def load(path: str | os.PathLike[str]) -> Calibrator:
    """Return the calibrator in a folder.

    :raises StoreError: the folder holds none, or it is damaged, or a newer version of calibrant wrote it.
    """
    folder = Path(path)
    try:
        text, data = (folder / JSON).read_text(encoding="utf-8"), (folder / TENSORS).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{folder}: expected a folder with {JSON} and {TENSORS}; {error.filename} is missing. "
            "Pass the folder given to save (command line: calibrant fit … -o)."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{folder}: expected a readable calibrator; {error}. Fit and save it again.") from error
    try:
        header = json.loads(text)
        version, digest, stored = header["format"], header["digest"], header["calibrator"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / JSON}: expected the JSON of a calibrator; {error!r}. Save it again.") from error
    if not isinstance(version, int) or version > FORMAT:
        raise StoreError(
            f"{folder}: expected format {FORMAT} or older; got {version}, written by a newer calibrant. Upgrade."
        )
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(
            f"{folder / TENSORS}: expected the tensors that {JSON} was written with; got others: the file is truncated "
            "or a save was interrupted. Fit and save it again."
        )
    try:
        calibrator = _decode(stored, load_tensors(data))
    except MethodError as error:
        raise StoreError(f"{folder / JSON}: {error} A newer calibrant may know it.") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{folder}: expected a whole calibrator; {error!r}. Fit and save it again.") from error
    if not isinstance(calibrator, Calibrator):
        raise StoreError(f"{folder / JSON}: expected a calibrator; got a {stored.get('kind')}. Fit and save it again.")
    return calibrator


def _encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()  # two parts may share one
        return {"tensor": name}
    if isinstance(value, list | tuple):
        return [_encode(part, f"{name}.{number}", tensors) for number, part in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    kind = next((kind for kind, known in KINDS.items() if type(value) is known), None)
    if kind is None:
        raise StoreError(f"expected a calibrator of: {', '.join(KINDS)}; got {type(value).__name__}. It has no kind.")
    prefix = f"{name}." if name else ""
    arguments = {key: _encode(part, prefix + key, tensors) for key, part in value.arguments().items()}
    stored = {"kind": kind, "arguments": arguments}
    return stored | {"notes": list(value.notes)} if isinstance(value, Calibrator) else stored


def _decode(stored: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(stored, list):
        return [_decode(part, tensors) for part in stored]
    if not isinstance(stored, dict):
        return stored
    if "tensor" in stored:
        return tensors[stored["tensor"]]
    check_choice(stored["kind"], KINDS, "kind of calibrator")
    arguments = {key: _decode(part, tensors) for key, part in stored["arguments"].items()}
    if "notes" in stored:
        arguments["notes"] = tuple(stored["notes"])
    return KINDS[stored["kind"]](**arguments)


def _replace(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside it, then give it its name: it is whole or not there."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
