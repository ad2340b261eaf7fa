"""Wrong versions of the protocol, each wrong in one rule. The simulation must tell each of them from the right one."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from paracel import messages as m
from paracel.cache import Cache
from paracel.channel import Channel
from paracel.clock import SspClock
from paracel.exchange import Exchange
from paracel.inbox import Inbox, Peer
from paracel.membership import Membership
from paracel.messages import Envelope
from paracel.pending import Pending
from paracel.session import Session
from paracel.shard import HANDLERS, Asked, Shard
from paracel.store import Store

from .making import Mutant, instead, nothing
from .watching import WatchedShard
from .worker import Worker

# --- the server's side of request numbers ---------------------------------------------------------------------


def _runs_repeated(_right: Any) -> Any:
    return lambda shard, asked: shard._run(asked)


def _runs_as_it_comes(_right: Any) -> Any:
    """Each request once, but in the order of arrival."""

    def take(inbox: Inbox, sender: bytes, envelope: Envelope) -> Iterator[Envelope]:
        peer = inbox._peers.setdefault(sender, Peer())
        seen = peer.held
        if envelope.request and envelope.request not in seen:
            seen[envelope.request] = envelope
            peer.running.add(envelope.request)
            while peer.next in seen:
                peer.next += 1
            yield envelope

    return take


def _skips_gaps(_right: Any) -> Any:
    """What comes early is run, and what it overtook is taken for repeated."""

    def take(inbox: Inbox, sender: bytes, envelope: Envelope) -> Iterator[Envelope]:
        peer = inbox._peers.setdefault(sender, Peer())
        if envelope.request >= peer.next:
            peer.next = envelope.request + 1
            peer.running.add(envelope.request)
            yield envelope

    return take


def _confirms_all(_right: Any) -> Any:
    def confirm(peer: Peer, _up_to: int) -> None:
        peer.replies.clear()
        peer.reply_bytes.clear()

    return confirm


# --- the clock ----------------------------------------------------------------------------------------------------


def _counts_twice(_right: Any) -> Any:
    """Paracel's: one commit raises the worker's count by two."""

    def commit(clock: SspClock[Any], worker: int, _clock: int) -> list[Any]:
        clock._clocks[worker] += 2
        return clock._advance()

    return commit


def _takes_the_fastest(_right: Any) -> Any:
    def advance(clock: SspClock[Any]) -> list[Any]:
        clock._value = max(clock._clocks.values())
        released = [item for least, _, item in clock._waiting if least <= clock._value]
        clock._waiting = [waiting for waiting in clock._waiting if waiting[0] > clock._value]
        return released

    return advance


def _releases_one(right: Any) -> Any:
    def advance(clock: SspClock[Any]) -> list[Any]:
        released = right(clock)
        for item in released[1:]:
            clock.park(0, item)
        return list(released[:1])

    return advance


def _releases_late(_right: Any) -> Any:
    return lambda clock, minimum: minimum < clock._value or not clock._running


def _leaves_without_releasing(_right: Any) -> Any:
    def leave(clock: SspClock[Any], worker: int) -> list[Any]:
        clock._running.discard(worker)
        return []

    return leave


def _enters_at_its_old_clock(_right: Any) -> Any:
    def enter(clock: SspClock[Any], worker: int) -> int:
        clock._running.add(worker)
        return clock._clocks[worker]

    return enter


def _reads_with_a_newer_clock(shard: Shard, message: m.Read) -> m.Message:
    return dataclasses.replace(Shard._read(shard, message), clock=max(shard.clock.clocks.values()))


def _no_wait_for_scans(_right: Any) -> Any:
    def run(shard: Shard, asked: Asked) -> None:
        message = asked.envelope.message
        least = message.min_clock if isinstance(message, m.Read) else 0
        if least and not shard.clock.reached(least):
            shard._parked[asked.key] = least
            shard.clock.park(least, asked)
            return
        shard._answer(asked, shard._reply_to(message))

    return run


# --- the client ---------------------------------------------------------------------------------------------------


def _one_clock_too_old(_right: Any) -> Any:
    return property(lambda session: max(0, session.clock - int(session.staleness or 0) - 1) if _finite(session) else 0)


def _finite(session: Session) -> bool:
    return session.staleness is not None and session.staleness != float("inf")


def _fresh_by_process(_right: Any) -> Any:
    """Paracel's: one key that was read newly makes all keys new."""

    def fresh(cache: Cache, key: str, needed: int) -> bool:
        return key in cache and max(entry.clock for entry in cache._entries.values()) >= needed

    return fresh


def _cached_is_fresh(_right: Any) -> Any:
    return lambda cache, key, _needed: key in cache


def _valid_for_the_own_clock(right: Any) -> Any:
    return lambda cache, key, value, _clock, asked: right(cache, key, value, asked, asked)


def _commits_at_once(_right: Any) -> Any:
    """The commit overtakes the updates that wait in a batch."""

    def commit(worker: Worker) -> Any:
        worker.session.clock += 1
        for server in worker.session.ring.shards:
            Exchange.ask(worker.session, server, m.Commit(worker.number, worker.session.clock))
        yield from ()

    return commit


def _overtakes_the_batch(_right: Any) -> Any:
    return Exchange.ask


def _numbers_repetitions_anew(_right: Any) -> Any:
    def again(channel: Channel, expected: int, view: int) -> Iterator[Envelope]:
        for number in [n for n in channel.outstanding if n >= expected]:
            request = channel.outstanding.pop(number)
            channel.outstanding[channel._next] = request
            yield Envelope(channel._next, channel.confirmed, view, request.message)
            channel._next += 1

    return again


