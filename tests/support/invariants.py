"""The core's rules, as functions that raise AssertionError where a rule is broken.

The ordinary tests call them on the code as it is; `test_mutants.py` calls them on deliberately broken code, and
expects them to fail. Those that take a seed are the same for the same seed.
"""

import contextlib
import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from paracel import ring, store
from paracel.cache import Cache
from paracel.clock import SspClock
from paracel.errors import KeyNotFound, UpdateError
from paracel.pending import Pending
from paracel.ring import SLOTS, Ring
from paracel.store import Store
from paracel.updaters import BUILTINS
from support.cluster import Cluster, FakeNetwork, entries_of
from support.exact import same
from support.models import NaiveClock, SerialModel

#: Every kind of staleness.
LIMITS = (None, 0, 1, 3, math.inf)

# --- the clock --------------------------------------------------------------------------------------------


def check_clock(workers: int, operations: Iterable[tuple[Any, ...]]) -> None:
    """A read is released if and only if every running worker has committed as often as it needs."""
    clock: SspClock[int] = SspClock(range(workers))
    model = NaiveClock(dict.fromkeys(range(workers), 0))
    before = 0
    for number, (what, *given) in enumerate(operations):
        if what == "read":
            assert clock.reached(*given) == model.reached(*given), (number, what, given)
            if not model.reached(*given):
                clock.park(*given, number)
                model.waiting.append((*given, number))
        else:
            assert getattr(clock, what)(*given) == getattr(model, what)(*given), (number, what, given)
        slowest = sorted(worker for worker in model.running if model.clocks[worker] == model.value)
        assert (clock.value, clock.clocks, clock.parked) == (model.value, model.clocks, len(model.waiting))
        assert clock.slowest() == slowest
        assert clock.value >= before, "a clock went back"
        before = clock.value


def clock_operations(rng: random.Random, workers: int, count: int = 60) -> Iterator[tuple[Any, ...]]:
    """Reads, commits in and out of order and repeated, comings and goings; strangers too."""
    for _ in range(count):
        worker = rng.randint(0, workers)
        yield rng.choice(
            [("read", rng.randint(0, 8)), ("commit", worker, rng.randint(0, 8)), ("commit", worker, rng.randint(0, 8))]
            * 3
            + [("leave", worker), ("enter", worker)]
        )


def check_clock_seed(seed: int) -> None:
    rng = random.Random(seed)
    workers = rng.randint(0, 4)
    check_clock(workers, clock_operations(rng, workers))


# --- the ring ---------------------------------------------------------------------------------------------


def check_ring_order(servers: Sequence[int], rng: random.Random) -> None:
    """Everyone who knows the same servers computes the same ring, in whatever order they came."""
    one, keys = Ring(servers), [f"key {number}" for number in range(200)]
    for _ in range(4):
        other = Ring(rng.sample([*servers, *servers[:2]], len(servers) + len(servers[:2])))
        assert other.shards == one.shards
        assert other.owners.tolist() == one.owners.tolist()
        assert [one.shard_of(key) for key in keys] == [other.shard_of(key) for key in keys]


def check_ring_moves(servers: Sequence[int], change: int) -> None:
    """A slot moves if and only if it goes to the server that came, or was on the server that went."""
    without = Ring([server for server in servers if server != change])
    with_it = Ring([*without.shards, change])
    keys = [f"key {number}" for number in range(2000)]
    moved = [(without.shard_of(key), with_it.shard_of(key)) for key in keys]
    assert all(old == new or new == change for old, new in moved)
    assert any(new == change for _, new in moved)


def check_ring_balance(servers: Sequence[int]) -> None:
    """No server has much more than its share, and each has some of every kind of keys."""
    counts = np.bincount(Ring(servers).owners, minlength=max(servers) + 1)[list(servers)]
    assert counts.sum() == SLOTS
    assert counts.max() <= 1.5 * SLOTS / len(servers)
    assert counts.min() >= 0.5 * SLOTS / len(servers)


