"""A client's brain: operations in, messages out; replies in, outcomes out. No sockets, no time of its own.

On top of the exchange of requests it gathers single updates into batches, and keeps the worker's cache.

An update is sent at once when nothing of this client is on its way to that server; otherwise it joins a batch that
leaves when the reply comes, when it is full, or when any other request to that server needs it gone.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paracel import messages as m
from paracel.cache import Cache
from paracel.errors import UpdateError
from paracel.functions import Functions
from paracel.hashing import Keys
from paracel.messages import Envelope, Message
from paracel.optim import Rule
from paracel.pending import Pending, Steps, all_done, asked_anew, gather, run_after
from paracel.quorum import Participant
from paracel.ring import Positions, pick
from paracel.sent_keys import SentKeys
from paracel.session_tables import SessionTable
from paracel.tables.routes import Router
from paracel.tables.spec import TableSpec, function_of, rule_of
from paracel.values import size_of

BATCH_KEYS = 2048
BATCH_BYTES = 256 * 1024

Keep = Callable[[str, Any, int, int], None]


@dataclass(slots=True)
class Batch:
    """Single updates that travel together."""

    updater: str
    keys: list[str] = field(default_factory=list)
    deltas: list[Any] = field(default_factory=list)
    pendings: list[Pending] = field(default_factory=list)
    size: int = 0


class Session(Participant):
    """The state of one client in one job."""

    def __init__(self, view: m.View, worker: int | None, staleness: float | None, functions: Functions) -> None:
        super().__init__(view, worker)
        self.staleness = staleness
        self.functions = functions
        self.cache = Cache()
        self.failures: list[Pending] = []
        self.last_read_clock = 0
        self.tables: dict[str, SessionTable] = {}
        self.held: set[Pending] = set()
        self.held_bytes = 0
        self._steps = Steps()
        self._sent_keys = SentKeys()
        self._changes = 0
        self._batches: dict[int, Batch] = {}

    # --- requests ----------------------------------------------------------------------------------------

    @property
    def min_clock(self) -> int:
        """The server clock that a read needs now: own commits less the staleness."""
        if self.staleness is None or math.isinf(self.staleness):
            return 0
        return max(0, self.clock - int(self.staleness))

    def ask(self, shard: int, message: Message) -> Pending:
        """Send one request to one shard, behind the updates that wait for it."""
        if shard in self._batches:
            self._send_batch(shard)
        return super().ask(shard, message)

    def flush(self) -> None:
        """Send all the updates that wait."""
        for shard in list(self._batches):
            self._send_batch(shard)

    def acknowledged(self) -> Pending:
        """Done when every request and update so far has its reply, whatever it says; what is held is sent first."""
        self.flush()
        sent = super().acknowledged()
        if not self.held:
            return sent
        done = Pending()

        def sent_too(_all: Pending) -> None:
            super(Session, self).acknowledged().then(lambda _sent: done.resolve(None))

        all_done([sent, *self.held]).then(sent_too)
        return done

    def hold(self, before: Sequence[Pending], size: int, start: Callable[[], Pending]) -> Pending:
        """Ask for something once other things are done, and have gone well; `size` bytes are kept for it meanwhile.

        Outcome: what `start` is asked for, or DependencyError.
        """
        begun = Pending()

        def begin() -> Pending:
            try:
                return start()
            finally:
                begun.resolve(None)

        pending = run_after(before, begin, self._steps)
        pending.then(lambda _outcome: begun.resolve(None))  # one that fails never begins
        if not begun.done:
            self.held.add(begun)
            self.held_bytes += size
            begun.then(lambda _begun: self._release(begun, size))
        return pending

    def _release(self, pending: Pending, size: int) -> None:
        self.held.remove(pending)
        self.held_bytes -= size

    def forget_cached(self) -> None:
        """Drop all that was read."""
        self.cache.clear()
        for table in self.tables.values():
            table.clear_cache()

    def _replied(self, shard: int) -> None:
        if shard in self._batches and not self.channels[shard].outstanding:
            self._send_batch(shard)

    # --- reads -------------------------------------------------------------------------------------------

    def read(self, keys: list[str]) -> Pending:
        """Outcome: the values in order, None where there is none, and the set of missing keys."""
        return asked_anew(lambda: self._read(keys))

    def _read(self, keys: list[str]) -> Pending:
        if self.staleness is None:
            return self._fetch(keys)
        stale = self._stale(dict.fromkeys(keys))
        if not stale:
            self.last_read_clock = min((self.cache.clock_of(key) or 0 for key in keys), default=0)
            cached = Pending()
            cached.resolve(([self.cache.value(key) for key in keys], set()))
            return cached
        fetched = self._fetch(stale)
        missed = set(stale)
        # taken now: a failed update may drop entries before the others are here
        cached_values = {key: self.cache.value(key) for key in keys if key not in missed}

        def fill(replies: list[Any]) -> tuple[list[Any], set[str]]:
            fresh = dict(zip(stale, replies[0][0], strict=True))
            return [fresh[key] if key in fresh else cached_values[key] for key in keys], replies[0][1]

        return gather([fetched], fill)

    def ask_entries(self, message: m.Scan | m.Top) -> Pending:
        """Outcome: the entries of each server."""

        def combine(replies: list[m.Entries]) -> list[m.Entries]:
            self.last_read_clock = min(reply.clock for reply in replies)
            return replies

        return asked_anew(lambda: self.ask_all(message, combine))

    def read_clock(self) -> Pending:
        """Outcome: the least of the servers' clocks."""
        return asked_anew(lambda: self.ask_all(m.Read([], 0), lambda replies: min(reply.clock for reply in replies)))

    def _stale(self, keys: Iterable[str]) -> list[str]:
        """The keys that the cache cannot answer. Of the others, eventual reads ask for newer values behind it."""
        if self.staleness is None or not math.isinf(self.staleness):
            return [key for key in keys if not self.cache.fresh(key, self.min_clock)]
        listed = list(keys)
        refreshing = [key for key in listed if self.cache.start_refresh(key, self.clock)]
        if refreshing:
            fetched = self._fetch(refreshing, self.cache.finish_refresh)
            fetched.then(lambda outcome: self.cache.drop(refreshing) if outcome.error else None)
        return [key for key in listed if key not in self.cache]

    def fetch(self, keys: list[str]) -> Pending:
        """The same as `read`, past the cache and leaving nothing in it."""
        return asked_anew(lambda: self._fetch(keys, _keep_nothing))

    def _fetch(self, keys: list[str], keep: Keep | None = None) -> Pending:
        asked, changes = self.clock, self._changes

        def combine(replies: list[m.Found], routes: list[Positions]) -> tuple[list[Any], set[str]]:
            values: list[Any] = [None] * len(keys)
            missing: set[str] = set()
            self.last_read_clock = min((reply.clock for reply in replies), default=0)
            # whoever gave this read up may have changed something since: its own change must stay visible
            into = keep or (self.cache.put if changes == self._changes else _keep_nothing)
            for reply, positions in zip(replies, routes, strict=True):
                own = range(len(keys)) if positions is None else positions
                missing.update(keys[own[at]] for at in reply.missing)
                values = reply.values if positions is None else _scatter(values, own, reply.values)
                if self.staleness is not None:
                    self._keep(pick(keys, positions), reply, missing, asked, into)
            return values, missing

        def make(positions: Any) -> Message:
            return m.Read(pick(keys, positions), self.min_clock)

        return self.ask_by_key(keys, make, combine)

    def _keep(self, keys: list[str], reply: m.Found | m.Updated, missing: Any, asked: int, keep: Keep) -> None:
        for key, value in zip(keys, reply.values, strict=True):
            if key in missing:
                self.cache.drop([key])
            else:
                keep(key, value, reply.clock, asked)

    # --- changes -----------------------------------------------------------------------------------------

    def write(self, keys: list[str], values: list[Any]) -> Pending:
        """Outcome: how many values were written."""
        self._changes += 1
        self.cache.write(keys, values)

        def make(positions: Any) -> Message:
            return m.Write(pick(keys, positions), pick(values, positions))

        return self.ask_by_key(keys, make, lambda replies, _routes: sum(reply.count for reply in replies))

    def update(self, key: str, delta: Any, updater: str) -> Pending:
        """Queue one update. Outcome: None, or UpdateError."""
        self._changes += 1
        self._update_cache([key], [delta], updater)
        shard = self.ring.shard_of(key)
        batch = self._batches.get(shard)
        if batch is not None and batch.updater != updater:
            self._send_batch(shard)
            batch = None
        if batch is None:
            batch = self._batches[shard] = Batch(updater)
        pending = Pending()
        batch.keys.append(key)
        batch.deltas.append(delta)
        batch.pendings.append(pending)
        batch.size += size_of(delta)
        full = len(batch.keys) >= BATCH_KEYS or batch.size >= BATCH_BYTES
        if full or not self.channels[shard].outstanding:
            self._send_batch(shard)
        return pending

    def update_multi(self, keys: list[str], deltas: list[Any], updater: str, reply: bool) -> Pending:
        """Outcome: the new values in order if `reply`, else None; UpdateError if any key failed."""
        self._changes += 1
        if not reply:
            self._update_cache(keys, deltas, updater)
        asked = self.clock

        def make(positions: Any) -> Message:
            return m.Update(pick(keys, positions), pick(deltas, positions), updater, reply)

        def combine(replies: list[m.Updated], routes: list[Positions]) -> list[Any]:
            failures: dict[str, str] = {}
            values: list[Any] = [None] * len(keys)
            for part, positions in zip(replies, routes, strict=True):
                failed = {keys[positions[at] if positions else at]: text for at, text in part.failures.items()}
                failures.update(failed)
                if reply and self.staleness is not None:
                    self._keep(pick(keys, positions), part, failed, asked, self.cache.put)
                if reply:
                    values = part.values if positions is None else _scatter(values, positions, part.values)
            if failures:
                self.cache.drop(failures)
                raise UpdateError(updater, failures)
            return values

        return self._watched(self.ask_by_key(keys, make, combine))

    def remove(self, keys: list[str]) -> Pending:
        """Outcome: for each key whether it was there."""
        self._changes += 1
        self.cache.drop(keys)
        return self._flags(keys, m.Remove)

    def contains(self, keys: list[str]) -> Pending:
        """Outcome: for each key whether it is there."""
        return asked_anew(lambda: self._flags(keys, m.Contains))

    def remove_chosen(self, key_filter: str | None) -> Pending:
        """Outcome: how many entries a key filter chose (None: all), and are gone."""
        self._changes += 1
        self.cache.clear()
        return self.ask_all(m.RemoveChosen(key_filter), lambda replies: sum(reply.count for reply in replies))

    def _flags(self, keys: list[str], kind: Callable[[list[str]], Message]) -> Pending:
        def combine(replies: list[m.Flags], routes: list[Positions]) -> list[bool]:
            flags: list[Any] = [False] * len(keys)
            for part, positions in zip(replies, routes, strict=True):
                flags = part.flags if positions is None else _scatter(flags, positions, part.flags)
            return flags

        return self.ask_by_key(keys, lambda positions: kind(pick(keys, positions)), combine)

    def _update_cache(self, keys: list[str], deltas: list[Any], updater: str) -> None:
        if not len(self.cache):
            return
        for key, delta in zip(keys, deltas, strict=True):
            if key in self.cache:
                self.cache.update(key, delta, self.functions.get("updater", updater))

    def _send_batch(self, shard: int) -> None:
        batch = self._batches.pop(shard)
        sent = super().ask(shard, m.Update(batch.keys, batch.deltas, batch.updater, False))

        def settle(outcome: Pending) -> None:
            failures = {} if outcome.error else outcome.result().failures
            for at, (key, pending) in enumerate(zip(batch.keys, batch.pendings, strict=True)):
                if outcome.error:
                    self._fail_update(pending, outcome.error)
                elif at in failures:
                    self.cache.drop([key])
                    self._fail_update(pending, UpdateError(batch.updater, {key: failures[at]}))
                else:
                    pending.resolve(None)

        sent.then(settle)

    def _fail_update(self, pending: Pending, error: BaseException) -> None:
        pending.fail(error)
        self.failures.append(pending)

    def _watched(self, pending: Pending) -> Pending:
        """Note a failure, so that one that nobody looks at is raised at the next commit."""
        pending.then(lambda outcome: self.failures.append(outcome) if outcome.error else None)
        return pending

    def unobserved_failure(self) -> Pending | None:
        """The first failed update that nobody has looked at yet; all are forgotten."""
        failures, self.failures = self.failures, []
        return next((pending for pending in failures if not pending.observed), None)

    # --- tables ------------------------------------------------------------------------------------------

    def ask_first(self, spec: TableSpec) -> Pending:
        """Ask for a table where it is decided whose settings hold, if several clients ask at once."""
        return self.ask(self.ring.shard_of(spec.name), self._opening(spec))

    def open_table(self, spec: TableSpec, inputs: int) -> Pending:
        """Ask for it everywhere. Outcome: a SessionTable; a push has `inputs` arrays."""

        def opened(replies: list[m.Opened]) -> SessionTable:
            numbers = tuple(reply.number for reply in replies)
            known = self.tables.get(spec.name)
            if known is None or (known.spec, known.numbers) != (spec, numbers):  # others may have made another
                rule = None if function_of(spec.updater) else rule_of(spec, _no_function)
                known = SessionTable(self, spec, rule, inputs, Router(spec, self.ring.owners))
                known.numbers = numbers
                self.tables[spec.name] = known
            return known

        return self.ask_all(self._opening(spec), opened)

    def _opening(self, spec: TableSpec) -> Message:
        return m.OpenTable(spec.to_wire())

    def drop_table(self, name: str) -> Pending:
        """Outcome: whether it was there."""
        self.tables.pop(name, None)
        return self.ask_all(m.DropTable(name), lambda replies: any(reply.count for reply in replies))

    def watch(self, pending: Pending) -> Pending:
        """Note a failure, so that one that nobody looks at is raised at the next commit."""
        return self._watched(pending)

    def knows(self, shard: int, digest: bytes, keys: Keys, most: int) -> bool:
        """Whether the shard was sent this key list; from now on it was."""
        return self._sent_keys.knows(shard, digest, keys, most)

    def lend(self, digest: bytes, keys: Keys, pending: Pending) -> None:
        """Have a key list at hand, in case the server asks for it, until the request is done."""
        self._sent_keys.lend(digest, keys, pending)

    def _wanted(self, shard: int, message: m.UnknownKeys) -> None:
        keys = self._sent_keys.get(message.digest)
        if keys is not None:
            channel = self.channels[shard]
            self._send(channel, [Envelope(0, 0, self.view.number, m.KeyList(message.digest, keys), shard)])


def _no_function(reference: str) -> Rule:
    raise AssertionError(f"{reference} is a function, and only servers run those")


def _keep_nothing(_key: str, _value: Any, _clock: int, _asked: int) -> None:
    """Where a read must not leave anything in the cache."""


def _scatter(whole: list[Any], positions: Sequence[int], items: Sequence[Any]) -> list[Any]:
    """Put each item at its position."""
    if isinstance(positions, range):
        whole[positions.start : positions.stop] = items
        return whole
    for at, item in zip(positions, items, strict=True):
        whole[at] = item
    return whole