def _mixes_updaters(right: Any) -> Any:
    def update(session: Session, key: str, delta: Any, updater: str) -> Pending:
        batch = session._batches.get(session.ring.shard_of(key))
        if batch is not None:
            batch.updater = updater
        outcome: Pending = right(session, key, delta, updater)
        return outcome

    return update


def _resolves_at_once(right: Any) -> Any:
    """An update is called done when it is sent."""

    def update_multi(session: Session, keys: list[str], deltas: list[Any], updater: str, reply: bool) -> Pending:
        outcome: Pending = right(session, keys, deltas, updater, reply)
        if not reply:
            outcome.resolve(None)
        return outcome

    return update_multi


def _keeps_old_refreshes(_right: Any) -> Any:
    return Cache.put


def _lends_without_noting(_right: Any) -> Any:
    return lambda _store, _keys, values: values


def _enter_without_levelling(session: Session) -> Pending:
    def start(replies: list[m.Entered]) -> None:
        session.clock = max(reply.clock for reply in replies)

    assert session.worker is not None
    return session.ask_all(m.Enter(session.worker), start)


# --- the coordinator --------------------------------------------------------------------------------------------


def _buries_once(right: Any) -> Any:
    def bury(membership: Membership, alive: Any) -> list[m.Message]:
        known = {status.worker for status in membership._joined.values() if status.died}
        return [leave for leave in right(membership, alive) if leave.worker not in known]

    return bury


def _buries_successors(right: Any) -> Any:
    """A `Leave` that is still on its way hits the worker that has taken the dead one's place."""

    def handle(shard: Shard, sender: bytes, message: m.Message) -> None:
        right(shard, sender, dataclasses.replace(message, view=10**6) if isinstance(message, m.Leave) else message)

    return handle


def _never_buries(_right: Any) -> Any:
    return lambda _membership, _alive: []


MUTANTS: dict[str, Mutant] = {
    "repeated requests are run again": instead(Shard, "_handle_repeated", _runs_repeated),
    "the stored reply is dropped": instead(Inbox, "stored", nothing),
    "a confirmation drops the replies behind it": instead(Peer, "confirm", _confirms_all),
    "requests are run as they come": instead(Inbox, "take", _runs_as_it_comes),
    "a gap in the numbers is skipped": instead(Inbox, "take", _skips_gaps),
    "a commit counts twice": instead(SspClock, "commit", _counts_twice),
    "the clock is the fastest worker's": instead(SspClock, "_advance", _takes_the_fastest),
    "one read is released at a time": instead(SspClock, "_advance", _releases_one),
    "reads wait one commit too long": instead(SspClock, "reached", _releases_late),
    "the quorum does not shrink": instead(SspClock, "leave", lambda _right: lambda *_: []),
    "leaving releases nothing": instead(SspClock, "leave", _leaves_without_releasing),
    "a worker enters again at its old clock": instead(SspClock, "enter", _enters_at_its_old_clock),
    "a reply claims a newer clock": lambda: mock.patch.dict(HANDLERS, {m.Read: _reads_with_a_newer_clock}),
    "scans do not wait": instead(Shard, "_run", _no_wait_for_scans),
    "a read asks for one clock less": instead(Session, "min_clock", _one_clock_too_old),
    "freshness is per process": instead(Cache, "fresh", _fresh_by_process),
    "what is cached is fresh": instead(Cache, "fresh", _cached_is_fresh),
    "a cached value is valid for the own clock": instead(Cache, "put", _valid_for_the_own_clock),
    "own updates pass the cache by": instead(Cache, "update", nothing),
    "own writes pass the cache by": instead(Cache, "write", nothing),
    "removed keys stay cached": instead(Cache, "drop", nothing),
    "an old refresh replaces what is newer": instead(Cache, "finish_refresh", _keeps_old_refreshes),
    "a commit does not wait for updates": instead(Worker, "commit", _commits_at_once),
    "requests overtake the batch": instead(Session, "ask", _overtakes_the_batch),
    "a batch mixes updaters": instead(Session, "update", _mixes_updaters),
    "an update is done when it is sent": instead(Session, "update_multi", _resolves_at_once),
    "a resend has a new number": instead(Channel, "_again", _numbers_repetitions_anew),
    "nobody asks after lost requests": instead(Channel, "tick", nothing),
    "a lost server fails nothing": instead(Exchange, "_follow", nothing),
    "lent arrays are changed": instead(Store, "_lend", _lends_without_noting),
    "the dead are not buried": instead(Membership, "_bury", _never_buries),
    "an old burial takes the successor out": instead(Shard, "_handle_unnumbered", _buries_successors),
    "the dead are buried once": instead(Membership, "_bury", _buries_once),
    "nobody levels an entering worker": lambda: mock.patch.object(Session, "enter", _enter_without_levelling),
}


#: These are wrong in what workers get to see, not only in when a server answers.
CLOCKS = (
    "a commit counts twice",
    "the clock is the fastest worker's",
    "the quorum does not shrink",
    "leaving releases nothing",
    "reads wait one commit too long",
    "scans do not wait",
    "a worker enters again at its old clock",
)


@contextmanager
def without_reference() -> Iterator[None]:
    """Judge a run by what workers see alone."""

    with mock.patch.object(WatchedShard, "check_parked", nothing(None)):
        yield
