"""A server's side of tables: their messages to calls of its parts, and back. No sockets, no time.

Filters are undone here on what comes, and done on what goes; nothing that a message says is believed unchecked.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel import messages as m
from paracel.clock import SspClock
from paracel.errors import CarryError, ParacelError, TableError
from paracel.filters import Filter, Part, decode_all, encode_all, from_wire, pack_mask, unpack_mask
from paracel.functions import Functions, Kind, users_part
from paracel.hashing import digest as digest_of
from paracel.messages import Message, packed, unpacked
from paracel.tables import journal
from paracel.tables.keylists import KeyLists
from paracel.tables.merge import Pushed
from paracel.tables.spec import TableSpec
from paracel.tables.storage import Selection
from paracel.tables.table import Table
from paracel.values import check_tree, copy_value

logger = logging.getLogger(__name__)

#: How much memory key lists may take here that clients send as hashes.
KEY_LIST_BYTES = 256 * 1024 * 1024
_MOST_FILTERS = 4096


class ShardTables:
    """The tables of one shard, the number `shard` of as many as `owners` names."""

    def __init__(self, shard: int, owners: NDArray[np.int64], functions: Functions, clock: SspClock[Any]) -> None:
        """`owners` has the shard of each slot."""
        self._shard = shard
        self._owners = owners
        self._functions = functions
        self._clock = clock
        self._tables: dict[str, Table] = {}
        self._made = 0
        self._filters: OrderedDict[tuple[str, str], Filter] = OrderedDict()
        self._results: dict[tuple[str, str], dict[int, Message]] = {}
        self.key_lists = KeyLists(KEY_LIST_BYTES)
        #: Tables that were made and dropped, and results of functions that are kept; None: nobody wants to know.
        self._made_and_dropped: list[list[Any]] | None = None
        self._new_results: list[list[Any]] = []

    # --- the tables themselves --------------------------------------------------------------------------------------

    def open(self, message: m.OpenTable) -> Message:
        """Make a table, or see that it is the same."""
        spec = TableSpec.from_wire(message.settings)
        known = self._tables.get(spec.name)
        if known is not None:
            known.spec.check_same(spec)
            return m.Opened(known.number, False)
        self._make(spec, self._made + 1)
        return m.Opened(self._made, True)

    def _make(self, spec: TableSpec, number: int) -> None:
        updaters, initials = (partial(self._function, kind) for kind in ("table_updater", "initial"))
        made = Table.open(spec, self._owners, self._shard, updaters, initials)
        self._made = made.number = number
        self._tables[spec.name] = made
        if self._made_and_dropped is not None:
            self._made_and_dropped.append([spec.to_wire(), number])
            journal.watch(made)

    def drop(self, message: m.DropTable) -> Message:
        """Remove a table."""
        return m.Done(int(self._drop(message.table)))

    def _drop(self, name: str) -> bool:
        for results in [key for key in self._results if key[0] == name]:
            del self._results[results]
        if self._made_and_dropped is not None:
            self._made_and_dropped.append([name])
            self._new_results = [result for result in self._new_results if result[0] != name]
        return self._tables.pop(name, None) is not None

    def list(self, _message: m.ListTables) -> Message:
        """The settings and counters of all tables."""
        return m.Result({name: _described(table) for name, table in self._tables.items()})

    def complete(self) -> None:
        """The clock may have moved: tables apply what was pushed in clocks that are complete now."""
        for table in [table for table in self._tables.values() if not table.failure]:
            try:
                table.complete(lambda clock: self._clock.reached(clock + 1), self._clock.value)
            except (Exception, SystemExit) as error:  # a user's updater may raise anything, and nobody waits for this
                table.failure = users_part(error.__cause__ or error)
                logger.error("the updater of table %r failed:\n%s", table.spec.name, table.failure)
        self._forget_results()

    def undo(self, worker: int, clock: int) -> None:
        """Forget what a worker has pushed in clocks from this one on, as far as it waits for these to be complete."""
        for table in self._tables.values():
            table.undo(worker, clock)

    def _forget_results(self) -> None:
        for results in self._results.values():
            for clock in [clock for clock in results if clock < self._clock.value]:
                del results[clock]

    # --- copies on other servers -----------------------------------------------------------------------------------

    def watch(self) -> None:
        """Note from now on what changes."""
        self._made_and_dropped, self._new_results = [], []
        for table in self._tables.values():
            journal.watch(table)

    def unwatch(self) -> None:
        """Note nothing any more."""
        self._made_and_dropped = None
        for table in self._tables.values():
            journal.unwatch(table)

    def become(self, other: "ShardTables") -> None:
        """Have another one's tables in place of the own. To those who have opened them they are new ones."""
        self._tables, self._results = other._tables, other._results
        for table in self._tables.values():
            self._made += 1
            table.number = self._made

    def begin_serving(self, view: int) -> None:
        """Go on where another server was before."""
        for table in self._tables.values():
            table.begin_serving(view, self._clock.value)

    def take_changes(self) -> dict[str, Any]:
        """What has changed since this was last called, as plain values."""
        made, self._made_and_dropped = self._made_and_dropped, []
        results, self._new_results = self._new_results, []
        rows = {name: journal.take_changes(table) for name, table in self._tables.items()}
        rows = {name: changes for name, changes in rows.items() if changes}
        changed = {"made": made, "rows": rows, "results": results}
        return {name: value for name, value in changed.items() if value}

    def apply(self, changes: dict[str, Any]) -> None:
        """Make so what another server's `take_changes` or `pieces` told."""
        for each in changes.get("made", ()):
            if len(each) == 1:
                self._drop(each[0])
            else:
                self._make(TableSpec.from_wire(each[0]), each[1])
        self._made = max(self._made, changes.get("count", 0))
        for name, rows in changes.get("rows", {}).items():
            journal.apply(self._tables[name], rows)
        for table, function, clock, reply in changes.get("results", ()):
            self._results.setdefault((table, function), {})[clock] = unpacked(reply)
        self._forget_results()

    def pieces(self, most_bytes: int) -> Iterator[dict[str, Any]]:
        """All that there is, in the form of `take_changes`, in pieces. Tables may change in between."""
        tables = dict(self._tables)
        kept = [(of, clock, reply) for of, replies in self._results.items() for clock, reply in replies.items()]
        yield {
            "count": self._made,
            "made": [[table.spec.to_wire(), table.number] for table in tables.values()],
            "rows": {name: journal.beginning(table) for name, table in tables.items()},
            "results": [[*of, clock, packed(reply)] for of, clock, reply in kept],
        }
        for name, table in tables.items():
            for rows in journal.pieces(table, most_bytes):
                if self._tables.get(name) is not table:  # it was dropped meanwhile
                    break
                yield {"rows": {name: rows}}

    # --- their rows -------------------------------------------------------------------------------------------------

    def push(self, message: m.Push) -> Message:
        """Give a push to its table."""
        table = self._table(message.table)
        pushed, asked = self._pushed(message)
        table.check_push(pushed.values)
        table.push(pushed, message.clock, message.worker < 0 or self._clock.reached(message.clock + 1))
        if not message.reply:
            return m.Done(len(pushed.values[0]))
        rows, _ = table.pull(asked, [])
        return m.Pulled(rows, None, None, [], 0, self._clock.value)

    def pull(self, message: m.Pull) -> Message:
        """Send rows of a table."""
        table = self._table(message.table)
        selection = self._selection(message.selection, message.digest)
        version, mask, keys = 0, None, None
        if message.threshold is None:
            values, keys = table.pull(selection, message.state)
        else:
            rows, newer, version = table.pull_published(selection, message.threshold, message.version)
            values, mask = [rows], pack_mask(newer)
        filters = [self._filter(message.table, wire) for wire in message.filters]
        part, metas, _ = encode_all(filters, Part(None, values), [None] * len(filters))
        return m.Pulled(part.values, keys, mask, metas, version, self._clock.value)

    def run(self, message: m.RunTable) -> Message:
        """Run a user's function over a table."""
        table = self._table(message.table)
        function = self._function("table_function", message.function)
        results = self._results.setdefault((message.table, message.function), {}) if message.once >= 0 else {}
        if message.once not in results:
            if 0 <= message.once < self._clock.value:  # late, of a worker that is gone: it may have run already
                raise TableError(f"{message.function} for clock {message.once}, and all have committed that one")
            selection = None if message.selection is None else self._selection(message.selection, b"")
            results[message.once] = self._ran(table, function, selection, message)
            if message.once >= 0 and self._made_and_dropped is not None:
                made = [message.table, message.function, message.once, packed(results[message.once])]
                self._new_results.append(made)
        return results[message.once]

    def _ran(self, table: Table, function: Callable[..., Any], keys: Selection | None, message: m.RunTable) -> Message:
        """The reply to a function that is run now; of one that raises, its failure, for all that ask for this clock."""
        try:
            return m.Result(_carried(table.run(function, keys, message.arguments), message.function))
        except ParacelError as error:
            return m.Failure(type(error).__name__, str(error))
        except (Exception, SystemExit) as error:
            where = f"function {message.function!r} failed on table {message.table!r}"
            return m.Failure("ServerFunctionError", f"{where}:\n{users_part(error)}")

    # --- key lists --------------------------------------------------------------------------------------------------

    def can_run(self, message: Message) -> bool:
        """Whether the keys are known that a request names by their hash."""
        return not isinstance(message, m.Push | m.Pull) or not _is_hashed(message) or message.digest in self.key_lists

    def spelled_out(self, message: Message) -> Message:
        """A request that can run, with its key list in place of the hash: it is to wait, and lists are forgotten."""
        if isinstance(message, m.Push | m.Pull) and _is_hashed(message):
            return replace(message, selection=self.key_lists.get(message.digest))
        return message

    def learn(self, message: m.KeyList) -> None:
        """Keep a key list, if it is what it says it is."""
        try:
            keys = _checked(message.keys)
        except TableError:
            return
        if not isinstance(keys, tuple) and digest_of(keys) == message.digest:
            self.key_lists.put(message.digest, keys)

    # --- what messages bring ----------------------------------------------------------------------------------------

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            raise TableError(f"no table {name!r}; there are: {', '.join(map(repr, sorted(self._tables))) or 'none'}")
        if table.failure:
            raise TableError(f"the updater of table {name!r} failed at the end of a clock:\n{table.failure}")
        return table

    def _function(self, kind: Kind, reference: str) -> Callable[..., Any]:
        self._functions.load(kind, reference)
        return self._functions.get(kind, reference)

    def _filter(self, table: str, wire: Any) -> Filter:
        """One filter for each table and setting, since some draw random numbers, and must not draw the same again."""
        key = (table, repr(wire))
        if key not in self._filters:
            self._filters[key] = from_wire(wire)
            if len(self._filters) > _MOST_FILTERS:
                self._filters.popitem(last=False)
        self._filters.move_to_end(key)
        return self._filters[key]

    def _selection(self, selection: Any, digest: bytes) -> Selection:
        if selection is None and digest:
            known = self.key_lists.get(digest)
            if known is None:
                raise TableError("a key list that this server does not know")
            return known
        keys = _checked(selection)
        if digest and not isinstance(keys, tuple):
            if digest_of(keys) != digest:  # others will name this list by its hash
                raise TableError("a key list that is not the one of its hash")
            self.key_lists.put(digest, keys)
        return keys

    def _pushed(self, message: m.Push) -> tuple[Pushed, Selection]:
        """The keys and values of a push, decoded; and all the keys that it names, of which some may bring nothing."""
        filters = [self._filter(message.table, wire) for wire in message.filters]
        keys: Any = message.selection
        if not isinstance(keys, bytes):
            keys = self._selection(keys, message.digest)
        table = self._table(message.table)
        ranged = isinstance(keys, tuple)
        listed = table.keys_in(keys) if ranged and message.mask is not None else keys
        count = table.count_in(keys) if ranged else None
        mask = None
        if message.mask is not None:
            mask = unpack_mask(message.mask, len(listed))
        part = Part(None if ranged else keys, list(message.values), mask, count=count)
        decoded = decode_all(filters, part, message.metas)
        if not ranged:
            listed = decoded.keys
        asked = keys if ranged else listed
        return Pushed(message.worker, asked if mask is None else listed[mask], decoded.values), asked


def _is_hashed(message: m.Push | m.Pull) -> bool:
    return message.selection is None and message.digest != b""


def _checked(selection: Any) -> Selection:
    """Keys as they may be: a uint64 array of one dimension, or a range."""
    if isinstance(selection, np.ndarray) and selection.dtype == np.uint64 and selection.ndim == 1:
        return selection
    if isinstance(selection, list) and len(selection) == 2 and set(map(type, selection)) == {int}:
        first, last = selection
        if 0 <= first <= last + 1 <= 1 << 64:
            return first, last + 1
    raise TableError("keys are a uint64 array of one dimension, or a range [first, last]")


def _described(table: Table) -> dict[str, Any]:
    return {
        "settings": table.spec.to_wire(),
        "keys": table.part.count,
        "bytes": table.nbytes,
        "pushes": table.pushes,
        "pulls": table.pulls,
    }


def _carried(value: Any, name: str) -> Any:
    """What a user's function returned, as a reply may hold it."""
    try:
        check_tree(value)
    except CarryError as error:
        raise CarryError(f"the result of {name!r} {error}") from None
    return copy_value(value)  # it may be part of the table, and that changes in place
