"""One server's part of a table: pushes and pulls of its rows, by the table's rule. No messages, no sockets.

What is handed out is a copy; what comes in is kept only until its clock is complete. Keys of one push are distinct;
where the rule is to add, and rows are added one by one (so not in a dense table with dim > 1), they need not be.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.errors import ServerFunctionError, TableError
from paracel.functions import table_state, users_part
from paracel.optim import Column, Rule, builtin
from paracel.tables.journal import Journal
from paracel.tables.keeping import Admission, Expiry, Recency
from paracel.tables.merge import Commits, Pushed
from paracel.tables.placement import Blocks, DensePlaces
from paracel.tables.publishing import Publisher
from paracel.tables.spec import TableSpec, function_of, initial_of, rule_of
from paracel.tables.storage import ROWS, Array, DensePart, Form, Part, Places, Selection, SparsePart

#: (keys) -> rows of a user's function, by its reference; and (rows, deltas, state) -> rows.
Find = Callable[[str], Callable[..., Any]]
Clock = Callable[[], int]


@dataclass(frozen=True, slots=True)
class FunctionRule(Rule):
    """A user's `f(rows, deltas, state) -> rows`."""

    function: Callable[..., Any]
    state: Mapping[str, float]
    inputs: int
    local = False
    additive = False

    def columns(self) -> dict[str, Column]:
        """The state that the function was decorated with."""
        return {name: Column(initial) for name, initial in self.state.items()}

    def apply(self, rows: Array, deltas: Any, state: Mapping[str, Array]) -> Array:
        """The function's rows, checked; ValueError unless they are as many and of the same shape."""
        seen = rows.view()
        seen.flags.writeable = False
        new = np.asarray(self.function(seen, deltas, state))
        if new.shape != rows.shape or not np.can_cast(new.dtype, rows.dtype, "same_kind"):
            name = self.function.__qualname__
            made = f"{new.dtype} of shape {new.shape}"
            raise ValueError(f"updater {name} made {made} of rows that are {rows.dtype} of shape {rows.shape}")
        return new

    def to_wire(self) -> list[Any]:
        """Functions travel by their reference, which the table's settings hold."""
        return []


