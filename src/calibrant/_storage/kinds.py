"""What a class says of itself to be stored: its constructor's arguments, and the constants that they depend on.

Some tensors mean something only together with constants in the code: weights of features, say, with the definition of
the features. A class names those constants in its attribute ``definition``, a mapping of what JSON can hold. It is
written beside the arguments, and a file whose definition is another than the code's is refused.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from calibrant.errors import StoreError


@runtime_checkable
class Storable(Protocol):
    """What can be stored: an object that says what its constructor needs."""

    def arguments(self) -> Mapping[str, Any]:
        """Return the constructor's keywords: numbers, words, tensors, sequences of them, and storable objects."""
        ...


def kind_of(own: type) -> str:
    """Return the name under which a class of the user's own is stored: ``module:Class``.

    >>> kind_of(Storable)
    'calibrant._storage.kinds:Storable'
    """
    return f"{own.__module__}:{own.__qualname__}"


def own_names(stored: Any) -> Iterator[str]:
    """Yield the names of kinds that are classes of the user's own.

    :param stored: the JSON of a thing.
    """
    if isinstance(stored, list):
        for part in stored:
            yield from own_names(part)
    elif isinstance(stored, dict):
        kind = stored.get("kind")
        if isinstance(kind, str) and ":" in kind:
            yield kind
        yield from own_names(list(stored.values()))


def check_made_again(value: Storable) -> None:
    """Raise unless a class of the user's own makes the same thing again from its arguments.

    :param value: an instance of that class.
    :raises StoreError: its constructor does not take them, or a tensor of it is another afterwards.
    """
    name = type(value).__name__
    try:
        again = type(value)(**value.arguments())
    except TypeError as error:
        raise StoreError(
            f"{name}: expected arguments() to return the keywords of the constructor; {error}. Name them alike."
        ) from error
    if not isinstance(value, nn.Module) or not isinstance(again, nn.Module):
        return
    before, after = value.state_dict(), again.state_dict()
    unlike = [key for key in before if key not in after or not torch.equal(before[key], after[key].to(before[key]))]
    if unlike:
        raise StoreError(
            f"{name}: expected arguments() to return all that makes it; {unlike[0]!r} differs when it is made again. "
            "Take it as an argument of the constructor and return it from arguments()."
        )


def definition_of(kind: type) -> dict[str, Any]:
    """Return the constants that the tensors of a kind depend on, as JSON gives them back; empty if there are none."""
    return json.loads(json.dumps(getattr(kind, "definition", {})))


def check_definition(kind: str, stored: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raise unless the constants that stored tensors depend on are those of the code.

    :param kind: the name of the kind.
    :param stored: the constants that a file records.
    :param ours: those of the code.
    :raises StoreError: naming the first that differs.
    """
    for name in sorted({*stored, *ours}):
        one, other = (definition.get(name, "not set") for definition in (ours, stored))
        if one != other:
            raise StoreError(
                f"expected a {kind} that was fitted with {name} = {one}; this one was fitted with {other}, so its "
                "tensors mean something else here. Fit it again, or load it with the calibrant that wrote it."
            )
