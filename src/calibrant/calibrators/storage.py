"""Calibrators on disk: a folder with a readable ``calibrator.json`` and the tensors in a safetensors file.

What is stored is what each constructor needs. Loading calls the constructors of :data:`KINDS`, and of the classes of
your own that you pass, and nothing else: no name in a file is ever imported.
"""

import os
from collections.abc import Mapping
from typing import Any

from calibrant._storage.fitted import Storage
from calibrant.calibrators.calibration_network import CalibrationNetwork
from calibrant.calibrators.calibrator import Calibrator, Identity
from calibrant.calibrators.correctness import CorrectnessScaling, MistakeModel, Recalibration, TemperatureNetwork
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.isotonic import IsotonicScaling
from calibrant.calibrators.local_temperature import LocalTemperatureScaling
from calibrant.calibrators.selective.learnt import LearntSelector
from calibrant.calibrators.selective.meta_cal import EntropyAbove, MetaCal, Uniform
from calibrant.calibrators.selective.oracle import OracleSelector
from calibrant.calibrators.selective.selective import SelectiveScaling
from calibrant.calibrators.selective.selector import NoSelector, SelectorQuality
from calibrant.calibrators.stacked import ConfidenceNetwork, Gate, StackedScaling
from calibrant.calibrators.temperature import TemperatureScaling
from calibrant.calibrators.vector import VectorScaling
from calibrant.networks import CalibrationHead, SegNet, TemperatureTree
from calibrant.training import Standardise

KINDS: dict[str, type] = {
    "identity": Identity,
    "temperature scaling": TemperatureScaling,
    "vector scaling": VectorScaling,
    "Dirichlet scaling": DirichletScaling,
    "selective scaling": SelectiveScaling,
    "correctness scaling": CorrectnessScaling,
    "stacked scaling": StackedScaling,
    "confidence network": ConfidenceNetwork,
    "gate": Gate,
    "temperature network": TemperatureNetwork,
    "mistake model": MistakeModel,
    "recalibration": Recalibration,
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
    "calibration network": CalibrationNetwork,
    "standardised images": Standardise,
}
"""What can be stored without a word. A new calibrator of calibrant is one more line; your own needs none."""

NETWORKS: dict[str, type] = {"calibration head": CalibrationHead, "segnet": SegNet}
"""Parts whose weights are stored with what their constructors need."""

RENAMED = {
    "keep_argmax": "keep_labels",
    "calibration network.reads": "model_output",
    "softening": "temperature network",
    "alternatives": "mistake model",
    "correctness scaling.softening": "temperature_network",
    "correctness scaling.alternatives": "mistake_model",
    "correctness scaling.opinion": "second_member",
    "recalibration.worth": "accuracy",
    "isotonic scaling.worth": "accuracy",
    "isotonic scaling.coldest": None,
}
"""Names in files that older versions wrote, and what they are called now; None for what is no more."""

VERSION_1: dict[str, dict[str, Any]] = {
    "temperature network": {
        "version": 1,
        "radii": [1, 2, 4, 8, 16, 32],
        "reaches": [1, 4, 13, 40],
        "margin_odds": [1e-16, 1e4],
        "max_gap": 40.0,
        "min_entropy": 1e-6,
        "log_factors": [-4.0, 3.0],
        "max_feature": 6.0,
    },
    "temperature tree": {"side": 5, "dilation": 2, "floor": -20.0, "scale": 5.0, "min_temperature": 1e-3},
    "isotonic scaling": {"max_log_odds": 14.0},
}
"""Definitions of the kinds in files of version 0.1.0, which recorded none. These stay as they are for ever."""

STORAGE = Storage("calibrator", Calibrator, KINDS, NETWORKS, "calibrant fit", RENAMED, VERSION_1)


def save(
    calibrator: Calibrator,
    path: str | os.PathLike[str],
    *,
    kinds: Mapping[str, type] | None = None,
    made_from: Mapping[str, str] | None = None,
) -> None:
    """Write a calibrator into a folder, which is made if missing; one that is there is replaced.

    A class of your own is stored by what its ``arguments()`` returns, under its ``module:Class``.

    :param calibrator: a calibrator of calibrant's kinds or of your own.
    :param path: a folder, which is made if missing.
    :param kinds: other names than ``module:Class`` for classes of your own, ``{"name": Class}``.
    :param made_from: what it was made from, by name, which is kept beside it; None keeps nothing.
    :raises StoreError: the calibrator, or a part of it, does not say what its constructor needs, differs when it is
        made again from that, or cannot be written.
    """
    STORAGE.save(calibrator, path, kinds, made_from)


def load(path: str | os.PathLike[str], *, kinds: Mapping[str, type] | None = None) -> Calibrator:
    """Return the calibrator in a folder.

    :param path: the folder that was given to :func:`save`.
    :param kinds: classes of your own by the names that they are stored under, ``{"module:Class": Class}``. None of
        them is ever imported because a file names it.
    :raises StoreError: the folder holds none, or it is damaged, or a newer version of calibrant wrote it, or it holds
        a class of your own that is not in ``kinds``.
    """
    return STORAGE.load(path, kinds)


def own_kinds(calibrator: Calibrator) -> dict[str, type]:
    """Return the classes of a calibrator and its parts that are not calibrant's: what :func:`load` needs besides.

    :param calibrator: one to be saved.

    >>> own_kinds(TemperatureScaling(2.0))
    {}
    """
    return STORAGE.own_kinds(calibrator)
