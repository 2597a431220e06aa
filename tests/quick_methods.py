"""The methods of the library with options that make their fits take seconds; they change no promise."""

from calibrant.calibrators import Fit
from calibrant.methods import METHODS, parse_method

OPTIONS = {
    "temperature-published": "num_epochs=3",
    "vector-published": "num_epochs=3",
    "dirichlet-kept": "strength=0.01,safe=false",
    "dirichlet-without-odir": "safe=false",
    "dirichlet-published": "num_epochs=2",
    "local": "num_epochs=1,crops_per_image=1",
    "local-published": "num_epochs=1",
    "selective": "num_epochs=3",
    "selective-published": "num_epochs=3",
    "stacked": "num_epochs=1",
    "network": "num_steps=2,batch_size=2",
}
QUICK = {name: f"{name}:{OPTIONS[name]}" if name in OPTIONS else name for name in METHODS}
"""By name, the text that names the method with its options."""


def fit_of(text: str) -> Fit:
    """Return the fit that a text names."""
    return parse_method(text).fit