#: Where the keys are, for ever: another version, machine or process must find them there.
GOLDEN_SLOTS = {"": 180, "w": 691, "key": 751, "\u00e9": 990, "\ud800": 874, "a" * 1000: 719, "the": 812, "and": 964}
GOLDEN_SERVERS = [2, 2, 1, 2, 0, 2, 2, 0]


def check_ring_is_the_same_everywhere() -> None:
    """The golden slots and servers, one key at a time and all at once."""
    keys = list(GOLDEN_SLOTS)
    assert [ring.slot_of(key) for key in keys] == list(GOLDEN_SLOTS.values())
    assert ring.slots_of(keys).tolist() == list(GOLDEN_SLOTS.values())
    assert [Ring(range(3)).shard_of(key) for key in keys] == GOLDEN_SERVERS


# --- the store --------------------------------------------------------------------------------------------

KEYS = [f"key {number}" for number in range(6)]
NUMBERS = ("add", "sub", "mul", "max", "min", "assign")


def some_value(rng: random.Random) -> Any:
    """A number, an array below or above what is lent, or a container; some arrays cannot be written."""
    size = rng.choice([2, 20])
    dtype = rng.choice(["f8", ">f4", "i8", "u1", "?"])
    array = np.array([rng.randint(0, 1) for _ in range(size)], dtype)
    array.flags.writeable = rng.random() < 0.8
    return rng.choice(
        [rng.randint(-9, 9), rng.randint(-9, 9), rng.random(), True, "text", [1, array.copy()], {"a": 1}, ("t",)]
        + [array] * 6
    )


def keep(value: Any, _delta: Any) -> Any:
    return value


def replace(_value: Any, delta: Any) -> Any:
    return delta


def spoil(value: Any, _delta: Any) -> Any:
    """Changes what it is given, as far as it can, and fails then."""
    if isinstance(value, list):
        value.append("spoiled")
    if isinstance(value, dict):
        value["spoiled"] = 1
    if isinstance(value, np.ndarray):
        value += 1
    raise RuntimeError("spoiled")


