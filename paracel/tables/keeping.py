"""Which keys of a sparse table are kept: admitted after some pushes, dropped when unused. All of it off by default."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.hashing import mix
from paracel.tables.storage import Form, Part, Places, SparsePart

Keys = NDArray[np.uint64]

DEPTH = 4
MOST_COUNT = np.uint16(65535)
WIDTH_BITS = 16
MOST_BITS = 23
#: A table with a bound gives up a little more than it must, so that the search for the oldest rows is rare.
SLACK = 16
SLACK_FROM = 4096


class CountMin:
    """How often keys came, never too low: rows of counters (Cormode and Muthukrishnan, J. Algorithms 2005).

    Only counters that are too low for a key are raised (conservative update; Estan and Varghese, SIGCOMM 2002). When it
    has counted more than a quarter as much as a row has counters, it doubles the rows, up to `MOST_BITS`: each
    counter becomes two of the same count, of which none is too low for the keys that they now tell apart.
    """

    def __init__(self, bits: int = WIDTH_BITS) -> None:
        self._bits = bits
        self._counts = np.zeros((DEPTH, 1 << bits), np.uint16)
        self._counted = 0

    def state(self) -> list[Any]:
        """All that it is, as plain values."""
        return [self._bits, self._counts.copy(), self._counted]

    def restore(self, state: list[Any]) -> None:
        """Become what `state` says."""
        self._bits, self._counts, self._counted = int(state[0]), np.array(state[1], np.uint16), int(state[2])

    def merge(self, state: list[Any]) -> None:
        """Count also what another has counted, of other keys: no count is too low then."""
        other = CountMin()
        other.restore(state)
        for sketch in (self, other):
            while sketch._bits < max(self._bits, other._bits):
                sketch._double()
        np.maximum(self._counts, other._counts, out=self._counts)
        self._counted += other._counted

    def _double(self) -> None:
        self._counts = np.repeat(self._counts, 2, axis=1)  # a key's place is the high bits of its hash
        self._bits += 1

    @property
    def nbytes(self) -> int:
        """The bytes of the counters."""
        return int(self._counts.nbytes)

    def add(self, keys: Keys) -> NDArray[np.uint16]:
        """Count distinct keys once more each; their counts now, shape (len(keys),)."""
        self._counted += len(keys)
        while self._counted > 1 << (self._bits - 2) and self._bits < MOST_BITS:
            self._double()
        places = [mix(keys ^ np.uint64(row << 56)) >> np.uint64(64 - self._bits) for row in range(DEPTH)]
        least: NDArray[np.uint16] = np.min([row[at] for row, at in zip(self._counts, places)], axis=0)
        counts: NDArray[np.uint16] = np.minimum(least, MOST_COUNT - np.uint16(1)) + np.uint16(1)
        for row, at in zip(self._counts, places):
            np.maximum.at(row, at, counts)
        return counts


class Admission:
    """Lets a key in with its n-th push; the pushes before are counted and dropped."""

    def __init__(self, pushes: int) -> None:
        self._pushes = pushes
        self._sketch = CountMin()
        #: The keys of each push that were counted, in lists; None: nobody wants to know.
        self.counted: list[Keys] | None = None

    @property
    def nbytes(self) -> int:
        """The bytes of its counters."""
        return self._sketch.nbytes

    def state(self) -> list[Any]:
        """All that was counted, as plain values."""
        return self._sketch.state()

    def restore(self, state: list[Any] | None, counted: Iterable[Keys]) -> None:
        """Become what `state` says, if there is one, and count what another server has counted."""
        if state is not None:
            self._sketch.restore(state)
        for keys in counted:
            self._sketch.add(keys)

    def _count(self, keys: Keys) -> NDArray[np.uint16]:
        if self.counted is not None:
            self.counted.append(keys)
        return self._sketch.add(keys)

    def admit(self, keys: Keys, part: Part) -> NDArray[np.bool_]:
        """Which of these distinct keys have a row, or may have one now, shape (len(keys),)."""
        admitted = np.asarray(part.locate(keys)) >= 0
        strangers = np.flatnonzero(~admitted)
        if len(strangers):
            admitted[strangers] = self._count(keys[strangers]) >= self._pushes
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

    def begin_anew(self, clock: int) -> None:
        """Take all rows for used just now: who kept them before did not say when each was read."""
        if self._clocks is not None:
            self._now = clock
            self._part.column("touched")[:] = clock

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

    def begin_anew(self) -> None:
        """Go on behind the steps of who kept the rows before."""
        if self._most is not None and self._part.count:
            self._step = int(self._part.column("used").max())

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
