"""For each rule of the core, deliberate mistakes, and the proof that the rule's check finds them.

A check that passes on a mutant here proves nothing elsewhere either. The same checks pass on the code as it is: that
is what the other tests run, and what the first test here repeats.
"""

import operator
import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from support import invariants as rules
from support import table_rules
from support.chain import check_chain
from support.placing import check_placing
from support.shard_copies import check_shard_copies
from support.table_copies import check_table_copies

from paracel import cache, ring, session, session_tables, store, updaters, wire
from paracel.assignment import Assignment
from paracel.cache import Cache
from paracel.chains import Place
from paracel.channel import Channel
from paracel.clock import SspClock
from paracel.exchange import Exchange
from paracel.inbox import Inbox
from paracel.pending import Pending, all_done
from paracel.replication import Outlet, Replica
from paracel.ring import Ring
from paracel.sent_keys import SentKeys
from paracel.session import Session
from paracel.shard import Shard
from paracel.store import Store
from paracel.tables import journal, merge, placement, publishing, routes, rowcache, senderstate
from paracel.tables.index import Index
from paracel.tables.journal import Journal
from paracel.tables.merge import Commits, merged
from paracel.tables.placement import DensePlaces
from paracel.tables.publishing import Publisher
from paracel.tables.routes import Route
from paracel.tables.rowcache import RowCache
from paracel.tables.senderstate import Told
from paracel.tables.table import Table
from paracel.updaters import Arithmetic

SEEDS = range(40)


def each_seed(check: Callable[[int], None]) -> Callable[[], None]:
    """The check for enough seeds."""

    def all_of_them() -> None:
        for seed in SEEDS:
            check(seed)

    all_of_them.__name__ = check.__name__
    return all_of_them


def name_of(rule: Any) -> str:
    """The name of the invariant that a rule checks."""
    return getattr(rule, "func", rule).__name__.removeprefix("check_").removesuffix("_seed")


CLOCK = each_seed(rules.check_clock_seed)
STORE = each_seed(rules.check_store_seed)
ONCE = each_seed(rules.check_exactly_once)
ORDER = each_seed(rules.check_order)
ACKNOWLEDGED = each_seed(rules.check_acknowledged)
CACHE = each_seed(rules.check_cache_seed)
STALENESS = each_seed(rules.check_staleness)
CLIENT = each_seed(rules.check_client)
TOP = each_seed(rules.check_top)
INDEX = each_seed(table_rules.check_index)
ROUTES = each_seed(table_rules.check_routes)
COMMITS = each_seed(table_rules.check_commits)
COMMIT_TABLES = each_seed(table_rules.check_commit_tables)
ROWS = each_seed(table_rules.check_row_cache)
TOLD = each_seed(table_rules.check_told)
TABLES = each_seed(table_rules.check_table_client)
DEPENDENCIES = each_seed(table_rules.check_dependencies)
ENDS = each_seed(table_rules.check_execution_order)
KEY_LISTS = each_seed(table_rules.check_key_lists)
TABLE_COPIES = each_seed(check_table_copies)
SHARD_COPIES = each_seed(check_shard_copies)
CHAIN = each_seed(check_chain)
PLACING = each_seed(check_placing)


GOLDEN = rules.check_ring_is_the_same_everywhere
MOVES = partial(rules.check_ring_moves, [0, 1, 2], 3)
BALANCE = partial(rules.check_ring_balance, range(6))
PLACEMENT = partial(table_rules.check_placement, "w", 20_000, 8, [0, 1, 2], [(0, 20_000), (5, 9000), (4095, 4097)])
LARGE_ROWS = partial(table_rules.check_placement, "w", 3000, 40_000, [0, 1, 2], [(0, 3000)])


def SAME() -> None:
    rules.check_ring_order([16, 8, 0], random.Random(2))


@dataclass(frozen=True, slots=True)
class Mutant:
    """`owner.name` is replaced by `make(what it was)`."""

    rule: Callable[[], None]
    what: str
    owner: Any
    name: str
    make: Callable[[Any], Any]


def commit_counts(_old: Any) -> Any:
    return lambda self, worker, _clock, old=_old: old(self, worker, self.clocks.get(worker, 0) + 1)


def commit_goes_back(old: Any) -> Any:
    def commit(self: Any, worker: int, clock: int) -> Any:
        if worker in self.clocks:
            self._clocks[worker] = clock
        return old(self, worker, clock)

    return commit


