"""One server's copy of a shard: what it holds, what has changed in it, and how other copies become the same.

What changes is noted once `watch` was called; `take_changes` gives it to those who have other copies, whose `apply`
makes the same of it. `pieces` make a new copy, or a file, while this one goes on: what changes in between is to be
applied in its turn.
"""

import logging
from collections.abc import Iterator
from typing import Any

from paracel import restoring
from paracel.clock import SspClock
from paracel.errors import FunctionError
from paracel.functions import Functions
from paracel.inbox import Inbox
from paracel.ring import shard_owners
from paracel.shard_tables import ShardTables
from paracel.store import Store

logger = logging.getLogger(__name__)


class ShardState:
    """Entries, tables, clock, and the state of those who ask."""

    def __init__(self, number: int, shards: int, workers: int, functions: Functions) -> None:
        self.number = number
        self.shards = shards
        self.store = Store()
        self.clock: SspClock[Any] = SspClock(range(workers))
        self.functions = functions
        self.tables = ShardTables(number, shard_owners(shards), functions, self.clock)
        self.inbox = Inbox(self.tables.can_run)
        self._entered: dict[int, int] = {}
        self._attempts: dict[bytes, int] = {}
        self._loaded: list[list[str]] | None = None
        self._restored: list[Any] | None = None
        self._told_clock: list[Any] = []

    def watch(self) -> None:
        """Note from now on what changes."""
        self.store.changed, self.inbox.changed, self._loaded = set(), {}, []
        self._told_clock = self._clock_state()
        self.tables.watch()

    def unwatch(self) -> None:
        """Note nothing any more."""
        self.store.changed = self.inbox.changed = self._loaded = self._restored = None
        self.tables.unwatch()

    def take_changes(self) -> dict[str, Any]:
        """What has changed since this was last called, as plain values; empty for nothing."""
        keys, values, gone = self.store.take_changes()
        loaded, self._loaded = self._loaded, []
        restored, self._restored = self._restored, None
        changed = {
            "entries": [keys, values] if keys else None,
            "gone": gone,
            "clock": self._clock_changes(),
            "peers": self.inbox.take_changes(),
            "tables": self.tables.take_changes(),
            "functions": loaded,
            "restored": restored,
        }
        return {name: value for name, value in changed.items() if value}

    def _clock_state(self) -> list[Any]:
        return [*self.clock.state(), dict(self._entered), [list(each) for each in self._attempts.items()]]

    def _clock_changes(self) -> list[Any] | None:
        """Its state if it has changed since this was last asked for."""
        before, self._told_clock = self._told_clock, self._clock_state()
        return self._told_clock if self._told_clock != before else None

    def apply(self, changes: dict[str, Any]) -> None:
        """Make so what another server's `take_changes` or `pieces` told."""
        if "restored" in changes:
            self.restore(*changes["restored"])
        for kind, name in changes.get("functions", ()):
            try:
                self.functions.load(kind, name)
            except FunctionError as error:
                logger.warning("a copy of shard %d will be without a function: %s", self.number, error)
        if "clock" in changes:
            *state, entered, attempts = changes["clock"]
            self._entered, self._attempts = dict(entered), dict(attempts)
            self.clock.restore(state)
        if "entries" in changes:
            self.store.put_shared(*changes["entries"])
        self.store.remove(changes.get("gone", []))
        self.tables.apply(changes.get("tables", {}))
        for state in changes.get("peers", ()):
            self.inbox.restore(state)

    def pieces(self, most_bytes: int) -> Iterator[dict[str, Any]]:
        """All that there is, in pieces of about so many bytes; changes in between are to be applied in their turn."""
        of_tables = self.tables.pieces(most_bytes)
        yield {
            "functions": self.functions.names(),
            "clock": self._clock_state(),
            "tables": next(of_tables),
        }
        for sender in self.inbox.senders():
            yield {"peers": [self.inbox.state(sender)]}
        store = self.store
        for keys, values in store.pieces(most_bytes):
            if self.store is not store:  # restored meanwhile, as the other will be
                break
            yield {"entries": [keys, values]}
        for rows in of_tables:
            yield {"tables": rows}

    def restore(self, folder: str, running: list[int] | None = None) -> None:
        """Become what a checkpoint says, but for the senders of requests. CheckpointError; then nothing has changed.

        What there was goes only then: there must be memory for both. Those `running` are in the quorum (None: as now).
        """
        clocks, now_running, *others = self.clock.state()
        running = now_running if running is None else running
        fresh = ShardState(self.number, self.shards, 0, self.functions)
        fresh.clock.restore([clocks, running, *others])
        restoring.restore(fresh, folder)
        fresh.tables.complete()
        watched = self._loaded is not None
        self.store = fresh.store
        self.tables.become(fresh.tables)
        self.clock.restore(fresh.clock.state())
        if watched:  # the other copies read the same files
            self.store.changed = set()
            self.tables.watch()
            self._told_clock = []
            self._restored = [folder, running]
