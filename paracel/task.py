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

    __slots__ = ("pending", "waiter")

    def __init__(self, pending: Pending, waiter: Waiter) -> None:
        self.pending = pending
        self.waiter = waiter

    def __repr__(self) -> str:
        state = "under way" if not self.pending.done else "failed" if self.pending.error else "done"
        return f"<Task {state}>"

    def done(self) -> bool:
        """Whether it has finished, well or not. Never blocks."""
        if not self.pending.done:
            self.waiter.look()
        return self.pending.done

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has finished; does not raise its error. WaitTimeout after `timeout` seconds says for whom."""
        self.waiter.wait(self.pending, timeout)

    def result(self, timeout: float | None = None) -> Any:
        """Wait, and return the outcome; raises the error of a task that failed, and WaitTimeout."""
        self.wait(timeout)
        return self.pending.result()