def take_at_once(_old: Any) -> Any:
    """Runs requests as they come; of repeated ones too."""

    def take(self: Any, sender: bytes, envelope: Any) -> Any:
        if envelope.request:
            list(_old(self, sender, envelope))
            yield envelope

    return take


def take_early(old: Any) -> Any:
    """Runs each request once, but as it comes."""

    def take(self: Any, sender: bytes, envelope: Any) -> Any:
        seen = self.__dict__.setdefault("seen", set())
        list(old(self, sender, envelope))
        if envelope.request and (sender, envelope.request) not in seen:
            seen.add((sender, envelope.request))
            yield envelope

    return take


def again_renumbered(old: Any) -> Any:
    def receive(self: Any, envelope: Any, view: int) -> Any:
        again = old(self, envelope, view)
        return [sent._replace(request=sent.request + 1) for sent in again]

    return receive


def refresh_forgets(old: Any) -> Any:
    def finish(self: Any, key: str, value: Any, clock: int, asked: int) -> None:
        self._entries[key].replay.clear() if key in self else None
        old(self, key, value, clock, asked)

    return finish


def one_clock_for_all(_old: Any) -> Any:
    """Paracel's rule: one number for the whole process."""
    return lambda self, key, needed: (
        key in self and max(clock for each in "abcdefghij" if (clock := self.clock_of(each)) is not None) >= needed
    )


def batch_of_any_updater(old: Any) -> Any:
    def update(self: Any, key: str, delta: Any, updater: str) -> Any:
        batch = self._batches.get(self.ring.shard_of(key))
        return old(self, key, delta, batch.updater if batch else updater)

    return update


def done_at_once(_old: Any) -> Any:
    def acknowledged(self: Any) -> Pending:
        self.flush()
        done = Pending()
        done.resolve(None)
        return done

    return acknowledged


def in_place_always(old: Any) -> Any:
    return lambda self, value, delta, in_place=False: old(self, value, delta, in_place=True)


def keeps_then_checks(old: Any) -> Any:
    """Stores the new value before the updater has ended well."""

    def update(self: Any, keys: Any, deltas: Any, name: str, function: Any) -> Any:
        failures = old(self, keys, deltas, name, function)
        for at in failures:
            self._data[keys[at]] = deltas[at]
        return failures

    return update


def sum_keeps_the_first(_old: Any) -> Any:
    def distinct(keys: Any, values: Any) -> Any:
        found, first = np.unique(keys, return_index=True)
        return (keys, list(values)) if len(found) == len(keys) else (found, [value[first] for value in values])

    return distinct


def push_unlogged(old: Any) -> Any:
    """What a pull under way brings lacks the own pushes meanwhile."""

    def push(self: Any, keys: Any, values: Any) -> None:
        under_way, self._open = self._open, {}
        old(self, keys, values)
        self._open = under_way

    return push


def renew_nothing(_old: Any) -> Any:
    """Notes the version, and leaves the rows as they were."""

    def renew(self: Any, keys: Any, newer: Any, rows: Any, version: int) -> Any:
        places = self._part.locate(keys, create=True)
        self._part.column(senderstate._VERSION)[places] = version
        return self._part.column(senderstate.ROWS)[places].copy()

    return renew


def whatever_became_of_them(_old: Any) -> Any:
    """Runs what comes after others also when these have failed."""

    def run_after(before: Any, start: Any, _steps: Any) -> Pending:
        whole = Pending()
        all_done(before).then(lambda _all: start().then(lambda done: whole.resolve(None)))
        return whole

    return run_after


def at_once(_old: Any) -> Any:
    return lambda _before, start, _steps: start()


def answers_alone(old: Any) -> Any:
    """Takes for stable what it has itself."""

    def settle(self: Any) -> None:
        self.stable = self.applied
        old(self)

    return settle


def takes_whatever_comes(old: Any) -> Any:
    """Takes what comes next for what was to come next."""

    def receive(self: Any, message: Any) -> None:
        self._last = message.number - 1
        old(self, message)

    return receive


def outlet_is_enough(old: Any) -> Any:
    """The outlet that was there before is all that a new primary needs."""
    return lambda self: None if self.outlet is not None else old(self)


