"""The handle of an asynchronous operation."""

from typing import Any, Protocol

from paracel.pending import Pending


class Waiter(Protocol):
    """What serves the sockets: a connection."""

    def look(self) -> None:
        """Send what waits and take what has come, without blocking."""

    def wait(self, pending: Pending, timeout: float | None) -> None:
        """Block until the outcome is there; WaitTimeout after `timeout` seconds."""


class Task:
    """Something that was asked for. It goes on whether or not anybody waits for it.

    A failure that nobody has looked at by the next commit, synchronisation or close is raised there.
    """

    __slots__ = ("_pending", "_waiter")

    def __init__(self, pending: Pending, waiter: Waiter) -> None:
        self._pending = pending
        self._waiter = waiter

    def __repr__(self) -> str:
        state = "under way" if not self._pending.done else "failed" if self._pending.error else "done"
        return f"<Task {state}>"

    def done(self) -> bool:
        """Whether it has finished, well or not. Never blocks."""
        if not self._pending.done:
            self._waiter.look()
        return self._pending.done

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has finished; does not raise its error. WaitTimeout after `timeout` seconds says for whom."""
        self._waiter.wait(self._pending, timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Wait, and return the outcome; raises the error of a task that failed, and WaitTimeout."""
        self.wait(timeout)
        return self._pending.result()
