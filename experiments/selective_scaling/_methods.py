"""What the studies of this folder compare: each calibrator of the paper by its published recipe and at its optimum.

The paper's sixth rival, the ensemble, needs three models (and multi-scale testing the model itself): it cannot be made
from the stored logits of one.
"""

from collections.abc import Callable
from functools import partial

from calibrant.calibrators import (
    Calibrator,
    CorrectnessScaling,
    DirichletScaling,
    Identity,
    IsotonicScaling,
    LocalTemperatureScaling,
    MetaCal,
    SelectiveScaling,
    TemperatureScaling,
    VectorScaling,
)

OURS = "correctness"

VECTOR_KEPT = partial(VectorScaling.fit, keep_labels=True)
DIRICHLET_KEPT = partial(DirichletScaling.fit, keep_labels=True)

METHODS: dict[str, Callable[..., Calibrator]] = {
    OURS: CorrectnessScaling.fit,
    "uncalibrated": lambda predictions, **_: Identity(),
    "temperature, published": TemperatureScaling.fit_as_published,
    "temperature": TemperatureScaling.fit,
    "vector, published": VectorScaling.fit_as_published,
    "vector": VectorScaling.fit,
    "vector, labels kept": VECTOR_KEPT,
    "Dirichlet, published": DirichletScaling.fit_as_published,
    "Dirichlet": DirichletScaling.fit,
    "Dirichlet, labels kept": DIRICHLET_KEPT,
    "Meta-Cal": MetaCal.fit,
    "Meta-Cal*, published": partial(MetaCal.fit, keep_labels=True, base=TemperatureScaling.fit_as_published),
    "Meta-Cal*": partial(MetaCal.fit, keep_labels=True),
    "Meta-Cal*, accuracy 0.95": partial(MetaCal.fit, keep_labels=True, accuracy=0.95),
    "local temperature, published": LocalTemperatureScaling.fit_as_published,
    "local temperature": LocalTemperatureScaling.fit,
    "isotonic": IsotonicScaling.fit,
    "selective, published": SelectiveScaling.fit_as_published,
    "selective": SelectiveScaling.fit,
}
"""By name; "X, published" and "X" are two ways to fit the same. All take predictions and ``seed``.

Meta-Cal rejects at most one right pixel in twenty (5 %) and makes what it rejects uniform; with the star, which is the
paper's own form, by a temperature of 1e10.
"""

COMBINED: dict[str, Callable[..., Calibrator]] = {
    "selective, published + temperature": partial(SelectiveScaling.fit_as_published, base=TemperatureScaling.fit),
    "selective, published + vector": partial(SelectiveScaling.fit_as_published, base=VECTOR_KEPT),
    "selective, published + Dirichlet": partial(SelectiveScaling.fit_as_published, base=DIRICHLET_KEPT),
    "selective + vector": partial(SelectiveScaling.fit, base=VECTOR_KEPT),
    "selective + Dirichlet": partial(SelectiveScaling.fit, base=DIRICHLET_KEPT),
    "selective + isotonic": partial(SelectiveScaling.fit, base=IsotonicScaling.fit),
}
"""Selective scaling before the paper's other calibrators, all of which keep the labels here."""

SELECTED = {
    "selective, published + temperature": "temperature",
    "selective, published + vector": "vector, labels kept",
    "selective, published + Dirichlet": "Dirichlet, labels kept",
    "selective": "temperature",
    "selective + vector": "vector, labels kept",
    "selective + Dirichlet": "Dirichlet, labels kept",
    "selective + isotonic": "isotonic",
}
"""What each combination has to beat: its own base alone."""
