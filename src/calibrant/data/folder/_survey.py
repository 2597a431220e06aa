"""What the files of a folder are taken for, inferred from all label files and from some score files spread over it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from calibrant._encoding.label_coding import NO_LABELS, IgnoreIndex, LabelCoding, label_coding
from calibrant._encoding.value_domain import (
    CONSTANT,
    LOGITS,
    LOOKED_AT,
    ValueCounts,
    check_said,
    count_values,
    domain_of,
)
from calibrant._shapes import IGNORE
from calibrant.data.folder._file_group import FileGroup, ImageFiles, names_of
from calibrant.data.folder._layouts import Matched
from calibrant.errors import LabelError, LogitsError

SAMPLED = 8
"""How many score files are read to decide what the scores of a folder are."""


@dataclass(frozen=True)
class Survey:
    """What a folder was taken for.

    :param scores: what the scores are, as declared; logits if nothing was said.
    :param coding: what the stored labels stand for.
    :param lines: all of this, in words.
    :param fingerprint: differs where files or their labels differ.
    :param constant: the scores that were looked at are one number everywhere.
    """

    scores: str
    coding: LabelCoding
    lines: tuple[str, ...]
    fingerprint: str
    constant: bool

    def check_alive(self, path: str) -> None:
        """Raise if the scores say nothing.

        :param path: names the folder, for the error.
        :raises LogitsError: all scores are equal in all images that were looked at.
        """
        if self.constant:
            raise LogitsError(
                f"{path}: expected scores that differ between classes or pixels; all logits are equal, in all images "
                "looked at: a model that says the same everywhere. Look at the model: its weights may not have been "
                "loaded, or its training has collapsed."
            )


def survey(
    group: FileGroup, said: str | None, ignore_index: IgnoreIndex, first_label: int | None, matched: Matched
) -> Survey:
    """Read what is needed to decide what a folder holds.

    :param group: reads the files of an image.
    :param said: what the scores were said to be; None if nothing was.
    :param ignore_index: the label of unlabelled pixels, None, or auto.
    :param first_label: the label of class 0, if it was said.
    :param matched: the files, and what was left out.
    """
    count = len(group.files)
    chosen = sorted({round(k * (count - 1) / max(1, SAMPLED - 1)) for k in range(SAMPLED)})
    samples, counts = [], None
    for i in chosen:
        read = group.read(i, said)
        samples.append(replace_scores(read))
        here = count_values(read.scores, every=max(1, read.scores[0].numel() // LOOKED_AT))
        counts = here if counts is None else counts + here
    assert counts is not None
    if said is None:
        where = names_of([path for files in group.files for path in files.scores])
        check_said(counts, where, several=True, short=", or --probabilities")
    classes, kind = max(2, counts.channels), said or LOGITS
    if group.files[0].labels:
        values, missing, digest = _values(group, samples, chosen)
        coding = _coding(values, classes, samples, ignore_index, first_label, count, group)
        of_labels = labels_line(values, missing, coding, classes)
    else:
        digest = hashlib.sha256("\n".join(files.key for files in group.files).encode())
        coding, of_labels = LabelCoding(ignore=NO_LABELS), "labels: none, so that nothing can be fitted or measured"
    lines = (
        *matched.notes,
        _scores_line(kind, counts, group, samples),
        of_labels,
        *dict.fromkeys(note for sample in samples for note in sample.notes),
        *coding.notes,
        *_left_out(matched),
    )
    others = (p for f in group.files for p in (*f.scores, *((f.image,) if f.image else ())))
    digest.update(fingerprint_of(others).encode())
    return Survey(kind, coding, lines, digest.hexdigest()[:16], domain_of(counts) == CONSTANT and counts.padding > 0)


def replace_scores(read: ImageFiles) -> ImageFiles:
    """Return what was read without its scores, which are large."""
    return ImageFiles(read.files, torch.empty(0), read.labels, read.one_hot, read.missing, read.nodata, read.notes)


def _values(
    group: FileGroup, samples: Sequence[ImageFiles], chosen: Sequence[int]
) -> tuple[Counter[int], int, "hashlib._Hash"]:
    """Return how many pixels have each label, how many were NaN, and a digest of all label maps."""
    known = dict(zip(chosen, samples, strict=True))
    values, missing, digest = Counter[int](), 0, hashlib.sha256()
    for i, files in enumerate(group.files):
        labels, nan = (known[i].labels, known[i].missing) if i in known else _label_values(group, i, samples)
        digest.update(f"{files.key}\n".encode() + np.ascontiguousarray(labels).tobytes())
        found, many = np.unique(labels, return_counts=True)
        values.update(dict(zip(found.tolist(), many.tolist(), strict=True)))
        missing += nan
    return values, missing, digest


def _label_values(group: FileGroup, i: int, samples: Sequence[ImageFiles]) -> tuple[np.ndarray, int]:
    stored = group.labels_of(i)
    if any(sample.one_hot for sample in samples):
        return group.read(i, LOGITS).labels, stored.missing
    return stored.values, stored.missing


def _coding(
    values: Counter[int],
    classes: int,
    samples: Sequence[ImageFiles],
    ignore_index: IgnoreIndex,
    first_label: int | None,
    count: int,
    group: FileGroup,
) -> LabelCoding:
    if all(sample.one_hot for sample in samples):
        return LabelCoding()
    nodata = {int(s.nodata) for s in samples if s.nodata is not None and float(s.nodata).is_integer()} & values.keys()
    if ignore_index == "auto" and nodata:
        value = min(nodata)
        if 0 <= value < classes:
            raise LabelError(
                f"{names_of(samples[0].files.labels)}: expected a declaration of what label {value} is: the file "
                "says that it stands for missing data, and it is a class as well. If it is unlabelled: "
                f"ignore_index={value} (command line: --ignore-index {value}); if it is the class: ignore_index=255 "
                "(--ignore-index 255)."
            )
        ignore_index = value
    try:
        return label_coding(values, classes, ignore_index=ignore_index, first_label=first_label, files=count)
    except LabelError as error:
        where = names_of([path for files in group.files for path in files.labels])
        raise LabelError(f"{where}: {error}") from error


def _scores_line(kind: str, counts: ValueCounts, group: FileGroup, samples: Sequence[ImageFiles]) -> str:
    axis = group.axes.class_axis
    usual = "the first, and the last of NIfTI" if axis is None else str(axis)
    padding = f", {counts.padding} pixels with one number in all classes" if counts.padding else ""
    return (
        f"scores: {kind}, numbers in [{counts.low:.4g}, {counts.high:.4g}], class axis {usual}, "
        f"{counts.channels} channel{'s' if counts.channels > 1 else ''} over "
        f"{' x '.join(map(str, samples[0].labels.shape[1:]))}{padding}"
    )


def labels_line(values: Counter[int], missing: int, coding: LabelCoding, classes: int) -> str:
    seen = Counter[int]()
    for value, many in values.items():
        seen[coding.table.get(value, value)] += many
    unlabelled, total = seen.pop(IGNORE, 0), sum(values.values())
    nan = f", {missing} of them NaN" if missing else ""
    named = [str(k) for k in sorted(seen)]
    shown = ", ".join(named if len(named) <= 12 else [*named[:11], "…"])
    if not named:
        shown = "none"
    return (
        f"labels: classes {shown} of {classes} seen, {unlabelled / max(1, total):.2%} of the pixels "
        f"unlabelled ({coding.ignore}{nan})"
    )


def _left_out(matched: Matched) -> list[str]:
    remarks = []
    if matched.unused_labels:
        remarks.append(f"{matched.unused_labels} label maps without scores left out")
    return [*remarks, *passed_over_line(matched.passed_over)]


def passed_over_line(names: Sequence[str]) -> tuple[str, ...]:
    """Return the line on files that were passed over, if there are any."""
    if not names:
        return ()
    shown = ", ".join(names[:3]) + (", …" if names[3:] else "")
    return (f"{len(names)} file{'s' if names[1:] else ''} passed over: {shown}",)


def fingerprint_of(paths: Iterable[Path]) -> str:
    """Return a short text that differs where the names, sizes or times of files differ."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
