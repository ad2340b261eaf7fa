"""What one worker does with tables: it pushes, pulls and runs functions at random, and checks what comes back.

Every operation is a task that may come after others; some are waited for at once, some later, some never.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from paracel.errors import ConnectionLost, TableError
from paracel.pending import Pending
from paracel.table import Table

from . import table_settings as settings
from .history import PARTIES
from .table_history import Row, digit
from .tasks import Node, RecordedTables, cause_of

if TYPE_CHECKING:
    from .cluster import Cluster
    from .worker import Worker

Script = Generator[Pending | float, Any, Any]
#: At most so many tasks that others may come after.
REMEMBERED = 8


class TableWork:
    """The tables that one worker has opened, and its tasks."""

    def __init__(self, worker: "Worker", cluster: "Cluster") -> None:
        self.worker = worker
        self.session = worker.session
        self.rng = worker.rng
        self.party = worker.party
        self.tables: dict[str, Table] = {}
        self._cluster = cluster
        self._history = cluster.table_history
        self._owner = RecordedTables(worker, cluster.register)
        self._nodes: list[Node] = []
        self.job = job = random.Random(cluster.scenario.seed)  # what all workers of the job do alike
        self._favourite = job.choice(settings.LOSSLESS)
        self._lists = [[job.randrange(12) for _ in range(job.randint(1, 4))] for _ in range(2)]
        self._counts = job.choice(settings.COUNTS)
        self._shown: Counter[Row] = Counter()  # own pushes that every pull from now on must show
        self._first: dict[Row, tuple[int, list[int]]] = {}
        self._refreshed: dict[Row, tuple[int, list[int], list[int]]] = {}

    # --- tables and tasks -------------------------------------------------------------------------------------------

    def open(self, name: str) -> Script:
        """The table, opened when it is first needed; others may do so at the same time."""
        if name not in self.tables:
            spec = settings.spec_of(name)
            yield self.session.ask_first(spec)
            opened = yield self.session.open_table(spec, 1)
            self.tables[name] = Table(self._owner, self.session, opened, (), ())
        return self.tables[name]

    def open_counts(self) -> Script:
        """A table that counts pushes, mostly the same one."""
        return (yield from self.open(self._counts if self.rng.random() < 0.8 else self.rng.choice(settings.COUNTS)))

    def ask(self, ask: Callable[..., Any], *arguments: Any, node: Node | None = None, **named: Any) -> Node:
        """Call a method of a table that makes a task."""
        made = self._owner.ask(node or Node(), lambda after: ask(*arguments, after=after, **named))
        self._nodes = [*self._nodes[1 - REMEMBERED :], made]
        return made

    def wait(self, node: Node) -> Script:
        """Wait for a task; its error is looked at by itself, but a loss ends the job."""
        try:
            yield node.pending
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, ConnectionLost) or not node.culprits:
                raise cause or error from None

    def perhaps_wait(self, node: Node) -> Script:
        """Wait for a task, or for a moment, or go on with something else."""
        chance = self.rng.random()
        if chance < 0.4:
            yield from self.wait(node)
        elif chance < 0.6:
            yield 0.03 * self.rng.random()

    def wait_for_any(self) -> Script:
        """Wait for a task of long ago; not for those whose failure is to be told at the next commit."""
        nodes = [node for node in self._nodes if node.quiet]
        if nodes:
            yield from self.wait(self.rng.choice(nodes))

    def finish(self) -> Script:
        """Before it leaves the quorum: push what filters keep back."""
        if "sums" in self.tables and self.rng.random() < 0.9:
            yield self.tables["sums"].flush().pending

    def open_contested(self) -> Script:
        """The same name with other settings: whoever comes first is right, everywhere."""
        spec = settings.make_spec("contested", seed=self.party % 2)
        refusal = yield from caught(self.session.ask_first(spec), TableError)
        if refusal is None:
            yield self.session.open_table(spec, 1)
            self._cluster.contested.add(spec.seed)
        else:
            assert "seed=0" in str(refusal), f"only one of the settings is shown: {refusal}"
            assert "seed=1" in str(refusal), f"only one of the settings is shown: {refusal}"

    # --- keys -------------------------------------------------------------------------------------------------------

    def some_keys(self, table: Table) -> tuple[Any, list[int]]:
        """Keys as a call takes them, some twice, or a slice of a dense table; and one by one."""
        rng = self.rng
        if table.size is not None and rng.random() < 0.2:
            begin = rng.randrange(table.size)
            end = min(table.size, begin + rng.randint(1, 8))
            return slice(begin, end), list(range(begin, end))
        offered = settings.SPARSE_KEYS if table.size is None else range(0, table.size, 2)
        if rng.random() < 0.8:
            keys = [offered[at] for at in rng.choice(self._lists)]
        else:
            keys = rng.choices(offered, k=rng.randint(1, 5))
        return np.array(keys, np.uint64), keys

    def lossless(self) -> Any:
        """Filters that change nothing."""
        return self._favourite if self.rng.random() < 0.6 else self.rng.choice(settings.LOSSLESS)

    # --- tables that count pushes, and those that sum the pushes of a clock -----------------------------------------

    def push_counts(self, before: tuple[Node, ...] = ()) -> Script:
        """Count some keys once more each, now or after others; perhaps with the rows as the answer."""
        table = yield from self.open_counts()
        keys, listed = self.some_keys(table)
        amounts = [self.rng.randrange(3) for _ in listed]
        rows = np.zeros((len(listed), PARTIES), np.int64)
        rows[:, self.party] = amounts
        totals = Counter[Row]()
        for key, amount in zip(listed, amounts, strict=True):
            totals[table.name, key] += amount
        node = Node(before, on_start=lambda: self._shown.update(totals))
        self._issue(node, totals)
        if self.rng.random() < 0.25:
            self._answer_counts(node, table, listed, None)
            ask = table.push_pull
        else:
            ask = table.push
        self.ask(ask, keys, rows, node=node, filters=self.lossless())
        yield from self.perhaps_wait(node)

    def _issue(self, node: Node, totals: Counter[Row]) -> None:
        """Note pushes that a task will make, and that they are done when it is."""
        if node.culprits:
            return
        for row, times in totals.items():
            self._history.issue(row, self.party, times)

        def acknowledge(_result: Any) -> None:
            for row, times in totals.items():
                self._history.acknowledge(row, self.party, times)

        node.on_success = acknowledge

    def pull_counts(self, before: tuple[Node, ...] = ()) -> Script:
        """Read counts, as old as they may be."""
        table = yield from self.open_counts()
        node, named = Node(before), self.some_staleness()
        if self.rng.random() < 0.15:
            keys, listed = slice(None), settings.SPARSE_KEYS if table.size is None else list(range(table.size))
        else:
            keys, listed = self.some_keys(table)
        if self.rng.random() < 0.15:
            named["shard"] = server = self.rng.choice(list(self.session.ring.shards))
            listed = [key for key in listed if table.shard_of([key])[0] == server]
        cached = "shard" not in named and not (table.size is None and isinstance(keys, slice))
        self._answer_counts(node, table, listed, self.bound(named), cached)
        self.pull(node, table, keys, self.lossless(), named)
        yield from self.perhaps_wait(node)

    def some_staleness(self) -> dict[str, Any]:
        """The staleness of a pull, if it is not the worker's."""
        return {} if self.rng.random() < 0.6 else {"staleness": self.rng.choice(settings.STALENESS)}

    def bound(self, named: dict[str, Any]) -> float | None:
        """The staleness that holds for a pull."""
        return named.get("staleness", self.session.staleness)

    def pull(self, node: Node, table: Table, keys: Any, filters: Any, named: dict[str, Any]) -> None:
        """Ask for rows; an eventual pull may ask for newer ones too, and does not wait for these."""
        node.refreshes = self.bound(named) == math.inf
        self.ask(table.pull, keys, node=node, filters=filters, **named)

    def _answer_counts(
        self, node: Node, table: Table, listed: list[int], staleness: float | None, cached: bool = False
    ) -> None:
        """Check the rows that the task brings, by what was known when it was sent."""
        least: dict[Row, list[int]] = {}
        needed = 0
        start, succeed = node.on_start, node.on_success

        def started() -> None:
            nonlocal needed
            start()
            needed = self.needed(staleness)
            for key in set(listed):
                row = table.name, key
                least[row] = self._least(row, staleness, cached)
                least[row][self.party] = max(least[row][self.party], self._shown[row])

        def check(result: Any) -> None:
            succeed(result)
            found = answers(table, listed, result)
            self._cluster.history.check_quorum(needed if found else 0)
            for key, value in found.items():
                row = table.name, key
                promised = map(max, least[row], self._history.promised(row, needed))
                self._history.check_counts(row, value, list(promised))

        node.on_start, node.on_success = started, check

    def needed(self, staleness: float | None) -> int:
        """The clock that a pull needs now."""
        if staleness is None or math.isinf(staleness):
            return 0
        return max(0, self.worker.clock - int(staleness))

    def _least(self, row: Row, staleness: float | None, cached: bool) -> list[int]:
        """What a pull now must show of each worker's pushes, the clock's promise aside."""
        known, clock = self._history.acknowledged(row), self.worker.clock
        if staleness is None or (not cached and math.isinf(staleness)):
            return known
        if not cached:
            return [0] * PARTIES
        if self._first.get(row, (-1, []))[0] < clock:
            self._first[row] = clock, known
        if not math.isinf(staleness):
            return [0] * PARTIES
        at, latest, before = self._refreshed.get(row, (-1, [0] * PARTIES, []))
        if at < clock:  # what was asked for in an earlier iteration has come
            before = latest
            self._refreshed[row] = clock, self._first[row][1], before
        return list(before)

    def push_commits(self) -> Script:
        """Push in the own digit of the column of this clock."""
        table = yield from self.open(self.rng.choice(settings.COMMITS))
        keys, listed = self.some_keys(table)
        rows = np.zeros((len(listed), table.dim), np.int64)
        rows[:, self.worker.clock] = digit(self.party)
        node = Node()
        self._issue(node, Counter((table.name, key) for key in listed))
        if self.rng.random() < 0.2:
            self._answer_commits(node, table, listed, None)
            ask = table.push_pull
        else:
            ask = table.push
        self.ask(ask, keys, rows, node=node, filters=self.lossless())
        yield from self.perhaps_wait(node)

    def pull_commits(self) -> Script:
        """Read sums of whole clocks."""
        table = yield from self.open(self.rng.choice(settings.COMMITS))
        keys, listed = self.some_keys(table)
        node, named = Node(), self.some_staleness()
        self._answer_commits(node, table, listed, self.bound(named))
        self.pull(node, table, keys, self.lossless(), named)
        yield from self.perhaps_wait(node)

    def _answer_commits(self, node: Node, table: Table, listed: list[int], staleness: float | None) -> None:
        needed, succeed = self.needed(staleness), node.on_success

        def check(result: Any) -> None:
            succeed(result)
            self._cluster.history.check_quorum(needed)
            for key, value in answers(table, listed, result).items():
                self._history.check_commits((table.name, key), value, needed)

        node.on_success = check

    # --- functions --------------------------------------------------------------------------------------------------

    def run_once(self) -> Script:
        """A function that runs once in a clock, whoever asks first."""
        table = yield from self.open("calls")
        clock, needed = self.worker.clock, self.session.min_clock

        def check(result: Any) -> None:
            self._cluster.history.check_quorum(needed)
            self._history.once.add(clock)
            assert all(counts in ([], [1]) for counts in result), f"in clock {clock} it had run {result} times"

        node = self.ask(table.run, "count_once", clock, once_per_clock=True, node=Node(on_success=check))
        yield from self.perhaps_wait(node)

    def run_counts(self) -> Script:
        """A function that counts some keys once more: like a push, but nothing that is cached shows it."""
        table = yield from self.open_counts()
        listed = self.rng.sample(settings.SPARSE_KEYS if table.size is None else range(table.size), 3)
        node = Node()
        self._issue(node, Counter((table.name, key) for key in listed))
        self.ask(table.run, "count_keys", self.party, keys=np.array(listed, np.uint64), merge=sum, node=node)
        yield from self.perhaps_wait(node)

    def graph(self) -> Script:
        """Tasks over several tables and servers, each after some of those before it; a few of them fail."""
        for _ in range(self.rng.randint(2, 7)):
            some = self._nodes[-1:] if self.rng.random() < 0.3 else self._nodes
            before = tuple(self.rng.sample(some, min(len(some), self.rng.randrange(4))))
            if self.rng.random() < 0.15:
                table = yield from self.open("calls")
                number = self.rng.randrange(1000)
                self.ask(table.run, "refuse", number, node=Node(before, fails=True))
            else:
                yield from self.rng.choice((self.push_counts, self.push_counts, self.pull_counts))(before)


def answers(table: Table, listed: list[int], result: Any) -> dict[int, Any]:
    """The rows of a pull by key; it brings those of all keys, or says of which it does."""
    if not isinstance(result, tuple):
        assert len(result) == len(listed), f"{len(result)} rows of {len(listed)} keys"
        rows: dict[int, Any] = {}
        for key, row in zip(listed, result, strict=True):
            assert np.array_equal(row, rows.setdefault(key, row)), f"two rows of key {key}: {row}, {rows[key]}"
        return rows
    keys, found = result
    assert set(keys.tolist()) <= set(listed), f"keys that were not asked for: {keys} of {listed}"
    absent = np.zeros(table.dim, table.dtype)
    return dict.fromkeys(listed, absent) | dict(zip(keys.tolist(), found, strict=True))


def caught(pending: Pending, kind: type[Exception]) -> Generator[Pending, Any, Exception | None]:
    """Wait for an outcome; the error, if it is of that kind."""
    try:
        yield pending
    except kind as error:
        return error
    return None
