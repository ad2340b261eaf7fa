"""Wrong versions of what tables, tasks and filters add to the protocol, in the style of those in `mutants`."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from paracel import inbox, pending, session, session_tables
from paracel import messages as m
from paracel.errors import DependencyError
from paracel.exchange import Exchange
from paracel.pending import Pending, Steps
from paracel.session import Session
from paracel.shard import Asked, Shard
from paracel.shard_tables import ShardTables
from paracel.tables import merge
from paracel.tables.merge import Pushed
from paracel.tables.rowcache import Fetch, RowCache
from paracel.tables.senderstate import Rests, Told
from paracel.tables.spec import TableSpec
from paracel.tables.table import Table

from .making import Mutant, instead, nothing

# --- tasks ----------------------------------------------------------------------------------------------------------


def _sends_held_at_once(_right: Any) -> Any:
    return lambda _session, _before, _size, start: start()


def _waits_for_one(right: Any) -> Any:
    """Only the last of the tasks before it is waited for."""
    return lambda session, before, size, start: right(session, before[-1:], size, start)


def _runs_after_failures(right: Any) -> Any:
    def run_after(before: Sequence[Pending], start: Callable[[], Pending], steps: Steps) -> Pending:
        over = []
        for each in before:
            done = Pending()
            each.then(lambda _outcome, done=done: done.resolve(None))
            over.append(done)
        outcome: Pending = right(over, start, steps)
        return outcome

    return run_after


def _names_the_last_cause(_right: Any) -> Any:
    def not_run(error: BaseException) -> DependencyError:
        made = DependencyError(f"not run: {error}")
        made.__cause__ = error
        return made

    return not_run


def _commits_before_held(_right: Any) -> Any:
    def acknowledged(session: Session) -> Pending:
        session.flush()
        return Exchange.acknowledged(session)

    return acknowledged


# --- key lists ------------------------------------------------------------------------------------------------------


def _asks_once(right: Any) -> Any:
    return lambda shard, sender, **_again: right(shard, sender)


def _runs_without_keys(_right: Any) -> Any:
    return lambda _tables, _message: True


@contextmanager
def _skips_unknown() -> Iterator[None]:
    push, can_run = ShardTables.push, ShardTables.can_run

    def skip(tables: ShardTables, message: m.Push) -> m.Message:
        return push(tables, message) if can_run(tables, message) else m.Done(0)

    with instead(ShardTables, "can_run", _runs_without_keys)(), mock.patch.object(ShardTables, "push", skip):
        yield


def _keeps_the_hash(_right: Any) -> Any:
    return lambda _tables, message: message


def _repeats_old_reads(_right: Any) -> Any:
    def handle_repeated(shard: Shard, asked: Asked) -> None:
        stored = shard.inbox.stored(asked.sender, asked.envelope.request)
        if stored is not None:
            shard._send(asked.sender, asked.envelope.request, stored)
        elif type(asked.envelope.message) in m.READS and not shard.inbox.is_running(*asked.key):
            shard._run_again(asked)

    return handle_repeated


# --- the end of a clock ---------------------------------------------------------------------------------------------


def _applies_on_arrival(right: Any) -> Any:
    return lambda table, pushed, clock, _complete: right(table, pushed, clock, True)


def _applies_early(right: Any) -> Any:
    return lambda table, _is_complete, clock: right(table, lambda _clock: True, clock)


def _applies_late(right: Any) -> Any:
    return lambda table, is_complete, clock: right(table, lambda each: is_complete(each + 1), clock)


def _runs_for_each(right: Any) -> Any:
    return lambda tables, message: right(tables, dataclasses.replace(message, once=-1))


def _forgets_results(right: Any) -> Any:
    def complete(tables: ShardTables) -> None:
        right(tables)
        tables._results.clear()

    return complete


def _keeps_one_result(right: Any) -> Any:
    """A function that has run is never run again."""
    return lambda tables, message: right(tables, dataclasses.replace(message, once=min(message.once, 0)))


# --- what a client has cached ---------------------------------------------------------------------------------------


def _forgets_the_log(right: Any) -> Any:
    def keep(cache: RowCache, *arguments: Any) -> None:
        cache._log.clear()
        right(cache, *arguments)

    return keep


def _keeps_what_it_cannot_apply(right: Any) -> Any:
    def apply(cache: RowCache, *arguments: Any) -> None:
        if cache._rule is not None:
            right(cache, *arguments)

    return apply


def _cached_is_valid(right: Any) -> Any:
    return lambda cache, keys, _needed: right(cache, keys, 0)


def _valid_for_the_own_clock(right: Any) -> Any:
    def keep(cache: RowCache, fetch: Fetch, keys: Any, rows: Any, _clock: int) -> None:
        right(cache, fetch, keys, rows, fetch.asked)

    return keep


def _never_waits(right: Any) -> Any:
    return lambda cache, clock, **_waits: right(cache, clock, waits=False)


def _never_due(right: Any) -> Any:
    return lambda cache, keys, _clock: right(cache, keys, -1)


def _takes_older_rows(_right: Any) -> Any:
    def renew(told: Told, keys: Any, newer: Any, rows: Any, version: int) -> Any:
        places = told._part.locate(keys, create=True)
        kept, versions = told._part.column("rows"), told._part.column("version")
        kept[np.asarray(places)[newer]] = rows
        versions[places] = np.maximum(versions[places], version)
        return kept[places].copy()

    return renew


# --- pushes ---------------------------------------------------------------------------------------------------------


def _takes_one_of_each(_right: Any) -> Any:
    def distinct(keys: Any, values: Any) -> Any:
        chosen = dict(zip(keys.tolist(), range(len(keys)), strict=True)).values()
        return keys[list(chosen)], [value[list(chosen)] for value in values]

    return distinct


def _forgets_one(right: Any) -> Any:
    """Of the pushes of a clock, the last one that came."""
    return lambda pushes, listed: right(pushes[:-1] or pushes, listed)


def _ignores_masks(right: Any) -> Any:
    def pushed(tables: ShardTables, message: m.Push) -> Any:
        made, asked = right(tables, message)
        return (made if message.mask is None else Pushed(made.worker, asked[: len(made.keys)], made.values)), asked

    return pushed


TABLE_MUTANTS: dict[str, Mutant] = {
    "a held task is sent at once": instead(Session, "hold", _sends_held_at_once),
    "a task waits for one of those before it": instead(Session, "hold", _waits_for_one),
    "what comes after a failed task runs": instead(session, "run_after", _runs_after_failures),
    "a task names the failure just before it": instead(pending, "_not_run", _names_the_last_cause),
    "a commit does not wait for held tasks": instead(Session, "acknowledged", _commits_before_held),
    "a read that is too old is repeated": instead(Shard, "_handle_repeated", _repeats_old_reads),
    "a read that is too old fails": instead(session_tables, "asked_anew", lambda _right: lambda ask: ask()),
    "a key list is asked for once": instead(Shard, "_ask_for_keys", _asks_once),
    "nobody sends the key lists that servers ask for": instead(Session, "_wanted", nothing),
    "an unknown key list is an error": instead(ShardTables, "can_run", _runs_without_keys),
    "a push of an unknown key list is skipped": _skips_unknown,
    "what is parked has the hash of its keys alone": instead(ShardTables, "spelled_out", _keeps_the_hash),
    "the reply of a push is not kept": lambda: mock.patch.object(inbox, "READS", m.READS | {m.Push}),
    "the pushes of a clock are applied as they come": instead(Table, "push", _applies_on_arrival),
    "pushes are applied before their clock is complete": instead(Table, "complete", _applies_early),
    "pushes are applied one clock too late": instead(Table, "complete", _applies_late),
    "one push of a clock is forgotten": instead(merge, "merged", _forgets_one),
    "a function runs once for each that asks": instead(ShardTables, "run", _runs_for_each),
    "a function's result is forgotten at each commit": instead(ShardTables, "complete", _forgets_results),
    "a function runs in one clock only": instead(ShardTables, "run", _keeps_one_result),
    "own pushes since a pull pass the cache by": instead(RowCache, "_keep", _forgets_the_log),
    "own pushes pass the cache by": instead(RowCache, "push", nothing),
    "rows of a rule that only servers know stay cached": instead(RowCache, "_apply", _keeps_what_it_cannot_apply),
    "cached rows are fresh": instead(RowCache, "stale", _cached_is_valid),
    "cached rows are valid for the own clock": instead(RowCache, "_keep", _valid_for_the_own_clock),
    "a pull that waited behind an own push is cached": instead(RowCache, "begin", _never_waits),
    "eventual pulls are never refreshed": instead(RowCache, "start_refresh", _never_due),
    "older rows replace those that were told later": instead(Told, "renew", _takes_older_rows),
    "what a filter keeps back is lost": instead(Rests, "write", nothing),
    "repeated keys are not summed": instead(session_tables, "distinct", _takes_one_of_each),
    "the mask of a push is not looked at": instead(ShardTables, "_pushed", _ignores_masks),
    "settings are not compared": instead(TableSpec, "check_same", nothing),
}
