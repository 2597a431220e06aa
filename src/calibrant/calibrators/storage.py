"""Calibrators on disk: a folder with a readable ``calibrator.json`` and the tensors in ``calibrator.safetensors``.

What is stored is what each constructor needs, and loading calls the constructors of :data:`KINDS` and nothing else:
no code is ever loaded.
"""

import os

from calibrant._stored import Storage
from calibrant.calibrators._alternatives import Alternatives
from calibrant.calibrators._opinion import Recalibration
from calibrant.calibrators._softening import Softening
from calibrant.calibrators.calibrator import Calibrator, Identity
from calibrant.calibrators.correctness import CorrectnessScaling
from calibrant.calibrators.dirichlet import DirichletScaling
from calibrant.calibrators.isotonic import IsotonicScaling
from calibrant.calibrators.learnt_selector import LearntSelector
from calibrant.calibrators.local_temperature import LocalTemperatureScaling
from calibrant.calibrators.meta_cal import EntropyAbove, MetaCal, Uniform
from calibrant.calibrators.network import CalibrationNetwork
from calibrant.calibrators.oracle import OracleSelector
from calibrant.calibrators.selective import SelectiveScaling
from calibrant.calibrators.selector import NoSelector, SelectorQuality
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
    "softening": Softening,
    "alternatives": Alternatives,
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

_STORAGE = Storage("calibrator", Calibrator, KINDS, NETWORKS, "calibrant fit")


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
