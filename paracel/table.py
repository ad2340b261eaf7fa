"""The handle of a table: what users call. It checks arguments, asks the session's table, and makes tasks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from paracel import messages as m
from paracel.checks import check_staleness
from paracel.errors import CarryError, ConfigError, TableError
from paracel.filters import Filter, for_worker
from paracel.functions import Kind
from paracel.pending import Pending, gather
from paracel.session import Session
from paracel.session_tables import Call, SessionTable
from paracel.tables.senderstate import Traffic
from paracel.tables.spec import TableSpec
from paracel.tables.storage import Array, Keys, Selection
from paracel.task import Task
from paracel.values import check_tree, copy_value, sizes

MOST_KEY = (1 << 64) - 1
#: A slice of a sparse table may name at most so many keys where each of them needs a value.
MOST_IN_SLICE = 1 << 31
_CLIENTS: Any = object()

KeysLike = ArrayLike | slice
Filters = Sequence[Filter]


class Owner(Protocol):
    """What a table needs of its client."""

    def submit(self, start: Callable[[], Pending], after: Sequence[Task], size: int) -> Task:
        """Ask for something, now or once the tasks have finished."""

    def ask_tables(self) -> dict[str, Any]:
        """Each server's counters of all tables, added up."""

    def register(self, kind: Kind, function: str | Callable[..., Any]) -> str:
        """Make the servers know a function; its name."""


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """A table's settings, and what all its servers together hold and did; `traffic` is of this client alone."""

    name: str
    settings: dict[str, Any]
    keys: int
    bytes: int
    pushes: int
    pulls: int
    traffic: tuple[Traffic, ...] = ()


