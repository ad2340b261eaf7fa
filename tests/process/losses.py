"""Servers that are lost while something else goes on, and others that come in their place."""

import os
import random
import signal
from collections.abc import Callable, Iterable

from real import DEADLINE, ended, eventually

from paracel.launch.embedded import Cluster

#: With which a server that hangs is lost soon.
TIMEOUT = 1.0


def living(cluster: Cluster) -> dict[int, int]:
    """The servers that are there, and their process ids."""
    return {known.server: known.pid for known in cluster.statistics().servers}


def primary_of(cluster: Cluster, shard: int) -> int:
    """The server that answers for a shard."""
    return cluster.statistics().shards[shard].primary


def kill(cluster: Cluster, *servers: int) -> None:
    """SIGKILL to all of them at once, and wait until that is known."""
    pids = [living(cluster)[server] for server in servers]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that none is told of the loss of another
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: dict(cluster.statistics().lost).keys() >= set(servers), what=f"{servers} are lost")


def hang(cluster: Cluster, server: int) -> None:
    """Stop it until it is given up; when it goes on, it ends by itself."""
    pid = living(cluster)[server]
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: server in dict(cluster.statistics().lost), what=f"server {server} is given up")
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: ended(pid), what=f"server {server}, given up, ends by itself")


def join(cluster: Cluster) -> int:
    """One more server, with its share of the shards."""
    server = cluster.add_server()
    eventually(lambda: server in living(cluster), what=f"server {server} is there")
    cluster.wait_settled(DEADLINE)
    return server


LOSSES: dict[str, Callable[[Cluster, int], None]] = {"kill": kill, "hang": hang}


def disturb(cluster: Cluster, seed: int, losses: Iterable[str]) -> None:
    """Lose servers that are chosen at random, one after another; another one comes for each."""
    rng = random.Random(seed)
    for how in losses:
        LOSSES[how](cluster, rng.choice(sorted(living(cluster))))
        cluster.wait_settled(DEADLINE)
        join(cluster)
