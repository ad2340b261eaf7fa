"""Where the time of a process goes: its own work, talk with servers and other ranks, or waiting for other workers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of wall time: all of them, and how many were spent in communication and in waiting.

    `communication` is what calls of the servers and exchanges between ranks take, packing and unpacking with it;
    `waiting` is when only another worker could end it: reads that wait for its clock, and barriers. What goes on behind
    the program, like an asynchronous update on its way, is in neither.
    """

    seconds: float = 0.0
    communication: float = 0.0
    waiting: float = 0.0

    @property
    def compute(self) -> float:
        """The rest: seconds of the program's own."""
        return self.seconds - self.communication - self.waiting

    def __sub__(self, earlier: Self) -> "Times":
        """What was spent since an earlier look."""
        return Times(
            self.seconds - earlier.seconds,
            self.communication - earlier.communication,
            self.waiting - earlier.waiting,
        )

    def __str__(self) -> str:
        parts = ("compute", "communication", "waiting")
        shares = (f"{getattr(self, part) / self.seconds if self.seconds > 0 else 0.0:.0%} {part}" for part in parts)
        return f"{self.seconds:.1f} s: {', '.join(shares)}"


class Stopwatch:
    """Takes the times of one process, from now on. One thread at a time may be within its methods."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._communication = self._waiting = 0.0
        self._depth = 0

    def times(self) -> Times:
        """What was spent so far."""
        return Times(time.perf_counter() - self._begun, self._communication, self._waiting)

    @contextmanager
    def communicating(self) -> Iterator[None]:
        """Within it, all that is not waiting is communication. May be nested: then the outermost counts."""
        self._depth += 1
        if self._depth > 1:
            try:
                yield
            finally:
                self._depth -= 1
            return
        waited, began = self._waiting, time.perf_counter()
        try:
            yield
        finally:
            self._depth -= 1
            self._communication += time.perf_counter() - began - (self._waiting - waited)

    @contextmanager
    def waiting(self, *, truly: bool = True) -> Iterator[None]:
        """Within it, the process waits for other workers, unless not `truly`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            if truly:
                self._waiting += time.perf_counter() - began
