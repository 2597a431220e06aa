"""What the studies of this folder compare: each calibrator of the paper by its published recipe and at its optimum.

The fits are those of :data:`calibrant.methods.METHODS`; here stand the names that the studies print, and what each
stands for there. The paper's sixth rival, the ensemble, needs three models (and multi-scale testing the model itself):
it cannot be made from the stored logits of one.
"""

from calibrant.methods import Method, parse_method

OURS = "stacked"

METHODS: dict[str, Method] = {
    name: parse_method(text)
    for name, text in {
        OURS: "stacked",
        "uncalibrated": "uncalibrated",
        "temperature, published": "temperature-published",
        "temperature": "temperature",
        "vector, published": "vector-published",
        "vector": "vector",
        "vector, labels kept": "vector-kept",
        "Dirichlet, published": "dirichlet-published",
        "Dirichlet": "dirichlet",
        "Dirichlet, labels kept": "dirichlet-kept",
        "Meta-Cal": "meta-cal",
        "Meta-Cal*, published": "meta-cal-star:base=temperature-published",
        "Meta-Cal*": "meta-cal-star",
        "Meta-Cal*, accuracy 0.95": "meta-cal-star:accuracy=0.95",
        "local temperature, published": "local-published",
        "local temperature": "local",
        "isotonic": "isotonic",
        "selective, published": "selective-published",
        "selective": "selective",
    }.items()
}
"""By name; "X, published" and "X" are two ways to fit the same.

Meta-Cal rejects at most one right pixel in twenty (5 %) and makes what it rejects uniform; with the star, which is the
paper's own form, by a temperature of 1e10.
"""

COMBINED: dict[str, Method] = {
    name: parse_method(text)
    for name, text in {
        "selective, published + temperature": "selective-published:base=temperature",
        "selective, published + vector": "selective-published:base=vector-kept",
        "selective, published + Dirichlet": "selective-published:base=dirichlet-kept",
        "selective + vector": "selective:base=vector-kept",
        "selective + Dirichlet": "selective:base=dirichlet-kept",
        "selective + isotonic": "selective:base=isotonic",
    }.items()
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
