"""Loading published weights into a network: every key in its place, or an error that says which is not."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from calibrant._input.checks import shape_of
from calibrant.errors import InputError


def load_published(
    network: nn.Module, weights: Mapping[str, Any], what: str, hint: str, *, ignoring: str | None = None
) -> None:
    """Make ``weights`` those of the network, without a copy.

    :param what, hint: of which network these should be the weights, and what to do if not; for the error.
    :param ignoring: the end of keys that follow from others and need not be there.
    :raises InputError: a key is missing, unknown, or of another shape.
    """
    expected = {k: v for k, v in network.state_dict().items() if ignoring is None or not k.endswith(ignoring)}
    missing, surplus = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    unlike = sorted(key for key in expected.keys() & weights.keys() if expected[key].shape != weights[key].shape)
    if missing or surplus or unlike:
        faults = [f"{missing[0]} is missing"] if missing else []
        faults += [f"{surplus[0]} is unknown"] if surplus else []
        faults += [f"{key} is {shape_of(weights[key])}, not {shape_of(expected[key])}" for key in unlike[:1]]
        raise InputError(f"expected the weights of {what}; {', '.join(faults)}. {hint}")
    network.load_state_dict(dict(weights), strict=False, assign=True)
