"""The handle of an asynchronous operation."""

from collections.abc import Callable
from typing import Any

from paracel.pending import Pending

Wait = Callable[[Pending, float | None], None]


class Task:
    """Something that was asked for. It goes on whether or not anybody waits for it.

    A failure that nobody has looked at by the next commit, synchronisation or close is raised there.
    """

    __slots__ = ("_pending", "_wait")

    def __init__(self, pending: Pending, wait: Wait) -> None:
        self._pending = pending
        self._wait = wait

    def done(self) -> bool:
        """Whether it has finished, well or not. Never blocks."""
        if not self._pending.done:
            self._wait(self._pending, 0.0)
        return self._pending.done

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has finished, at most `timeout` seconds; WaitTimeout says for whom. Does not raise its error."""
        self._wait(self._pending, timeout)
        if not self._pending.done:
            raise AssertionError("a wait without a deadline ended early")

    def result(self, timeout: float | None = None) -> Any:
        """Wait, and return the outcome; raises the error of a task that failed, and WaitTimeout."""
        if not self._pending.done:
            self.wait(timeout)
        return self._pending.result()
