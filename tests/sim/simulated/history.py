"""What workers asked for, and what they may therefore see. Every rule of the guarantee is one method here.

Shared keys hold lists of tokens: `append` of worker * 10**6 + n for the worker's n-th update of that key. So a value
tells which updates it contains, how often each, and in which order. Array keys hold one count a worker.
"""

from bisect import bisect_left
from collections import defaultdict
from typing import Any, Protocol

import numpy as np

WORKER = 10**6
#: More than ever take part: each worker, and those that take the places of dead ones.
PARTIES = 8


class Party(Protocol):
    """A worker as the guarantee sees it."""

    party: int
    in_quorum: bool
    died: bool

    @property
    def clock(self) -> int: ...


class History:
    """The updates of shared keys that were issued, and those that were acknowledged."""

    def __init__(self, parties: list[Any]) -> None:
        self._parties: list[Party] = parties
        self._iterations: dict[str, list[list[int]]] = defaultdict(lambda: [[] for _ in range(PARTIES)])
        self._acknowledged: dict[str, list[int]] = defaultdict(lambda: [0] * PARTIES)

    def issue(self, key: str, worker: int) -> int:
        """Note an update that is about to be asked for; its number among the worker's updates of the key."""
        mine = self._iterations[key][worker]
        mine.append(self._parties[worker].clock)
        return len(mine) - 1

    def acknowledge(self, key: str, worker: int, number: int) -> None:
        """Note that an update is known to be done."""
        self._acknowledged[key][worker] = max(self._acknowledged[key][worker], number + 1)

    def acknowledged(self, key: str) -> list[int]:
        """How many updates of each worker are known to be done by now."""
        return list(self._acknowledged[key])

    def promised(self, key: str, clock: int) -> list[int]:
        """How many updates of each worker a value valid for this clock must contain."""
        counts = [0] * PARTIES
        for party in self._parties:
            upto = min(clock, party.clock) if party.died else clock
            counts[party.party] = bisect_left(self._iterations[key][party.party], upto)
        return counts

    def issued(self, key: str) -> list[int]:
        """How many updates of each worker were asked for."""
        return [len(mine) for mine in self._iterations[key]]

    def check_quorum(self, clock: int) -> None:
        """Nobody who still takes part may be behind the clock that a read was released for."""
        for party in self._parties:
            behind = party.in_quorum and not party.died and party.clock < clock
            assert not behind, f"released for clock {clock}, and worker {party.party} is at {party.clock}"

    def check_value(self, key: str, value: Any, least: list[int], reader: int | None = None) -> None:
        """A value holds a beginning of each worker's updates, each once, as long as it must be, none unasked for.

        The reader's own are all in it.
        """
        counts, issued = self.contained(key, value), self.issued(key)
        for worker, (count, promised, most) in enumerate(zip(counts, least, issued, strict=True)):
            wanted = most if worker == reader else promised
            assert wanted <= count <= most, (
                f"{key}: {count} updates of worker {worker}; at least {wanted} promised, {most} issued: {value!r}"
            )

    def contained(self, key: str, value: Any) -> list[int]:
        """How many updates of each worker are in the value; they are the first ones, each once and in order."""
        if value is None:
            return [0] * PARTIES
        if isinstance(value, np.ndarray):
            return [int(count) for count in value[:PARTIES]]
        counts = [0] * PARTIES
        for token in value:
            worker, number = divmod(token, WORKER)
            assert number == counts[worker], f"{key}: update {number} of worker {worker} out of its turn in {value}"
            counts[worker] += 1
        return counts

    def check_final(self, store: dict[str, Any]) -> None:
        """Every update that was asked for is there exactly once; of a worker that died, at least the acknowledged."""
        for key in self._iterations:
            least = self.issued(key)
            for party in self._parties:
                if party.died:
                    least[party.party] = self._acknowledged[key][party.party]
            self.check_value(key, store.get(key), least)
