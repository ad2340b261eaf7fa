"""The rules of tables, as functions of a seed that raise AssertionError where a rule is broken.

The ordinary tests call them on the code as it is, `test_mutants.py` on deliberately broken code. Values are whole
numbers, so that sums are exact in whatever order.
"""

import random
from collections import defaultdict
from functools import partial, wraps
from typing import Any

import numpy as np

from paracel.errors import DependencyError
from paracel.filters import Compressing, DropZeros, Filter, KeyCaching
from paracel.functions import server_function, updater
from paracel.optim import builtin
from paracel.ring import Ring
from paracel.session_tables import Call
from paracel.tables.index import Index
from paracel.tables.keylists import KeyLists
from paracel.tables.merge import Commits, Pushed, distinct
from paracel.tables.placement import Blocks, DensePlaces
from paracel.tables.routes import Router, gathered
from paracel.tables.rowcache import RowCache
from paracel.tables.senderstate import Told
from paracel.tables.spec import TableSpec, make_spec
from paracel.tables.table import Table
from support.cluster import Cluster, FakeNetwork

#: Keys that indexes and hashes like least.
ODD_KEYS = (0, 1, 2, 1023, 1024, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1)


def uint64(keys: Any) -> Any:
    """Keys as the modules below the handle take them."""
    return np.array(list(keys), np.uint64)


def spec_of(rng: random.Random, **settings: Any) -> TableSpec:
    """A table of any size, or sparse; rows of so many bytes that even small tables are cut into blocks."""
    size = rng.choice([None, 1, 7, 3000, 20_000])
    dim = rng.choice([1, 2, 1000 if size and size > 1000 else 3])
    return make_spec("t", **{"size": size, "dim": dim, "dtype": "float64", **settings})


def some_keys(rng: random.Random, size: int | None, most: int = 30) -> Any:
    """Distinct keys of a table in any order."""
    pool = ODD_KEYS if size is None else range(size)
    extra = [] if size is not None else [rng.getrandbits(64) for _ in range(10)]
    chosen = dict.fromkeys(rng.choices([*pool[:3000], *extra, *pool[-3:]], k=rng.randint(0, most)))
    return uint64(chosen)


# --- placement ----------------------------------------------------------------------------------------------------


def check_placement(name: str, size: int, row_bytes: int, servers: list[int], ranges: list[tuple[int, int]]) -> None:
    """Every key is on one server, in one place; places, keys and ranges agree; blocks are not too large."""
    blocks = Blocks.of(name, size, row_bytes)
    assert row_bytes << blocks.shift <= 1 << 20 or blocks.shift == 0
    assert (blocks.count - 1) << blocks.shift < size <= blocks.count << blocks.shift
    owners = blocks.owners(Ring(servers).owners)
    everything = np.arange(size, dtype=np.uint64)
    held = np.zeros(size, int)
    for server in servers:
        part = DensePlaces(blocks, np.flatnonzero(owners == server))
        keys = part.keys()
        held[keys.astype(int)] += 1
        assert len(keys) == part.count
        assert (keys[1:] > keys[:-1]).all()
        places = part.places(everything)
        assert (places[keys.astype(int)] == np.arange(part.count)).all()
        assert int((places >= 0).sum()) == part.count
        assert (owners[keys.astype(int) >> blocks.shift] == server).all()
        for begin, end in ranges:
            inside = keys[part.span(begin, end)]
            assert inside.tolist() == [key for key in keys.tolist() if begin <= key < end]
    assert (held == 1).all()


