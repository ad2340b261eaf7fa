"""A compiled index of 64-bit keys: which row a key has. Open addressing with linear probing; needs numba.

A slot is a key and, in an array beside it, its row plus one (0: the slot is free): 12 bytes. The keys are nowhere
else, so that finding one is a single walk through neighbouring memory. Nothing here knows what a row holds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.errors import ConfigError

try:
    from numba import njit
except ModuleNotFoundError as error:
    raise ConfigError("sparse tables need numba: pip install 'paracel[sparse]'") from error

Keys = NDArray[np.uint64]
Rows = NDArray[np.int64]

#: Slots are doubled when more than this part of them is taken.
MOST_LOAD = 0.75
LEAST_SLOTS = 1024
MOST_ROWS = (1 << 32) - 2


@njit(cache=True, nogil=True)
def _hash(key: Any) -> Any:
    mixed = key * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> np.uint64(32))


@njit(cache=True, nogil=True)
def _place(slot_keys: Any, slot_rows: Any, key: Any) -> Any:
    """The slot that has the key, or the free one where it would be."""
    mask = np.uint64(len(slot_keys) - 1)
    place = _hash(key) & mask
    while slot_rows[place] != 0 and slot_keys[place] != key:
        place = (place + np.uint64(1)) & mask
    return place


@njit(cache=True, nogil=True)
def _find(slot_keys: Any, slot_rows: Any, keys: Any, rows: Any) -> None:
    """The row of each key, -1 where there is none."""
    for at in range(len(keys)):
        place = _place(slot_keys, slot_rows, keys[at])
        rows[at] = np.int64(slot_rows[place]) - 1


@njit(cache=True, nogil=True)
def _insert(slot_keys: Any, slot_rows: Any, count: Any, keys: Any, rows: Any) -> Any:
    """The row of each key, new ones made, for which there are slots; returns how many there are then."""
    for at in range(len(keys)):
        place = _place(slot_keys, slot_rows, keys[at])
        if slot_rows[place] == 0:
            count += 1
            slot_keys[place] = keys[at]
            slot_rows[place] = count
        rows[at] = np.int64(slot_rows[place]) - 1
    return count


@njit(cache=True, nogil=True)
def _free(slot_rows: Any, count: Any) -> None:
    """Free the slots of rows from `count` on."""
    for place in range(len(slot_rows)):
        if slot_rows[place] > count:
            slot_rows[place] = 0


@njit(cache=True, nogil=True)
def _add_found(slots: Any, keys: Any, values: Any, deltas: Any, missing: Any) -> Any:
    """Add to the rows of keys that are there; returns how many are not, and puts their positions into `missing`."""
    slot_keys, slot_rows = slots
    count = 0
    for at in range(len(keys)):
        place = _place(slot_keys, slot_rows, keys[at])
        row = np.int64(slot_rows[place]) - 1
        if row < 0:
            missing[count] = at
            count += 1
        else:
            values[row] += deltas[at]
    return count


@njit(cache=True, nogil=True)
def _refill(old_keys: Any, old_rows: Any, slot_keys: Any, slot_rows: Any, numbers: Any) -> None:
    """Put the rows of old slots into new, empty ones, under their new `numbers` (0: it goes; none at all: as it is)."""
    mask = np.uint64(len(slot_keys) - 1)
    renumber = len(numbers) > 0
    for old in range(len(old_keys)):
        row = old_rows[old]
        if row != 0 and renumber:
            row = numbers[row - 1]
        if row != 0:
            place = _hash(old_keys[old]) & mask
            while slot_rows[place] != 0:
                place = (place + np.uint64(1)) & mask
            slot_keys[place] = old_keys[old]
            slot_rows[place] = row


@njit(cache=True, nogil=True)
def _list(slot_keys: Any, slot_rows: Any, keys: Any) -> None:
    """The keys in the order of their rows."""
    for place in range(len(slot_keys)):
        if slot_rows[place] != 0:
            keys[slot_rows[place] - 1] = slot_keys[place]


@njit(cache=True, nogil=True)
def add_at(values: Any, rows: Any, deltas: Any) -> None:
    """`values[rows] += deltas` in one walk, for 1-D and for 2-D values; no row is negative."""
    for at in range(len(rows)):
        values[rows[at]] += deltas[at]


class Index:
    """The rows of a growing set of keys."""

    def __init__(self) -> None:
        self.count = 0
        self._keys, self._rows = _slots(LEAST_SLOTS)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that it takes."""
        return int(self._keys.nbytes + self._rows.nbytes)

    def keys(self) -> Keys:
        """The keys in the order of their rows, shape (count,)."""
        keys = np.empty(self.count, np.uint64)
        _list(self._keys, self._rows, keys)
        return keys

    def find(self, keys: Keys) -> Rows:
        """The row of each key, -1 where there is none, shape (len(keys),)."""
        rows = np.empty(len(keys), np.int64)
        _find(self._keys, self._rows, keys, rows)
        return rows

    def insert(self, keys: Keys) -> Rows:
        """The row of each key; a key that is new gets the next one. Keys may come twice.

        MemoryError when there is no room for as many new ones; nothing has changed then.
        """
        self._reserve(self.count + len(keys))
        rows = np.empty(len(keys), np.int64)
        self.count = int(_insert(self._keys, self._rows, self.count, keys, rows))
        return rows

    def take_back(self, count: int) -> None:
        """Forget the rows from `count` on, which came with the last `insert`. Takes no memory."""
        # a slot that one of them took was free for all before it, so that none is behind it
        _free(self._rows, count)
        self.count = count

    def add(self, keys: Keys, values: NDArray[Any], deltas: NDArray[Any]) -> Rows:
        """Add deltas to the rows of keys that are there, finding and adding in one walk; the positions of the others.

        `values` has a row for each row of the index, `deltas` one for each key, both 1-D or both 2-D.
        """
        missing = np.empty(len(keys), np.int64)
        count = _add_found((self._keys, self._rows), keys, values, deltas, missing)
        return missing[:count]

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Keep only the chosen rows, shape (count,); they move together, in their order."""
        numbers = np.where(chosen, np.cumsum(chosen), 0).astype(np.uint32)
        count = int(np.count_nonzero(chosen))
        self._rebuild(_slots_for(count, LEAST_SLOTS), numbers)
        self.count = count

    def _reserve(self, count: int) -> None:
        """Have slots for so many keys."""
        if count > MOST_ROWS:
            raise MemoryError(f"a server holds at most {MOST_ROWS} rows of a sparse table")
        slots = _slots_for(count, len(self._keys))
        if slots > len(self._keys):
            self._rebuild(slots, np.zeros(0, np.uint32))

    def _rebuild(self, slots: int, numbers: NDArray[np.uint32]) -> None:
        keys, rows = _slots(slots)
        _refill(self._keys, self._rows, keys, rows, numbers)
        self._keys, self._rows = keys, rows


def _slots_for(count: int, slots: int) -> int:
    """How many slots so many keys need, doubling from `slots`."""
    while int(MOST_LOAD * slots) < count:
        slots *= 2
    return slots


def _slots(count: int) -> tuple[Keys, NDArray[np.uint32]]:
    return np.empty(count, np.uint64), np.zeros(count, np.uint32)
