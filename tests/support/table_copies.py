"""A table beside copies of it that hear of its changes only by its journal, as another server would."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from paracel import optim, wire
from paracel.errors import ServerFunctionError, TableError
from paracel.functions import server_function, updater
from paracel.messages import Envelope, Replicate
from paracel.ring import Ring
from paracel.tables import journal
from paracel.tables.merge import Pushed
from paracel.tables.spec import TableSpec, function_wire, make_spec
from paracel.tables.table import Table
from support.table_rules import ODD_KEYS, uint64

OWNERS = Ring(range(2)).owners
BAD = 13.0  # a value that no updater takes


@updater(state={"count": 1.0})
def counting(rows, deltas, state):
    state["count"] += 1
    return rows + deltas * state["count"]


@updater(state={"count": 0.0})
def choosy(rows, deltas, state):
    """Changes what it may change, and then refuses some deltas."""
    state["count"] += 1
    if (deltas == BAD).any():
        raise ValueError("bad luck")
    return rows + deltas


def rising(keys):
    return (keys % np.uint64(5)).astype(np.float64)


FUNCTIONS = {"f:counting": counting, "f:choosy": choosy, "f:rising": rising}


@server_function
def shrink(keys, rows, state):
    """Changes some rows, and their state, in place."""
    chosen = keys % np.uint64(3) == 0
    rows[chosen] = rows[chosen] // 2
    for column in state.values():
        column[chosen] += 1
    return int(chosen.sum())


@server_function
def spoil(keys, rows, state):
    """Changes rows, and then fails: what it did stays done."""
    rows[:1] += 1
    raise ValueError("spoilt")


def carried(changes: Any) -> Any:
    """What arrives of changes."""
    frames = wire.encode(Envelope(0, 0, 0, Replicate(0, 0, 0, 0, 0, changes)))
    return wire.decode([bytes(frame) for frame in frames]).message.changes


def holdings(table: Table, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """All that a table is, whatever the order of its rows: to be compared."""
    keys = table.part.keys()
    order = np.argsort(keys)
    names = [name for name in table.part.names() if not name.startswith(("told/", "version/")) and name not in without]
    waiting = [
        (clock, pushed.worker, _plain(pushed.keys), [value.tobytes() for value in pushed.values])
        for clock, pushed in table.commits.all()
    ]
    state = None if table.admission is None else table.admission.state()
    return {
        "keys": keys[order].tolist(),
        "columns": {name: table.part.column(name)[order].tobytes() for name in names},
        "waiting": sorted(waiting, key=lambda each: each[0]),  # those of one clock in their order
        "counted": None if state is None else [state[0], state[1].tobytes(), state[2]],
        "failure": table.failure,
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Says what is different, and not all that there is."""
    different = [name for name in one if one[name] != other[name]]
    assert not different, different


def _plain(keys: Any) -> Any:
    return keys if isinstance(keys, tuple) else keys.tolist()