def check_routes(seed: int) -> None:
    """Each key goes once, to its server; what is cut for the servers is put together as it was."""
    rng = random.Random(seed)
    spec = spec_of(rng)
    ring = Ring(rng.sample(range(20), rng.randint(1, 4)))
    router = Router(spec, ring.owners)
    if spec.size is not None and rng.random() < 0.5:
        begin = rng.randint(0, spec.size)
        selection: Any = (begin, rng.choice([begin, rng.randint(begin, spec.size), spec.size]))
        keys = np.arange(*selection, dtype=np.uint64)
    else:
        selection = keys = some_keys(rng, spec.size)
    routes = router.route(selection)
    columns = [np.arange(len(keys)) + 5, np.arange(3 * len(keys)).reshape(-1, 3)]
    owners = router.owners(keys)
    at = 0
    for route in routes:
        own = keys[owners == route.shard]
        assert router.keys_of(route).tolist() == route.cut(keys).tolist() == own.tolist()
        assert route.count == len(own) > 0
        assert isinstance(route.selection, tuple) or route.selection.tolist() == own.tolist()
        at += route.count
    assert at == len(keys)
    assert len({route.shard for route in routes}) == len(routes)
    assert {route.shard for route in routes} <= set(router.shards) == set(ring.shards)
    if routes:
        parts = [[route.cut(column) for column in columns] for route in routes]
        wholes = gathered(routes, parts, len(keys))
        assert [whole.tolist() for whole in wholes] == [column.tolist() for column in columns]


# --- the index ----------------------------------------------------------------------------------------------------


def check_index(seed: int) -> None:
    """An index is a dict from keys to the order in which they came."""
    rng = random.Random(seed)
    index, model = Index(), {}
    low = rng.choice([0, (1 << 64) - 5000, 1 << 40])
    step = rng.choice([1, 1 << 10, 1 << 32])
    for _ in range(rng.randint(1, 12)):
        keys = [(low + step * rng.randrange(3000)) % (1 << 64) for _ in range(rng.choice([0, 1, 20, 900]))]
        keys += rng.sample(ODD_KEYS, 3)
        if rng.random() < 0.6:
            for key in keys:
                model.setdefault(key, len(model))
            assert index.insert(uint64(keys)).tolist() == [model[key] for key in keys]
        elif rng.random() < 0.5:
            chosen = np.array([rng.random() < 0.5 for _ in model], bool)
            index.keep(chosen)
            model = {key: at for at, key in enumerate(key for key, row in model.items() if chosen[row])}
        else:
            values = np.zeros(len(model), np.int64)
            missing = index.add(uint64(keys), values, np.ones(len(keys), np.int64))
            assert missing.tolist() == [at for at, key in enumerate(keys) if key not in model]
            assert values.tolist() == [keys.count(key) for key in model]
        assert index.find(uint64(keys)).tolist() == [model.get(key, -1) for key in keys]
        assert (index.count, index.keys().tolist()) == (len(model), list(model))


# --- pushes made into one -----------------------------------------------------------------------------------------


def check_distinct(keys: Any, columns: list[Any]) -> None:
    """Each key once, with the sum of its rows; nothing is touched where no key repeats."""
    before = [column.copy() for column in columns]
    found, sums = distinct(keys, columns)
    assert sorted(found.tolist()) == sorted(set(keys.tolist()))
    if len(found) == len(keys):
        assert found.tolist() == keys.tolist()
    for old, column, added in zip(before, columns, sums, strict=True):
        assert added.dtype == column.dtype
        assert old.tolist() == column.tolist()
        for key, row in zip(found, added, strict=True):
            assert (row == old[keys == key].sum(axis=0, dtype=old.dtype)).all()


def check_commits(seed: int) -> None:
    """A clock's pushes are their sum, whoever came first; those of other clocks stay apart."""
    rng = random.Random(seed)
    own = np.array([2, 3, 4, 8, 9], np.uint64)
    shared = uint64(rng.sample(range(10), 4))

    def listed(keys: Any) -> Any:
        return own[(own >= keys[0]) & (own < keys[1])] if isinstance(keys, tuple) else keys

    commits = Commits(listed)
    model: Any = defaultdict(lambda: defaultdict(lambda: np.zeros(2, int)))
    for _ in range(rng.randint(1, 12)):
        keys = rng.choice([(0, 10), (3, 9), shared, uint64(rng.sample(range(20), 3))])
        values = np.array([[rng.randrange(100), rng.randrange(100)] for _ in listed(keys)]).reshape(-1, 2)
        clock = rng.randrange(3)
        commits.add(clock, Pushed(rng.randrange(3), keys, [values, values[:, 0]]))
        for key, row in zip(listed(keys).tolist(), values, strict=True):
            model[clock][key] = model[clock][key] + row
    assert commits.clocks() == sorted(model)
    for clock, expected in model.items():
        taken = commits.take(clock)
        found = {k: row.tolist() for k, row in zip(listed(taken.keys).tolist(), taken.values[0], strict=True)}
        assert found == {key: row.tolist() for key, row in expected.items()}
        assert taken.values[1].tolist() == taken.values[0][:, 0].tolist()
        assert clock not in commits.clocks()
    assert commits.nbytes == 0