class Table:
    """A named family of rows, addressed by integer keys: 0 to `size` - 1, or, of a sparse table, any uint64.

    Keys are arrays of whole numbers, in any order, or slices. Rows are of shape (dim,); of a table with `dim` 1 they
    are single numbers, so that n of them have shape (n,), else (n, dim). All that asks for something returns a `Task`
    at once; `after=[task, ...]` makes it wait, on its own, until these have finished, and fail if one of them failed.
    """

    def __init__(self, owner: Owner, session: Session, table: SessionTable, push: Filters, pull: Filters) -> None:
        self._owner = owner
        self._session = session
        self._table = table
        self._seeded: dict[tuple[Filter, ...], Filters] = {}
        self._push_filters = self._own(push, "push")
        self._pull_filters = self._own(pull, "pull")

    def __repr__(self) -> str:
        size = "sparse" if self.size is None else f"size {self.size}"
        return f"<Table {self.name!r}, {size}, dim {self.dim}, {self.dtype}>"

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> TableSpec:
        """The settings."""
        return self._table.spec

    @property
    def name(self) -> str:
        """The name."""
        return self.spec.name

    @property
    def size(self) -> int | None:
        """How many keys a dense table has; None of a sparse one."""
        return self.spec.size

    @property
    def dim(self) -> int:
        """How many numbers a row has."""
        return self.spec.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the rows."""
        return np.dtype(self.spec.dtype)

    def shard_of(self, keys: KeysLike) -> NDArray[np.int64]:
        """The number of the shard that has each key, shape (len(keys),)."""
        selection = self._selection(keys)
        listed = _listed(selection) if isinstance(selection, tuple) else selection
        return self._table.router.owners(listed)

    # --- pushes and pulls -------------------------------------------------------------------------------------------

    def push(
        self,
        keys: KeysLike,
        values: ArrayLike,
        *more: ArrayLike,
        after: Sequence[Task] = (),
        filters: Filters | None = None,
        shard: int | None = None,
    ) -> Task:
        """Give the table's updater values for keys; those of keys that come twice are summed.

        `values` is of shape (len(keys),) or (len(keys), dim), or is one number or row for all; `more` arrays share the
        keys, for updaters with several inputs. `shard` sends only what is in that shard. CarryError for values that
        do not fit the table's dtype or shape.
        """
        selection, arrays = self._checked_push(keys, (values, *more), after)
        call = self._call(self._push_filters, filters, "push", shard)

        def start() -> Pending:
            return self._table.push(selection, arrays, call)

        return self._owner.submit(start, after, sizes([selection, *arrays]))

    def pull(
        self,
        keys: KeysLike = slice(None),
        *,
        state: Iterable[str] = (),
        after: Sequence[Task] = (),
        staleness: float | None = _CLIENTS,
        filters: Filters | None = None,
        shard: int | None = None,
    ) -> Task:
        """The rows of keys, shape (len(keys),) or (len(keys), dim); a missing key reads as it would begin.

        With names of `state`, a tuple of the rows and those columns. Of a slice of a sparse table, or with a `shard`,
        the tuple begins with the keys that are there, rising of a slice. `staleness` None: fresh; else, rows that
        are at most so many of the worker's iterations old; as the client reads, unless given.
        """
        selection = _kept(self._selection(keys))
        names = [state] if isinstance(state, str) else list(state)
        call = self._call(self._pull_filters, filters, "pull", shard)
        if staleness is not _CLIENTS:
            check_staleness(staleness, self._session.worker)

        def start() -> Pending:
            bound = self._session.staleness if staleness is _CLIENTS else staleness
            return self._table.pull(selection, call, names, bound)

        return self._owner.submit(start, after, sizes([selection]))

    def push_pull(
        self,
        keys: KeysLike,
        values: ArrayLike,
        *more: ArrayLike,
        after: Sequence[Task] = (),
        filters: Filters | None = None,
        shard: int | None = None,
    ) -> Task:
        """`push`, and then what a fresh `pull` of the keys gives, in one message to each server."""
        selection, arrays = self._checked_push(keys, (values, *more), after)
        call = self._call(self._push_filters, filters, "push", shard)

        def start() -> Pending:
            return self._table.push(selection, arrays, call, reply=True)

        return self._owner.submit(start, after, sizes([selection, *arrays]))

    def flush(self) -> Task:
        """Push, as it is, what filters have kept back (rests of rounding, rows that were not significant)."""

        def start() -> Pending:
            self._table.clear_cache()  # the rows there have it already
            parts = [rests.waiting(self.inputs) for rests in self._table.state.all_rests()]
            pushed = [self._table.push(keys, values, Call()) for keys, values in parts if len(keys)]
            return gather(pushed, lambda _none: None)

        return self._owner.submit(start, (), 0)

    # --- functions --------------------------------------------------------------------------------------------------

    def run(
        self,
        function: str | Callable[..., Any],
        *arguments: Any,
        keys: KeysLike | None = None,
        shard: int | None = None,
        merge: Callable[[list[Any]], Any] = list,
        after: Sequence[Task] = (),
        once_per_clock: bool = False,
    ) -> Task:
        """Call `function(keys, rows, state, *arguments)` on every server, or one, over its own part of the table.

        With `keys`, over their rows, each once, on the servers that hold them; rows that a sparse table does not have
        are made. What it changes in place stays changed. The outcome is `merge` of the list of results; `merge` may be
        called on a thread of the client's, and must not use the client. With `once_per_clock` it runs, on each server,
        for the first worker of a clock that asks, with its arguments, when all workers have come as far as its
        staleness demands; the others get the same result, or the same error.
        """
        check_tree(list(arguments))
        given = copy_value(list(arguments))  # it may be sent later, and again
        name = self._owner.register("table_function", function)
        selection = None if keys is None else _distinct(self._selection(keys))
        self._check_shard(shard)
        if once_per_clock and self._session.worker is None:
            raise ConfigError("once_per_clock counts a worker's commits; connect with worker=0, 1, ... to be one")

        def start() -> Pending:
            once, needed = (self._session.clock, self._session.min_clock) if once_per_clock else (-1, 0)
            message = m.RunTable(self.name, name, given, None, once, needed)
            return gather([self._table.run(message, selection, shard)], lambda parts: merge(parts[0]))

        return self._owner.submit(start, after, sizes([selection, given]))

    # --- the whole table --------------------------------------------------------------------------------------------

    def statistics(self) -> TableStatistics:
        """The counters of all servers together, and the bytes that this client's filters saw. TableError if dropped."""
        tables = self._owner.ask_tables()
        if self.name not in tables:
            raise TableError(f"no table {self.name!r}; there are: {', '.join(map(repr, sorted(tables))) or 'none'}")
        return TableStatistics(self.name, **tables[self.name], traffic=self._table.state.traffic())

    def drop(self) -> None:
        """Remove the table and all it holds, for everyone."""
        self._owner.submit(lambda: self._session.drop_table(self.name), (), 0).result()

    @property
    def inputs(self) -> int:
        """How many value arrays a push has."""
        return self._table.inputs

    # --- arguments --------------------------------------------------------------------------------------------------

    def _selection(self, keys: KeysLike) -> Selection:
        """Keys as messages have them: uint64, or a range."""
        if isinstance(keys, slice):
            return _range(keys, self.size)
        listed = _whole_numbers(keys)
        if listed.size == 0:
            return np.empty(0, np.uint64)
        if listed.dtype.kind not in "iu" or listed.ndim > 1:
            raise CarryError(f"keys are whole numbers in one dimension, not {listed.dtype} of shape {listed.shape}")
        flat = np.atleast_1d(listed)
        if flat.dtype.kind == "i" and flat.min() < 0:
            raise CarryError(f"key {flat.min()} of table {self.name!r}; keys begin at 0")
        if self.size is not None and flat.max() >= self.size:
            raise CarryError(f"key {flat.max()} of table {self.name!r}, which has the keys 0 to {self.size - 1}")
        return np.ascontiguousarray(flat, np.uint64)

    def _checked_push(
        self, keys: KeysLike, values: Sequence[ArrayLike], after: Sequence[Task]
    ) -> tuple[Selection, list[Array]]:
        if self.spec.apply == "commit" and self._session.worker is None:
            raise ConfigError("apply='commit' sums the pushes of workers' clocks; connect with worker=0, 1, ...")
        if len(values) != self.inputs:
            raise CarryError(f"table {self.name!r} takes {self.inputs} value arrays in a push, not {len(values)}")
        selection = self._selection(keys)
        if self.size is None and isinstance(selection, tuple):
            selection = _listed(selection)
        count = len(selection) if not isinstance(selection, tuple) else selection[1] - selection[0]
        arrays = [_fitted(value, count, self.spec) for value in values]
        if after:  # it is sent later, and the caller's arrays may change until then
            arrays, selection = [array.copy() for array in arrays], _kept(selection)
        return selection, arrays

    def _call(self, usual: Filters, given: Filters | None, direction: str, shard: int | None) -> Call:
        self._check_shard(shard)
        if given is None:
            return Call(usual, shard)
        own = self._own(given, direction)
        return Call(own, shard, usual=all(one.lossless for one in (*usual, *own)))

    def _check_shard(self, shard: int | None) -> None:
        if shard is not None and shard not in self._table.router.shards:
            raise ConfigError(f"shard={shard!r}; the table has the shards {self._table.router.shards}")

    def _own(self, filters: Filters, direction: str) -> Filters:
        """The filters, checked for the direction, with random numbers of this worker's own."""
        check_filters(filters, direction, self.spec.dtype)
        worker = 0 if self._session.worker is None else self._session.worker + 1
        return self._seeded.setdefault(tuple(filters), for_worker(filters, worker))


