"""Where the time of a process goes: its own work, talk with servers and other ranks, or waiting for other workers."""

import time
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
    """Takes the times of one process, from now on. One thread at a time may be within `communicating` and `waiting`.

    Within the first, which may be nested, all that is not waiting is communication. Within the second the process waits
    for other workers. Both are objects that are used again and again: a call of a server takes only microseconds.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self.waiting = _Waiting()
        self.communicating = _Communicating(self.waiting)

    def times(self) -> Times:
        """What was spent so far."""
        return Times(time.perf_counter() - self._begun, self.communicating.seconds, self.waiting.seconds)


class _Waiting:
    __slots__ = ("_began", "seconds")

    def __init__(self) -> None:
        self.seconds = self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_error: object) -> None:
        self.seconds += time.perf_counter() - self._began


class _Communicating:
    __slots__ = ("_began", "_depth", "_waited", "_waiting", "seconds")

    def __init__(self, waiting: _Waiting) -> None:
        self._waiting = waiting
        self.seconds = self._began = self._waited = 0.0
        self._depth = 0

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1:
            self._began, self._waited = time.perf_counter(), self._waiting.seconds

    def __exit__(self, *_error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.seconds += time.perf_counter() - self._began - (self._waiting.seconds - self._waited)