# --- the cache of rows --------------------------------------------------------------------------------------------

_OWN = 20


class _CacheModel:
    """What a worker's cache may hold: a server, and which of its rows count as cached, said the naive way.

    Each push is a bit of its own in the rows, so that one can see which pushes a row has, and that none is in twice.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.size = rng.choice([None, 6])
        self.local = rng.random() < 0.7
        spec = make_spec("t", self.size, 1, "int64")
        self.cache = RowCache(spec, builtin("add") if self.local else None)
        self.server = [0] * 6
        self.own = [0] * 6
        self.others: list[tuple[int, int, int]] = []
        self.valid: dict[int, int] = {}
        self.open: list[dict[str, Any]] = []
        self.clock = self.pushes = 0

    def keys(self) -> Any:
        if self.size is not None and self.rng.random() < 0.4:
            begin = self.rng.randrange(6)
            return begin, self.rng.randint(begin, 6)
        return uint64(self.rng.sample(range(6), self.rng.randint(1, 4)))

    def push(self) -> None:
        keys = self.keys()
        if self.pushes == _OWN:
            return
        bit = 1 << self.pushes
        self.pushes += 1
        listed = list(range(*keys)) if isinstance(keys, tuple) else keys.tolist()
        self.cache.push(keys, [np.full(len(listed), bit)])
        for key in listed:
            self.server[key] += bit
            self.own[key] += bit
            if not self.local:
                self.valid.pop(key, None)
        for fetch in self.open:
            fetch["pushed"] |= set(listed)
            fetch["dropped"] |= fetch["waits"]

    def other(self) -> None:
        if len(self.others) < 40:
            key, bit = self.rng.randrange(6), 1 << (_OWN + len(self.others))
            self.server[key] += bit
            self.others.append((key, bit, self.clock))

    def tick(self) -> None:
        self.clock += 1

    def begin(self) -> None:
        keys, waits = self.keys(), self.rng.random() < 0.4
        fetch = {"fetch": self.cache.begin(0, waits=waits), "keys": keys, "waits": waits, "dropped": False}
        self.open.append({**fetch, "pushed": set(), "reply": None if waits else self.answer(keys)})

    def answer(self, keys: Any) -> Any:
        listed = list(range(*keys)) if isinstance(keys, tuple) else keys.tolist()
        return np.array([self.server[key] for key in listed], np.int64), listed, self.clock

    def end(self) -> None:
        if not self.open:
            return
        fetch = self.open.pop(self.rng.randrange(len(self.open)))
        if self.rng.random() < 0.2:
            self.cache.end(fetch["fetch"], None, None, 0)
            return
        rows, listed, clock = fetch["reply"] or self.answer(fetch["keys"])
        self.cache.end(fetch["fetch"], fetch["keys"], rows, clock)
        for key in listed if not fetch["dropped"] else ():
            if self.valid.get(key, -1) <= clock:
                self.valid[key] = clock
                if key in fetch["pushed"] and not self.local:
                    del self.valid[key]

    def clear(self) -> None:
        self.cache.clear()
        self.valid.clear()
        for fetch in self.open:
            fetch["dropped"] = True

    def check(self) -> None:
        for needed in range(self.clock + 2):
            fresh = [key in self.valid and self.valid[key] >= needed for key in range(6)]
            assert (~self.cache.stale(uint64(range(6)), needed)).tolist() == fresh
        for key, clock in self.valid.items():
            row = int(self.cache.rows(uint64([key]))[0])
            assert row & ((1 << _OWN) - 1) == self.own[key], "own pushes, each once"
            promised = sum(bit for at, bit, made in self.others if at == key and made < clock)
            assert row & promised == promised, "all that the clock promises"
            assert self.cache.valid_for(uint64([key])) == clock


def check_row_cache(seed: int) -> None:
    """A cached row is used if and only if its clock suffices; it has what that promises, and every own push once."""
    rng = random.Random(seed)
    model = _CacheModel(rng)
    actions = [model.push, model.push, model.other, model.tick, model.begin, model.begin, model.end, model.end]
    for _ in range(50):
        rng.choice([*actions, *actions, model.clear])()
        model.check()


# --- rows that changed significantly ------------------------------------------------------------------------------


def sparse_or_dense(rng: random.Random) -> Table:
    """The only server's part of a table with the keys 0 to 9 in it."""
    spec = make_spec("t", rng.choice([None, 10]), rng.choice([1, 2]), "float64", init=3.0)
    owners = Ring([0]).owners
    return Table.open(spec, owners, 0, lambda _name: None, lambda _name: None)  # type: ignore[arg-type, return-value]


