"""What a store says about itself: the JSON beside the image files.

``manifest.json`` is written last, so a folder that has one is a finished store. Until then ``manifest.partial.json``
holds the settings, so that an interrupted write can go on with the same ones and refuse others. Both hold their own
digest (files of version 1 do not), and whatever else a file says than its version knows is refused.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import zip_longest
from typing import Any

from calibrant._input.checks import check_version
from calibrant._storage.files import parse_json
from calibrant._storage.origin import Origin, canonical, checked, differences
from calibrant.data.geometry import Geometry
from calibrant.data.store._place import UNREACHED, Place
from calibrant.errors import StoreError

FORMAT = "calibrant predictions"
VERSION = 3
MANIFEST = "manifest.json"
PARTIAL = "manifest.partial.json"
RECORDS = "manifest.part-"
"""How the names of the records of parts begin."""
UPSAMPLINGS = ("none", "linear", "bilinear", "trilinear")


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


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a store, as the manifest and the image file's own header say it.

    :param checksum: of the tensors' bytes, in the order of their names: "blake3:…", or "sha256:…" of version 2.
    :param unlabelled: the number that stands for ``IGNORE`` among the stored labels.
    :param tensors: for each tensor of the file its ``dtype`` and ``shape``, in the words of safetensors.
    """

    key: str
    file: str
    bytes: int
    checksum: str
    upsampling: Mapping[str, Any]
    unlabelled: int
    tensors: Mapping[str, Mapping[str, Any]]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return self.tensors["logits"]["shape"][0]

    @property
    def kind(self) -> str:
        """What made the checksum."""
        return self.checksum.partition(":")[0]


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
        }
        images = [asdict(entry) for entry in self.entries]
        head |= {"digest": digest_of({**head, "images": images}), "images": []}
        lines = ",\n".join(f"  {json.dumps(image)}" for image in images)
        return json.dumps(head, indent=1).replace('"images": []', f'"images": [\n{lines}\n ]').encode()

    @classmethod
    def read(cls, place: Place) -> "Manifest":
        """Read the manifest of a finished store.

        :raises StoreError: it is no manifest, or damaged, or of a newer version.
        """
        found = read_json(place, MANIFEST)
        known = {"format", "version", "dtype", "with_images", "provenance", "num_classes", "images"}
        known |= {"made_from", "digest", "geometry"} if found["version"] > 1 else set()
        try:
            if unknown := sorted(set(found) - known):
                raise ValueError(f"it says {unknown[0]!r}, which this version does not know")
            entries = tuple(entry_from(image) for image in found["images"])
            manifest = cls(Settings.from_json(found), entries)
            if manifest.num_classes != found["num_classes"]:
                raise ValueError("the number of classes contradicts the images")
            for name in ("key", "file"):
                names = [getattr(entry, name) for entry in entries]
                if len(set(names)) < len(names):
                    raise ValueError(f"two images have one {name}")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise StoreError(
                f"{place.name(MANIFEST)}: expected a manifest of version {VERSION} with settings and images; "
                f"something is missing or of the wrong kind ({error!r}). Write the store again."
            ) from error
        return manifest


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def digest_of(found: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a JSON file says, without its own digest."""
    return hashlib.sha256(canonical({key: value for key, value in found.items() if key != "digest"})).hexdigest()


def entry_from(image: Mapping[str, Any]) -> Entry:
    """Read one image of a manifest.

    :raises KeyError, TypeError, ValueError: something is missing, or is not what a writer would have written.
    """
    said = {name: value for name, value in image.items() if name not in ("checksum", "sha256")}
    if {*said, "checksum"} != {f.name for f in fields(Entry)} or len(image) != len(said) + 1:
        raise ValueError(f"an image says {', '.join(map(str, image))}")
    entry = Entry(**said, checksum=checksum_in(image))
    if not isinstance(entry.key, str) or not isinstance(entry.file, str):
        raise TypeError("key and file of an image are not words")
    if not re.fullmatch(r"[A-Za-z0-9._-]+\.safetensors", entry.file):
        raise ValueError(f"the file {entry.file!r} does not lie in the store")
    numbers = [entry.bytes, entry.unlabelled, *(n for tensor in entry.tensors.values() for n in tensor["shape"])]
    if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
        raise ValueError("sizes are whole numbers")
    if len(entry.tensors["logits"]["shape"]) < 1:
        raise TypeError("the shape is missing")
    upsampling = dict(entry.upsampling)
    if upsampling["mode"] not in UPSAMPLINGS or not isinstance(upsampling.get("align_corners", False), bool):
        raise ValueError(f"there is no upsampling {upsampling}")
    check_tensor_names(entry.tensors)
    return entry


def checksum_in(said: Mapping[str, Any]) -> str:
    """Return the checksum that a manifest or a file says; versions 1 and 2 have SHA-256 alone, under that name.

    :raises KeyError, TypeError, ValueError: there is none, or one that nobody knows.
    """
    checksum = said["checksum"] if "checksum" in said else f"sha256:{said['sha256']}"
    if not re.fullmatch("(blake3|sha256):[0-9a-f]{64}", checksum):
        raise ValueError(f"there is no checksum {checksum!r}")
    return checksum


def check_tensor_names(names: Iterable[str]) -> None:
    """Raise unless these are the tensors of an image: logits, labels and, with images, the image.

    :param names: of the tensors of one file.
    :raises ValueError: one is missing, or unknown.
    """
    if not {"logits", "labels"} <= {*names} <= {"logits", "labels", "image"}:
        raise ValueError(f"an image has the tensors {', '.join(names)}")


def read_json(place: Place, file: str) -> dict[str, Any]:
    """Read one of the two JSON files, and see that it is as it was written.

    :raises StoreError: naming the file, what was expected and what to do.
    """
    found = read_json_of_ours(place, file)
    if found["version"] > 1 and found.get("digest") != digest_of(found):
        raise StoreError(
            f"{place.name(file)}: expected the content with the digest that it names; it has changed since it was "
            "written. Copy the file again, or write the store again with overwrite=True (command line: --overwrite)."
        )
    return found


def read_json_of_ours(place: Place, file: str) -> dict[str, Any]:
    """Read one of the two JSON files, and see that it is ours and not newer than this program.

    :raises StoreError: naming the file, what was expected and what to do.
    """
    name = place.name(file)
    try:
        found = parse_json(place.read(file))
    except OSError as error:
        advice = "Check the file permissions." if place.is_local else UNREACHED
        raise StoreError(f"{name}: expected a file that can be read; got {error}. {advice}") from error
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
