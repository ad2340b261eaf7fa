"""Replicas: the pause at a failover, what they cost, how fast lost copies are made anew, what a new server moves.

Pauses are those of a worker whose blocking update meets a server that has just been killed, or stopped: from the
signal to the answer. Their floor is the 0.8 s that Paracel's authors report for a server's recovery, and for one that
hangs the time after which it is given up. The floor of the costs is the same work with one copy, on as many servers;
that of rebuilding one bare socket that carries as many bytes; that of joining the new server's share.
"""

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

import paracel
from benchmarks.bare import Bare
from benchmarks.table import Figure
from benchmarks.timing import Work, against, repeated, seconds_of, side_by_side, warmed
from paracel.launch.embedded import Cluster

PAUSE, COST, REBUILD, JOIN = "pause at a failover", "cost of a second copy", "copies made anew", "a server that joins"
REPORTED_SECONDS = 0.8
TIMEOUT = 1.0
PATIENCE = 120.0


def measure(quick: bool) -> Iterator[Figure]:
    """Pauses, costs, rebuilding, joining."""
    yield from _pauses("kill -9", signal.SIGKILL, 3 if quick else 40, REPORTED_SECONDS)
    yield from _pauses("SIGSTOP", signal.SIGSTOP, 1 if quick else 12, TIMEOUT)
    yield from _costs(quick)
    yield from _rebuilding(*((200_000, 10_000) if quick else (50_000_000, 1_000_000)))
    yield from _joining()


def _wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:.0f} s: {condition}")
        time.sleep(0.005)


def _lost(cluster: Cluster, server: int) -> bool:
    return server in dict(cluster.statistics().lost)


def _pids(cluster: Cluster) -> dict[int, int]:
    return {known.server: known.pid for known in cluster.statistics().servers}


def _join(cluster: Cluster) -> None:
    server = cluster.add_server()
    _wait(lambda: server in _pids(cluster))
    cluster.wait_settled(PATIENCE)


def _pauses(name: str, sign: signal.Signals, times: int, floor: float) -> Iterator[Figure]:
    """Each time the server that answers for the key is lost, and another one comes."""
    timeout = TIMEOUT if sign is signal.SIGSTOP else None
    with (
        Cluster(3, replicas=2, heartbeat_timeout=timeout) as cluster,
        paracel.connect(cluster.address, timeout=PATIENCE) as ps,
    ):
        ps.update_multi({f"key {number}": 1 for number in range(10_000)})
        pauses = [_pause(cluster, ps, sign) for _ in range(times)]
        assert ps.read("key 0") == 1 + times
    target = 1.0 if sign is signal.SIGKILL else None
    for label, pause in (("median", statistics.median(pauses)), ("99th percentile", float(np.percentile(pauses, 99)))):
        yield Figure(PAUSE, f"{name}, {label} of {times}", pause, "s", floor, floor / pause, target)


def _pause(cluster: Cluster, ps: paracel.Client, sign: signal.Signals) -> float:
    """Of one loss; the cluster is whole again afterwards."""
    victim = cluster.statistics().shards[ps._session.ring.shard_of("key 0")].primary
    pid = _pids(cluster)[victim]
    os.kill(pid, sign)
    pause = seconds_of(lambda: ps.bupdate("key 0", 1))
    _wait(lambda: _lost(cluster, victim))
    if sign is signal.SIGSTOP:
        os.kill(pid, signal.SIGCONT)  # then it ends
    cluster.wait_settled(PATIENCE)
    _join(cluster)
    return pause


def _works(ps: paracel.Client, quick: bool) -> dict[str, tuple[Work, int]]:
    """Work that changes something, and how many things it changes."""
    rows, keys, small = (1000, 1000, 100) if quick else (2_000_000, 100_000, 1000)
    dense, sparse = ps.table("dense", rows), ps.table("sparse")
    deltas = np.ones(rows, np.float32)
    batches = [np.random.default_rng(seed).integers(0, 2**63, keys, np.uint64) for seed in range(4)]

    def pipelined() -> None:
        repeated(lambda: ps.update("key", 1), 10 * small)()
        ps.wait_acknowledged()

    def push_dense() -> None:
        for _ in range(4):
            dense.push(slice(None), deltas)
        ps.wait_acknowledged()

    def push_sparse() -> None:
        for batch in batches:
            sparse.push(batch, deltas[:1])
        ps.wait_acknowledged()

    return {
        "rows/s, dense push": (push_dense, 4 * rows),
        "keys/s, sparse push": (push_sparse, 4 * keys),
        "op/s, update, pipelined": (pipelined, 10 * small),
        "op/s, bupdate, blocking": (repeated(lambda: ps.bupdate("key", 1), small), small),
    }


def _costs(quick: bool) -> Iterator[Figure]:
    with paracel.connect(servers=2) as one, paracel.connect(servers=2, replicas=2) as two:
        for (name, (alone, count)), (work, _) in zip(_works(one, quick).items(), _works(two, quick).values()):
            floor, times = side_by_side(warmed([alone, work]), 2 if quick else 9)
            pair = against(times, floor)
            unit, _, label = name.partition(", ")
            yield Figure(COST, label, count / pair.seconds, unit, count / pair.floor, pair.ratio, None)


def _rebuilding(rows: int, keys: int) -> Iterator[Figure]:
    """A server is killed, and of all that it had another copy is made on the others."""
    with Bare("transfer") as bare:
        for name, given, each in (("dense", rows, 4), ("sparse", keys, 12)):
            seconds, share = _rebuilt(name, given)
            moved = np.ones(int(share * given * each), np.uint8)
            bare.keep(moved)
            floor = statistics.median(_kept(bare, moved) for _ in range(5))
            rates = [len(moved) / 1e6 / taken for taken in (seconds, floor)]
            label = f"{name} table, {len(moved) / 1e6:.3g} MB"
            yield Figure(REBUILD, label, rates[0], "MB/s", rates[1], floor / seconds, None)


def _kept(bare: Bare, moved: np.ndarray) -> float:
    return seconds_of(lambda: bare.keep(moved))


def _rebuilt(kind: str, count: int) -> tuple[float, float]:
    """Seconds until all copies are there again, and what part of all they are."""
    with Cluster(3, replicas=2) as cluster, paracel.connect(cluster.address, timeout=PATIENCE) as ps:
        table = ps.table("filled", size=count if kind == "dense" else None)
        table.push(slice(None) if kind == "dense" else np.arange(count, dtype=np.uint64), 1).result()
        places = cluster.statistics().shards
        os.kill(_pids(cluster)[0], signal.SIGKILL)
        _wait(lambda: _lost(cluster, 0))
        seconds = seconds_of(lambda: cluster.wait_settled(PATIENCE))
    return seconds, sum(0 in place.chain for place in places) / len(places)


def _joining() -> Iterator[Figure]:
    """The part of all copies that moves when a fourth server comes."""
    with Cluster(3, replicas=2) as cluster:
        before = cluster.statistics().shards
        _join(cluster)
        after = cluster.statistics().shards
    moved = sum(len(set(new.chain) - set(old.chain)) for old, new in zip(before, after, strict=True))
    share, ideal = moved / sum(len(place.chain) for place in after), 1 / 4
    yield Figure(JOIN, "share of all copies that moves to the fourth", share, "of 1", ideal, ideal / share, 1.0)