def halve(value: Any, _delta: Any) -> Any:
    return value[: len(value) // 2]


USERS: dict[str, Callable[[Any, Any], Any]] = {"f:keep": keep, "f:replace": replace, "f:spoil": spoil, "f:halve": halve}


class StoreRun:
    """A store beside a plain dict, and everything that was ever handed out, with what it was then."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.store = Store()
        self.model = SerialModel()
        self.handed: list[tuple[Any, Any]] = []

    def step(self) -> None:
        """One operation on both, and all the checks."""
        self.rng.choice([self.write, self.update, self.update, self.update, self.read, self.select, self.remove])()
        assert sorted(self.store.entries) == sorted(self.model.entries)
        for key, value in self.model.entries.items():
            assert same(self.store.entries[key], value), (key, self.store.entries[key], value)
        for now, then in self.handed:
            assert same(now, then), "what a reply holds has changed"

    def write(self) -> None:
        keys = self.rng.sample(KEYS, 2)
        values = [some_value(self.rng) for _ in keys]
        self.model.entries.update(zip(keys, copy.deepcopy(values), strict=True))
        self.store.write(keys, values)

    def update(self) -> None:
        keys = self.rng.choices(KEYS, k=self.rng.randint(1, 4))
        deltas = [some_value(self.rng) for _ in keys]
        name = self.rng.choice([*BUILTINS, *USERS, "add", "add"])
        expected = {}
        for at, (key, delta) in enumerate(zip(keys, deltas, strict=True)):
            if not self._update_model(key, delta, name):
                expected[at] = key
        failures = self.store.update(keys, deltas, name, USERS[name] if name in USERS else BUILTINS[name])
        assert sorted(failures) == sorted(expected), (name, failures, expected)

    def _update_model(self, key: str, delta: Any, name: str) -> bool:
        if name not in USERS or key not in self.model.entries:
            return self.model.update(key, delta, name)
        try:
            self.model.entries[key] = copy.deepcopy(USERS[name](copy.deepcopy(self.model.entries[key]), delta))
        except Exception:
            return False
        return True

    def read(self) -> None:
        keys = self.rng.choices([*KEYS, "never written"], k=3)
        values, missing = self.store.read(keys)
        assert missing == [at for at, key in enumerate(keys) if key not in self.model.entries]
        assert same(values, [self.model.entries.get(key) for key in keys])
        self._hand(values)

    def select(self) -> None:
        chosen = self.rng.sample(KEYS, 3)
        keys, values = self.store.select(None if self.rng.random() < 0.5 else lambda key, _value: key in chosen)
        for key, value in zip(keys, values, strict=True):
            assert same(value, self.model.entries[key])
        self._hand(values)

    def remove(self) -> None:
        keys = self.rng.sample(KEYS, 1)
        was_there = [self.model.entries.pop(key, None) is not None for key in keys]
        assert self.store.remove(keys) == was_there

    def _hand(self, values: list[Any]) -> None:
        self.handed.append((values, copy.deepcopy(values)))


def check_store_seed(seed: int) -> None:
    """The store is the plain dict, and what it has handed to a reply never changes after."""
    with patch.object(store, "FRAME_BYTES", 64):
        run = StoreRun(random.Random(seed))
        for _ in range(50):
            run.step()


def check_top(seed: int) -> None:
    """The largest of one store, and of several together, are the head of the sorted list, ties by key."""
    rng = random.Random(seed)
    model, parts = SerialModel(), []
    for number in range(3):
        entries = {f"key {rng.randint(0, 99) * 3 + number}": rng.randint(0, 3) for _ in range(8)}
        model.entries |= entries
        parts.append(Store())
        parts[-1].write(list(entries), list(entries.values()))
    for count in range(6):
        pairs = [pair for part in parts for pair in zip(*part.top(count, None), strict=True)]
        assert store.largest(pairs, count) == model.top(count)


# --- requests ---------------------------------------------------------------------------------------------


def check_exactly_once(seed: int) -> None:
    """Over pipes that drop, repeat and reorder, every request is run once, in order, and answered."""
    rng = random.Random(seed)
    cluster = Cluster(rng.randint(1, 2), rng=rng, lossy=True)
    session = cluster.join()
    keys = ["log", "other log", "third log"]
    written: dict[str, list[int]] = {key: [] for key in keys}
    for number in range(40):
        key = rng.choice(keys)
        written[key].append(number)
        if rng.random() < 0.3:
            values = cluster.settle(session.update_multi([key], [number], "append", True))
            assert values == [written[key]]
        else:
            session.update(key, number, "append")
        for _ in range(rng.randint(0, 3)):
            cluster.step()
    cluster.settle(session.acknowledged())
    held = entries_of(cluster.shards.values())
    assert held == {key: numbers for key, numbers in written.items() if numbers}


def check_acknowledged(seed: int) -> None:
    """A session counts itself acknowledged if and only if every update it was given has been answered."""
    rng = random.Random(seed)
    cluster = Cluster(3, rng=rng)
    session = cluster.join()
    tasks = [
        session.update(f"key {rng.randint(0, 9)}", 1, rng.choice(["add", "max"])) for _ in range(rng.randint(0, 12))
    ]
    waits = session.acknowledged()
    while True:
        assert waits.done == all(task.done for task in tasks)
        if not cluster.step():
            break
    assert waits.done


def check_order(seed: int) -> None:
    """Whatever one client asks of one key happens in the order in which it asked, coalesced or not."""
    rng = random.Random(seed)
    cluster = Cluster(rng.randint(1, 2), rng=rng)
    session, model = cluster.join(), SerialModel()
    for _ in range(40):
        key, number = f"key {rng.randint(0, 2)}", rng.randint(1, 3)
        updater = rng.choice(["add", "mul", "sub", "max", "assign"])
        match rng.randint(0, 9):
            case 0:
                session.write([key], [number])
                model.entries[key] = number
            case 1:
                session.remove([key])
                model.entries.pop(key, None)
            case 2:
                values, missing = cluster.settle(session.read([key]))
                assert (None if missing else values[0]) == model.entries.get(key)
            case 3:
                session.update_multi([key], [number], updater, False)
                model.update(key, number, updater)
            case _:
                session.update(key, number, updater)
                model.update(key, number, updater)
        for _ in range(rng.choice([0, 0, 0, 1, 3])):
            cluster.step()
    cluster.settle(session.acknowledged())
    held = entries_of(cluster.shards.values())
    assert held == model.entries


class ClientRun:
    """A client, on several servers, beside a plain dict; whatever its staleness, alone it sees what the dict holds."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.network = FakeNetwork(rng.randint(1, 3), 1)
        self.model = SerialModel()
        worker = rng.choice([None, 0])
        self.client = self.network.client(worker, None if worker is None else rng.choice(LIMITS))

    def step(self) -> None:
        """One operation on both."""
        names = "write update update bupdate update_multi read read_multi topk scan remove clear contains commit run"
        getattr(self, self.rng.choice(names.split()))()

    def finish(self) -> None:
        """Everything is on the servers at the end."""
        self._acknowledge()
        held = entries_of(self.network.shards.values())
        assert sorted(held) == sorted(self.model.entries)
        assert all(same(held[key], value) for key, value in self.model.entries.items())

    def _acknowledge(self) -> None:
        with contextlib.suppress(UpdateError):
            self.client.wait_acknowledged()

    def _some(self, most: int = 4) -> dict[str, Any]:
        return {key: some_value(self.rng) for key in self.rng.sample(KEYS, self.rng.randint(0, most))}

    def write(self) -> None:
        entries = self._some()
        self.client.write_multi(entries)
        self.model.entries.update(copy.deepcopy(entries))

    def update(self) -> None:
        key, delta, name = self.rng.choice(KEYS), some_value(self.rng), self.rng.choice([*BUILTINS])
        self.client.update(key, delta, name)
        self.model.update(key, delta, name)

    def update_multi(self) -> None:
        deltas, name = self._some(), self.rng.choice([*BUILTINS])
        self.client.update_multi(deltas, name)
        for key, delta in deltas.items():
            self.model.update(key, delta, name)

    def bupdate(self) -> None:
        deltas, name = self._some(), self.rng.choice([*BUILTINS])
        failed = {key for key, delta in deltas.items() if not self.model.update(key, delta, name)}
        if failed:
            with pytest.raises(UpdateError) as caught:
                self.client.bupdate_multi(deltas, name)
            assert set(caught.value.failures) == failed
        else:
            news = self.client.bupdate_multi(deltas, name)
            assert same(news, {key: self.model.entries[key] for key in deltas})

    def read(self) -> None:
        key = self.rng.choice(KEYS)
        assert same(self.client.read(key, default="none"), self.model.entries.get(key, "none"))
        if key not in self.model.entries:
            with pytest.raises(KeyNotFound):
                self.client.read(key)

    def read_multi(self) -> None:
        keys = self.rng.choices([*KEYS, "never"], k=self.rng.randint(0, 5))
        missing = [key for key in dict.fromkeys(keys) if key not in self.model.entries]
        if missing:
            with pytest.raises(KeyNotFound) as caught:
                self.client.read_multi(keys)
            assert list(caught.value.keys) == missing
        else:
            assert same(self.client.read_multi(keys), [self.model.entries[key] for key in keys])
        assert same(self.client.read_multi(keys, default=0), [self.model.entries.get(key, 0) for key in keys])

    def topk(self) -> None:
        numbers = {key: value for key, value in self.model.entries.items() if type(value) in (int, float)}
        self.client.remove_multi(set(self.model.entries) - set(numbers))
        self.model.entries = numbers
        count = self.rng.randint(0, 5)
        assert same(self.client.read_topk(count), self.model.top(count))

    def scan(self) -> None:
        batches = list(self.client.readall_batches(self.rng.randint(1, 3)))
        for read in (self.client.readall(), {key: value for batch in batches for key, value in batch.items()}):
            assert sorted(read) == sorted(self.model.entries)
            assert all(same(read[key], value) for key, value in self.model.entries.items())
        assert sum(map(len, batches)) == len(self.model.entries)

    def remove(self) -> None:
        keys = self.rng.sample(KEYS, 1)
        there = sum(self.model.entries.pop(key, None) is not None for key in keys)
        assert self.client.remove_multi(keys) == there

    def clear(self) -> None:
        if self.rng.random() < 0.1:
            assert self.client.clear() == len(self.model.entries)
            self.model.entries.clear()

    def contains(self) -> None:
        key = self.rng.choice(KEYS)
        assert self.client.contains(key) == (key in self.model.entries)

    def commit(self) -> None:
        self._acknowledge()
        if self.client.worker is not None:
            self.client.commit()
            assert self.client.read("server_clock") == self.client.clock

    def run(self) -> None:
        assert sum(self.client.run("builtins:len")) == len(self.model.entries)


def check_client(seed: int) -> None:
    """One client alone sees a plain dict, whatever the servers, the staleness and the coalescing."""
    rng = random.Random(seed)
    run = ClientRun(rng)
    with run.network.clients():
        for _ in range(40):
            run.step()
        run.finish()


# --- the cache --------------------------------------------------------------------------------------------


class CacheRun:
    """A cache beside a server that is a dict of lists; every update appends a token, so that each can be counted."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.cache = Cache()
        self.truth: dict[str, list[Any]] = {key: [] for key in "abc"}
        self.clocks: dict[str, int] = {}
        self.expected: dict[str, list[Any]] = {}
        self.refreshes: dict[str, tuple[list[Any], int]] = {}  # what is coming, and what the answer will be
        self.since: dict[str, list[Any]] = {}  # with own changes since
        self.tokens = self.clock = 0

    def step(self) -> None:
        """One operation on both, and all the checks."""
        key = self.rng.choice("abc")
        self.rng.choice([self.read, self.own, self.own, self.write, self.other, self.ask, self.answer, self.drop])(key)
        for each in "abc":
            clock = self.clocks.get(each)
            assert self.cache.clock_of(each) == clock
            for needed in range(self.clock + 2):
                assert self.cache.fresh(each, needed) == (clock is not None and clock >= needed), (each, needed)
            if clock is not None:
                assert self.cache.value(each) == self.expected[each]

    def read(self, key: str) -> None:
        """A blocking read, or an update that brings the new value."""
        self.clock += self.rng.randint(0, 1)
        self.cache.put(key, self.truth[key], self.clock, self.clock)
        self._know(key, self.clock, self.truth[key])

    def own(self, key: str) -> None:
        token = self._token()
        self.cache.update(key, token, BUILTINS["append"])
        for lists in (self.truth, self.expected, self.since):
            if key in lists:
                lists[key].append(token)

    def write(self, key: str) -> None:
        token = self._token()
        self.cache.write([key], [[token]])
        for lists in (self.truth, self.expected, self.since):
            if key in lists:
                lists[key] = [token]

    def other(self, key: str) -> None:
        self.truth[key].append(self._token())

    def ask(self, key: str) -> None:
        """A refresh leaves: the answer will be what the server has now."""
        if self.cache.start_refresh(key, self.clock):
            assert key in self.clocks
            assert key not in self.since
            self.refreshes[key] = list(self.truth[key]), self.clock
            self.since[key] = list(self.truth[key])

    def answer(self, key: str) -> None:
        """The answer is kept unless the entry was dropped or replaced meanwhile."""
        self.clock += 1
        if key in self.refreshes:
            snapshot, asked = self.refreshes.pop(key)
            self.cache.finish_refresh(key, snapshot, asked + 1, asked + 1)
            if key in self.since:
                self._know(key, asked + 1, self.since[key])

    def drop(self, key: str) -> None:
        self.cache.drop([key])
        for known in (self.clocks, self.expected, self.since):
            known.pop(key, None)

    def _know(self, key: str, clock: int, value: list[Any]) -> None:
        self.clocks[key], self.expected[key] = clock, list(value)
        self.since.pop(key, None)

    def _token(self) -> int:
        self.tokens += 1
        return self.tokens


def check_cache_seed(seed: int) -> None:
    """An entry may be used if and only if its own clock suffices, and holds all own changes, each once."""
    run = CacheRun(random.Random(seed))
    for _ in range(80):
        run.step()


# --- bounded staleness ------------------------------------------------------------------------------------


class Worker:
    """A program of some iterations: read, update, commit. It says what it waits for, and checks what it reads."""

    def __init__(self, job: "Job", number: int, rounds: int, *, reads: bool) -> None:
        self.job, self.number, self.rounds, self.reads = job, number, rounds, reads
        self.session = job.cluster.join(number, job.staleness)
        self.running = True
        self.done = 0
        self.needs = 0
        self.waits: Pending | None = None
        self._steps = self._program()

    @property
    def runnable(self) -> bool:
        """Whether it can go on now."""
        return self.running and (self.waits is None or self.waits.done)

    def step(self) -> None:
        self.waits = next(self._steps, None)

    def _program(self) -> Iterator[Pending]:
        while self.done < self.rounds:
            if self.reads:
                yield from self._read()
            self.session.update(self.name, 1, "add")
            yield self.session.acknowledged()
            self.session.commit()
            self.done += 1
        yield self.session.acknowledged()
        yield self.session.leave()
        self.running = False

    @property
    def name(self) -> str:
        return f"worker {self.number}"

    def _read(self) -> Iterator[Pending]:
        """Some workers' counts, not always the same, so that entries of the cache age differently."""
        others = self.job.rng.sample(self.job.workers, self.job.rng.randint(1, len(self.job.workers)))
        staleness = self.job.staleness
        bounded = staleness is not None and not math.isinf(staleness)
        self.needs = max(0, self.done - int(staleness or 0)) if bounded else 0
        pending = self.session.read([other.name for other in others])
        yield pending
        values, _ = pending.result()
        for other, value in zip(others, values, strict=True):
            seen = value or 0
            assert seen >= min(self.needs, other.rounds), "staler than allowed"
            assert seen <= other.done + 1, "an update that nobody made"
            if other is self:
                assert seen == self.done, "not its own writes"


class Job:
    """Some workers of unequal length on some servers, scheduled by chance; now and then one is held back."""

    def __init__(self, seed: int, staleness: float | None) -> None:
        self.rng = random.Random(seed)
        self.staleness = staleness
        count = self.rng.randint(1, 4)
        self.cluster = Cluster(self.rng.randint(1, 3), count, rng=self.rng)
        self.workers: list[Worker] = []
        for number in range(count):
            self.workers.append(Worker(self, number, self.rng.randint(0, 6), reads=self.rng.random() < 0.8))

    def run(self) -> None:
        held: Worker | None = None
        while any(worker.running for worker in self.workers):
            ready = [worker for worker in self.workers if worker.runnable and worker is not held]
            moved = self.rng.random() < 0.7 and self.cluster.step()
            if not moved and ready:
                self.rng.choice(ready).step()
            elif not moved and not self.cluster.step():
                self._check_quiet()
                assert held is not None or any(worker.runnable for worker in self.workers), "everyone waits"
                held = None
            if self.rng.random() < 0.02:
                held = self.rng.choice(self.workers)

    def _check_quiet(self) -> None:
        """No message is on its way: whoever waits, waits for a worker that is behind what it needs."""
        for worker in self.workers:
            if worker.waits is not None and not worker.waits.done:
                behind = [other for other in self.workers if other.running and other.session.clock < worker.needs]
                assert behind, "waits for nobody"
                assert worker.reads


def check_staleness(seed: int) -> None:
    """Reads are never staler than allowed, hold own updates, and wait if and only if someone is too far behind."""
    Job(seed, random.Random(seed).choice(LIMITS)).run()
