"""What has changed in one server's part of a table, and the same made so in another one's. No messages here.

What is told is the result: keys and their rows, with all columns, as they are when they are asked for. So it may be
told twice, and of a row that changes many times meanwhile it is told once. A copy of a part is made in the same way:
from a beginning, and then rows in pieces, while newer changes of some of them are told in between.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paracel.hashing import digest
from paracel.tables.merge import Pushed
from paracel.tables.publishing import TOLD, VERSION
from paracel.tables.storage import Array, DensePart, Keys, Places, Selection, SparsePart

if TYPE_CHECKING:
    from paracel.tables.table import Table

#: Where fewer places are touched than one of so many, they are sorted, which takes no memory for all places.
SPARSELY = 16
#: In what steps a function's changes are looked for.
COMPARED_BYTES = 64 * 1024


@dataclass(slots=True)
class Journal:
    """Since it was last asked for: which rows were touched, and which pushes came for a later clock or were taken."""

    touched: list[Selection] = field(default_factory=list)
    waiting: list[tuple[int, Pushed]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    undone: list[tuple[int, int]] = field(default_factory=list)
    failure: str = ""

    def take(self, clock: int) -> None:
        """Note that a clock's pushes were taken; there may be others for the same clock after that."""
        self.waiting = [each for each in self.waiting if each[0] != clock]
        self.taken.append(clock)

    def undo(self, worker: int, clock: int) -> None:
        """A worker's pushes of clocks from this one on are forgotten."""
        self.waiting = [each for each in self.waiting if each[0] < clock or each[1].worker != worker]
        self.undone.append((worker, clock))

    @contextmanager
    def comparing(self, columns: list[Array], keys: Callable[[], Keys]) -> Iterator[None]:
        """Find out by comparing hashes which rows a function changes in place within `with`."""
        step = max(1, min(COMPARED_BYTES // max(1, column[:1].nbytes) for column in columns))
        before = _digests(columns, step)
        try:
            yield
        finally:
            changed = [at for at, (old, new) in enumerate(zip(before, _digests(columns, step))) if old != new]
            listed = keys() if changed else np.empty(0, np.uint64)
            self.touched += [listed[at * step : (at + 1) * step] for at in changed]


def _digests(columns: list[Array], step: int) -> list[tuple[bytes, ...]]:
    starts = range(0, len(columns[0]), step)
    return [tuple(digest(np.ascontiguousarray(c[at : at + step])) for c in columns) for at in starts]


def watch(table: "Table") -> None:
    """Note from now on what changes."""
    table.journal = Journal()
    if isinstance(table.part, SparsePart):
        table.part.dropped = []
    if table.admission is not None:
        table.admission.counted = []


def unwatch(table: "Table") -> None:
    """Note nothing any more."""
    table.journal = None
    if isinstance(table.part, SparsePart):
        table.part.dropped = None
    if table.admission is not None:
        table.admission.counted = None


def take_changes(table: "Table") -> dict[str, Any] | None:
    """What has changed since this was last called, as plain values; None for nothing."""
    journal = table.journal
    assert journal is not None
    table.journal = Journal(failure=table.failure)
    changes: dict[str, Any] = {}
    waiting = [_waiting(clock, pushed) for clock, pushed in journal.waiting]
    if waiting:
        changes["waiting"] = waiting
    if journal.taken:
        changes["taken"] = journal.taken
    if journal.undone:
        changes["undone"] = journal.undone
    if table.failure != journal.failure:
        changes["failure"] = table.failure
    if table.admission is not None and table.admission.counted:
        changes["counted"], table.admission.counted = table.admission.counted, []
    gone = _take_gone(table)
    if journal.touched:
        changes["rows"] = _touched_rows(table, journal.touched)
    if gone is not None:
        changes["gone"] = gone
    return changes or None


def beginning(table: "Table") -> dict[str, Any]:
    """All that there is beside rows, in the form of `take_changes`."""
    state: dict[str, Any] = {"failure": table.failure}
    state["waiting"] = [_waiting(clock, pushed) for clock, pushed in table.commits.all()]
    if table.admission is not None:
        state["admission"] = table.admission.state()
    return state


def pieces(table: "Table", most_bytes: int) -> Iterator[dict[str, Any]]:
    """All rows, in the form of `take_changes`, of about so many bytes each. The table may change in between."""
    part = table.part
    row = 8 + sum(part.column(name)[:1].nbytes for name in _columns(table))
    step = max(1, most_bytes // row)
    if isinstance(part, DensePart):  # its keys need not be listed
        for at in range(0, part.count, step):
            yield {"rows": [_rows(table, part.range_of(at, min(at + step, part.count) - 1))]}
    elif isinstance(part, SparsePart):
        keys = part.keys()
        for at in range(0, len(keys), step):
            yield {"rows": [_rows(table, part.present(keys[at : at + step]))]}  # some may have gone meanwhile


def apply(table: "Table", changes: dict[str, Any]) -> None:
    """Make so what another server's `take_changes` told."""
    for clock in changes.get("taken", ()):
        table.commits.drop(clock)
    for worker, clock in changes.get("undone", ()):
        table.commits.undo(worker, clock)
    for clock, worker, keys, values, of_several in changes.get("waiting", ()):
        table.commits.add(clock, Pushed(worker, _selection(keys), values, of_several))
    if table.admission is not None:
        table.admission.restore(changes.get("admission"), changes.get("counted", ()))
    for keys, columns in changes.get("rows", ()):
        places = table.part.locate(_selection(keys), create=True)
        for name, column in columns.items():
            table.part.column(name)[places] = column
    if "gone" in changes and isinstance(table.part, SparsePart):
        table.part.drop(changes["gone"])
    table.failure = changes.get("failure", table.failure)


def _waiting(clock: int, pushed: Pushed) -> list[Any]:
    keys = list(pushed.keys) if isinstance(pushed.keys, tuple) else pushed.keys
    return [clock, pushed.worker, keys, pushed.values, pushed.of_several]


def _selection(keys: Any) -> Selection:
    return (keys[0], keys[1]) if isinstance(keys, list) else keys


def _columns(table: "Table") -> list[str]:
    return [name for name in table.part.names() if not name.startswith((TOLD, VERSION))]


def _rows(table: "Table", selection: Selection) -> list[Any]:
    places = table.part.locate(selection)
    if isinstance(places, slice):
        columns = {name: table.part.column(name)[places].copy() for name in _columns(table)}
        return [list(selection) if isinstance(selection, tuple) else selection, columns]
    return _rows_at(table, table.keys_in(selection), places)


def _rows_at(table: "Table", keys: Keys, places: Places) -> list[Any]:
    return [keys, {name: table.part.column(name)[places] for name in _columns(table)}]


def _touched_rows(table: "Table", touched: list[Selection]) -> list[list[Any]]:
    """The rows of these selections, each once; of a sparse table those that are there."""
    if isinstance(table.part, SparsePart):
        ranges, lists = [], [table.keys_in(each) for each in touched]
    else:
        ranges = list(dict.fromkeys(each for each in touched if isinstance(each, tuple)))
        lists = [each for each in touched if not isinstance(each, tuple)]
    rows = [_rows(table, each) for each in ranges]
    if lists:
        keys = lists[0] if len(lists) == 1 else np.concatenate(lists)
        places = np.asarray(table.part.locate(keys))
        chosen = _once(places, table.part.count)
        rows.append(_rows_at(table, keys[chosen], places[chosen]))
    return rows


def _once(places: Places, count: int) -> NDArray[np.intp]:
    """Where each of the places, all below `count`, comes for the last time; where it is negative, not at all."""
    there = np.flatnonzero(places >= 0)
    if SPARSELY * len(there) < count:
        _, back = np.unique(places[there[::-1]], return_index=True)
        return there[len(there) - 1 - back]
    last = np.empty(count, np.int64)  # read only where it was written
    last[places[there]] = there
    chosen: NDArray[np.intp] = there[last[places[there]] == there]
    return chosen


def _take_gone(table: "Table") -> Keys | None:
    """The keys that were dropped, and did not come back."""
    part = table.part
    if not isinstance(part, SparsePart) or not part.dropped:
        return None
    keys, part.dropped = np.unique(np.concatenate(part.dropped)), []
    return keys[np.asarray(part.locate(keys)) < 0]
