"""The calibration methods by name, in one literal table."""

from functools import partial

from calibrant.calibrators import (
    CalibrationNetwork,
    CalibrationRecipe,
    DirichletScaling,
    Identity,
    IsotonicScaling,
    LocalTemperatureScaling,
    MetaCal,
    SelectiveScaling,
    StackedScaling,
    TemperatureScaling,
    VectorScaling,
)
from calibrant.methods.method import Method
from calibrant.predictions import Predictions


def _network(
    predictions: Predictions,
    *,
    model_output: str = "probabilities",
    use_image: bool = True,
    num_steps: int = CalibrationRecipe.num_steps,
    batch_size: int = CalibrationRecipe.batch_size,
    learning_rate: float = CalibrationRecipe.learning_rate,
    weight_decay: float = CalibrationRecipe.weight_decay,
    one_annotator: bool = CalibrationRecipe.one_annotator,
    average: float = CalibrationRecipe.average,
    seed: int = 0,
) -> CalibrationNetwork:
    """Fit the calibration network F, the numbers of its recipe as options of their own."""
    recipe = CalibrationRecipe(
        num_steps=num_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        one_annotator=one_annotator,
        average=average,
    )
    return CalibrationNetwork.fit(predictions, model_output=model_output, use_image=use_image, recipe=recipe, seed=seed)


METHODS: dict[str, Method] = {
    "stacked": Method("stacked scaling (default)", StackedScaling.fit),
    "uncalibrated": Method("uncalibrated", Identity.fit),
    "temperature": Method("temperature scaling", TemperatureScaling.fit),
    "temperature-published": Method("temperature scaling, as published", TemperatureScaling.fit_as_published),
    "vector": Method("vector scaling", VectorScaling.fit),
    "vector-kept": Method("vector scaling, label map kept", partial(VectorScaling.fit, keep_labels=True)),
    "vector-published": Method("vector scaling, as published", VectorScaling.fit_as_published),
    "dirichlet": Method("Dirichlet scaling", DirichletScaling.fit),
    "dirichlet-kept": Method("Dirichlet scaling, label map kept", partial(DirichletScaling.fit, keep_labels=True)),
    "dirichlet-without-odir": Method("Dirichlet scaling without ODIR", partial(DirichletScaling.fit, strength=0.0)),
    "dirichlet-published": Method("Dirichlet scaling, as published", DirichletScaling.fit_as_published),
    "meta-cal": Method("Meta-Cal", MetaCal.fit),
    "meta-cal-star": Method("Meta-Cal*", partial(MetaCal.fit, keep_labels=True)),
    "local": Method("local temperature scaling", LocalTemperatureScaling.fit),
    "local-published": Method("local temperature scaling, as published", LocalTemperatureScaling.fit_as_published),
    "isotonic": Method("isotonic scaling", partial(IsotonicScaling.fit, pixels_per_image=None)),
    "isotonic-all": Method(
        "isotonic scaling, classes together", partial(IsotonicScaling.fit, pixels_per_image=None, by_class=False)
    ),
    "selective": Method("selective scaling, validated", SelectiveScaling.fit),
    "selective-published": Method("selective scaling, as published", SelectiveScaling.fit_as_published),
    "network": Method("calibration network", _network),
}
"""Every method by its name: ``X`` is fitted to its optimum or validated, ``X-published`` by the published recipe.

Meta-Cal makes the pixels that it rejects uniform; Meta-Cal* keeps their label, at a temperature of 1e10.
"""

DEFAULT = "stacked"
"""What is fitted where no method is named."""

GROUPS: dict[str, tuple[str, ...]] = {
    "all": (
        "uncalibrated",
        "temperature",
        "vector",
        "dirichlet",
        "meta-cal-star",
        "local",
        "isotonic",
        "selective",
        "stacked",
    ),
    "published": (
        "temperature-published",
        "vector-published",
        "dirichlet-published",
        "meta-cal",
        "local-published",
        "selective-published",
    ),
}
"""Names for several methods: ``all``, each at its optimum or validated, and ``published``, each as published."""
