"""Pushes made into one: repeated keys summed, and the pushes of many workers in one clock. No rows here."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.tables.storage import Selection

Keys = NDArray[np.uint64]
Array = NDArray[Any]
Listed = Callable[[Selection], Keys]

#: The pushes of a clock are added up early when they take more than this.
PENDING_BYTES = 64 * 1024 * 1024


def distinct(keys: Keys, values: Sequence[Array]) -> tuple[Keys, list[Array]]:
    """Each key once, with the sum of its values; the order is kept where no key repeats, else keys rise."""
    if len(keys) < 2 or bool((keys[1:] > keys[:-1]).all()):
        return keys, list(values)
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return keys, list(values)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
    return ordered[starts], [np.add.reduceat(value[order], starts, axis=0, dtype=value.dtype) for value in values]


@dataclass(slots=True)
class Pushed:
    """What some pushes bring: keys (a list or a range) and value arrays of as many rows."""

    worker: int
    keys: Selection
    values: list[Array]
    of_several: bool = False

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        keys = 0 if isinstance(self.keys, tuple) else self.keys.nbytes
        return keys + sum(value.nbytes for value in self.values)


@dataclass(slots=True)
class _Clock:
    pushes: list[Pushed] = field(default_factory=list)
    size: int = 0
    most: int = field(default_factory=lambda: PENDING_BYTES)


class Commits:
    """The pushes of clocks that are not complete."""

    def __init__(self, listed: Listed) -> None:
        """`listed` makes the list of keys of a selection."""
        self._listed = listed
        self._clocks: dict[int, _Clock] = defaultdict(_Clock)

    @property
    def nbytes(self) -> int:
        """The bytes of what is kept."""
        return sum(clock.size for clock in self._clocks.values())

    def add(self, clock: int, pushed: Pushed) -> None:
        """Keep a push of this clock."""
        kept = self._clocks[clock]
        kept.pushes.append(pushed)
        kept.size += pushed.nbytes
        if kept.size > kept.most and len(kept.pushes) > 1:
            kept.pushes = [replace(merged(kept.pushes, self._listed), of_several=True)]
            kept.size = kept.pushes[0].nbytes
            kept.most = max(PENDING_BYTES, 2 * kept.size)  # so that adding up stays rare

    def undo(self, worker: int, clock: int) -> None:
        """Forget a worker's pushes of clocks from this one on, as far as they are not added up with others' yet."""
        for kept in [kept for each, kept in self._clocks.items() if each >= clock]:
            kept.pushes = [pushed for pushed in kept.pushes if pushed.worker != worker or pushed.of_several]
            kept.size = sum(pushed.nbytes for pushed in kept.pushes)
        for each in [each for each, kept in self._clocks.items() if not kept.pushes]:
            del self._clocks[each]

    def all(self) -> list[tuple[int, Pushed]]:
        """All that is kept, with its clock."""
        return [(clock, pushed) for clock, kept in self._clocks.items() for pushed in kept.pushes]

    def drop(self, clock: int) -> None:
        """Forget what is kept of a clock."""
        self._clocks.pop(clock, None)

    def clocks(self) -> list[int]:
        """The clocks of which something is kept, in order."""
        return sorted(self._clocks)

    def take(self, clock: int) -> Pushed:
        """All that this clock brought, in one; it is forgotten here."""
        return merged(self._clocks.pop(clock).pushes, self._listed)


def merged(pushes: Sequence[Pushed], listed: Listed) -> Pushed:
    """The sum of some pushes, in the order of their workers, so that it does not depend on who came first."""
    ordered = sorted(pushes, key=lambda pushed: pushed.worker)
    first = ordered[0]
    if len(ordered) == 1:
        return first
    columns = list(zip(*(pushed.values for pushed in ordered), strict=True))
    if all(_same(first.keys, pushed.keys) for pushed in ordered):
        return Pushed(first.worker, first.keys, [_sum(column) for column in columns])
    keys = np.concatenate([listed(pushed.keys) for pushed in ordered])
    keys, sums = distinct(keys, [np.concatenate(column) for column in columns])
    return Pushed(first.worker, keys, sums)


def _same(one: Selection, other: Selection) -> bool:
    """Whether two selections are known to be the same, without much looking."""
    return one == other if isinstance(one, tuple) and isinstance(other, tuple) else one is other


def _sum(arrays: tuple[Array, ...]) -> Array:
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total
