"""Tasks of one worker as the servers see them: which requests each has sent, and whether these came too early.

Every operation on a table is such a task. A server tells of each request that it has handled.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paracel.errors import ConnectionLost, DependencyError
from paracel.open_tables import Tables
from paracel.pending import Pending
from paracel.task import Task

if TYPE_CHECKING:
    from .worker import Worker

#: A server, a worker's address, and the number of a request.
Handle = tuple[int, bytes, int]


def cause_of(error: BaseException | None) -> BaseException | None:
    """The first cause of a task's failure."""
    return error.__cause__ if isinstance(error, DependencyError) else error


@dataclass(eq=False)
class Node:
    """A task, what it comes after, and what became of it.

    `refreshes`: some of what it asks for is for later, and it does not wait for that. `quiet`: if it fails, that is
    looked at, so that nobody is told at the next commit.
    """

    before: Sequence["Node"] = ()
    fails: bool = False
    refreshes: bool = False
    quiet: bool = True
    on_start: Callable[[], None] = lambda: None
    on_success: Callable[[Any], None] = lambda _result: None
    task: Task | None = None
    started: bool = False
    finished: bool = False
    requests: list[Handle] = field(default_factory=list)

    @property
    def pending(self) -> Pending:
        """Its outcome."""
        assert self.task is not None
        return self.task.pending

    @property
    def culprits(self) -> set["Node"]:
        """The tasks whose failure makes it fail: itself, or those behind which it never runs."""
        behind = set().union(*(node.culprits for node in self.before))
        return behind or ({self} if self.fails else set())

    def finish(self, outcome: Pending) -> None:
        """Its outcome is there: check that it is what it must be."""
        self.finished = True
        cause, culprits = cause_of(outcome.error), self.culprits
        if isinstance(cause, ConnectionLost):
            return
        if not culprits:
            self.on_success(outcome.result())
            return
        outcome.observed = self.quiet
        assert cause is not None, "a task behind a failed one went well"
        if culprits == {self}:
            assert cause is outcome.error, f"it failed by itself, and says {outcome.error}"
            return
        assert not self.started, "a task behind a failed one was started"
        assert any(cause is node.pending.error for node in culprits), f"not the first cause: {outcome.error}"
        assert str(cause) in str(outcome.error), f"the first cause is not named: {outcome.error}"


class Register:
    """The tasks of all workers by their requests, and which of these have been handled."""

    def __init__(self) -> None:
        self.nodes: dict[Handle, Node] = {}
        self.order: list[Node] = []
        self._handled: set[Handle] = set()

    def refused(self, handle: Handle) -> None:
        """A server has refused a request, which is not waited for any more."""
        self._handled.add(handle)

    def handled(self, handle: Handle) -> None:
        """A server has handled a request: all that its task comes after must be over by now, everywhere."""
        node = self.nodes.get(handle)
        self._handled.add(handle)
        if node is None:
            return
        self.order.append(node)
        for earlier in node.before:
            assert earlier.finished, f"{handle} was handled before a task that it comes after was done"
            assert earlier.pending.error is None, f"{handle} was handled, though a task before it failed"
            answered = earlier.refreshes or self._handled.issuperset(earlier.requests)
            assert answered, f"{handle} overtook a task that it comes after"


class Desk:
    """A connection as tables need it, without sockets: what is asked for is sent at once."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self.session = worker.session
        self.lock = nullcontext()

    def start(self, start: Callable[[], Pending]) -> Pending:
        """Ask, and send."""
        pending = start()
        self._worker.send()
        return pending

    def advance(self) -> None:
        """Replies are looked at when the worker looks."""

    def respect_credit(self) -> None:
        """Nobody blocks here."""


class RecordedTables(Tables):
    """Tables of one worker that note the requests of each task."""

    def __init__(self, worker: "Worker", register: Register) -> None:
        super().__init__(Desk(worker), lambda _kind, name: name)  # type: ignore[arg-type]
        self._address = worker.address
        self._nodes = register
        self._node: Node | None = None

    def ask(self, node: Node, ask: Callable[[list[Task]], Task]) -> Node:
        """Make a node's task: `ask(after)` calls a table."""
        self._node = node
        node.task = ask([each.task for each in node.before if each.task is not None])
        self._node = None
        node.pending.then(node.finish)
        return node

    def submit(self, start: Callable[[], Pending], after: Sequence[Task], size: int, **named: Any) -> Task:
        """Note what is asked for, and when."""
        node = self._node
        return super().submit(start if node is None else lambda: self._start(node, start), after, size, **named)

    def _start(self, node: Node, start: Callable[[], Pending]) -> Pending:
        node.started = True
        node.on_start()
        channels = self._session.channels
        first = {server: channel._next for server, channel in channels.items()}
        pending = start()
        for server, channel in channels.items():
            node.requests += [(server, self._address, number) for number in range(first[server], channel._next)]
        self._nodes.nodes.update(dict.fromkeys(node.requests, node))
        return pending
