"""A store that a command writes, whole or one part of it."""

from typing import Any

from calibrant.cli._parts import Part


def written(source: Any, store: str, part: str | None, *, overwrite: bool, **how: Any) -> str:
    """Write a store, or one part of it, and return what to say of it.

    :param source: the predictions.
    :param store: where they go.
    :param part: the part that was asked for, such as 3/64; None for the whole.
    :param overwrite: replace a store that is there.
    :param how: other arguments of ``write_store``.
    :raises InputError: there is no such part, or a part is to replace a store.
    """
    from calibrant.data import write_store, write_store_part
    from calibrant.errors import InputError

    one = Part.parsed(part)
    if one is None:
        stored = write_store(source, store, overwrite=overwrite, **how)
        return f"{len(stored)} images, {stored.num_classes} classes → {store}"
    if overwrite:
        raise InputError(f"expected no --overwrite with --part {part}; got it. Write to a new folder.")
    count = write_store_part(source, store, (one.number, one.count), **how)
    return f"{count} images, part {one.number} of {one.count} → {store}; when all are there: calibrant merge {store}"