def check_filters(filters: Filters, direction: str, dtype: str) -> None:
    """Raise ConfigError unless all are message filters for this direction, and for rows of this dtype."""
    if not isinstance(filters, Sequence) or isinstance(filters, str):
        raise ConfigError(f"the filters of a {direction} are {filters!r}; allowed: a list of filters")
    for one in filters:
        if not isinstance(one, Filter):
            raise ConfigError(f"{one!r} is no message filter; those of paracel.filters are, as KeyCaching() is")
        if direction not in one.directions:
            raise ConfigError(f"{one!r} is not for a {direction}; it is for: {', '.join(sorted(one.directions))}")
        one.check_dtype(np.dtype(dtype))


def _distinct(selection: Selection) -> Selection:
    """The same keys, each once, in an array of their own."""
    return selection if isinstance(selection, tuple) else np.unique(selection)


def _kept(selection: Selection) -> Selection:
    """The same keys, whatever the caller does with an array of them."""
    return selection if isinstance(selection, tuple) else selection.copy()


def _whole_numbers(keys: ArrayLike) -> NDArray[Any]:
    """The keys as numpy has them, except that it makes floats of a list of ints of which some need all 64 bits."""
    listed = np.asarray(keys)
    if listed.dtype.kind in "fO" and isinstance(keys, list | tuple) and all(isinstance(key, int) for key in keys):
        if all(0 <= key <= MOST_KEY for key in keys):
            return np.array(keys, np.uint64)
        raise CarryError(f"keys are from 0 to 2**64 - 1, and there are {min(keys)} to {max(keys)}")
    return listed


