"""Columns of very many rows: in a file that has no name, whose pages the system may take back at any time."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from calibrant._shapes import Tensor

LARGE = 2**26
"""Bytes from which a column lies in a file."""


def empty_rows(column: Tensor, count: int) -> Tensor:
    """Return a tensor of so many rows, like those of another, whose content is not set.

    On Linux, one of 64 MiB and more is a file in the folder for temporary files (``TMPDIR``), if that has room. It has
    no name, so that nothing is left behind when the process is killed.

    :param column: what the rows are like, (n, …).
    :param count: how many there are to be.

    >>> empty_rows(torch.zeros(2, 3, dtype=torch.int32), 5).shape
    torch.Size([5, 3])
    """
    size = count * column[:0].new_empty(1, *column.shape[1:]).numel()
    length = size * column.element_size()
    if length < LARGE or not Path("/proc/self/fd").exists():
        return column.new_empty(count, *column.shape[1:])
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, length)  # a page without room on the disk would end the process
            flat = torch.from_file(f"/proc/self/fd/{file.fileno()}", shared=True, size=size, dtype=column.dtype)
    except OSError:  # no room there
        return column.new_empty(count, *column.shape[1:])
    return flat.view(count, *column.shape[1:])


def joined_rows(parts: Sequence[Tensor]) -> Tensor:
    """Return the rows of several columns, one after the other.

    :param parts: at least one; rows of one shape, (n, …) each.

    >>> joined_rows([torch.tensor([1, 2]), torch.tensor([3])])
    tensor([1, 2, 3])
    """
    if len({part.dtype for part in parts}) > 1:
        return torch.cat(list(parts))
    return torch.cat(list(parts), out=empty_rows(parts[0], sum(map(len, parts))))


def taken_rows(column: Tensor, rows: Tensor) -> Tensor:
    """Return some rows of a column.

    :param column: (n, …).
    :param rows: their numbers, in the order wanted.

    >>> taken_rows(torch.tensor([5, 6, 7]), torch.tensor([2, 0]))
    tensor([7, 5])
    """
    return torch.index_select(column, 0, rows, out=empty_rows(column, len(rows)))