def check_told(seed: int) -> None:
    """What a reader has been told of a row is never further from it than the threshold; it is told if it must be."""
    rng = random.Random(seed)
    table, threshold = sparse_or_dense(rng), 2.0
    readers = [Told(table.spec), Told(table.spec)]
    late: list[Any] = []
    for _ in range(30):
        keys = uint64(rng.sample(range(10), rng.randint(1, 6)))
        if rng.random() < 0.5:
            values = np.array([rng.choice([-3, -1, 1, 1.5, 3]) for _ in keys]).reshape(-1, 1)
            deltas = np.broadcast_to(values, (len(keys), table.spec.dim)).reshape((len(keys), *table.spec.tail))
            table.push(Pushed(0, keys, [deltas.copy()]), 0, True)
            continue
        if table.spec.size is None and rng.random() < 0.2:
            table.part.keep(np.array([rng.random() < 0.5 for _ in range(table.part.count)], bool))  # type: ignore[attr-defined]
            continue
        reader = rng.choice(readers)
        rows, newer, version = table.pull_published(keys, threshold, reader.version(keys))
        if rng.random() < 0.2:
            late.append((reader, keys, newer, rows, version))
            continue
        told = reader.renew(keys, newer, rows, version)
        (now,), _ = table.pull(keys, [])
        assert (np.abs(told - now) <= threshold).all()
        again, newer, _ = table.pull_published(keys, threshold, reader.version(keys))
        missing = int((np.asarray(table.part.locate(keys)) < 0).sum())
        assert len(again) == newer.sum() == missing, "what is known is not told again"
        if late and rng.random() < 0.5:
            other, *reply = late.pop(0)
            other.renew(*reply)


# --- through a client ---------------------------------------------------------------------------------------------

_RULES = {
    "add": lambda row, delta: row + delta,
    "sub": lambda row, delta: row - delta,
    "assign": lambda row, delta: delta,
    "max": np.maximum,
}
LOSSLESS: list[list[Filter]] = [
    [],
    [KeyCaching()],
    [DropZeros()],
    [Compressing()],
    [KeyCaching(), DropZeros(), Compressing("zstd")],
    [DropZeros(), KeyCaching()],
]


class _Plain:
    """A table as a dict."""

    def __init__(self, table: Any, rule: Any) -> None:
        self.rows: dict[int, Any] = {}
        self.table, self.rule = table, rule
        self.begin = np.full(table.spec.tail, 5, table.dtype)

    def row(self, key: int) -> Any:
        return self.rows.get(key, self.begin)

    def push(self, keys: list[int], values: Any) -> None:
        sums: dict[int, Any] = {}
        for key, value in zip(keys, values, strict=True):
            sums[key] = sums[key] + value if key in sums else value
        for key, value in sums.items():
            self.rows[key] = self.rule(self.row(key), value)

    def pull(self, keys: list[int]) -> Any:
        rows = [self.row(key) for key in keys]
        return np.array(rows, self.table.dtype).reshape(len(keys), *self.table.spec.tail).tolist()


