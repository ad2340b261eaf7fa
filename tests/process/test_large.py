"""Large arrays, many keys, and a server's memory limit."""

from pathlib import Path

import numpy as np
import pytest
from real import Background, Job, ended, eventually

import paracel
from paracel.launch.embedded import Cluster

SERVED = Path(__file__).with_name("served.py")


def test_an_array_of_40_mb_there_changed_and_back() -> None:
    array = np.random.default_rng(1).standard_normal(5_000_000)
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write("a", array)
        assert np.array_equal(client.read("a"), array)
        task = client.update("a", array)
        got = client.read("a")
        assert np.array_equal(got, array + array)
        assert task.result() is None
        got[:] = 0  # what was read is the caller's
        assert np.array_equal(client.bupdate("a", array, "sub"), array)
        assert np.array_equal(client.readall()["a"], array)


def test_what_was_given_may_change_after_the_call() -> None:
    with Cluster(1) as cluster, paracel.connect(cluster.address, worker=0) as client:
        array = np.ones(1_000_000)
        client.write("a", array)
        array[:] = 7
        task = client.update("a", array)
        array[:] = 9
        task.wait()
        assert client.read("a")[0] == 8.0


def test_many_large_arrays_at_once_of_every_kind() -> None:
    rng = np.random.default_rng(2)
    arrays = {
        f"{n}": rng.integers(0, 100, size).astype(kind).reshape(shape)
        for n, (kind, size, shape) in enumerate(
            [("f4", 10**6, (1000, 1000)), ("i8", 10**6, (-1,)), ("u1", 3 * 10**6, (3, -1)), ("?", 10**6, (10, 10, -1)),
             ("c16", 10**5, (-1,)), ("f2", 10**6, (-1,)), (">i4", 10**5, (-1, 10))] * 3
        )
    }  # fmt: skip
    with Cluster(3) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write_multi(arrays)
        for found in (client.readall(), dict(zip(arrays, client.read_multi(arrays), strict=True))):
            assert found.keys() == arrays.keys()
            for key, array in arrays.items():
                assert found[key].dtype == array.dtype
                assert np.array_equal(found[key], array)


def test_a_hundred_thousand_keys() -> None:
    entries = {f"key {n}": n for n in range(100_000)}
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write_multi(entries)
        assert client.read_multi(entries) == list(entries.values())
        assert client.bupdate_multi(dict.fromkeys(entries, 1)) == {key: value + 1 for key, value in entries.items()}
        client.update_multi(dict.fromkeys(entries, 1))
        assert client.readall() == {key: value + 2 for key, value in entries.items()}
        batches = list(client.readall_batches(7777))
        assert max(map(len, batches)) <= 7777
        assert sum(map(len, batches)) == len({key for batch in batches for key in batch}) == len(entries)
        assert client.read_topk(3) == [("key 99999", 100_001), ("key 99998", 100_000), ("key 99997", 99_999)]
        assert sum(client.run(f"{SERVED}:count")) == len(entries)
        assert client.remove_multi(list(entries)[:50_000]) == 50_000
        assert client.clear() == 50_000


def test_a_burst_of_single_updates_is_bounded_and_complete() -> None:
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        delta = np.ones(100_000)
        for number in range(1000):  # 800 MB in all
            client.update(f"k{number % 10}", delta)
        client.wait_acknowledged()
        assert all(np.all(value == 100) for value in client.readall().values())


def test_a_server_that_reaches_its_memory_limit_ends_no_client_in_a_hang() -> None:
    with Job(1, memory_limit_mb=300) as job:
        client = job.connect(worker=0)

        def fill() -> None:
            for number in range(100):
                client.write(str(number), np.zeros(2_500_000))

        with pytest.raises(paracel.ParacelError) as caught:
            Background(fill).result()
        assert "emory" in str(caught.value) or "server 0" in str(caught.value)
        try:
            client.close()
        except paracel.ServerLost:
            assert ended(job.servers[0].pid)


def test_an_updater_that_wants_too_much_memory_fails_alone() -> None:
    with Job(1, memory_limit_mb=300) as job, job.connect(worker=0) as client:
        client.write("k", [1, 2, 3])
        with pytest.raises(paracel.UpdateError, match="MemoryError"):
            client.bupdate("k", 10**9, f"{SERVED}:grow")
        assert client.read("k") == [1, 2, 3]
        eventually(lambda: client.bupdate("n", 1) == 3)
