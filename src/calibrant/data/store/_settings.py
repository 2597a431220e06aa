"""What must stay the same over all runs that write one store, and where its predictions come from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import zip_longest
from typing import Any

from calibrant._storage.origin import Origin, checked, differences
from calibrant.data.geometry import Geometry


@dataclass(frozen=True)
class Provenance:
    """Where predictions come from, in words; all of it is shown in reports and kept in stores.

    :param model: which model, with which weights.
    :param data: which images.
    :param resolution: at what size the model is judged: "the labels' own size", "every third pixel".
    :param class_names: one name a class, in order; empty if nobody said.
    :param ignore: which pixels count as unlabelled: "255 in the label files".
    :param taken_for: what the input was taken for, a line each: axes, kind of scores, classes, what was left out.
    """

    model: str = ""
    data: str = ""
    resolution: str = ""
    class_names: Sequence[str] = ()
    ignore: str = ""
    taken_for: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "taken_for", tuple(self.taken_for))


@dataclass(frozen=True)
class Settings:
    """What must stay the same over all runs that write one store.

    :param dtype: of the logits; None as they come.
    :param with_images: whether images are kept.
    :param provenance: in words.
    :param made_from: what the predictions are made from, by name; None if nobody said.
    :param geometry: where the pixels of images lie, by key, of those that say so.
    """

    dtype: str | None
    with_images: bool
    provenance: Provenance = field(default_factory=Provenance)
    made_from: Origin | None = None
    geometry: Mapping[str, Geometry] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON keeps them."""
        places = {key: each.as_json() for key, each in self.geometry.items()}
        return {**self._without_geometry(), **({"geometry": places} if places else {})}

    def _without_geometry(self) -> dict[str, Any]:
        about = asdict(self.provenance)
        if not self.provenance.taken_for:
            del about["taken_for"]  # which version 1 did not have
        parts = {"dtype": self.dtype, "with_images": self.with_images, "provenance": about}
        return json.loads(json.dumps(parts if self.made_from is None else {**parts, "made_from": dict(self.made_from)}))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Settings":
        """Read settings.

        :raises KeyError, TypeError, ValueError: something is missing or of the wrong kind.
        """
        about = found["provenance"]
        kinds = {"class_names": list, "taken_for": list}
        if not set(about) <= {f.name for f in fields(Provenance)}:
            raise ValueError(f"the provenance says {', '.join(map(str, about))}")
        if not all(isinstance(value, kinds.get(name, str)) for name, value in about.items()):
            raise TypeError("the provenance is not in words")
        if not isinstance(found["with_images"], bool) or not isinstance(found["dtype"], str | None):
            raise TypeError("the settings are of the wrong kind")
        places = {str(key): Geometry.from_json(each) for key, each in found.get("geometry", {}).items()}
        return cls(found["dtype"], found["with_images"], Provenance(**about), checked(found.get("made_from")), places)

    def fingerprint(self) -> str:
        """Return a short text that differs where settings of one image differ."""
        return hashlib.sha256(json.dumps(self._without_geometry(), sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: "Settings") -> str:
        """Return in words where ``other`` differs; empty if nowhere."""
        bare = (replace(each, geometry={}) for each in (self, other))
        mine, theirs = ({**asdict(each), **asdict(each.provenance)} for each in bare)
        lines = zip_longest(mine.pop("taken_for"), theirs.pop("taken_for"), fillvalue="nothing")
        parts = [f"taken_for is {one!r} there and {two!r} now" for one, two in lines if one != two][:1]
        names = [name for name in mine if name not in ("provenance", "made_from") and mine[name] != theirs[name]]
        parts += [f"{name} is {_json(mine[name])!r} there and {_json(theirs[name])!r} now" for name in names]
        if self.geometry != other.geometry:
            parts.append("pixels do not lie in the same places")
        if self.made_from is not None and other.made_from is not None:
            parts.append(differences(self.made_from, other.made_from))
        elif (self.made_from is None) != (other.made_from is None):
            how = "not recorded there" if self.made_from is None else "recorded there, and not given now (made_from)"
            parts.append(f"what it was made from is {how}")
        return "; ".join(filter(None, parts))


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
