"""Ids of rows and columns: int64 where all are written as integers, else bytes; who owns them. Pure arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.errors import ConfigError
from paracel.hashing import Keys, mix
from paracel.loading.fields import Sheet, texts
from paracel.loading.numerals import Places, integers

#: int64, or bytes of a fixed width (`S`) until they are given to users as str.
Ids = NDArray[Any]

#: An array of texts has a place of the longest for each of them.
LONGEST_ID = 255
#: How many bytes numpy gives to an int64 as text.
INT_WIDTH = np.zeros(1, np.int64).astype("S").dtype.itemsize
#: Ids of a range that is so many times as long as their array are made numbers by marking them in it.
_SPARSE = 4


def read_ids(sheet: Sheet, starts: Places, ends: Places) -> Ids:
    """The ids in these places of a sheet."""
    numbers, right = integers(sheet.data, starts, ends)
    return numbers if right.all() else texts(sheet, starts, ends)


def joined(parts: Sequence[Ids]) -> Ids:
    """All ids of the parts: numbers if all are."""
    if not parts:
        return np.zeros(0, np.int64)
    if all(part.dtype.kind == "i" for part in parts):
        return np.concatenate(parts)
    return np.concatenate([as_texts(part, 1) for part in parts])


def as_texts(ids: Ids, width: int) -> Ids:
    """The ids as bytes, of `width` bytes at least; a number is written as it was read."""
    written = ids.astype("S") if ids.dtype.kind == "i" else ids
    return written.astype(f"S{max(width, written.dtype.itemsize)}", copy=False)


def for_users(ids: Ids) -> Ids:
    """The ids as int64, or str."""
    if ids.dtype.kind == "i":
        return ids
    if not len(ids):
        return ids.astype("U")
    return np.char.decode(ids, "utf-8")


def numbered(ids: Ids) -> tuple[Ids, NDArray[np.intp]]:
    """The distinct ids, rising; and for each id its number among them."""
    if ids.dtype.kind == "i" and len(ids):
        least, span = int(ids.min()), int(ids.max()) - int(ids.min()) + 1
        if span <= _SPARSE * len(ids):
            there = np.zeros(span, np.bool_)
            there[ids - least] = True
            distinct = np.flatnonzero(there)
            number = np.cumsum(there) - 1
            return distinct + least, number[ids - least]
    distinct, numbers = np.unique(ids, return_inverse=True)
    return distinct, numbers.reshape(-1)


def hashes(ids: Ids) -> Keys:
    """A 64-bit hash of each id, the same everywhere, and of texts whatever the width of their array."""
    if ids.dtype.kind == "i":
        return mix(ids.view(np.uint64))
    width = -(-ids.dtype.itemsize // 8) * 8
    words = ids.astype(f"S{width}", copy=False).view("<u8").reshape(len(ids), width // 8)
    hashed = np.zeros(len(ids), np.uint64)
    for column in words.T:
        # A word of zeros is behind the end of a text.
        hashed = np.where(column, mix(hashed ^ column), hashed)
    return hashed


def grid_of(pattern: str, size: int) -> tuple[int, int]:
    """How `size` workers are laid out for a pattern: rows by columns, as square as can be for `fsmap`."""
    if pattern == "smap":
        return 1, size
    if pattern != "fsmap":
        return size, 1
    rows = next(count for count in range(int(size**0.5), 0, -1) if size % count == 0)
    return size // rows, rows


def check_grid(grid: Any, size: int) -> tuple[int, int]:
    """The grid as a pair of ints; ConfigError unless it has a place for each of `size` workers."""
    try:
        rows, columns = (int(each) for each in grid)
    except (TypeError, ValueError):
        rows = columns = 0
    if rows < 1 or columns < 1 or rows * columns != size:
        raise ConfigError(f"a process grid of {grid!r} for {size} workers; give (rows, columns) of as many in all")
    return rows, columns


def owners(first: Ids, second: Ids, grid: tuple[int, int]) -> NDArray[np.uint16]:
    """The worker that owns each pair of ids: rows of the grid by the first, columns by the second."""
    rows, columns = grid
    owner = np.zeros(len(first), np.uint64)
    if rows > 1:
        owner += hashes(first) % np.uint64(rows) * np.uint64(columns)
    if columns > 1:
        owner += hashes(second) % np.uint64(columns)
    return owner.astype(np.uint16)