class TableCopies:
    """One table, on which random things are done, a copy from the start, and one that is being filled."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.spec = self._spec()
        self.table = self._open()
        self.copy = self._open()
        self.new: Table | None = None
        self.filling: Iterator[Any] = iter(())
        self.clock = 0
        self.read = False
        journal.watch(self.table)

    def _spec(self) -> TableSpec:
        rng = self.rng
        size = rng.choice([None, None, 12, 3000])
        keeping: dict[str, Any] = {}
        if size is None:
            keeping["admit_after"] = rng.choice([1, 1, 1, 3])
            keeping["expire_after"] = rng.choice([None, None, 1, 3])
            keeping["max_rows"] = rng.choice([None, None, 6])
        rules = [
            "add", "add", "max", optim.sgd(0.5), optim.momentum(0.5), optim.adam(0.1), optim.ftrl(0.1, l1=1.0),
            function_wire("f:counting"), function_wire("f:choosy"),
        ]  # fmt: skip
        dim = rng.choice([1, 2, 400 if size == 3000 else 3])
        init = rng.choice([0.0, 2.0, "uniform", function_wire("f:rising") if dim == 1 else 0.0])
        return make_spec(
            "t", size, dim, "float64",
            init=init, updater=rng.choice(rules), apply=rng.choice(["push", "commit"]), **keeping,
        )  # fmt: skip

    def _open(self) -> Table:
        return Table.open(self.spec, OWNERS, 1, FUNCTIONS.__getitem__, FUNCTIONS.__getitem__)

    def step(self) -> None:
        """Something is done with the table, or with the copies."""
        changing = [self.push] * 6 + [self.complete] * 2 + [self.run_all, self.run_some, self.push_nonsense, self.undo]
        reading = [self.pull, self.pull_published]
        if self.table.failure:
            changing = []
        self.rng.choice([*changing, *reading, self.tell, self.tell, self.begin_filling, self.fill])()

    def finish(self) -> None:
        """All has been told: the copies are what the table is."""
        while self.new is not None and self.fill():
            pass
        self.tell()
        for copy in [self.copy] + ([self.new] if self.new is not None else []):
            self._check_same(copy)
        self.go_on()

    def go_on(self) -> None:
        """The copy takes the table's place: the same is done with both, and they do the same."""
        if self.spec.max_rows is not None:  # of rows that were used together, any may go
            return
        for table in (self.table, self.copy):
            table.begin_serving(9, self.clock)
        state = self.rng.getstate()
        for table in (self.table, self.copy):
            self.rng.setstate(state)
            clock, self.clock, self.table = self.clock, self.clock, table
            for _ in range(0 if table.failure else 8):
                self.rng.choice([self.push, self.push, self.complete, self.run_all])()
            self.clock = clock
        self.table, first = self.copy, self.table
        assert_same(holdings(first), holdings(self.copy))

    def _check_same(self, copy: Table) -> None:
        recent = ("touched", "used") if self.read else ()  # reads are not told
        assert_same(holdings(copy, recent), holdings(self.table, recent))

    # --- copies -------------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        """What has changed reaches the copies."""
        changes = journal.take_changes(self.table)
        if changes is None:
            return
        told = carried(changes)
        journal.apply(self.copy, told)
        if self.new is not None:
            journal.apply(self.new, told)
        self._check_same(self.copy)
        assert journal.take_changes(self.table) is None, "told once"

    def begin_filling(self) -> None:
        self.tell()
        self.new = self._open()
        journal.apply(self.new, carried(journal.beginning(self.table)))
        self.filling = journal.pieces(self.table, self.rng.choice([1, 100, 1 << 20]))

    def fill(self) -> bool:
        """The next piece, behind all that has changed before it."""
        self.tell()
        piece = next(self.filling, None)
        if piece is not None and self.new is not None:
            journal.apply(self.new, carried(piece))
        return piece is not None

    # --- the table ----------------------------------------------------------------------------------------------------

    def _keys(self, most: int = 12) -> Any:
        """Distinct keys that are there or may be."""
        sparse = self.spec.size is None
        pool = [*ODD_KEYS, *range(20, 30)] if sparse else self.table.part.keys().tolist()
        return uint64(dict.fromkeys(self.rng.choices(pool, k=self.rng.randint(0, most)) if pool else []))

    def _values(self, count: int) -> list[Any]:
        shape = (count, *self.spec.tail)
        values = np.array(self.rng.choices(range(-9, 10), k=int(np.prod(shape)))).reshape(shape).astype(np.float64)
        if self.rng.random() < 0.1:
            values[:1] = BAD
        return [values] * self.table.rule.inputs

    def push(self) -> None:
        keys: Any = self._keys()
        count = len(keys)
        if self.spec.size is not None and self.rng.random() < 0.3:
            begin = self.rng.randint(0, self.spec.size)
            keys = (begin, self.rng.randint(begin, self.spec.size))
            count = self.table.count_in(keys)
        clock = self.clock + self.rng.randint(0, 2)
        pushed = Pushed(self.rng.randint(0, 2), keys, self._values(count))
        try:
            self.table.push(pushed, clock, clock < self.clock)
        except ServerFunctionError as error:
            assert "bad luck" in str(error)  # noqa: PT017

    def push_nonsense(self) -> None:
        """Keys of another server, or of none: refused, and nothing is to be told of it."""
        if self.spec.size is None:
            return
        keys = uint64([self.rng.choice([self.spec.size, 1 << 63, (1 << 64) - 1, self.rng.randrange(self.spec.size)])])
        own = np.isin(keys, self.table.part.keys())
        before = holdings(self.table)
        try:
            self.table.push(Pushed(0, keys, self._values(1)), self.clock, True)
        except (TableError, ServerFunctionError):
            assert holdings(self.table) == before
        else:
            assert own.all()

    def undo(self) -> None:
        self.table.undo(self.rng.randint(0, 2), self.clock + self.rng.randint(0, 1))

    def complete(self) -> None:
        self.clock += self.rng.randint(0, 1)
        reached = self.clock + self.rng.choice([0, 0, 0, 3])  # nobody runs: all is complete
        try:
            self.table.complete(lambda clock: clock < reached, self.clock)
        except ServerFunctionError as error:
            self.table.failure = str(error)

    def run_all(self) -> None:
        function = self.rng.choice([shrink, shrink, spoil])
        try:
            self.table.run(function, None, [])
        except (ServerFunctionError, ValueError) as error:
            assert "spoilt" in str(error)  # noqa: PT017

    def run_some(self) -> None:
        keys: Any = self._keys()
        if self.rng.random() < 0.3:
            keys = (self.rng.randint(0, 12), self.rng.randint(12, self.spec.size or 1 << 64))
        try:
            self.table.run(self.rng.choice([shrink, shrink, spoil]), keys, [])
        except (ServerFunctionError, ValueError) as error:
            assert "spoilt" in str(error)  # noqa: PT017

    def pull(self) -> None:
        self.read = True
        self.table.pull(self._keys(), [])

    def pull_published(self) -> None:
        self.read = True
        self.table.pull_published(self._keys(), 0.5, 0)


def check_table_copies(seed: int) -> None:
    """Whatever is done with a table, who hears of its changes has the same; and who is filled meanwhile, too."""
    run = TableCopies(random.Random(seed))
    for _ in range(40):
        run.step()
    run.finish()
