"""Where the rows of a table are: keys to servers, and on a server the keys of a dense table to places. No rows here.

A sparse table's key has a slot of its own: the mixed hash of table and key. A dense table's rows go in blocks, which
are contiguous, equally long (a power of two of rows) and at most 1 MiB; a block has the slot of (table, block number).
A server keeps its blocks of a table one after the other, in order, so that a range of keys is a range of its rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paracel.hashing import SLOT_BITS, hash_bytes, slots_of_numbers
from paracel.values import encode_key

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]
Owners = NDArray[np.int64]

MOST_BLOCK_BYTES = 1024 * 1024
LEAST_BLOCK_BYTES = 16 * 1024
#: A table is cut into about so many blocks, if they are not too small then, so that servers get about equal parts.
BLOCKS = 1 << (SLOT_BITS - 4)


def table_hash(name: str) -> int:
    """The 64-bit number that sets the keys of one table apart from those of others."""
    return hash_bytes(b"table/" + encode_key(name))


def owners_of_keys(name: str, keys: Keys, owners: Owners) -> Owners:
    """The server of each key of a sparse table, shape (len(keys),); `owners` has the server of each slot."""
    return owners[slots_of_numbers(table_hash(name), keys)]


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the rows of a dense table are cut: into blocks of `1 << shift` rows, the last one shorter."""

    name: str
    size: int
    shift: int

    @classmethod
    def of(cls, name: str, size: int, row_bytes: int) -> "Blocks":
        """The blocks of a table of `size` rows."""
        block_bytes = min(max(size * row_bytes // BLOCKS, LEAST_BLOCK_BYTES), MOST_BLOCK_BYTES)
        return cls(name, size, max(1, block_bytes // row_bytes).bit_length() - 1)

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.size >> self.shift)

    def owners(self, owners: Owners) -> Owners:
        """The server of each block, shape (count,)."""
        return owners[slots_of_numbers(table_hash(self.name), np.arange(self.count, dtype=np.uint64))]


class DensePlaces:
    """Where one server keeps the rows of its blocks."""

    def __init__(self, blocks: Blocks, own: Places) -> None:
        """`own` are the numbers of the server's blocks, rising."""
        self._blocks = blocks
        starts = own << blocks.shift
        lengths = np.minimum(1 << blocks.shift, blocks.size - starts)
        self._ends = np.cumsum(lengths)
        self.count = int(lengths.sum())
        self._own = own
        self._base = np.full(blocks.count, -1, np.int64)
        self._base[own] = self._ends - lengths
        self._whole = self.count == blocks.size

    def keys(self) -> Keys:
        """The keys in the order of their places, shape (count,)."""
        shift = self._blocks.shift
        within = np.arange(self.count) - np.repeat(self._base[self._own], np.diff(self._ends, prepend=0))
        starts = np.repeat(self._own << shift, np.diff(self._ends, prepend=0))
        return (starts + within).astype(np.uint64)

    def key_at(self, place: int) -> int:
        """The key that has a place below the count."""
        at = int(np.searchsorted(self._ends, place, "right"))
        return (int(self._own[at]) << self._blocks.shift) + place - int(self._base[self._own[at]])

    def places(self, keys: Keys) -> Places:
        """The place of each key, -1 where it is not this server's. Every key must be below the table's size."""
        numbers = keys.view(np.int64)
        if self._whole:
            return numbers
        base = self._base[numbers >> self._blocks.shift]
        places = base + (numbers & ((1 << self._blocks.shift) - 1))
        return np.where(base < 0, -1, places) if base.size and base.min() < 0 else places

    def span(self, begin: int, end: int) -> slice:
        """The places of this server's keys among `begin` to `end`, which are contiguous."""
        return slice(self._first_from(begin), self._first_from(end))

    def _first_from(self, key: int) -> int:
        """The place of the first own key that is not below `key`; the count if there is none."""
        block = key >> self._blocks.shift
        at = int(np.searchsorted(self._own, block))
        if at == len(self._own):
            return self.count
        start = int(self._base[self._own[at]])
        if int(self._own[at]) != block:
            return start
        return min(start + key - (block << self._blocks.shift), int(self._ends[at]))
