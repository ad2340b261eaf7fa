"""Which keys of a sparse table are kept: admitted after some pushes, dropped when unused. All of it off by default."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.hashing import mix
from paracel.tables.storage import Form, Part, Places, SparsePart

Keys = NDArray[np.uint64]

DEPTH = 4
WIDTH_BITS = 18
#: A table with a bound gives up a little more than it must, so that the search for the oldest rows is rare.
SLACK = 16
SLACK_FROM = 4096


class CountMin:
    """How often keys came, never too low: rows of counters (Cormode and Muthukrishnan, J. Algorithms 2005)."""

    def __init__(self, bits: int = WIDTH_BITS) -> None:
        self._bits = bits
        self._counts = np.zeros((DEPTH, 1 << bits), np.uint32)

    @property
    def nbytes(self) -> int:
        """The bytes of the counters."""
        return int(self._counts.nbytes)

    def add(self, keys: Keys) -> NDArray[np.uint32]:
        """Count distinct keys once more each; their counts now, shape (len(keys),)."""
        counts = np.full(len(keys), np.iinfo(np.uint32).max, np.uint32)
        for row, counters in enumerate(self._counts):
            places = mix(keys ^ np.uint64(row << 56)) >> np.uint64(64 - self._bits)
            np.add.at(counters, places, np.uint32(1))
            np.minimum(counts, counters[places], out=counts)
        return counts


class Admission:
    """Lets a key in with its n-th push; the pushes before are counted and dropped."""

    def __init__(self, pushes: int) -> None:
        self._pushes = pushes
        self._sketch = CountMin()

    @property
    def nbytes(self) -> int:
        """The bytes of its counters."""
        return self._sketch.nbytes

    def admit(self, keys: Keys, part: Part) -> NDArray[np.bool_]:
        """Which of these distinct keys have a row, or may have one now, shape (len(keys),)."""
        admitted = np.asarray(part.locate(keys)) >= 0
        strangers = np.flatnonzero(~admitted)
        if len(strangers):
            admitted[strangers] = self._sketch.add(keys[strangers]) >= self._pushes
        return admitted


class Expiry:
    """Drops rows that nobody pushed or pulled for some clocks."""

    def __init__(self, part: SparsePart, clocks: int | None) -> None:
        self._part, self._clocks, self._now = part, clocks, 0
        if clocks is not None:
            part.add_column("touched", _int64(lambda: self._now))

    def touch(self, places: Places | slice) -> None:
        """These rows are in use."""
        if self._clocks is not None:
            _mark(self._part.column("touched"), places, self._now)

    def advance(self, clock: int) -> None:
        """The clock has moved: drop what was not touched for too long."""
        if self._clocks is None or clock == self._now:
            return
        self._now = clock
        fresh = self._part.column("touched") >= clock - self._clocks
        if not fresh.all():
            self._part.keep(fresh)


class Recency:
    """Keeps at most so many rows on this server: the least recently used ones go."""

    def __init__(self, part: SparsePart, most: int | None) -> None:
        self._part, self._most, self._step = part, most, 0
        if most is not None:
            part.add_column("used", _int64(lambda: self._step))

    def touch(self, places: Places | slice) -> None:
        """These rows have been used, later than all others."""
        if self._most is not None:
            self._step += 1
            _mark(self._part.column("used"), places, self._step)

    def evict(self) -> None:
        """Drop the least recently used rows if there are too many; of those used together, the later ones go."""
        if self._most is None or self._part.count <= self._most:
            return
        kept = self._most - (self._most // SLACK if self._most >= SLACK_FROM else 0)
        order = np.argsort(-self._part.column("used"), kind="stable")
        chosen = np.zeros(self._part.count, bool)
        chosen[order[:kept]] = True
        self._part.keep(chosen)


def _int64(now: Callable[[], int]) -> Form:
    def fill(keys: Keys) -> NDArray[Any]:
        return np.full(len(keys), now(), np.int64)

    return Form(np.dtype(np.int64), (), fill)


def _mark(column: NDArray[Any], places: Places | slice, now: int) -> None:
    column[places if isinstance(places, slice) else places[places >= 0]] = now