class Table:
    """The rows of one table that one server holds."""

    def __init__(self, spec: TableSpec, own_blocks: Places | None, rule: Rule, init: Callable[..., Any] | None) -> None:
        """`own_blocks` are the server's blocks of a dense table; `init` is the user's function of keys, if any."""
        self.spec = spec
        self.rule = rule
        self.pushes = self.pulls = 0
        self.number = 0  # which of all the tables that its server has made
        self.failure = ""
        self._fill = init or partial(initial_of(spec).rows, dim=spec.dim, dtype=np.dtype(spec.dtype), seed=spec.seed)
        self.part: Part = _make_part(spec, own_blocks, self._fill)
        self._state = {name: self._form(column) for name, column in rule.columns().items()}
        for name, form in self._state.items():
            self.part.add_column(_state_column(name), form)
        self.commits = Commits(self.keys_in)
        self._publisher = Publisher(self.part)
        self._adds = rule == builtin("add")
        # else rows are added to without finding them first, which a failure to begin new ones would leave half done
        self._keeps = spec.expire_after is not None or spec.max_rows is not None or init is not None
        self.admission = Admission(spec.admit_after) if spec.admit_after > 1 else None
        self._expiry = Expiry(self.part, spec.expire_after) if isinstance(self.part, SparsePart) else None
        self._recency = Recency(self.part, spec.max_rows) if isinstance(self.part, SparsePart) else None
        #: What has changed; None: nobody wants to know.
        self.journal: Journal | None = None

    @classmethod
    def open(cls, spec: TableSpec, owners: NDArray[np.int64], server: int, updaters: Find, initials: Find) -> "Table":
        """A new table; `owners` has the server of each slot, and user's functions are found by their references."""

        def find(reference: str) -> Rule:
            function = updaters(reference)
            return FunctionRule(function, *table_state(function))

        own = None
        if spec.size is not None:
            blocks = Blocks.of(spec.name, spec.size, spec.row_bytes)
            own = np.flatnonzero(blocks.owners(owners) == server)
        given = function_of(spec.init)
        return cls(spec, own, rule_of(spec, find), initials(given) if given else None)

    # --- pushes -----------------------------------------------------------------------------------------------------

    def check_push(self, values: list[Array]) -> None:
        """Raise TableError unless these value arrays are such as the table takes."""
        if len(values) != self.rule.inputs:
            raise TableError(
                f"a push to table {self.spec.name!r} has {self.rule.inputs} value arrays, not {len(values)}"
            )
        for value in values:
            if value.dtype != self.spec.dtype or value.shape[1:] != self.spec.tail or not value.ndim:
                raise TableError(
                    f"table {self.spec.name!r} has rows of {self.spec.dtype}, shape (n, *{self.spec.tail}); "
                    f"a push brought {value.dtype}, shape {value.shape}"
                )

    def push(self, pushed: Pushed, clock: int, complete: bool) -> None:
        """Take a push of a worker's clock: apply it now, or when that clock is complete."""
        self.pushes += 1
        if self.spec.apply == "push" or complete:
            self._apply(pushed)
        else:
            if self.spec.size is not None:
                self._located(pushed.keys)  # what cannot be applied is refused now, while its sender is told
            self.commits.add(clock, pushed)
            if self.journal is not None:
                self.journal.waiting.append((clock, pushed))

    def undo(self, worker: int, clock: int) -> None:
        """Forget what a worker has pushed in clocks from this one on, as far as it waits for these to be complete."""
        self.commits.undo(worker, clock)
        if self.journal is not None:
            self.journal.undo(worker, clock)

    def complete(self, is_complete: Callable[[int], bool], clock: int) -> None:
        """The server's clock has moved: apply the pushes of clocks that are complete, and drop what has expired."""
        for each in self.commits.clocks():
            if not is_complete(each):
                break
            if self.journal is not None:
                self.journal.take(each)
            self._apply(self.commits.take(each))
        if self._expiry is not None:
            self._expiry.advance(clock)

    def _apply(self, pushed: Pushed) -> None:
        keys, values = pushed.keys, pushed.values
        if self.admission is not None and not isinstance(keys, tuple):
            admitted = self.admission.admit(keys, self.part)
            keys, values = keys[admitted], [value[admitted] for value in values]
        if self._adds and isinstance(self.part, SparsePart) and not isinstance(keys, tuple) and not self._keeps:
            self._note(keys)
            self.part.add(keys, values[0])
            return
        with self._making(keys) as places:
            self._change(places, values)

    def _note(self, keys: Selection) -> None:
        if self.journal is not None:
            self.journal.touched.append(keys)

    def begin_serving(self, view: int, clock: int) -> None:
        """Go on where another server was before, from what it has told of its rows."""
        self._publisher.begin_anew(view)
        if self._expiry is not None:
            self._expiry.begin_anew(clock)
        if self._recency is not None:
            self._recency.begin_anew()

    @contextmanager
    def _making(self, keys: Selection) -> Iterator[Places | slice]:
        """The places of keys, made where they are not there; not made, after all, if what is done with them fails."""
        before = self.part.count
        places = self._located(keys, create=True)
        self._note(keys)
        try:
            yield places
        except BaseException:
            if isinstance(self.part, SparsePart):
                self.part.shorten(before)
            raise
        self._touch(places)
        if self._recency is not None:
            self._recency.evict()

    def _change(self, places: Places | slice, values: list[Array]) -> None:
        rows = self.part.column(ROWS)
        if self._adds:
            _add(rows, places, values[0], self.spec.size is None)
            return
        state = self._state_of(places)
        deltas = values[0] if self.rule.inputs == 1 else tuple(values)
        try:
            new = self.rule.apply(rows[places], deltas, state)
            self._put_back(new, state, places)
        except (Exception, SystemExit) as error:  # a user's updater may raise anything
            updater = function_of(self.spec.updater) or repr(self.rule)
            raise ServerFunctionError(
                f"updater {updater!r} failed, the rows of table {self.spec.name!r} stay as they were:\n"
                f"{users_part(error)}"
            ) from error

    # --- pulls ------------------------------------------------------------------------------------------------------

    def pull(self, keys: Selection, state: list[str]) -> tuple[list[Array], NDArray[np.uint64] | None]:
        """Copies of the rows, and of named state; of a range of a sparse table also its keys, rising."""
        self.pulls += 1
        self._check_state(state)
        places = self._located(keys)
        self._touch(places)
        found = None
        if isinstance(keys, tuple) and self.spec.size is None:
            found = self.part.keys()[places]
        return [self._gather(ROWS, places, keys), *(self._gather(_state_column(n), places, keys) for n in state)], found

    def pull_published(self, keys: Selection, threshold: float, since: int) -> tuple[Array, NDArray[np.bool_], int]:
        """The rows that changed by more than the threshold since that version; which they are; the version now."""
        self.pulls += 1
        places = self._located(keys)
        self._touch(places)
        newer, column, version = self._publisher.changed(places, threshold, since)
        if isinstance(places, slice):
            return self.part.column(column)[places][newer], newer, version
        chosen = keys if isinstance(keys, tuple) else keys[newer]  # of a range, every row is there
        return self._gather(column, places[newer], chosen), newer, version

    def _gather(self, column: str, places: Places | slice, keys: Selection) -> Array:
        values = self.part.column(column)
        if isinstance(places, slice):
            return values[places].copy()
        missing = places < 0
        if not missing.any():
            return values[places]
        form = self._form_of(column)
        gathered = np.empty((len(places), *values.shape[1:]), values.dtype)
        gathered[~missing] = values[places[~missing]]
        absent = np.asarray(keys)[missing]
        gathered[missing] = form.begin(lambda: absent, len(absent))
        return gathered

    # --- functions --------------------------------------------------------------------------------------------------

    def run(self, function: Callable[..., Any], selection: Selection | None, arguments: list[Any]) -> Any:
        """Call `function(keys, rows, state, *arguments)` on all rows, or on those of some keys; returns its result.

        What it changes in place stays changed. Rows of keys that a sparse table does not have are made.
        """
        if selection is None:
            state = {name: self.part.column(_state_column(name)) for name in self._state}
            columns = [self.part.column(ROWS), *state.values()]
            with nullcontext() if self.journal is None else self.journal.comparing(columns, self.part.keys):
                return function(self.part.keys(), columns[0], state, *arguments)
        with self._making(selection) as places:
            keys = self.part.keys()[places] if isinstance(selection, tuple) else selection
            rows, state = self.part.column(ROWS)[places].copy(), self._state_of(places)
            result = function(keys, rows, state, *arguments)
            self._put_back(rows, state, places)
        return result

    def _state_of(self, places: Places | slice) -> dict[str, Array]:
        return {name: self.part.column(_state_column(name))[places].copy() for name in self._state}

    def _put_back(self, rows: Array, state: Mapping[str, Array], places: Places | slice) -> None:
        """Set rows and state at these places, or, where a user's function has spoilt a column, nothing at all."""
        columns = [(self.part.column(_state_column(name)), np.asarray(state[name])) for name in self._state]
        for name, (old, new) in zip(self._state, columns):
            shape = (len(rows), *old.shape[1:])
            if new.shape != shape or not np.can_cast(new.dtype, old.dtype, "same_kind"):
                raise ValueError(f"state {name!r} is {old.dtype} of shape {shape}; change it in place")
        self.part.column(ROWS)[places] = rows
        for old, new in columns:
            old[places] = new

    # --- ranges -----------------------------------------------------------------------------------------------------

    def count_in(self, keys: tuple[int, int]) -> int:
        """How many of the server's rows of a dense table are in a range."""
        places = self.part.locate(keys)
        if not isinstance(places, slice):
            raise TableError(f"table {self.spec.name!r} is sparse: a push names its keys one by one")
        return int(places.stop - places.start)

    def keys_in(self, keys: Selection) -> NDArray[np.uint64]:
        """The keys of a selection that this server has."""
        return self.part.keys()[self.part.locate(keys)] if isinstance(keys, tuple) else keys

    # --- both -------------------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """The bytes of memory of rows, index, state, and of pushes that wait for their clock."""
        admission = 0 if self.admission is None else self.admission.nbytes
        return self.part.nbytes + self.commits.nbytes + admission

    def _located(self, keys: Selection, create: bool = False) -> Places | slice:
        size = self.spec.size
        if size is None or isinstance(keys, tuple) or not len(keys):
            return self.part.locate(keys, create)
        if keys.max() >= size:
            raise TableError(f"key {keys.max()} of table {self.spec.name!r}, which has the keys 0 to {size - 1}")
        places = self.part.locate(keys)
        if not isinstance(places, slice) and places.min() < 0:
            raise TableError(f"keys of table {self.spec.name!r} that are another server's")
        return places

    def _touch(self, places: Places | slice) -> None:
        for keeper in (self._expiry, self._recency):
            if keeper is not None:
                keeper.touch(places)

    def _check_state(self, names: list[str]) -> None:
        unknown = [name for name in names if name not in self._state]
        if unknown:
            allowed = ", ".join(sorted(self._state)) or "none"
            raise TableError(f"table {self.spec.name!r} keeps no state {unknown[0]!r}; its updater keeps: {allowed}")

    def _form(self, column: Column) -> Form:
        return Form(np.dtype(self.spec.dtype), () if column.per_row else self.spec.tail, column.initial)

    def _form_of(self, column: str) -> Form:
        if not column.startswith(_STATE):  # the rows, or what readers were told of them
            return Form(np.dtype(self.spec.dtype), self.spec.tail, self._fill)
        return self._state[column.removeprefix(_STATE)]


_STATE = "state/"


def _state_column(name: str) -> str:
    return _STATE + name


def _make_part(spec: TableSpec, own_blocks: Places | None, fill: Callable[..., Any]) -> Part:
    init = spec.init
    constant = init[1].get("value") if isinstance(init[1], dict) and init[0] == "constant" else None
    rows = Form(np.dtype(spec.dtype), spec.tail, fill if constant is None else constant)
    if spec.size is None:
        return SparsePart(rows)
    assert own_blocks is not None
    return DensePart(DensePlaces(Blocks.of(spec.name, spec.size, spec.row_bytes), own_blocks), rows)


def _add(rows: Array, places: Places | slice, deltas: Array, sparse: bool) -> None:
    """The most frequent rule, without copies of rows. Places may come twice, but not where dense rows have dim > 1."""
    if sparse and not isinstance(places, slice):
        from paracel.tables.index import add_at

        add_at(rows, places, deltas)
    elif rows.ndim == 1 and not isinstance(places, slice):
        np.add.at(rows, places, deltas)
    else:
        rows[places] += deltas
