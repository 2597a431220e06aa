"""Tiny files in the layouts of published data sets."""

import struct
import zlib

import numpy as np
from PIL import Image

SIZE = (4, 6)


def picture(path, size=SIZE, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def ids(path, first_row, size=SIZE, rest=None):
    """A label map whose first row starts with these ids; the rest is the first of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full(size, first_row[0] if rest is None else rest, dtype=np.uint8)
    array[0, : len(first_row)] = first_row
    Image.fromarray(array).save(path)


def png16(path, array):
    """An RGB PNG of 16 bits a channel; rows use the format's five filters in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, _ = array.shape
    lines = array.astype(">u2").reshape(height, -1).view(np.uint8).reshape(height, -1).astype(int)
    before, data = np.zeros(lines.shape[1], int), b""
    for number, line in enumerate(lines):
        left, corner = np.r_[np.zeros(6, int), line[:-6]], np.r_[np.zeros(6, int), before[:-6]]
        p = left + before - corner
        distances = np.stack([abs(p - left), abs(p - before), abs(p - corner)])
        paeth = np.choose(distances.argmin(0), [left, before, corner])
        guess = [0 * line, left, before, (left + before) // 2, paeth][number % 5]
        data += bytes([number % 5]) + ((line - guess) % 256).astype(np.uint8).tobytes()
        before = line

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )
