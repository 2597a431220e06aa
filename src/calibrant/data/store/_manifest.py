"""What a store says about itself: the JSON beside the image files.

``manifest.json`` is written last, so a folder that has one is a finished store. Until then ``manifest.partial.json``
holds the settings, so that an interrupted write can go on with the same ones and refuse others. Unknown keys are
passed over; a change that an older reader would get wrong raises ``VERSION``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from calibrant._check import check_version
from calibrant.data.store._place import Place
from calibrant.errors import StoreError

FORMAT = "calibrant predictions"
VERSION = 1
MANIFEST = "manifest.json"
PARTIAL = "manifest.partial.json"


@dataclass(frozen=True)
class Provenance:
    """Where predictions come from, in words; all of it is shown in reports and kept in stores.

    :param model: which model, with which weights.
    :param data: which images.
    :param resolution: at what size the model is judged: "the labels' own size", "every third pixel".
    :param class_names: one name a class, in order; empty if nobody said.
    :param ignore: which pixels count as unlabelled: "255 in the label files".
    :param taken_for: what the input was taken for, a line each: axes, kind of scores, classes, what was left out.
    :param source: a fingerprint of the files that the predictions were read from; empty if there were none.
    """

    model: str = ""
    data: str = ""
    resolution: str = ""
    class_names: Sequence[str] = ()
    ignore: str = ""
    taken_for: Sequence[str] = ()
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "taken_for", tuple(self.taken_for))


@dataclass(frozen=True)
class Settings:
    """What must stay the same over all runs that write one store."""

    dtype: str | None
    with_images: bool
    provenance: Provenance = field(default_factory=Provenance)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON keeps them."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Settings":
        """Read settings, passing over unknown keys."""
        known = {f.name for f in fields(Provenance)}
        provenance = Provenance(**{name: value for name, value in found["provenance"].items() if name in known})
        return cls(found["dtype"], found["with_images"], provenance)

    def fingerprint(self) -> str:
        """Return a short text that differs where settings differ."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: "Settings") -> str:
        """Return in words where ``other`` differs; empty if nowhere."""
        mine, theirs = ({**s.as_json(), **s.as_json()["provenance"]} for s in (self, other))
        names = [name for name in mine if name != "provenance" and mine[name] != theirs[name]]
        if "source" in names and set(names) <= {"source", "taken_for"}:
            return "the files that it was read from, or their labels, have changed since"
        return "; ".join(f"{name} is {mine[name]!r} there and {theirs[name]!r} now" for name in names)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a store, as the manifest and the image file's own header say it.

    :param sha256: of the tensors' bytes, in the order of their names.
    :param unlabelled: the number that stands for ``IGNORE`` among the stored labels.
    :param tensors: for each tensor of the file its ``dtype`` and ``shape``, in the words of safetensors.
    """

    key: str
    file: str
    bytes: int
    sha256: str
    upsampling: Mapping[str, Any]
    unlabelled: int
    tensors: Mapping[str, Mapping[str, Any]]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.tensors["logits"]["shape"][0]


@dataclass(frozen=True)
class Manifest:
    """A finished store: the settings and one entry an image, in order."""

    settings: Settings
    entries: tuple[Entry, ...]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.entries[0].num_classes

    def text(self) -> bytes:
        """Return the manifest as JSON, one image a line."""
        head = {
            "format": FORMAT,
            "version": VERSION,
            **self.settings.as_json(),
            "num_classes": self.num_classes,
            "images": [],
        }
        lines = ",\n".join(f"  {json.dumps(asdict(entry))}" for entry in self.entries)
        return json.dumps(head, indent=1).replace('"images": []', f'"images": [\n{lines}\n ]').encode()

    @classmethod
    def read(cls, place: Place) -> "Manifest":
        """Read the manifest of a finished store.

        :raises StoreError: it is no manifest, or of a newer version.
        """
        found = read_json(place, MANIFEST)
        names = [f.name for f in fields(Entry)]
        try:
            entries = tuple(Entry(**{name: image[name] for name in names}) for image in found["images"])
            manifest = cls(Settings.from_json(found), entries)
            if manifest.num_classes != found["num_classes"]:
                raise ValueError("the number of classes contradicts the images")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise StoreError(
                f"{place.name(MANIFEST)}: expected a manifest of version {VERSION} with settings and images; "
                f"something is missing or of the wrong kind ({error!r}). Write the store again."
            ) from error
        return manifest


def read_json(place: Place, file: str) -> dict[str, Any]:
    """Read one of the two JSON files, and see that it is ours and not newer than this program.

    :raises StoreError: naming the file, what was expected and what to do.
    """
    name = place.name(file)
    try:
        found = json.loads(place.read(file))
    except OSError as error:
        raise StoreError(
            f"{name}: expected a file that can be read; got {error}. Check the file permissions."
        ) from error
    except ValueError as error:
        raise StoreError(
            f"{name}: expected JSON; it cannot be read ({error}). The file was damaged: remove the folder and "
            "write the store again."
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise StoreError(
            f"{name}: expected a manifest with format {FORMAT!r}; got another file of that name. "
            "Is this a folder of arrays? Then use calibrant.data.open_folder (command line: calibrant import)."
        )
    check_version(found.get("version"), VERSION, name)
    return found