def _picked(rng: random.Random, size: int | None) -> tuple[Any, list[int]]:
    """Keys as a user may give them, and one by one."""
    pool = range(size) if size else ODD_KEYS
    keys = rng.choices(pool, k=rng.randint(0, 12))
    if size and rng.random() < 0.4:
        cut = slice(
            rng.choice([None, *range(-3, size)]), rng.choice([None, *range(size + 2)]), rng.choice([None, 2, -1])
        )
        return cut, list(range(size))[cut]
    return rng.choice([keys, np.array(keys, np.uint64)]), keys


def _on_a_network(check: Any) -> Any:
    """`check(rng, network)` as one of a seed: clients are on a network without sockets."""

    @wraps(check)
    def seeded(seed: int) -> None:
        rng = random.Random(seed)
        network = FakeNetwork(rng.randint(1, 3), 3)
        with network.clients():
            check(rng, network)

    return seeded


@_on_a_network
def check_table_client(rng: random.Random, network: FakeNetwork) -> None:
    """Alone, a client sees a plain dict of rows, however many servers there are, with lossless filters or without."""
    client = network.client(0, rng.choice([None, 0, 2, float("inf")]))
    for other in (1, 2):
        network.client(other).leave()
    size, name = rng.choice([None, None, 9, 40]), rng.choice(list(_RULES))
    filters = {"push_filters": rng.choice(LOSSLESS), "pull_filters": rng.choice(LOSSLESS)}
    dim, dtype = rng.choice([1, 2]), rng.choice(["int64", "float32"])
    table = client.table("t", size, 30_000 if size == 40 else dim, dtype, init=5, updater=name, **filters)
    model = _Plain(table, _RULES[name])
    for _ in range(12 if table.dim < 100 else 3):
        keys, listed = _picked(rng, size)
        values = np.array([rng.choice([0, 0, rng.randrange(9)]) for _ in listed], int)
        values = np.broadcast_to(values.reshape(-1, *[1] * len(table.spec.tail)), (len(listed), *table.spec.tail))
        how = rng.choice(["push", "push_pull", "pull", "commit", "range"])
        if how == "push":
            table.push(keys, values.astype(dtype))
            model.push(listed, values)
        elif how == "push_pull":
            rows = table.push_pull(keys, values.astype(dtype)).result()
            model.push(listed, values)
            assert rows.tolist() == model.pull(listed)
        elif how == "commit":
            client.commit()
        elif how == "range" and size is None:
            begin, end = sorted(rng.choices([*ODD_KEYS, 1 << 64], k=2))
            found, rows = table.pull(slice(begin, end)).result()
            assert found.tolist() == sorted(key for key in model.rows if begin <= key < end)
            assert rows.tolist() == model.pull(found.tolist())
        pulled = table.pull(keys).result()
        assert (pulled.dtype, pulled.shape) == (table.dtype, (len(listed), *table.spec.tail))
        assert pulled.tolist() == model.pull(listed)


@updater
def doubled(rows, deltas, state):
    return 2 * rows + deltas


class _CommitModel:
    """A table with apply="commit", said the naive way."""

    def __init__(self) -> None:
        self.running, self.clocks = {0, 1, 2}, [0, 0, 0]
        self.rows = [0.0] * 6
        self.waiting: Any = defaultdict(lambda: defaultdict(float))

    def push(self, worker: int, keys: list[int], values: list[float]) -> None:
        for key, value in zip(keys, values, strict=True):
            self.waiting[self.clocks[worker]][key] += value
        self.settle()

    def settle(self) -> None:
        for clock in sorted(self.waiting):
            if all(self.clocks[worker] > clock for worker in self.running):
                for key, total in self.waiting.pop(clock).items():
                    self.rows[key] = 2 * self.rows[key] + total


@_on_a_network
def check_commit_tables(rng: random.Random, network: FakeNetwork) -> None:
    """With apply="commit" the pushes of a clock are one, applied once: when all who run have committed it."""
    clients = [network.client(worker) for worker in range(3)]
    size = rng.choice([None, 6])
    tables = [client.table("t", size, 1, "float64", updater=doubled, apply="commit") for client in clients]
    model = _CommitModel()
    for _ in range(40):
        worker, how = rng.randrange(3), rng.random()
        if how < 0.5:
            keys = rng.choice([slice(1, 4), [0], [2, 5, 2], [5, 2]])
            listed = list(range(1, 4)) if isinstance(keys, slice) else keys
            values = [float(rng.randrange(5)) for _ in listed]
            tables[worker].push(keys, values)
            model.push(worker, listed, values)
        elif how < 0.85:
            clients[worker].commit()
            model.clocks[worker] += 1
        elif how < 0.9:
            clients[worker].leave()
            model.running.discard(worker)
        model.settle()
        assert tables[rng.randrange(3)].pull(range(6)).result().tolist() == model.rows


