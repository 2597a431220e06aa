"""Calibrators on disk: a folder with a readable ``calibrator.json`` and the tensors in ``calibrator.safetensors``.

What is stored is what each constructor needs, and loading calls the constructors of :data:`KINDS` and nothing else:
no code is ever loaded.
"""

import os

from calibrant._stored import Storage
from calibrant.calibrators.calibration_network import CalibrationNetwork
from calibrant.calibrators.calibrator import Calibrator, Identity
from calibrant.calibrators.correctness.correctness import CorrectnessScaling
from calibrant.calibrators.correctness.mistakes import MistakeModel
from calibrant.calibrators.correctness.pool import Recalibration
from calibrant.calibrators.correctness.temperature_network import TemperatureNetwork
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.isotonic import IsotonicScaling
from calibrant.calibrators.local_temperature import LocalTemperatureScaling
from calibrant.calibrators.selective.learnt import LearntSelector
from calibrant.calibrators.selective.meta_cal import EntropyAbove, MetaCal, Uniform
from calibrant.calibrators.selective.oracle import OracleSelector
from calibrant.calibrators.selective.selective import SelectiveScaling
from calibrant.calibrators.selective.selector import NoSelector, SelectorQuality
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
    "softening": TemperatureNetwork,
    "alternatives": MistakeModel,
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
"""What can be stored. A new calibrator is one more line."""

NETWORKS: dict[str, type] = {"calibration head": CalibrationHead, "segnet": SegNet}
"""Parts whose weights are stored with what their constructors need."""

RENAMED = {
    "keep_argmax": "keep_labels",
    "isotonic scaling.worth": "accuracy",
    "isotonic scaling.coldest": None,
}
"""Names in files that older versions wrote, and what they are called now; None for what is no more."""

_STORAGE = Storage("calibrator", Calibrator, KINDS, NETWORKS, "calibrant fit", RENAMED)


def save(calibrator: Calibrator, path: str | os.PathLike[str]) -> None:
    """Write a calibrator into a folder, which is made if missing; one that is there is replaced.

    :raises StoreError: the calibrator, or a part of it, is of no kind in :data:`KINDS`, or cannot be written.
    """
    _STORAGE.save(calibrator, path)


def load(path: str | os.PathLike[str]) -> Calibrator:
    """Return the calibrator in a folder.

    :raises StoreError: the folder holds none, or it is damaged, or a newer version of calibrant wrote it.
    """
    return _STORAGE.load(path)
