"""The tables of a run: combiners, numbers of supersteps, and two workers of which one is ahead."""

import numpy as np
import pytest
from support.cluster import FakeNetwork
from support.supersteps import CHAIN, Recorder, lone_worker

from paracel import pregel
from paracel.errors import ConfigError
from paracel.pregel.messages import COMBINERS, STEP, combiner
from paracel.pregel.tables import Outbox, RunTables


@pytest.fixture
def worker():
    with lone_worker() as worker:
        yield worker


def test_combiners():
    with pytest.raises(ConfigError, match="no combiner 'mean'; there are: sum, min, max"):
        combiner("mean")
    assert [combiner(name).identity("int8") for name in COMBINERS] == [0, 127, -128]
    assert [combiner(name).identity("f4") for name in COMBINERS] == [0, np.inf, -np.inf]


@pytest.mark.parametrize(("name", "combined"), [("sum", [5.0, 3.0]), ("min", [2.0, 3.0]), ("max", [3.0, 3.0])])
def test_server_replaces_what_is_older_and_combines_what_is_not(name, combined):
    rows, state = np.array([2.0, 2.0]), {STEP: np.array([7.0, 6.0])}
    made = COMBINERS[name].updater(rows, (np.array([3.0, 3.0]), np.array([7.0, 7.0])), state)
    assert made.tolist() == combined
    assert state[STEP].tolist() == [7.0, 7.0]


class Counting(pregel.VertexProgram):
    """Each vertex sends a one in every superstep, and counts what comes."""

    dtype = "int8"

    def initial(self, vertices):
        return 0

    def compute(self, vertices, messages):
        assert messages.dtype == "int8"
        return vertices.values + messages, np.ones(3, "int8")


def test_a_run_has_more_supersteps_than_its_messages_could_count(worker):
    found = pregel.run(worker, Counting(), CHAIN, max_supersteps=150)
    assert found.to_dict() == {1: 0, 2: 149, 3: 298}


# --- two workers, of which one is ahead -------------------------------------------------------------------------------


class Stand:
    """What the tables of a run need of a program: one of two workers, without MPI."""

    worker_size = 2

    def __init__(self, client, worker_id):
        self.worker_id = worker_id
        self.table, self.commit = client.table, client.commit

    def paracel_sync(self):
        """They are made one after the other."""


def test_a_faster_worker_does_not_disturb_what_a_slower_one_has_yet_to_read():
    network = FakeNetwork(2, 2)
    with network.clients():
        spread = pregel.partition(None, CHAIN)
        workers = [Stand(network.client(n), n) for n in range(2)]
        fast, slow = (RunTables(worker, "run", Recorder(), spread) for worker in workers)

        def send(worker, tables, step, vertex, message):
            tables.send(step, Outbox(np.array([vertex]), np.array([message])), [0, step, worker.worker_id, 0, 0, 0])
            worker.commit()

        def received(tables, step):
            messages, there, totals = tables.receive(step)
            return np.where(there, messages, 0).tolist(), totals[:, 1:3].tolist()

        for worker, tables in zip(workers, (fast, slow), strict=True):
            send(worker, tables, 1, 0, 5)
        assert received(fast, 1) == ([10, 0, 0], [[1, 0], [1, 1]])
        send(workers[0], fast, 2, 0, 100)
        assert received(slow, 1) == ([10, 0, 0], [[1, 0], [1, 1]])
        send(workers[1], slow, 2, 1, 7)
        for tables in (fast, slow):
            assert received(tables, 2) == ([100, 7, 0], [[2, 0], [2, 1]])
        send(workers[1], slow, 3, 2, 1)
        send(workers[0], fast, 3, 2, 1)
        assert received(slow, 3) == ([0, 0, 2], [[3, 0], [3, 1]])


class Typed(Recorder):
    def __init__(self, dtype):
        self.dtype = dtype


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("step", [127, 128, 2**16, 2**26 + 1, 2**40 + 1])
def test_supersteps_are_told_apart_whatever_messages_are(dtype, step):
    network = FakeNetwork(2, 1)
    with network.clients():
        worker = Stand(network.client(0), 0)
        tables = RunTables(worker, "run", Typed(dtype), pregel.partition(None, CHAIN))
        for at in (step, step + 2):
            messages, there, _ = tables.receive(at)
            assert not there.any()
            tables.send(at, Outbox(np.array([1, 2]), np.array([3, 4], dtype)), [0] * 6)
            worker.commit()
            messages, there, _ = tables.receive(at)
            assert (messages[1:].tolist(), there.tolist(), messages.dtype) == ([3, 4], [False, True, True], dtype)


class Ready:
    """A table whose pulls are there at once."""

    def pull(self, *_keys, **_settings):
        return self

    def result(self):
        return np.zeros(3), np.zeros(3)


@pytest.mark.parametrize("other", ["_messages", "_totals"])
def test_nothing_is_read_before_all_have_committed(other):
    """Neither messages nor totals, each of which may be on servers that the other is not on."""
    network = FakeNetwork(1, 2)
    with network.clients():
        clients = [network.client(n) for n in range(2)]
        spread = pregel.partition(None, CHAIN)
        tables = RunTables(Stand(clients[0], 0), "run", Recorder(), spread)
        setattr(tables, other, Ready())
        clients[0].commit()
        with pytest.raises(AssertionError, match="waits for ever"):
            tables.receive(1)
        clients[1].commit()
        tables.receive(1)
