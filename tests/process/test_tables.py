"""Tables on real servers, against numpy: all sizes of arrays, many clients at once, and who opens what."""

import threading
from pathlib import Path

import numpy as np
import pytest
from real import Background, Job, Programs

import paracel
from paracel import optim
from paracel.launch.embedded import Cluster

SERVED = Path(__file__).with_name("served_tables.py")
#: The first use of a sparse table may compile its index, once on a machine.
COMPILING = 100.0


def shuffled(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """Keys with repetitions, in any order."""
    return rng.integers(0, size, count)


@pytest.mark.parametrize("servers", [1, 3])
def test_a_dense_table_is_an_array(servers: int) -> None:
    rng = np.random.default_rng(servers)
    with Cluster(servers) as cluster, paracel.connect(cluster.address) as client:
        for dim, dtype, size in [
            (1, "float32", 2_500_000),
            (7, "float64", 300_000),
            (1, "int64", 5),
            (3, "uint8", 999),
        ]:
            table = client.table(f"{dtype} {dim}", size, dim, dtype, init=1)
            model = np.ones((size, dim) if dim > 1 else size, dtype)
            tail = model.shape[1:]
            for count in (0, 1, 40_000):  # the last is sent in frames of more than 128 KiB
                keys = shuffled(rng, size, count)
                values = rng.integers(0, 9, (count, *tail)).astype(dtype)
                np.add.at(model, keys, values)
                table.push(keys, values)
                assert np.array_equal(table.pull(keys).result(), model[keys])
            whole = rng.integers(0, 9, model.shape).astype(dtype)  # and this in pieces
            pushed = table.push_pull(slice(None), whole)
            whole += model
            assert np.array_equal(pushed.result(), whole)
            for chosen in (slice(size // 3, size - 1), slice(None, None, -2), slice(3, 3)):
                table.push(chosen, 1)
                whole[chosen] += np.ones(1, dtype)
                assert np.array_equal(table.pull(chosen).result(), whole[chosen])
            pulled = table.pull().result()
            assert pulled.dtype == dtype
            assert np.array_equal(pulled, whole)
            pulled[:] = 0  # what was pulled is the caller's
            assert np.array_equal(table.pull().result(), whole)


@pytest.mark.parametrize("servers", [1, 2])
def test_a_sparse_table_is_a_dict(servers: int) -> None:
    rng = np.random.default_rng(servers)
    with Cluster(servers) as cluster, paracel.connect(cluster.address, timeout=COMPILING) as client:
        for dim in (1, 4):
            table = client.table(f"sparse {dim}", dim=dim, dtype="float64", init=0.5)
            tail = () if dim == 1 else (dim,)
            pool = np.unique(rng.integers(0, 2**64, 400_000 // dim, np.uint64))
            pool[[0, -1]] = 0, 2**64 - 1
            sums, there = np.zeros((len(pool), *tail)), np.zeros(len(pool), bool)
            for count in (0, 1, 300, 300_000):  # up to 10 MB for a server
                chosen = shuffled(rng, len(pool), count)
                values = rng.integers(-9, 9, (count, *tail)).astype(float)
                np.add.at(sums, chosen, values)
                there[chosen] = True
                table.push(pool[chosen], values)
                assert np.array_equal(table.pull(pool[chosen]).result(), sums[chosen] + 0.5)
            assert np.array_equal(table.pull(pool).result(), sums + 0.5)
            assert table.statistics().keys == there.sum(), "a pull makes no keys"
            keys, rows = table.pull().result()
            assert np.array_equal(keys, pool[there])
            assert np.array_equal(rows, sums[there] + 0.5)
            middle = slice(2**62, 2**63)
            inside = there & (pool >= middle.start) & (pool < middle.stop)
            keys, rows = table.pull(middle).result()
            assert np.array_equal(keys, pool[inside])
            assert np.array_equal(rows, sums[inside] + 0.5)


def test_what_was_given_may_change_after_the_call() -> None:
    with Cluster(1) as cluster, paracel.connect(cluster.address) as client:
        table = client.table("w", 1_000_000)
        keys, values = np.arange(1_000_000), np.ones(1_000_000, np.float32)
        first = table.push(keys, values)
        second = table.push(keys, values, after=[first])
        keys[:], values[:] = 0, 7
        second.wait()
        assert np.all(table.pull().result() == 2)


def test_one_client_used_by_many_threads_and_many_clients_at_once() -> None:
    threads, rounds = 4, 20
    with Cluster(2) as cluster:
        clients = [paracel.connect(cluster.address, timeout=COMPILING) for _ in range(3)]
        tables = [(client.table("dense", 5000, 2), client.table("sparse", dtype="int64")) for client in clients]
        start = threading.Barrier(threads * len(clients))

        def work(number: int, dense: paracel.Table, sparse: paracel.Table) -> None:
            rng = np.random.default_rng(number)
            start.wait(30)
            for _ in range(rounds):
                keys = rng.integers(0, 5000, 1000)
                dense.push(keys, 1)
                sparse.push(keys * 2**40 + 7, 3).wait()
                assert dense.pull(keys[:3]).result().min() >= 1
                assert sparse.pull(keys[:3] * 2**40 + 7).result().min() >= 3

        calls = [Background(lambda n=n, t=table: work(n, *t)) for n, table in enumerate(tables * threads)]
        for call in calls:
            call.result()
        for client in clients[1:]:
            client.close()
        dense, sparse = tables[0]
        clients[0].wait_acknowledged()
        count = threads * len(clients) * rounds * 1000
        assert dense.pull().result().sum(0).tolist() == [count, count]
        assert sparse.pull().result()[1].sum() == 3 * count
        clients[0].close()


def test_many_processes_push_at_once(programs: Programs) -> None:
    code = """
        import sys
        import numpy as np
        import paracel
        with paracel.connect(sys.argv[1], timeout=100) as client:
            dense, sparse = client.table("dense", 100_000), client.table("sparse", dtype="float64")
            keys = np.arange(0, 100_000, int(sys.argv[2]))
            for _ in range(20):
                dense.push(keys, 1)
                sparse.push(keys, 1)
        """
    with Cluster(2) as cluster:
        started = [programs.start(code, cluster.address, step) for step in (2, 3)]
        for program in started:
            program.check_ended_well()
        keys = np.arange(100_000)
        expected = 20.0 * (keys % 2 == 0) + 20.0 * (keys % 3 == 0)
        with paracel.connect(cluster.address) as client:
            assert np.array_equal(client.table("dense", 100_000).pull().result(), expected)
            found, rows = client.table("sparse", dtype="float64").pull().result()
            assert np.array_equal(found, keys[expected > 0])
            assert np.array_equal(rows, expected[expected > 0])


def test_of_many_that_open_a_table_with_different_settings_at_once_those_of_one_win() -> None:
    settings = [{"size": 10, "dim": dim, "updater": optim.sgd(0.5 * dim)} for dim in (1, 2, 3, 4)]
    with Cluster(3) as cluster:
        clients = [paracel.connect(cluster.address) for _ in range(8)]
        for attempt in range(10):
            start = threading.Barrier(len(clients))

            def open_one(client: paracel.Client, own: dict, name: str, start: threading.Barrier) -> object:
                start.wait(30)
                try:
                    return client.table(name, **own)
                except paracel.TableError as error:
                    return str(error)

            calls = [
                Background(lambda c=client, s=settings[n % 4], a=attempt, b=start: open_one(c, s, f"t{a}", b))
                for n, client in enumerate(clients)
            ]
            outcomes = [call.result() for call in calls]
            dims = {outcome.dim for outcome in outcomes if isinstance(outcome, paracel.Table)}
            assert len(dims) == 1
            (won,) = dims
            for n, outcome in enumerate(outcomes):
                dim = settings[n % 4]["dim"]
                assert isinstance(outcome, paracel.Table) == (dim == won)
                if dim != won:
                    there, asked = f"dim={won}, updater=", f"asked for with dim={dim}, updater="
                    assert all(part in outcome for part in (repr(f"t{attempt}"), there, asked)), outcome
                    assert f"{-0.5 * won}" in outcome, "what the updater is, too"
        assert len(clients[0].tables()) == 10
        for client in clients:
            client.close()


def test_a_table_that_is_dropped_and_made_anew_by_others() -> None:
    with Job(2) as job, job.connect() as one, job.connect() as other:
        mine = one.table("w", 10)
        mine.push(slice(None), 1).wait()
        other.table("w", 10).drop()
        with pytest.raises(paracel.TableError, match="no table 'w'; there are: none"):
            mine.pull().result()
        other.table("w", 10, 2, init=3).push(slice(None), 1).wait()
        with pytest.raises(paracel.TableError, match=r"rows of float32, shape \(n, \*\(2,\)\)"):
            mine.push(0, 1).result()
        assert one.table("w", 10, 2, init=3).pull().result().tolist() == [[4, 4]] * 10
        assert one.tables().keys() == {"w"}


def test_the_statistics_are_those_of_all_servers() -> None:
    with Job(2) as job, job.connect() as one, job.connect() as other:
        table = one.table("w", 100_000, 2)
        table.push(slice(None), 1).wait()
        table.push([5], 1).wait()
        table.pull([5]).wait()
        for seen in (table.statistics(), other.table("w", 100_000, 2).statistics(), other.tables()["w"]):
            assert (seen.keys, seen.bytes, seen.pushes, seen.pulls) == (100_000, 800_000, 3, 1)
            assert seen.settings["size"] == 100_000


def test_arrays_of_100_mb_on_three_servers() -> None:
    with Cluster(3) as cluster, paracel.connect(cluster.address) as client:
        table = client.table("large", 12_500_000, dtype="float64")
        values = np.arange(12_500_000.0)
        table.push(slice(None), values)
        table.push(np.arange(0, 12_500_000, 5), 1)
        values[::5] += 1
        assert np.array_equal(table.pull().result(), values)
