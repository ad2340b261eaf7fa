"""Servers that come and go while workers work: no request fails, and nothing is lost or counted twice."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from losses import join, kill, living
from real import DEADLINE, Background, ended, eventually

import paracel
from paracel.chains import Place
from paracel.launch.embedded import Cluster

KEYS = [f"key {number}" for number in range(200)]


class Load:
    """Workers that count without a pause, each with a client of its own; and what the servers should have."""

    def __init__(self, cluster: Cluster, workers: int = 2) -> None:
        self._cluster = cluster
        self._over = False
        self._counting = [Background(self._count) for _ in range(workers)]
        self._times = 0

    def _count(self) -> int:
        times = 0
        with paracel.connect(self._cluster.address, timeout=DEADLINE) as ps:
            dense, sparse = ps.table("dense", 5000, dtype="int64"), ps.table("sparse", dtype="int64")
            while not (self._over and times):
                tasks = [ps.update(key, 1) for key in KEYS]
                tasks.append(dense.push(slice(None), 1))
                tasks.append(sparse.push(np.arange(1000), 1))
                tasks[0].result()
                assert ps.readall().keys() == set(KEYS)
                assert [task.result() for task in tasks] == [None] * len(tasks)
                times += 1
        return times

    def check(self) -> None:
        """End it; all that was counted is there, once."""
        self._over = True
        times = sum(each.result() for each in self._counting)
        assert times > 0
        with paracel.connect(self._cluster.address, timeout=DEADLINE) as ps:
            assert ps.readall() == dict.fromkeys(KEYS, times)
            assert np.all(ps.table("dense", 5000, dtype="int64").pull().result() == times)
            keys, rows = ps.table("sparse", dtype="int64").pull(slice(None)).result()
            assert keys.tolist() == list(range(1000))
            assert np.all(rows == times)


@contextmanager
def load(cluster: Cluster) -> Iterator[None]:
    """While it lasts, workers count."""
    counting = Load(cluster)
    yield
    counting.check()


def primaries(cluster: Cluster) -> Counter[int]:
    """For how many shards each server answers."""
    return Counter(place.primary for place in cluster.statistics().shards)


def held(cluster: Cluster) -> Counter[int]:
    """How many copies each server has."""
    return Counter(server for place in cluster.statistics().shards for server in place.chain)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_servers_are_added_and_removed_under_load(replicas: int) -> None:
    with Cluster(3, replicas=replicas, shards=12) as cluster, load(cluster):
        assert join(cluster) == 3
        assert set(held(cluster).values()) == {3 * replicas}
        assert set(primaries(cluster).values()) == {3}
        pids = living(cluster)
        for server in (0, 2):
            if server == 2 and replicas == 3:
                with pytest.raises(paracel.ConfigError, match="2 servers would be left for 3 replicas"):
                    cluster.remove_server(server)
                continue
            cluster.remove_server(server, DEADLINE)
            assert ended(pids[server])
            eventually(lambda server=server: server not in living(cluster))
            cluster.wait_settled(DEADLINE)
        assert max(held(cluster).values()) - min(held(cluster).values()) <= 1
        join(cluster)


def test_a_new_server_takes_its_share_and_no_more_is_moved() -> None:
    with Cluster(3, replicas=2, shards=48) as cluster:
        before = cluster.statistics().shards
        server = join(cluster)
        after = cluster.statistics().shards
        moved = [set(new.chain) - set(old.chain) for old, new in zip(before, after, strict=True)]
        assert sum(map(len, moved)) == 48 * 2 // 4, "the ideal: the share of the new one"
        assert set().union(*moved) == {server}
        assert set(primaries(cluster).values()) == {12}


FILL = 40_000_000


@contextmanager
def standing_still(cluster: Cluster) -> Iterator[None]:
    """Meanwhile no server does anything; what begins is in the middle when it is over."""
    pids = living(cluster).values()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def wait_filling(cluster: Cluster) -> Place:
    """Wait until a server is to be filled with a shard; the place of that."""
    found: list[Place] = []

    def begun() -> bool:
        found.extend(place for place in cluster.statistics().shards if place.joining >= 0)
        return bool(found)

    eventually(begun)
    return found[0]


LOST: dict[str, Callable[[Place], int]] = {
    "the new server": lambda place: place.joining,
    "the one that fills it": lambda place: place.chain[-1],
    "the primary": lambda place: place.primary,
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_loss_while_a_server_is_being_filled(lost: Callable[[Place], int]) -> None:
    with (
        Cluster(3, replicas=2, shards=6, heartbeat_timeout=30.0) as cluster,
        paracel.connect(cluster.address, timeout=DEADLINE) as ps,
    ):
        table = ps.table("large", FILL // 8, dtype="int64")
        table.push(slice(None), 1).result()
        with load(cluster):
            with standing_still(cluster):
                cluster.add_server()
                place = wait_filling(cluster)
            kill(cluster, lost(place))
            cluster.wait_settled(DEADLINE)
            join(cluster)
        assert np.all(table.pull().result() == 1)


def test_a_server_that_is_lost_while_it_is_being_removed() -> None:
    with (
        Cluster(4, replicas=2, heartbeat_timeout=30.0) as cluster,
        paracel.connect(cluster.address, timeout=DEADLINE) as ps,
    ):
        table = ps.table("large", FILL // 8, dtype="int64")
        table.push(slice(None), 1).result()
        with load(cluster):
            with standing_still(cluster):
                removing = Background(lambda: cluster.remove_server(1, DEADLINE))
                wait_filling(cluster)
            kill(cluster, 1)
            removing.result()
            cluster.wait_settled(DEADLINE)
        assert np.all(table.pull().result() == 1)


def test_clients_that_come_later_and_tables_that_are_made_later_find_the_new_server() -> None:
    with Cluster(1, shards=8) as cluster, paracel.connect(cluster.address, timeout=DEADLINE) as early:
        early.write_multi(dict.fromkeys(KEYS, 1))
        join(cluster)
        join(cluster)
        assert set(primaries(cluster)) == {0, 1, 2}
        with paracel.connect(cluster.address, timeout=DEADLINE) as late:
            assert late.readall() == dict.fromkeys(KEYS, 1)
            late.table("later", 10_000).push(slice(None), 2).result()
            assert np.all(early.table("later", 10_000).pull().result() == 2)
            assert {each.server for each in early.statistics().servers} == {0, 1, 2}