def _range(keys: slice, size: int | None) -> Selection:
    if size is None:
        begin = 0 if keys.start is None else index(keys.start)
        end = MOST_KEY + 1 if keys.stop is None else index(keys.stop)
        if keys.step not in (None, 1) or not 0 <= begin <= end <= MOST_KEY + 1:
            raise CarryError(f"a slice of a sparse table is begin:end, from 0 to 2**64, not {keys}")
        return begin, end
    begin, end, step = keys.indices(size)
    if step != 1:
        return np.arange(begin, end, step).astype(np.uint64)
    return begin, max(begin, end)


def _listed(selection: tuple[int, int]) -> Keys:
    begin, end = selection
    if end - begin > MOST_IN_SLICE:
        raise CarryError(f"a slice of {end - begin} keys, each of which needs a value; give those that there are")
    return np.arange(end - begin, dtype=np.uint64) + np.uint64(begin % (MOST_KEY + 1))


def _fitted(values: ArrayLike, count: int, spec: TableSpec) -> Array:
    """The values of a push in the table's dtype, one row for each of `count` keys."""
    array, dtype, shape = np.asarray(values), np.dtype(spec.dtype), (count, *spec.tail)
    if not _holds(dtype, array):
        if dtype.kind in "iu" and array.dtype.kind in "iu":
            raise CarryError(
                f"values from {array.min()} to {array.max()} for table {spec.name!r}, which has {dtype}: "
                f"{np.iinfo(dtype).min} to {np.iinfo(dtype).max}"
            )
        raise CarryError(f"values of dtype {array.dtype} for table {spec.name!r}, which has {dtype}; cast them first")
    if array.shape not in (shape, spec.tail, (1, *spec.tail), ()):
        raise CarryError(
            f"values of shape {array.shape} for {count} keys of table {spec.name!r}; "
            f"allowed: {shape}, or one row of shape {spec.tail} for all"
        )
    return np.ascontiguousarray(np.broadcast_to(array.astype(dtype, copy=False), shape))


def _holds(dtype: np.dtype[Any], array: Array) -> bool:
    """Whether the values may become of this dtype: floats perhaps rounded, whole numbers as they are."""
    if dtype.kind in "iu" and array.dtype.kind in "iu" and not np.can_cast(array.dtype, dtype):
        limits = np.iinfo(dtype)
        return array.size == 0 or (limits.min <= int(array.min()) and int(array.max()) <= limits.max)
    return np.can_cast(array.dtype, dtype, "same_kind")