# --- tasks that come after others ---------------------------------------------------------------------------------


@server_function
def refuses(keys, rows, state):
    raise ValueError("the first cause")


@_on_a_network
def check_dependencies(rng: random.Random, network: FakeNetwork) -> None:
    """A task runs if and only if all that it comes after have gone well; else it names the first that did not."""
    client = network.client(rng.choice([None, 0]))
    tables = [client.table("a", 50, 1, "int64"), client.table("b", None, 1, "int64")]
    tasks: list[Any] = []
    well: list[bool] = []
    totals = [0, 0]
    for _ in range(25):
        before = rng.sample(range(len(tasks)), min(len(tasks), rng.randint(0, 2)))
        runs = all(well[at] for at in before)
        which, after = rng.randrange(2), [tasks[at] for at in before]
        if rng.random() < 0.15:
            tasks.append(tables[which].run(refuses, after=after))
            runs = False
        else:
            tasks.append(tables[which].push([7], 1, after=after))
            totals[which] += runs
        well.append(runs)
    for task, runs in zip(tasks, well, strict=True):
        task.wait()
        error = task.pending.error
        assert (error is None) == runs
        if isinstance(error, DependencyError):
            assert "ServerFunctionError" in str(error)
            assert "the first cause" in str(error)
            assert not isinstance(error.__cause__, DependencyError)
    assert [int(table.pull([7]).result()[0]) for table in tables] == totals


def check_execution_order(seed: int) -> None:
    """On a network that reorders, a task begins when those before it have ended."""
    rng = random.Random(seed)
    cluster = Cluster(2, 1, rng=rng)
    session = cluster.join()
    spec = make_spec("t", 20_000, 1, "int64", updater="assign")
    cluster.settle(session.ask_first(spec))
    table = cluster.settle(session.open_table(spec, 1))
    last, events = None, []

    def start(number: int) -> Any:
        events.append(("begins", number))
        return table.push((0, 20_000), [np.full(20_000, number)], Call((), rng.randrange(2)))

    for number in range(6):
        last = session.hold([last] if last else [], 8, partial(start, number))
        last.then(lambda _done, number=number: events.append(("ends", number)))
        assert session.held_bytes == 8 * len(session.held)
    cluster.settle(last)
    assert events == [(what, number) for number in range(6) for what in ("begins", "ends")]
    assert (session.held_bytes, session.held) == (0, set())


def check_key_lists(seed: int) -> None:
    """Key lists that travel as hashes are right on a network that loses, repeats and reorders, and servers forget."""
    rng = random.Random(seed)
    cluster = Cluster(2, 1, rng=rng, lossy=True)
    for shard in cluster.shards.values():
        shard.tables.key_lists = KeyLists(rng.choice([1, 100, 10_000]))
    session = cluster.join()
    spec = make_spec("t", rng.choice([None, 50]), 1, "int64")
    cluster.settle(session.ask_first(spec))
    table = cluster.settle(session.open_table(spec, 1))
    call = Call([KeyCaching(rng.choice([1, 100, 10_000]))])
    lists = [uint64(rng.sample(range(50), 20)) for _ in range(3)]
    totals = np.zeros(50, int)
    pushed = []
    for _ in range(15):
        keys = rng.choice(lists)
        if rng.random() < 0.7:
            pushed.append(table.push(keys, [np.ones(20, np.int64)], call))
            totals[keys.astype(int)] += 1
        else:
            pulled = cluster.settle(table.pull(keys, call, (), None))
            assert pulled.tolist() == totals[keys.astype(int)].tolist()
    for pending in pushed:
        cluster.settle(pending)
    assert cluster.settle(table.pull(uint64(range(50)), Call(), (), None)).tolist() == totals.tolist()
