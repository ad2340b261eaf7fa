"""The outcome of something asked for: not there yet, a value, or an error. No waiting here: the client waits."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from paracel.errors import DependencyError, ReadTooOld


class Pending:
    """Filled exactly once, by `resolve` or `fail`; what is registered with `then` runs at that moment."""

    __slots__ = ("_callbacks", "_error", "_value", "done", "observed")

    def __init__(self) -> None:
        self.done = False
        self.observed = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Pending], None]] | None = None

    @property
    def error(self) -> BaseException | None:
        """The error, if it failed."""
        return self._error

    def resolve(self, value: Any) -> None:
        """Fill it with a value. Ignored when it is filled."""
        if not self.done:
            self._value = value
            self._finish()

    def fail(self, error: BaseException) -> None:
        """Fill it with an error. Ignored when it is filled."""
        if not self.done:
            self._error = error
            self._finish()

    def result(self) -> Any:
        """The value; raises the error. Only for one that is done."""
        assert self.done
        self.observed = True
        if self._error is not None:
            raise self._error
        return self._value

    def then(self, callback: Callable[["Pending"], None]) -> None:
        """Call `callback(self)` when it is done, or now if it is."""
        if self.done:
            callback(self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def _finish(self) -> None:
        self.done = True
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)


def gather(parts: Sequence[Pending], combine: Callable[[list[Any]], Any]) -> Pending:
    """Done when all parts are: with `combine` of their values in order, or with the first error among them."""
    whole = Pending()

    def finish(_all: Pending) -> None:
        error = next((part.error for part in parts if part.error is not None), None)
        if error is not None:
            whole.fail(error)
            return
        try:
            value = combine([part.result() for part in parts])
        except Exception as failed:
            whole.fail(failed)
            return
        whole.resolve(value)  # an error of what comes after is not its own

    last = parts[0] if len(parts) == 1 else all_done(parts)
    last.then(finish)
    return whole


def all_done(parts: Sequence[Pending]) -> Pending:
    """Done, with None, when all parts are, well or not."""
    whole = Pending()
    left = len(parts)

    def count(_part: Pending) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            whole.resolve(None)

    for part in parts:
        part.then(count)
    if not parts:
        whole.resolve(None)
    return whole


def asked_anew(ask: Callable[[], Pending]) -> Pending:
    """The outcome of a read that `ask()` asks for: again, as a new request, when its reply got lost too long ago."""
    whole = Pending()

    def look(read: Pending) -> None:
        if isinstance(read.error, ReadTooOld):
            ask().then(look)
        elif read.error is not None:
            whole.fail(read.error)
        else:
            whole.resolve(read.result())

    ask().then(look)
    return whole


class Steps:
    """Runs steps one by one; those that a step asks for after it, so that a line of any length takes no deep stack."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = False

    def run(self, step: Callable[[], None]) -> None:
        """Run the step now, or when the running one and those before it have ended."""
        self._waiting.append(step)
        if self._running:
            return
        self._running = True
        try:
            while self._waiting:
                self._waiting.popleft()()
        finally:
            self._running = False


def run_after(before: Sequence[Pending], start: Callable[[], Pending], steps: Steps) -> Pending:
    """What `start()` makes, called as a step when all of `before` are done well; DependencyError if one failed."""
    whole = Pending()

    def go_on() -> None:
        error = next((each.error for each in before if each.error is not None), None)
        if error is not None:
            whole.fail(_not_run(error))
            return
        try:
            begun = start()
        except Exception as failed:
            whole.fail(failed)
            return
        begun.then(lambda done: whole.fail(done.error) if done.error else whole.resolve(done.result()))

    all_done(before).then(lambda _all: steps.run(go_on))
    return whole


def _not_run(error: BaseException) -> DependencyError:
    """The error of a task behind one that failed: it names the first cause."""
    cause = error.__cause__ if isinstance(error, DependencyError) and error.__cause__ else error
    not_run = DependencyError(f"not run, since a task before it failed: {type(cause).__name__}: {cause}")
    not_run.__cause__ = cause
    return not_run
