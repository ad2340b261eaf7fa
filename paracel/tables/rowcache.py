"""What one client keeps of a table: rows it has pulled, each with the clock they are valid for. No messages here.

A row may be used while its clock is at least the clock that the worker needs now. Own pushes are applied to cached
rows too, where the table's rule can be applied here (it is stateless); else the rows are forgotten.

What a pull brings that was asked for before an own push lacks that push: so own pushes are logged while pulls are
under way, and applied once more to what comes. A pull that may have waited on the server for the clock has perhaps
seen them, nobody knows: what it brings is then not kept.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.optim import Rule
from paracel.tables.placement import Blocks, DensePlaces
from paracel.tables.spec import TableSpec
from paracel.tables.storage import ROWS, Array, DensePart, Form, Part, Places, Selection, SparsePart

Mask = NDArray[np.bool_]

_VALID, _ASKED, _FETCH = "valid", "asked", "fetch"


def local_part(spec: TableSpec) -> Part:
    """An empty part for a client's own use, with a place for any key of the table; all begins at 0."""
    rows = Form(np.dtype(spec.dtype), spec.tail, 0)
    if spec.size is None:
        return SparsePart(rows)
    blocks = Blocks.of(spec.name, spec.size, spec.row_bytes)
    return DensePart(DensePlaces(blocks, np.arange(blocks.count)), rows)


@dataclass(frozen=True, slots=True)
class Fetch:
    """A pull under way: its number, how many own pushes there were before it, and the clock it was asked in."""

    number: int
    pushes: int
    asked: int
    waits: bool


class RowCache:
    """The cached rows of one table."""

    def __init__(self, spec: TableSpec, rule: Rule | None) -> None:
        """`rule` is what makes the rows of pushes; None: not known here, or not when a push is made."""
        self._rule = rule if rule is not None and rule.local else None
        self._commits = spec.apply == "commit"
        self._part = local_part(spec)
        for column in (_VALID, _ASKED, _FETCH):  # clocks plus one, so that 0 is none
            self._part.add_column(column, Form(np.dtype(np.int64), (), 0))
        self._pushes = self._fetches = 0
        self._open: dict[int, Fetch] = {}
        self._log: deque[tuple[int, Selection, list[Array]]] = deque()

    def stale(self, keys: Selection, needed: int) -> Mask:
        """Which of the keys have no row that is valid for this clock, shape (n,)."""
        return ~(self._column(_VALID, keys) > needed)

    def start_refresh(self, keys: Selection, clock: int) -> Mask:
        """Which have a row that was asked for before this clock of the worker; they count as asked for in it now."""
        asked = self._column(_ASKED, keys)
        due = (asked > 0) & (asked <= clock)
        self._part.column(_ASKED)[self._places(keys)[due]] = clock + 1
        return due

    def rows(self, keys: Selection) -> Array:
        """A copy of the cached rows; of keys without one, anything."""
        places = self._part.locate(keys, create=True)
        return self._part.column(ROWS)[places].copy()

    def valid_for(self, keys: Selection) -> int:
        """The least clock that the rows are valid for; 0 of no rows."""
        valid = self._column(_VALID, keys)
        return int(valid.min()) - 1 if len(valid) else 0

    def begin(self, clock: int, *, waits: bool) -> Fetch:
        """A pull is about to be asked for; `waits` if the server may make it wait."""
        self._fetches += 1
        fetch = Fetch(self._fetches, self._pushes, clock, waits)
        self._open[fetch.number] = fetch
        return fetch

    def end(self, fetch: Fetch, keys: Selection | None, rows: Array | None, clock: int | NDArray[Any]) -> None:
        """What a pull has brought, valid for the clock, or each row for its own; without keys: nothing."""
        fetch = self._open.pop(fetch.number)  # as `clear` has left it
        if keys is not None and rows is not None and not (fetch.waits and self._pushes > fetch.pushes):
            self._keep(fetch, keys, rows, clock)
        oldest = min((each.pushes for each in self._open.values()), default=self._pushes)
        while self._log and self._log[0][0] <= oldest:
            self._log.popleft()

    def push(self, keys: Selection, values: list[Array]) -> None:
        """An own push is about to be asked for."""
        if self._commits:  # it shows when its clock is complete, to its sender as to all
            return
        self._pushes += 1
        if self._open:
            kept = keys if isinstance(keys, tuple) else keys.copy()
            self._log.append((self._pushes, kept, [value.copy() for value in values]))
        self._apply(keys, values, None)

    def forget(self, keys: Selection) -> None:
        """Forget the rows of some keys."""
        places = self._places(keys)
        self._part.column(_VALID)[places[places >= 0]] = 0

    def clear(self) -> None:
        """Forget all rows."""
        self._part.column(_VALID)[:] = 0
        self._part.column(_ASKED)[:] = 0
        self._open = {number: Fetch(number, -1, 0, True) for number in self._open}

    def _keep(self, fetch: Fetch, keys: Selection, rows: Array, clock: int | NDArray[Any]) -> None:
        places = self._places(keys, create=True)
        valid = np.broadcast_to(np.asarray(clock) + 1, len(places))
        newer = self._part.column(_VALID)[places] <= valid
        places, rows = places[newer], rows[newer]
        self._part.column(ROWS)[places] = rows
        self._part.column(_VALID)[places] = valid[newer]
        self._part.column(_ASKED)[places] = fetch.asked + 1
        self._part.column(_FETCH)[places] = fetch.number
        for number, pushed, values in self._log:
            if number > fetch.pushes:
                self._apply(pushed, values, fetch.number)

    def _apply(self, keys: Selection, values: list[Array], fetch: int | None) -> None:
        """Apply a push to the rows that are cached; to those of one fetch only, if that is given."""
        places = self._places(keys)
        chosen = places >= 0
        chosen[chosen] = self._part.column(_VALID)[places[chosen]] > 0
        if fetch is not None:
            chosen[chosen] = self._part.column(_FETCH)[places[chosen]] == fetch
        places = places[chosen]
        if self._rule is None:
            self._part.column(_VALID)[places] = 0
            return
        rows = self._part.column(ROWS)
        rows[places] = self._rule.apply(rows[places], values[0][chosen], {})

    def _places(self, keys: Selection, create: bool = False) -> Places:
        located = self._part.locate(keys, create)
        return np.arange(located.start, located.stop) if isinstance(located, slice) else located

    def _column(self, name: str, keys: Selection) -> NDArray[Any]:
        places = self._part.locate(keys)
        column = self._part.column(name)
        if isinstance(places, slice):
            return column[places]
        found = np.zeros(len(places), column.dtype)
        found[places >= 0] = column[places[places >= 0]]
        return found
