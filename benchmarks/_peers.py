"""The fits of other libraries that happen to be installed, each by its public calls.

* Fiducio takes maps as they are. It comes with the extra ``bench``.
* netcal wants rows of probabilities in float64 (with float32 it silently returns the identity); rows are made for it.
  ``pip install netcal`` brings pyro, gpytorch and tensorboard, so it is in no extra.
* torch-uncertainty wants rows of logits. Its package imports lightning and torchvision, of which nothing is needed
  here, so its calibrator modules are loaded without the packages around them.
* probmetrics wants rows of logits, and numba, which it does not install. It comes with the extra ``bench``, as numba.
* torchcal wants rows of logits. It is in no package index: it is installed from github.com/rishabh-ranjan/torchcal.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import torch

from calibrant import IGNORE

Scale = Callable[[torch.Tensor], torch.Tensor]
"""From logits (1, c, p) to calibrated logits."""

COMPARED: Mapping[str, Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "fiducio": {
        name + ("" if not options else ", L-BFGS"): (name, options)
        for name in ("CMSap", "CMSop", "CDC")
        for options in ({}, {"optimizer": "lbfgs"})
    },
    "probmetrics": {
        "structured matrix scaling": ("logistic", {}),
        "structured vector scaling": ("svs", {}),
        "temperature": ("temp-scaling", {}),
    },
    "torchcal": {
        "temperature": ("temp_scaler", {}),
        "vector": ("vector_scaler", {}),
        "matrix": ("matrix_scaler", {}),
    },
}
"""By library and name, what ``benchmarks.peers`` fits: what the library calls it, and options other than its own."""

NAMES = {
    "fiducio": {"temperature": "TemperatureScaling", "vector": "VectorScaling", "dirichlet": "DirichletCalibration"},
    "netcal": {"temperature": "TemperatureScaling", "vector": "LogisticCalibration"},
    "torch_uncertainty": {"temperature": "TemperatureScaler", "vector": "VectorScaler", "dirichlet": "DirichletScaler"},
}


def peers(kind: str, z: torch.Tensor, y: torch.Tensor) -> dict[str, Callable[[], Scale]]:
    """Return the fits of one kind to logits (n, c, *s) and labels (n, *s), by name of the library."""
    makers = {"fiducio": _fiducio, "netcal": _netcal, "torch_uncertainty": _torch_uncertainty}
    installed = {name: make for name, make in makers.items() if name in sys.modules or importlib.util.find_spec(name)}
    return {
        f"{name} {NAMES[name][kind]}": partial(make, NAMES[name][kind], z, y)
        for name, make in installed.items()
        if kind in NAMES[name]
    }


def best_argmax_keeping(z: torch.Tensor, y: torch.Tensor) -> dict[str, Callable[[], Scale]]:
    """Return the fit with the lowest likelihood of those that keep the label map in any library: Fiducio's CMSop."""
    if not importlib.util.find_spec("fiducio"):
        return {}
    return {"fiducio CMSop": partial(_fiducio, "CMSop", z, y, optimizer="adam")}


def installed(library: str) -> str:
    """Return the version of a library, or nothing if it is not installed."""
    return version(library) if importlib.util.find_spec(library) else ""


def compared_peers(z: torch.Tensor, y: torch.Tensor) -> dict[str, Callable[[], Scale]]:
    """Return the fits of ``COMPARED`` whose library is installed, to logits (1, c, p) and labels (1, p)."""
    makers = {"fiducio": _fiducio_as_is, "probmetrics": _probmetrics, "torchcal": _torchcal}
    return {
        f"{library} {title}": partial(makers[library], name, z, y, **options)
        for library, methods in COMPARED.items()
        if installed(library)
        for title, (name, options) in methods.items()
    }


def _fiducio(name: str, z: torch.Tensor, y: torch.Tensor, optimizer: str = "lbfgs") -> Scale:
    return _fiducio_as_is(name, z, y, optimizer=optimizer)


def _fiducio_as_is(name: str, z: torch.Tensor, y: torch.Tensor, **options: Any) -> Scale:
    method: Any = getattr(importlib.import_module("fiducio"), name)(ignore_index=IGNORE, **options)
    method.fit(z, y)
    return lambda x: torch.as_tensor(method.decision_function(x.float()))


def _rows(z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    flat = y.flatten()
    valid = flat != IGNORE
    return z.movedim(1, -1).flatten(0, -2)[valid], flat[valid]


def _netcal(name: str, z: torch.Tensor, y: torch.Tensor) -> Scale:
    logits, labels = _rows(z, y)
    method = getattr(importlib.import_module("netcal.scaling"), name)()
    method.fit(logits.double().softmax(1).numpy(), labels.numpy())

    def scale(x: torch.Tensor) -> torch.Tensor:
        probs = method.transform(x[0].T.double().softmax(1).numpy())
        return torch.from_numpy(np.log(np.maximum(probs, 1e-300))).T[None]

    return scale


def _torch_uncertainty(name: str, z: torch.Tensor, y: torch.Tensor) -> Scale:
    method = _alone(name)(**({} if name == "TemperatureScaler" else {"num_classes": z.shape[1]}))
    method.fit([_rows(z, y)], progress=False)
    return lambda x: method(x[0].T.float()).T[None].detach()


def _probmetrics(name: str, z: torch.Tensor, y: torch.Tensor) -> Scale:
    as_logits = importlib.import_module("probmetrics.distributions").CategoricalLogits
    method = importlib.import_module("probmetrics.calibrators").get_calibrator(name)
    logits, labels = _rows(z, y)
    method.fit_torch(as_logits(logits), labels)

    def scale(x: torch.Tensor) -> torch.Tensor:
        found = method.predict_proba_torch(as_logits(x.flatten(2)[0].T)).get_probs()
        return found.double().clamp_min(1e-300).log().T.view_as(x)

    return scale


def _torchcal(name: str, z: torch.Tensor, y: torch.Tensor) -> Scale:
    method = importlib.import_module("torchcal").calibrator(name, z.shape[1])
    method.fit(*_rows(z, y))
    return lambda x: method(x.float().flatten(2)[0].T).detach().T.view_as(x)


def _alone(name: str) -> Any:
    """Return a calibrator of torch-uncertainty, its packages left out but for the folders they lie in."""
    if (top := "torch_uncertainty") not in sys.modules:
        spec = importlib.util.find_spec(top)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        for package in (top, f"{top}.post_processing", f"{top}.post_processing.calibration"):
            sys.modules[package] = module = ModuleType(package)
            module.__path__ = [spec.submodule_search_locations[0] + package.removeprefix(top).replace(".", "/")]
        abstract = importlib.import_module(f"{top}.post_processing.abstract")
        vars(sys.modules[f"{top}.post_processing"])["PostProcessing"] = abstract.PostProcessing
    files = {
        "TemperatureScaler": "temperature_scaler",
        "VectorScaler": "vector_scaler",
        "DirichletScaler": "dirichlet_scaler",
    }
    return getattr(importlib.import_module(f"torch_uncertainty.post_processing.calibration.{files[name]}"), name)
