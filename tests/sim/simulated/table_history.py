"""What workers pushed into tables, and what rows may therefore hold. Every rule of the guarantee is one method here.

A row of a count table has one number for each party: how many of its pushes of that key it holds. A row of a commit
table has one number for each clock, in which each party has a digit: how many of its pushes in that clock it holds.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from .history import PARTIES, History

#: More clocks than any worker reaches: each goes on from where the fastest one was when it came.
CLOCKS = 64
DIGIT = 128

Row = tuple[str, int]


def digit(party: int) -> int:
    """What one push of a party adds to the column of its clock."""
    return DIGIT**party


class TableHistory:
    """The pushes that were issued, and those that were acknowledged, by row; a row is a table's name and a key."""

    def __init__(self, history: History, parties: list[Any]) -> None:
        self._history = history
        self._parties = parties
        self._clocks: dict[Row, list[list[int]]] = defaultdict(lambda: [[] for _ in range(PARTIES)])
        self._acknowledged: dict[Row, list[int]] = defaultdict(lambda: [0] * PARTIES)
        self._left: set[tuple[int, int]] = set()
        #: All that was pushed into tables that only add numbers, whoever did it.
        self.sums: dict[Row, Any] = defaultdict(float)
        self.once: set[int] = set()

    @property
    def any_died(self) -> bool:
        """Whether what was pushed last by somebody may be there or not."""
        return any(party.died for party in self._parties)

    def issue(self, row: Row, party: int, times: int) -> None:
        """Note pushes that are about to be asked for."""
        self._clocks[row][party] += [self._parties[party].clock] * times

    def acknowledge(self, row: Row, party: int, times: int) -> None:
        """Note that so many pushes more are known to be done."""
        self._acknowledged[row][party] += times

    def acknowledged(self, row: Row) -> list[int]:
        """How many pushes of each party are known to be done by now."""
        return list(self._acknowledged[row])

    def left(self, party: int) -> None:
        """Note that a party leaves the quorum, with a clock that it has not committed."""
        self._left.add((party, self._parties[party].clock))

    def promised(self, row: Row, clock: int) -> list[int]:
        """How many pushes of each party a row that is valid for this clock must hold."""
        counts = [0] * PARTIES
        for party in self._parties:
            upto = min(clock, party.clock) if party.died else clock
            counts[party.party] = bisect_left(self._clocks[row][party.party], upto)
        return counts

    def check_counts(self, row: Row, value: Any, least: list[int]) -> None:
        """A row holds each push at most once, as many as it must, and none unasked for."""
        most = [len(mine) for mine in self._clocks[row]]
        for party, (count, promised, issued) in enumerate(zip(value, least, most, strict=True)):
            assert promised <= count <= issued, (
                f"{row}: {count} pushes of worker {party}; at least {promised} promised, {issued} issued: {value}"
            )

    def check_commits(self, row: Row, value: Any, needed: int) -> None:
        """A row holds all pushes of the clocks before some clock, and none else; at least those before `needed`."""
        held = {
            (party, clock): int(value[clock]) // DIGIT**party % DIGIT
            for clock in np.flatnonzero(value).tolist()
            for party in range(PARTIES)
        }
        issued = {(p, c): n for p in range(PARTIES) for c, n in Counter(self._clocks[row][p]).items()}
        complete = needed
        for (party, clock), count in held.items():
            most = issued.get((party, clock), 0)
            assert count <= most, f"{row}: {count} pushes of worker {party} in clock {clock}, and {most} issued"
            if not count or self._parties[party].died or (party, clock) in self._left:
                continue  # it may go on in the clock that it has left in, and the dead were perhaps half done
            self._history.check_quorum(clock + 1)
            complete = max(complete, clock + 1)
        for (party, clock), most in issued.items():
            if clock < (min(complete, self._parties[party].clock) if self._parties[party].died else complete):
                count = held.get((party, clock), 0)
                assert count == most, (
                    f"{row}: {count} of the {most} pushes of worker {party} in clock {clock}, of {complete} clocks"
                )

    def check_final_counts(self, table: str, rows: dict[int, Any]) -> None:
        """Every push is there exactly once; of a party that died, at least the acknowledged ones."""
        for row in [row for row in self._clocks if row[0] == table]:
            least = [len(mine) for mine in self._clocks[row]]
            for party in self._parties:
                if party.died:
                    least[party.party] = self._acknowledged[row][party.party]
            self.check_counts(row, rows.get(row[1], np.zeros(PARTIES, int)), least)

    def check_final_commits(self, table: str, rows: dict[int, Any]) -> None:
        """When all have left, every clock is complete."""
        for row in [row for row in self._clocks if row[0] == table]:
            self.check_commits(row, rows.get(row[1], np.zeros(CLOCKS, int)), 0 if self.any_died else CLOCKS)
