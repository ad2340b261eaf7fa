"""A client's side of one table: keys to shards, filters, the cache; messages out, outcomes back. No sockets.

A `selection` is a list of keys, uint64, or a range (begin, end).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paracel import messages as m
from paracel.filters import (
    Filter,
    KeyCaching,
    Memory,
    Part,
    SignificantlyModified,
    decode_all,
    encode_all,
    pack_mask,
    size_of,
    unpack_mask,
)
from paracel.hashing import digest as digest_of
from paracel.messages import Message
from paracel.optim import Rule, builtin
from paracel.pending import Pending, asked_anew, gather
from paracel.tables.merge import distinct
from paracel.tables.routes import Route, Router, clocks_of, gathered
from paracel.tables.rowcache import Fetch, RowCache
from paracel.tables.senderstate import SenderState
from paracel.tables.spec import TableSpec
from paracel.tables.storage import Array, Keys, Selection

RANGE_BYTES = 16
#: Called with the clock that the rows of a pull are valid for, or one for each row, when they are there.
Note = Callable[[int | Array], None]
#: A part after its filters, their metas, and the bytes before and after: of all filters, and then of each.
Encoded = tuple[Part, list[dict[str, Any]], list[tuple[int, int]]]


class Asking(Protocol):
    """What a table needs of its session."""

    worker: int | None
    clock: int
    last_read_clock: int

    def ask(self, shard: int, message: Message) -> Pending:
        """Send one request to one shard."""

    def lend(self, digest: bytes, keys: Keys, pending: Pending) -> None:
        """Have a key list at hand, in case the server asks for it, until the request is done."""

    def knows(self, shard: int, digest: bytes, keys: Keys, most: int) -> bool:
        """Whether the shard was sent this key list; from now on it was."""


@dataclass(frozen=True, slots=True)
class Call:
    """What may be said of a single push or pull: filters in the order of their work, and the one shard it goes to.

    Filters are `usual` if they are the table's own, or change no more than those: only such pulls use the cache.
    """

    filters: Sequence[Filter] = ()
    shard: int | None = None
    usual: bool = True


class SessionTable:
    """One table, as one client knows it."""

    def __init__(self, session: Asking, spec: TableSpec, rule: Rule | None, inputs: int, router: Router) -> None:
        """`rule` is None where only the servers run the updater; a push has `inputs` value arrays."""
        self.spec = spec
        self.inputs = inputs
        self.router = router
        self.numbers: tuple[int, ...] = ()  # the shards' own of this table
        self.state = SenderState(spec)
        self._session = session
        self._rule = rule
        self._cache: RowCache | None = None

    # --- pushes -----------------------------------------------------------------------------------------------------

    def push(self, selection: Selection, values: list[Array], call: Call, *, reply: bool = False) -> Pending:
        """Outcome: None, or with `reply` the rows after the push."""
        asked = selection
        if not isinstance(selection, tuple) and not self._takes_repeats(call):
            selection, values = distinct(selection, values)
        routes = self._routes(selection, call)
        drafts = [rests.draft() for rests in self.state.rests(call.filters)]
        answered = reply and selection is asked
        # a filter that refuses values does so before any shard has its part
        encoded = [self._encode(route, values, call.filters, drafts, fixed=answered) for route in routes]
        for draft in drafts:
            draft.keep()
        pendings = [self._send_push(route, part, call.filters, reply=answered) for route, part in zip(routes, encoded)]
        self._push_cached(selection, values, routes, call)
        if not reply:
            pushed = gather(pendings, lambda _replies: None)
        elif selection is asked:
            pushed = self._collect(routes, pendings, Call((), call.shard), arrays=1, count=_count(asked))
        else:  # some keys were repeated, and each position gets its row
            fetched = asked_anew(lambda: self._fetch(asked, Call((), call.shard), (), 0))
            pushed = gather([*pendings, fetched], lambda outcomes: outcomes[-1])
        pushed.then(lambda outcome: self.clear_cache() if outcome.error else None)  # the cached rows have it
        return pushed

    def _push_cached(self, selection: Selection, values: list[Array], routes: list[Route], call: Call) -> None:
        """Apply a push, or what of it goes to the one shard of the call, to the cached rows."""
        if self._cache is None:
            return
        if call.shard is None:
            self._cache.push(selection, values)
        for route in routes if call.shard is not None else ():
            self._cache.push(self.router.keys_of(route), [route.cut(value) for value in values])

    def _takes_repeats(self, call: Call) -> bool:
        """Whether keys may come twice: servers that only add can add one by one, and finding repeats takes longer."""
        adds = self._rule == builtin("add") and (self.spec.size is None or self.spec.dim == 1)
        return adds and self.spec.admit_after == 1 and not call.filters and self._cache is None

    def _routes(self, selection: Selection, call: Call) -> list[Route]:
        return [r for r in self.router.route(selection) if call.shard is None or r.shard == call.shard]

    def _encode(
        self, route: Route, values: list[Array], filters: Sequence[Filter], memories: Sequence[Memory], *, fixed: bool
    ) -> Encoded:
        """A shard's part of a push. `fixed`: a reply has rows of all its keys, whichever of them filters leave out."""
        part = Part(self._keys_for(route, filters), [route.cut(value) for value in values])
        part.fixed = fixed or isinstance(route.selection, tuple) or _caching(filters) is not None
        encoded, metas, sizes = encode_all(filters, part, memories)
        return encoded, metas, [(size_of(part), size_of(encoded)), *sizes]

    def _send_push(self, route: Route, encoded: Encoded, filters: Sequence[Filter], *, reply: bool) -> Pending:
        session = self._session
        part, metas, sizes = encoded
        selection, digest = self._on_the_wire(route, part.keys, filters)
        self._count(route, filters, sizes, hashed=selection is None)
        mask = None if part.mask is None else pack_mask(part.mask)
        worker = -1 if session.worker is None else session.worker
        wire = [one.to_wire() for one in filters]
        message = m.Push(
            self.spec.name, worker, session.clock, selection, digest, mask, part.values, wire, metas, reply
        )
        pending = session.ask(route.shard, message)
        self._lend(route, digest, pending)
        return pending

    def _keys_for(self, route: Route, filters: Sequence[Filter]) -> Any:
        """The keys as filters see them: a range that is cut is shown to them key by key."""
        return route.selection if not filters or route.positions is None else self.router.keys_of(route)

    def _on_the_wire(self, route: Route, keys: Any, filters: Sequence[Filter]) -> tuple[Any, bytes]:
        """How a message says the keys: a range, a list, or the hash of a list."""
        if isinstance(route.selection, tuple):
            return _said(route.selection), b""
        caching = _caching(filters)
        if caching is None:
            return keys, b""
        digest = digest_of(route.selection)
        known = self._session.knows(route.shard, digest, route.selection, caching.max_bytes)
        return (None if known else route.selection), digest

    def _lend(self, route: Route, digest: bytes, pending: Pending) -> None:
        if digest and not isinstance(route.selection, tuple):
            self._session.lend(digest, route.selection, pending)

    def _count(self, route: Route, filters: Sequence[Filter], sizes: list[tuple[int, int]], *, hashed: bool) -> None:
        """Note the bytes of a push, in all and by filter, which see the keys one by one also where a range is sent."""
        listed = 8 * route.count
        saved = listed - RANGE_BYTES if hashed else 0
        (before, after), *sizes = sizes
        ranged = isinstance(route.selection, tuple)
        excess = listed - RANGE_BYTES if ranged and route.positions is not None and filters else 0
        for one, (bytes_in, bytes_out) in zip(filters, sizes, strict=True):
            caching = isinstance(one, KeyCaching)
            self.state.count("push", one.name, bytes_in - excess, bytes_out - excess - (saved if caching else 0))
        self.state.count("push", "all", before - excess, after - excess - saved)

    # --- pulls ------------------------------------------------------------------------------------------------------

    def pull(self, selection: Selection, call: Call, state: Sequence[str], staleness: float | None) -> Pending:
        """Outcome: the rows; with state a tuple; of a range of a sparse table a tuple that begins with the keys."""
        needed = 0
        if staleness is not None and not math.isinf(staleness):
            needed = max(0, self._session.clock - int(staleness))
        ranged = self.spec.size is None and isinstance(selection, tuple)
        if staleness is None or state or ranged or call.shard is not None or not call.usual:
            return asked_anew(lambda: self._fetch(selection, call, state, needed))
        eventual = math.isinf(staleness)
        return asked_anew(lambda: self._pull_cached(selection, call, needed, eventual=eventual))

    def clear_cache(self) -> None:
        """Forget the rows that were pulled."""
        if self._cache is not None:
            self._cache.clear()

    def _pull_cached(self, selection: Selection, call: Call, needed: int, *, eventual: bool) -> Pending:
        cache = self._cache = self._cache or RowCache(self.spec, self._rule)
        stale = cache.stale(selection, needed)
        if eventual:
            due = cache.start_refresh(selection, self._session.clock) & ~stale
            if due.any():
                self._fetch_into(cache, _chosen(selection, due), call, 0)
        if not stale.any():
            self._session.last_read_clock = cache.valid_for(selection)
            cached = Pending()
            cached.resolve(cache.rows(selection))
            return cached
        if stale.all():
            return self._fetch_into(cache, selection, call, needed)
        rows = cache.rows(selection)  # now: a push may change them before the others are here
        fetched = self._fetch_into(cache, _chosen(selection, stale), call, needed)

        clock = cache.valid_for(_chosen(selection, ~stale))

        def fill(parts: list[Array]) -> Array:
            rows[stale] = parts[0]
            self._session.last_read_clock = min(clock, self._session.last_read_clock)
            return rows

        return gather([fetched], fill)

    def _fetch_into(self, cache: RowCache, selection: Selection, call: Call, needed: int) -> Pending:
        fetch: Fetch = cache.begin(self._session.clock, waits=needed > 0)
        clocks: list[int | Array] = []

        def keep(outcome: Pending) -> None:
            if outcome.error is None:
                cache.end(fetch, selection, outcome.result(), clocks[0])
            else:
                cache.end(fetch, None, None, 0)
                cache.forget(selection)  # else nobody would learn that they are not refreshed any more

        fetched = self._fetch(selection, call, (), needed, clocks.append)
        fetched.then(keep)
        return fetched

    def _fetch(
        self, selection: Selection, call: Call, state: Sequence[str], needed: int, note: Note | None = None
    ) -> Pending:
        routes = self._routes(selection, call)
        threshold = next((one.threshold for one in call.filters if isinstance(one, SignificantlyModified)), None)
        ranged = self.spec.size is None and isinstance(selection, tuple)  # what is there, the servers say
        threshold = None if state or ranged else threshold
        pendings = [self._send_pull(route, call.filters, state, threshold, needed) for route in routes]
        if ranged:
            return gather(pendings, lambda replies: self._join_ranges(replies, call))
        return self._collect(
            routes, pendings, call, arrays=1 + len(state), count=_count(selection), threshold=threshold, note=note
        )

    def _send_pull(
        self, route: Route, filters: Sequence[Filter], state: Sequence[str], threshold: float | None, needed: int
    ) -> Pending:
        selection, digest = self._on_the_wire(route, route.selection, filters)
        version = 0
        if threshold is not None and route.count:
            version = self.state.told(threshold).version(self.router.keys_of(route))
        wire = [one.to_wire() for one in filters if one.name not in _APART]
        message = m.Pull(self.spec.name, selection, digest, list(state), wire, threshold, version, needed)
        pending = self._session.ask(route.shard, message)
        self._lend(route, digest, pending)
        if not isinstance(route.selection, tuple):
            listed, hashed = 8 * route.count, RANGE_BYTES if digest else 0
            sent = hashed + (0 if selection is None else listed)
            for name in [one.name for one in filters if isinstance(one, KeyCaching)] + ["all"]:
                self.state.count("pull", name, listed, sent)
        return pending

    def _collect(
        self,
        routes: list[Route],
        pendings: list[Pending],
        call: Call,
        *,
        arrays: int,
        count: int,
        threshold: float | None = None,
        note: Note | None = None,
    ) -> Pending:
        def combine(replies: list[m.Pulled]) -> Any:
            self._session.last_read_clock = min((reply.clock for reply in replies), default=0)
            if note is not None:
                note(clocks_of(routes, [reply.clock for reply in replies], count))
            if not replies:
                return self._nothing(arrays, call)
            parts = [
                self._decoded(reply, route, call.filters, threshold)
                for reply, route in zip(replies, routes, strict=True)
            ]
            if call.shard is not None:
                return (self.router.keys_of(routes[0]), *parts[0])
            wholes = gathered(routes, parts, count)
            return wholes[0] if arrays == 1 else tuple(wholes)

        return gather(pendings, combine)

    def _nothing(self, arrays: int, call: Call) -> Any:
        """The outcome of a pull of no keys."""
        empty = np.empty((0, *self.spec.tail), self.spec.dtype)
        if call.shard is not None:
            return (np.empty(0, np.uint64), *[empty] * arrays)
        return empty if arrays == 1 else (empty,) * arrays

    def _decoded(
        self, reply: m.Pulled, route: Route, filters: Sequence[Filter], threshold: float | None
    ) -> list[Array]:
        newer = None if threshold is None else unpack_mask(reply.mask, route.count)
        count = route.count if newer is None else int(np.count_nonzero(newer))
        values = self._undone(reply, [one for one in filters if one.name not in _APART], count)
        if newer is None or threshold is None:
            return values
        whole, sent = route.count * self.spec.row_bytes, values[0].nbytes
        self.state.count("pull", SignificantlyModified.name, whole, sent + len(newer) // 8)
        self.state.count("pull", "all", whole - sent, len(newer) // 8)
        keys = self.router.keys_of(route)
        return [self.state.told(threshold).renew(keys, newer, values[0], reply.version)]

    def _undone(self, reply: m.Pulled, filters: Sequence[Filter], count: int) -> list[Array]:
        """The values of a reply, decoded filter by filter so that the bytes of each are counted."""
        part = Part(None, list(reply.values), count=count)
        arrived = size_of(part)
        metas = reply.metas or [{}] * len(filters)
        for one, meta in zip(reversed(filters), reversed(metas)):
            before = size_of(part)
            part = one.decode(part, meta)
            self.state.count("pull", one.name, size_of(part), before)
        decode_all([], part, [])  # checks the form
        self.state.count("pull", "all", size_of(part), arrived)
        return part.values

    def _join_ranges(self, replies: list[m.Pulled], call: Call) -> tuple[Array, ...]:
        """What the servers have of a range of a sparse table, by key."""
        self._session.last_read_clock = min(reply.clock for reply in replies)
        filters = [one for one in call.filters if one.name not in _APART]
        parts = [[reply.keys, *self._undone(reply, filters, len(reply.keys))] for reply in replies]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        return tuple(column[order] for column in columns)

    # --- functions --------------------------------------------------------------------------------------------------

    def run(self, message: m.RunTable, selection: Selection | None, shard: int | None) -> Pending:
        """Outcome: the results of a function by shard; with a selection, of the shards that have some of it."""
        if selection is None:
            pendings = [self._session.ask(to, message) for to in self.router.shards if shard in (None, to)]
        else:
            pendings = [
                self._session.ask(route.shard, replace(message, selection=_said(route.selection)))
                for route in self._routes(selection, Call((), shard))
            ]
        return gather(pendings, lambda replies: [reply.value for reply in replies])


def _said(selection: Selection) -> Any:
    """A selection as messages have it: of a range the first and the last key, for 2**64 does not fit."""
    if not isinstance(selection, tuple):
        return selection
    begin, end = selection
    return [begin, end - 1] if begin < end else [1, 0]


#: Filters that are no part of the chain of a pull's reply.
_APART = (KeyCaching.name, SignificantlyModified.name)


def _caching(filters: Sequence[Filter]) -> KeyCaching | None:
    return next((one for one in filters if isinstance(one, KeyCaching)), None)


def _count(selection: Selection) -> int:
    return max(0, selection[1] - selection[0]) if isinstance(selection, tuple) else len(selection)


def _chosen(selection: Selection, chosen: NDArray[np.bool_]) -> Keys:
    keys = np.arange(*selection, dtype=np.uint64) if isinstance(selection, tuple) else selection
    return keys[chosen]
