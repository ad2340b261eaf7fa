"""What a client keeps for the filters of one table: rests by key, rows that were told, and the bytes that went through.

Nothing here sends, and nothing is kept until a filter needs it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.filters import Filter
from paracel.tables.rowcache import local_part
from paracel.tables.spec import TableSpec
from paracel.tables.storage import ROWS, Array, Form, Keys, Part

_VERSION = "version"


@dataclass(frozen=True, slots=True)
class Traffic:
    """The bytes of keys and values that went into a filter and came out, as they were and as they travelled."""

    direction: str
    name: str
    bytes_in: int
    bytes_out: int


class Rests:
    """A filter's memory: what it has not sent yet of each key's values."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self._part: Part | None = None

    def read(self, keys: NDArray[np.uint64], index: int) -> Array:
        """What waits for these keys, of value array `index`; zeros where nothing does."""
        places = self._at(keys)
        rests: Array = self._column(index)[places]
        return rests

    def write(self, keys: NDArray[np.uint64], index: int, rows: Array) -> None:
        """Keep the rows in place of what waited."""
        places = self._at(keys)
        self._column(index)[places] = rows

    def draft(self) -> "Draft":
        """The same memory for one push, which writes here only when all of it could be encoded."""
        return Draft(self)

    def waiting(self, count: int) -> tuple[Keys, list[Array]]:
        """The keys for which something waits, and what, of so many value arrays; it is taken out."""
        if self._part is None:
            return np.zeros(0, np.uint64), []
        columns = [self._column(index) for index in range(count)]
        some = np.logical_or.reduce([column.reshape(len(column), -1).any(axis=1) for column in columns])
        taken = [column[some] for column in columns]
        for column in columns:
            column[some] = 0
        return self._part.keys()[some], taken

    def _at(self, keys: NDArray[np.uint64]) -> Any:
        if self._part is None:
            self._part = local_part(self._spec)
        return self._part.locate(keys, create=True)

    def _column(self, index: int) -> Array:
        if self._part is None:
            self._part = local_part(self._spec)
        name = f"rest/{index}"
        if not self._part.has(name):
            self._part.add_column(name, Form(np.dtype(self._spec.dtype), self._spec.tail, 0))
        return self._part.column(name)


class Draft:
    """Rests, and what a push that may still fail has made of them. Each key is read, and then written, once."""

    def __init__(self, rests: Rests) -> None:
        self._rests = rests
        self._written: list[tuple[Keys, int, Array]] = []

    def read(self, keys: NDArray[np.uint64], index: int) -> Array:
        """What waits for these keys."""
        return self._rests.read(keys, index)

    def write(self, keys: NDArray[np.uint64], index: int, rows: Array) -> None:
        """Note what is to be kept."""
        self._written.append((keys, index, rows))

    def keep(self) -> None:
        """The push is sent: keep it."""
        for keys, index, rows in self._written:
            self._rests.write(keys, index, rows)


class Told:
    """The rows that the servers have told, for pulls that bring only what has changed significantly."""

    def __init__(self, spec: TableSpec) -> None:
        self._part = local_part(spec)
        self._part.add_column(_VERSION, Form(np.dtype(np.int64), (), 0))

    def version(self, keys: Keys) -> int:
        """Up to which of the server's versions the rows of all these keys are known."""
        places = self._part.locate(keys, create=True)
        return int(self._part.column(_VERSION)[places].min(initial=1 << 62))

    def renew(self, keys: Keys, newer: NDArray[np.bool_], rows: Array, version: int) -> Array:
        """Take the newer rows; all rows of the keys as they are now, shape (n,) or (n, dim)."""
        places = self._part.locate(keys, create=True)
        versions = self._part.column(_VERSION)
        latest = versions[places] <= version  # replies may come in another order
        self._part.column(ROWS)[np.asarray(places)[newer & latest]] = rows[latest[newer]]
        versions[places] = np.maximum(versions[places], version)
        return self._part.column(ROWS)[places].copy()


class SenderState:
    """All of it for one table."""

    def __init__(self, spec: TableSpec) -> None:
        self._spec = spec
        self._rests: dict[Filter, Rests] = {}
        self._told: dict[float, Told] = {}
        self._bytes: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def rests(self, filters: Sequence[Filter]) -> list[Rests]:
        """The memory of each filter."""
        return [self._rests.setdefault(one, Rests(self._spec)) for one in filters]

    def all_rests(self) -> list[Rests]:
        """The memories of all filters that have been used."""
        return list(self._rests.values())

    def told(self, threshold: float) -> Told:
        """The rows that were told for a threshold."""
        if threshold not in self._told:
            self._told[threshold] = Told(self._spec)
        return self._told[threshold]

    def count(self, direction: str, name: str, bytes_in: int, bytes_out: int) -> None:
        """Note bytes that went through a filter."""
        counts = self._bytes[direction, name]
        counts[0] += bytes_in
        counts[1] += bytes_out

    def traffic(self) -> tuple[Traffic, ...]:
        """The bytes so far, by direction and filter."""
        return tuple(Traffic(*names, *counts) for names, counts in self._bytes.items())
