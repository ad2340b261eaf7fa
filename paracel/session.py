"""A client's brain: operations in, messages out; replies in, outcomes out. No sockets, no time of its own.

It routes keys by the ring, numbers and repeats requests (`channel`), gathers single updates into batches, keeps
the worker's clock and cache, and follows the view. What is to be sent is in `outbox`, as (server, envelope); the
coordinator is the server number COORDINATOR.

An update is sent at once when nothing of this client is on its way to that server; otherwise it joins a batch that
leaves when the reply comes, when it is full, or when any other request to that server needs it gone.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paracel import messages as m
from paracel.cache import Cache
from paracel.channel import Channel
from paracel.errors import CoordinatorLost, ServerLost, UpdateError
from paracel.functions import Functions
from paracel.messages import Envelope, Message
from paracel.pending import Pending, gather
from paracel.ring import Ring, pick
from paracel.values import size_of

logger = logging.getLogger(__name__)

COORDINATOR = -1
BATCH_KEYS = 2048
BATCH_BYTES = 256 * 1024
#: How many requests for the view the coordinator may leave unanswered, one a second.
COORDINATOR_PATIENCE = 15
STRAGGLER_SECONDS = 30.0


@dataclass(slots=True)
class Batch:
    """Single updates that travel together."""

    updater: str
    keys: list[str] = field(default_factory=list)
    deltas: list[Any] = field(default_factory=list)
    pendings: list[Pending] = field(default_factory=list)
    size: int = 0


class Session:
    """The state of one client in one job."""

    def __init__(self, view: m.View, worker: int | None, staleness: float | None, functions: Functions) -> None:
        self.view = view
        self.worker = worker
        self.staleness = staleness
        self.functions = functions
        self.clock = 0
        self.cache = Cache()
        self.outbox: deque[tuple[int, Envelope]] = deque()
        self.ring = Ring([*view.servers, *view.lost])
        self.channels = {server: Channel(server, view.servers.get(server, "")) for server in self.ring.servers}
        self.failures: list[Pending] = []
        self._batches: dict[int, Batch] = {}
        self._unanswered = 0
        self._waits: dict[int, float] = {}

    # --- requests ----------------------------------------------------------------------------------------

    @property
    def min_clock(self) -> int:
        """The server clock that a read needs now: own commits less the staleness."""
        if self.staleness is None or math.isinf(self.staleness):
            return 0
        return max(0, self.clock - int(self.staleness))

    def ask(self, server: int, message: Message) -> Pending:
        """Send one request to one server, behind the updates that wait for it."""
        if server in self._batches:
            self._send_batch(server)
        return self._ask(server, message)

    def ask_all(self, message: Message, combine: Callable[[list[Any]], Any]) -> Pending:
        """Send one request to every server."""
        return gather([self.ask(server, message) for server in self.ring.servers], combine)

    def ask_by_key(
        self, keys: list[str], make: Callable[[Any], Message], combine: Callable[[list[Any], list[Any]], Any]
    ) -> Pending:
        """Send each server the request of its own keys: `make(positions)`; `combine(replies, positions of each)`."""
        routes = self.ring.route(keys)
        parts = [self.ask(server, make(positions)) for server, positions in routes]
        return gather(parts, lambda replies: combine(replies, [positions for _, positions in routes]))

    def flush(self) -> None:
        """Send all the updates that wait."""
        for server in list(self._batches):
            self._send_batch(server)

    def acknowledged(self) -> Pending:
        """Done when every request so far has its reply; failed updates do not make it fail."""
        self.flush()
        parts = [request.pending for channel in self.channels.values() for request in channel.outstanding.values()]
        done = Pending(parts)
        left = len(parts)

        def count(_part: Pending) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                done.resolve(None)

        for part in parts:
            part.then(count)
        if not parts:
            done.resolve(None)
        return done

    def _ask(self, server: int, message: Message) -> Pending:
        if server in self.view.lost:
            lost = Pending((server, message))
            lost.fail(self._lost(server))
            return lost
        pending, envelope = self.channels[server].ask(message, self.view.number)
        self.outbox.append((server, envelope))
        return pending

    # --- reads -------------------------------------------------------------------------------------------

    def read(self, keys: list[str]) -> Pending:
        """Outcome: the values in order, None where there is none, and the set of missing keys."""
        if self.staleness is None:
            return self._fetch(keys)
        stale = [key for key in dict.fromkeys(keys) if not self._usable(key)]
        if not stale:
            cached = Pending()
            cached.resolve(([self.cache.value(key) for key in keys], set()))
            return cached
        fetched = self._fetch(stale)

        def fill(replies: list[Any]) -> tuple[list[Any], set[str]]:
            fresh = dict(zip(stale, replies[0][0], strict=True))
            values = [fresh[key] if key in fresh else self.cache.value(key) for key in keys]
            return values, replies[0][1]

        return gather([fetched], fill)

    def read_clock(self) -> Pending:
        """Outcome: the least of the servers' clocks."""
        return self.ask_all(m.Read([], 0), lambda replies: min(reply.clock for reply in replies))

    def _usable(self, key: str) -> bool:
        if self.staleness is not None and math.isinf(self.staleness):
            if self.cache.start_refresh(key, self.clock):
                self._fetch([key])
            return key in self.cache
        return self.cache.fresh(key, self.min_clock)

    def _fetch(self, keys: list[str]) -> Pending:
        asked = self.clock

        def combine(replies: list[m.Found], routes: list[list[int] | None]) -> tuple[list[Any], set[str]]:
            values: list[Any] = [None] * len(keys)
            missing: set[str] = set()
            for reply, positions in zip(replies, routes, strict=True):
                own = range(len(keys)) if positions is None else positions
                missing.update(keys[own[at]] for at in reply.missing)
                values = reply.values if positions is None else _scatter(values, own, reply.values)
                if self.staleness is not None:
                    self._keep(pick(keys, positions), reply, missing, asked)
            return values, missing

        def make(positions: Any) -> Message:
            return m.Read(pick(keys, positions), self.min_clock)

        return self.ask_by_key(keys, make, combine)

    def _keep(self, keys: list[str], reply: m.Found | m.Updated, missing: Any, asked: int) -> None:
        for key, value in zip(keys, reply.values, strict=True):
            if key in missing:
                self.cache.drop([key])
            else:
                self.cache.put(key, value, reply.clock, asked)

    # --- changes -----------------------------------------------------------------------------------------

    def write(self, keys: list[str], values: list[Any]) -> Pending:
        """Outcome: how many values were written."""
        self.cache.write(keys, values)

        def make(positions: Any) -> Message:
            return m.Write(pick(keys, positions), pick(values, positions))

        return self.ask_by_key(keys, make, lambda replies, _routes: sum(reply.count for reply in replies))

    def update(self, key: str, delta: Any, updater: str) -> Pending:
        """Queue one update. Outcome: None, or UpdateError."""
        self._update_cache([key], [delta], updater)
        server = self.ring.server_of(key)
        batch = self._batches.get(server)
        if batch is not None and batch.updater != updater:
            self._send_batch(server)
            batch = None
        if batch is None:
            batch = self._batches[server] = Batch(updater)
        pending = Pending((server, batch))
        batch.keys.append(key)
        batch.deltas.append(delta)
        batch.pendings.append(pending)
        batch.size += size_of(delta)
        full = len(batch.keys) >= BATCH_KEYS or batch.size >= BATCH_BYTES
        if full or not self.channels[server].outstanding:
            self._send_batch(server)
        return pending

    def update_multi(self, keys: list[str], deltas: list[Any], updater: str, reply: bool) -> Pending:
        """Outcome: the new values in order if `reply`, else None; UpdateError if any key failed."""
        if not reply:
            self._update_cache(keys, deltas, updater)
        asked = self.clock

        def make(positions: Any) -> Message:
            return m.Update(pick(keys, positions), pick(deltas, positions), updater, reply)

        def combine(replies: list[m.Updated], routes: list[list[int] | None]) -> list[Any] | None:
            failures: dict[str, str] = {}
            for part, positions in zip(replies, routes, strict=True):
                failures.update(part.failures)
                if reply and self.staleness is not None:
                    self._keep(pick(keys, positions), part, part.failures, asked)
            if failures:
                self.cache.drop(failures)
                raise UpdateError(updater, failures)
            if not reply:
                return None
            values: list[Any] = [None] * len(keys)
            for part, positions in zip(replies, routes, strict=True):
                values = part.values if positions is None else _scatter(values, positions, part.values)
            return values

        return self._watched(self.ask_by_key(keys, make, combine))

    def remove(self, keys: list[str]) -> Pending:
        """Outcome: for each key whether it was there."""
        self.cache.drop(keys)
        return self._flags(keys, m.Remove)

    def contains(self, keys: list[str]) -> Pending:
        """Outcome: for each key whether it is there."""
        return self._flags(keys, m.Contains)

    def remove_chosen(self, key_filter: str | None) -> Pending:
        """Outcome: how many entries a key filter chose (None: all), and are gone."""
        self.cache.clear()
        return self.ask_all(m.RemoveChosen(key_filter), lambda replies: sum(reply.count for reply in replies))

    def _flags(self, keys: list[str], kind: Callable[[list[str]], Message]) -> Pending:
        def combine(replies: list[m.Flags], routes: list[list[int] | None]) -> list[bool]:
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

    def _send_batch(self, server: int) -> None:
        batch = self._batches.pop(server)
        sent = self._ask(server, m.Update(batch.keys, batch.deltas, batch.updater, False))

        def settle(outcome: Pending) -> None:
            failures = {} if outcome.error else outcome.result().failures
            for key, pending in zip(batch.keys, batch.pendings, strict=True):
                if outcome.error:
                    self._fail_update(pending, outcome.error)
                elif key in failures:
                    self.cache.drop([key])
                    self._fail_update(pending, UpdateError(batch.updater, {key: failures[key]}))
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

    # --- the clock ---------------------------------------------------------------------------------------

    def enter(self) -> Pending:
        """Take part in the quorum, from the clock that the servers have for this worker."""
        assert self.worker is not None

        def start(replies: list[m.Entered]) -> None:
            self.clock = max(reply.clock for reply in replies)

        return self.ask_all(m.Enter(self.worker), start)

    def commit(self) -> Pending:
        """Raise the worker's clock by one, on every server. All its updates must be acknowledged."""
        self.clock += 1
        assert self.worker is not None
        return self.ask_all(m.Commit(self.worker, self.clock), lambda _replies: None)

    def leave(self) -> Pending:
        """Leave the quorum: nobody waits for this worker any more."""
        assert self.worker is not None
        return self.ask_all(m.Leave(self.worker), lambda _replies: None)

    # --- what comes in -----------------------------------------------------------------------------------

    def receive(self, server: int, envelope: Envelope, now: float) -> None:
        """Take a message from a server or the coordinator."""
        if isinstance(envelope.message, m.View):
            self._follow(envelope.message)
        elif server in self.channels:
            channel = self.channels[server]
            for again in channel.receive(envelope, self.view.number):
                self.outbox.append((server, again))
            if not channel.outstanding and server in self._batches:
                self._send_batch(server)
            if channel.waiting:
                self._report_straggler(channel.waiting, server, now)
            else:
                self._waits.pop(server, None)

    def tick(self, now: float) -> None:
        """To be called about once a second while something is awaited: asks after what stays without an answer."""
        for server, channel in self.channels.items():
            probe = channel.tick(now, self.view.number)
            if probe is not None:
                self.outbox.append((server, probe))
        if self._unanswered >= COORDINATOR_PATIENCE:
            self.fail(CoordinatorLost(f"the coordinator has not answered for {self._unanswered} s; the job is over"))
            return
        self._unanswered += 1
        self.outbox.append((COORDINATOR, Envelope(0, 0, self.view.number, m.GetView())))

    def fail(self, error: Exception) -> None:
        """No reply will come any more, from anyone."""
        for channel in self.channels.values():
            channel.fail(error)

    def _follow(self, view: m.View) -> None:
        self._unanswered = 0
        if view.number <= self.view.number:
            return
        self.view = view
        for server in view.lost:
            self.channels[server].fail(self._lost(server))

    def _lost(self, server: int) -> ServerLost:
        address = self.channels[server].address
        return ServerLost(f"server {server} ({address}) is gone: {self.view.lost[server]}; its keys went with it")

    def _report_straggler(self, waiting: m.Waiting, server: int, now: float) -> None:
        since = self._waits.setdefault(server, now)
        if now - since < STRAGGLER_SECONDS:
            return
        self._waits[server] = now
        names = ", ".join(f"worker {w} ({self.view.hosts.get(w, 'not joined yet')})" for w in waiting.slowest)
        logger.warning(
            "worker %s has waited %.0f s for clock %d: %s at clock %d",
            self.worker, now - since, waiting.min_clock, names, waiting.clock,
        )  # fmt: skip


def _scatter(whole: list[Any], positions: Sequence[int], items: Sequence[Any]) -> list[Any]:
    """Put each item at its position."""
    for at, item in zip(positions, items, strict=True):
        whole[at] = item
    return whole
