"""The SSP clock of one shard (Ho et al., NIPS 2013). No sockets and no time: the shard does the answering.

Each worker's clock counts its commits. The clock of the shard is the minimum over the workers that still
run; a read that needs a later one is parked and released by the commit, or the leaving, that reaches it.
"""

import heapq
from collections.abc import Iterable
from itertools import count
from typing import Any, Generic, TypeVar

Parked = TypeVar("Parked")


class SspClock(Generic[Parked]):
    """Clocks of the workers, and what waits for them."""

    def __init__(self, workers: Iterable[int]) -> None:
        self._clocks: dict[int, int] = dict.fromkeys(workers, 0)
        self._running = set(self._clocks)
        self._value = 0
        #: How often the workers were started, where they are started anew if they fail.
        self.attempt = 0
        self._levels: dict[int, int] = {}
        self._waiting: list[tuple[int, int, Parked]] = []
        self._order = count()

    def state(self) -> list[Any]:
        """All that it is, but for what waits: as plain values."""
        return [dict(self._clocks), sorted(self._running), self._value, self.attempt, dict(self._levels)]

    def restore(self, state: list[Any]) -> None:
        """Become what `state` says, or its first three parts; what waits is dropped."""
        self._clocks, self._running, self._value = dict(state[0]), set(state[1]), int(state[2])
        if len(state) > 3:
            self.attempt, self._levels = int(state[3]), dict(state[4])
        self.drop_parked()

    def drop_parked(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    @property
    def value(self) -> int:
        """Every update that a running worker made before this commit number is in the store."""
        return self._value

    @property
    def clocks(self) -> dict[int, int]:
        """The commits of each worker, the finished ones too."""
        return dict(self._clocks)

    @property
    def parked(self) -> int:
        """How many reads wait."""
        return len(self._waiting)

    @property
    def running(self) -> frozenset[int]:
        """The workers of the quorum."""
        return frozenset(self._running)

    def take_parked(self) -> list[Parked]:
        """What waits, oldest need first; it does not wait here any more."""
        waiting, self._waiting = sorted(self._waiting), []
        return [item for _, _, item in waiting]

    def slowest(self) -> list[int]:
        """The running workers whose clock is the server's clock: those that everyone waits for."""
        return sorted(worker for worker in self._running if self._clocks[worker] == self._value)

    def reached(self, minimum: int) -> bool:
        """Whether a read that needs this clock may be answered now."""
        return minimum <= self._value or not self._running

    def park(self, minimum: int, item: Parked) -> None:
        """Keep the item until the clock has reached `minimum`."""
        heapq.heappush(self._waiting, (minimum, next(self._order), item))

    def begin_attempt(self, attempt: int) -> bool:
        """The workers are started anew: all are in the quorum, each with what it has committed. False if that is known.

        The clock may go back: of those to whom a read promised more nobody is left. What waited is dropped.
        """
        if attempt <= self.attempt:
            return False
        self.attempt = attempt
        self._running = set(self._clocks)
        self._value = min(self._clocks.values(), default=0)
        self.drop_parked()
        return True

    def level(self, number: int) -> int:
        """Where the fastest was when this level was first named."""
        return self._levels.setdefault(number, max(self._clocks.values(), default=0))

    def enter(self, worker: int) -> int:
        """The commits of a worker that is (again) here. One that had left is level with the fastest now.

        A worker that is not of the job stays outside the quorum, at 0.
        """
        if worker in self._clocks and worker not in self._running:
            self._clocks[worker] = max(self._clocks.values())
            self._running.add(worker)
        return self._clocks.get(worker, 0)

    def enter_at(self, worker: int, level: int) -> list[Parked]:
        """Let a worker be in the quorum, at the level or where it was beyond that. Returns what is released."""
        at_least = self.level(level)
        if worker in self._clocks:
            self._clocks[worker] = max(at_least, self._clocks[worker])
            self._running.add(worker)
        return self._advance()

    def commit(self, worker: int, clock: int) -> list[Parked]:
        """Note that the worker has committed `clock` times. Returns what is released, oldest need first.

        A repeated or older commit changes nothing; so does one of a worker that is not of the job. One that has
        left may go on committing, and releases nobody.
        """
        if worker not in self._clocks:
            return []
        self._clocks[worker] = max(clock, self._clocks[worker])
        return self._advance()

    def leave(self, worker: int) -> list[Parked]:
        """Take a worker that finished or died out of the quorum. Returns what is released."""
        self._running.discard(worker)
        return self._advance()

    def _advance(self) -> list[Parked]:
        running = [self._clocks[worker] for worker in self._running]
        self._value = min(running) if running else max(self._clocks.values(), default=0)
        released = []
        while self._waiting and self.reached(self._waiting[0][0]):
            released.append(heapq.heappop(self._waiting)[2])
        return released