MUTANTS = [
    # the quorum
    Mutant(CLOCK, "reads are never parked", SspClock, "reached", lambda _: lambda self, minimum: True),
    Mutant(CLOCK, "one commit too many is asked", SspClock, "reached", lambda _: lambda s, least: least < s.value),
    Mutant(CLOCK, "a repeated commit counts again", SspClock, "commit", commit_counts),
    Mutant(CLOCK, "an old commit sets the clock back", SspClock, "commit", commit_goes_back),
    Mutant(CLOCK, "who has left is waited for", SspClock, "leave", lambda _: lambda self, worker: []),
    Mutant(CLOCK, "who enters starts at nothing", SspClock, "enter", lambda _: lambda self, worker: 0),
    Mutant(
        CLOCK,
        "the clock is that of the fastest",
        SspClock,
        "value",
        lambda _: property(lambda s: max(s.clocks.values(), default=0)),
    ),
    # bounded staleness, from worker to worker
    Mutant(STALENESS, "reads are never parked", SspClock, "reached", lambda _: lambda self, minimum: True),
    Mutant(STALENESS, "who has left is waited for", SspClock, "leave", lambda _: lambda self, worker: []),
    Mutant(
        STALENESS, "one iteration staler", Session, "min_clock", lambda old: property(lambda s: max(0, old.fget(s) - 1))
    ),
    Mutant(STALENESS, "one iteration stricter", Session, "min_clock", lambda old: property(lambda s: old.fget(s) + 1)),
    Mutant(STALENESS, "the cache is always fresh", Cache, "fresh", lambda _: lambda self, key, needed: key in self),
    Mutant(STALENESS, "own updates do not reach the cache", Cache, "update", lambda _: lambda self, *a: None),
    Mutant(
        STALENESS, "nobody is told of a commit", Session, "commit", lambda _: lambda s: setattr(s, "clock", s.clock + 1)
    ),
    # the cache
    Mutant(CACHE, "one clock for all entries", Cache, "fresh", one_clock_for_all),
    Mutant(CACHE, "the cache is always fresh", Cache, "fresh", lambda _: lambda self, key, needed: key in self),
    Mutant(CACHE, "never fresh enough", Cache, "fresh", lambda old: lambda s, key, needed: old(s, key, needed + 1)),
    Mutant(CACHE, "own updates do not reach it", Cache, "update", lambda _: lambda self, *a: None),
    Mutant(CACHE, "own writes do not reach it", Cache, "write", lambda _: lambda self, *a: None),
    Mutant(CACHE, "a refresh forgets own changes", Cache, "finish_refresh", refresh_forgets),
    Mutant(CACHE, "a refresh overwrites what is newer", Cache, "finish_refresh", lambda _: Cache.put),
    Mutant(CLIENT, "a removed key stays in it", Cache, "drop", lambda _: lambda self, keys: None),
    # each request once, in order
    Mutant(ONCE, "repeated requests are run again", Inbox, "take", take_at_once),
    Mutant(ONCE, "requests are run as they come", Inbox, "take", take_early),
    Mutant(ONCE, "replies are not kept", Inbox, "stored", lambda _: lambda self, sender, request: None),
    Mutant(ONCE, "what is sent again has a new number", Channel, "receive", again_renumbered),
    Mutant(ONCE, "nothing is asked after", Channel, "tick", lambda _: lambda self, now, view: None),
    Mutant(ONCE, "nothing is sent again", Channel, "receive", lambda old: lambda s, e, v: old(s, e, v) and []),
    Mutant(ONCE, "all is confirmed", Channel, "confirmed", lambda _: property(lambda self: 10**6)),
    Mutant(ORDER, "other requests overtake updates", Session, "ask", lambda _: Exchange.ask),
    Mutant(ORDER, "a batch has one updater", Session, "update", batch_of_any_updater),
    Mutant(ACKNOWLEDGED, "commits do not wait for updates", Session, "acknowledged", done_at_once),
    Mutant(ACKNOWLEDGED, "waiting updates are forgotten", Session, "flush", lambda _: lambda self: None),
    # the ring
    Mutant(
        MOVES,
        "a key's server is its slot modulo",
        Ring,
        "shard_of",
        lambda _: lambda s, k: s.shards[ring.slot_of(k) % len(s.shards)],
    ),
    Mutant(BALANCE, "few points a server", ring, "VIRTUAL_NODES", lambda _: 3),
    Mutant(SAME, "whoever comes first stands first", ring, "sorted", lambda _: list),
    Mutant(GOLDEN, "another hash", ring, "hash_bytes", lambda _: lambda data: hash(data) & (1 << 64) - 1),
    Mutant(
        GOLDEN,
        "slots by the low bits",
        ring,
        "slot_of",
        lambda _: lambda key: ring.hash_bytes(ring.encode_key(key)) % 1024,
    ),
    # what was handed out, and what a failure leaves
    Mutant(STORE, "arrays are handed out as they are", Store, "_lend", lambda _: lambda self, keys, values: values),
    Mutant(STORE, "lent arrays are updated in place", Arithmetic, "__call__", in_place_always),
    Mutant(STORE, "users' functions see the value itself", store, "guarded", lambda _: lambda value: value),
    Mutant(STORE, "a failed update leaves its delta", Store, "update", keeps_then_checks),
    Mutant(STORE, "append on nothing is the delta", store, "first_value", lambda _: lambda name, delta: delta),
    Mutant(
        TOP,
        "ties are not by key",
        store,
        "sorted",
        lambda _: lambda items, **how: sorted(items, key=operator.itemgetter(1), reverse=True),
    ),
    Mutant(CLIENT, "values change place", session, "_scatter", lambda _: lambda whole, places, items: whole),
    Mutant(
        CLIENT,
        "every array arrives little-endian",
        wire,
        "_shape_bytes",
        lambda old: lambda a: old(a).replace(b">", b"<"),
    ),
    # tables: where rows are
    Mutant(INDEX, "all rows are kept", Index, "keep", lambda _: lambda self, chosen: None),
    Mutant(INDEX, "repeated keys are new each time", Index, "insert", lambda old: lambda s, k: old(s, np.unique(k))),
    Mutant(PLACEMENT, "a range ends one later", DensePlaces, "span", lambda old: lambda s, a, b: old(s, a, b + 1)),
    Mutant(
        PLACEMENT, "places count from the block", DensePlaces, "places", lambda _: lambda s, k: k.view(np.int64) % 512
    ),
    Mutant(LARGE_ROWS, "blocks of any size", placement, "MOST_BLOCK_BYTES", lambda _: 1 << 30),
    Mutant(
        ROUTES, "values go to the next key", Route, "cut", lambda old: lambda s, array: old(s, np.roll(array, 1, 0))
    ),
    Mutant(
        ROUTES,
        "replies are put where they come",
        Route,
        "paste",
        lambda _: lambda s, w, p: w[: len(p)].__setitem__(..., p),
    ),
    Mutant(
        ROUTES, "runs of blocks end one early", routes, "_runs", lambda old: lambda n: [(a, b - 1) for a, b in old(n)]
    ),
    Mutant(
        TABLES, "values go to the next key", Route, "cut", lambda old: lambda s, array: old(s, np.roll(array, 1, 0))
    ),
    # tables: pushes made into one
    Mutant(TABLES, "of repeated keys the first counts", session_tables, "distinct", sum_keeps_the_first),
    Mutant(COMMITS, "of repeated keys the first counts", merge, "distinct", sum_keeps_the_first),
    Mutant(
        COMMITS,
        "a clock is taken twice",
        Commits,
        "take",
        lambda _: lambda self, clock: merged(self._clocks[clock].pushes, self._listed),
    ),
    Mutant(
        COMMIT_TABLES,
        "a clock is applied twice",
        Commits,
        "take",
        lambda _: lambda self, clock: merged(self._clocks[clock].pushes, self._listed),
    ),
    Mutant(COMMIT_TABLES, "clocks are complete at once", SspClock, "reached", lambda _: lambda self, minimum: True),
    Mutant(COMMIT_TABLES, "who has left is waited for", SspClock, "leave", lambda _: lambda self, worker: []),
    # tables: the cache of rows
    Mutant(ROWS, "own pushes do not reach it", RowCache, "push", lambda _: lambda self, keys, values: None),
    Mutant(ROWS, "own pushes are not applied to what comes", RowCache, "push", push_unlogged),
    Mutant(ROWS, "one iteration staler", RowCache, "stale", lambda old: lambda s, k, needed: old(s, k, needed - 1)),
    Mutant(ROWS, "one iteration stricter", RowCache, "stale", lambda old: lambda s, k, needed: old(s, k, needed + 1)),
    Mutant(
        ROWS,
        "what may have own pushes gets them again",
        RowCache,
        "begin",
        lambda old: lambda self, clock, *, waits: old(self, clock, waits=False),
    ),
    Mutant(ROWS, "what is cleared comes back", RowCache, "clear", lambda _: lambda s: s._part.column("valid").fill(0)),
    Mutant(TABLES, "own pushes do not reach it", RowCache, "push", lambda _: lambda self, keys, values: None),
    # tables: what readers were told
    Mutant(TOLD, "what is told is not noted", Told, "renew", renew_nothing),
    Mutant(TOLD, "every reader knows all", Told, "version", lambda _: lambda self, keys: 1 << 60),
    Mutant(TOLD, "no reader knows anything", Told, "version", lambda _: lambda self, keys: 0),
    Mutant(TOLD, "twice the threshold", publishing, "_differ", lambda old: lambda a, b, t: old(a, b, 2 * t)),
    Mutant(
        TOLD,
        "what was told is compared with nothing",
        Publisher,
        "changed",
        lambda old: lambda self, places, threshold, since: old(self, places, 1e9, since),
    ),
    # tables: tasks
    Mutant(DEPENDENCIES, "failures before are ignored", session, "run_after", whatever_became_of_them),
    Mutant(ENDS, "nothing waits", session, "run_after", at_once),
    # tables: key lists
    Mutant(KEY_LISTS, "unknown lists are not asked for", Shard, "_ask_for_keys", lambda _: lambda self, *a, **k: False),
    Mutant(KEY_LISTS, "lists are not at hand", SentKeys, "get", lambda _: lambda self, digest: None),
    Mutant(
        KEY_LISTS, "each request has the hash of all", session_tables, "digest_of", lambda _: lambda keys: b"0" * 16
    ),
    # copies: what is told of changes
    Mutant(TABLE_COPIES, "pushes are not told", Table, "_note", lambda _: lambda self, keys: None),
    Mutant(TABLE_COPIES, "what is dropped is not told", journal, "_take_gone", lambda _: lambda table: None),
    Mutant(TABLE_COPIES, "nobody looks what a function did", Journal, "comparing", lambda _: lambda *a: nullcontext()),
    Mutant(TABLE_COPIES, "what is taken stays", Journal, "take", lambda _: lambda self, clock: None),
    Mutant(
        TABLE_COPIES, "what waits is not copied", journal, "beginning", lambda old: lambda t: old(t) | {"waiting": []}
    ),
    Mutant(SHARD_COPIES, "replies are not told", Inbox, "take_changes", lambda _: lambda self: []),
    Mutant(SHARD_COPIES, "the clock is not told", SspClock, "restore", lambda _: lambda self, state: None),
    Mutant(SHARD_COPIES, "keys that are gone stay", Store, "take_changes", lambda old: lambda s: (*old(s)[:2], [])),
    # copies: the chain
    Mutant(CHAIN, "it answers before the backup has it", Replica, "_settle", answers_alone),
    Mutant(CHAIN, "a new primary tells nothing", Replica, "_watch", outlet_is_enough),
    Mutant(
        CHAIN, "all is acknowledged", Outlet, "acknowledge", lambda old: lambda s, n, stable: old(s, 1 << 60, stable)
    ),
    Mutant(CHAIN, "gaps do not matter", Replica, "receive", takes_whatever_comes),
    # copies: where they are
    Mutant(PLACING, "no epochs", Assignment, "_place", lambda _: lambda self, shard, epoch: self.places[shard]),
    Mutant(PLACING, "nothing is drained", Assignment, "_towards", lambda _: lambda s, p, wanted, v: Place(v, wanted)),
    Mutant(PLACING, "who is lost stays", Assignment, "lose", lambda _: lambda self, server, view: None),
]


@pytest.mark.parametrize("rule", dict.fromkeys(mutant.rule for mutant in MUTANTS), ids=name_of)
def test_the_code_as_it_is_passes(rule):
    rule()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{name_of(mutant.rule)}: {mutant.what}")
def test_a_mutant_is_found(mutant, monkeypatch):
    monkeypatch.setattr(mutant.owner, mutant.name, mutant.make(getattr(mutant.owner, mutant.name, None)), raising=False)
    with pytest.raises(AssertionError):
        mutant.rule()


def test_every_core_module_is_mutated():
    mutated = {getattr(mutant.owner, "__module__", getattr(mutant.owner, "__name__", "")) for mutant in MUTANTS}
    wanted = {cache, ring, session, store, updaters, wire, merge, placement, publishing, routes, rowcache, senderstate}
    assert {module.__name__ for module in wanted} <= mutated
