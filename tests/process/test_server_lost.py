"""A server that is killed or falls silent: everyone is told who, where and why, and nobody hangs."""

import os
import signal
from pathlib import Path

import pytest
from real import Background, Job, Programs, eventually

import paracel
from paracel import exchange
from paracel.launch.embedded import Cluster

SLOW = f"{Path(__file__).with_name('served.py')}:slow"


def key_of(client: paracel.Client, server: int) -> str:
    """A key that this server holds."""
    return next(key for key in map(str, range(1000)) if client._session.ring.shard_of(key) == server)


def parked(client: paracel.Client) -> int:
    return sum(server.parked for server in client.statistics().servers)


def test_a_killed_server_fails_every_wait_and_is_named() -> None:
    with Cluster(2, workers=2) as cluster, Job(1) as other:
        ahead, watcher = paracel.connect(cluster.address, worker=0, staleness=0), paracel.connect(cluster.address)
        there, gone = key_of(ahead, 0), key_of(ahead, 1)
        ahead.write_multi({there: 1, gone: 2})
        ahead.commit()
        reading = Background(lambda: ahead.read(gone))  # parked: worker 1 has not committed
        eventually(lambda: parked(watcher))
        os.kill(cluster.pids[1], signal.SIGKILL)
        with pytest.raises(paracel.ServerLost, match=r"server 1 \(ipc://.*/server-1\) is gone: .*signal 9"):
            reading.result()
        for fails in (
            lambda: watcher.read(gone),
            lambda: watcher.read_multi([there, gone]),
            lambda: watcher.write(gone, 1),
            lambda: watcher.bupdate(gone, 1),
            lambda: watcher.update(gone, 1).result(),
            watcher.readall,
        ):
            with pytest.raises(paracel.ServerLost, match="server 1 "):
                fails()
        assert watcher.read(there) == 1, "what other servers hold can still be read"
        ahead.close()
        with pytest.raises(paracel.ServerLost):
            paracel.connect(cluster.address, worker=1)
        watcher.close()
        with other.connect() as unconcerned:
            unconcerned.write("k", 1)


def test_updates_on_their_way_to_a_killed_server_fail_at_the_commit() -> None:
    with Cluster(1) as cluster:
        client = paracel.connect(cluster.address, worker=0)
        os.kill(cluster.pids[0], signal.SIGSTOP)
        tasks = [client.update("k", 1) for _ in range(100)]
        os.kill(cluster.pids[0], signal.SIGKILL)
        with pytest.raises(paracel.ServerLost):
            client.commit()
        assert client.clock == 0
        assert all(task.done() for task in tasks)
        with pytest.raises(paracel.ServerLost):
            tasks[50].result()
        client.close()
        assert client.closed


def test_a_client_that_was_told_of_a_lost_server_is_closed_in_peace() -> None:
    with Cluster(1) as cluster, paracel.connect(cluster.address, worker=0) as told:
        os.kill(cluster.pids[0], signal.SIGKILL)
        with pytest.raises(paracel.ServerLost):
            told.write("k", 1)


def test_a_client_is_told_of_a_lost_update_when_it_is_closed() -> None:
    with Cluster(1) as cluster:
        untold = paracel.connect(cluster.address, worker=0)
        os.kill(cluster.pids[0], signal.SIGSTOP)
        untold.update("k", 1)
        os.kill(cluster.pids[0], signal.SIGKILL)
        with pytest.raises(paracel.ServerLost):
            untold.close()


def test_a_with_block_shows_the_first_error_and_closes() -> None:
    with Cluster(1) as cluster:
        client = paracel.connect(cluster.address, worker=0)
        os.kill(cluster.pids[0], signal.SIGKILL)
        with pytest.raises(paracel.ServerLost), client:
            client.write("k", 1)
        assert client.closed


def test_a_silent_server_is_lost_after_its_heartbeat_timeout() -> None:
    with Job(2, heartbeat_timeout=1.0) as job, job.connect() as client:
        key = key_of(client, 1)
        os.kill(job.servers[1].pid, signal.SIGSTOP)
        with pytest.raises(paracel.ServerLost, match=r"server 1 .*no heartbeat for 1 s"):
            client.read(key, default=None)
        assert dict(job.coordinator.statistics().lost) == {1: "no heartbeat for 1 s"}


def test_a_heartbeat_timeout_shorter_than_heartbeats_is_refused() -> None:
    with pytest.raises(paracel.ConfigError, match=r"heartbeat_timeout 0\.5 is too small"):
        paracel.connect(servers=1, heartbeat_timeout=0.5)


def test_a_server_in_a_long_turn_is_not_lost() -> None:
    with Job(1, heartbeat_timeout=1.0) as job, job.connect() as client:
        client.write("k", 1)
        assert client.run(SLOW, 4.0) == [1]
        assert job.coordinator.statistics().lost == ()


def test_a_wait_with_a_deadline_says_for_whom_how_long_and_for_what() -> None:
    with Job(1) as job, job.connect(timeout=0.3) as client:
        address = job.addresses[0]
        os.kill(job.servers[0].pid, signal.SIGSTOP)
        with pytest.raises(paracel.WaitTimeout) as caught:
            client.read_multi(["weights", "bias"])
        text = str(caught.value)
        for part in ("server 0", address, "0.3 s", "read", "'weights'"):
            assert part in text, text
        task = client.update("weights", 1)
        with pytest.raises(paracel.WaitTimeout, match=r"0\.2 s"):
            task.result(timeout=0.2)
        assert not task.done()
        os.kill(job.servers[0].pid, signal.SIGCONT)
        assert task.result(timeout=30) is None, "it goes on where it was"
        assert client.read("weights") == 1


def test_a_read_that_waits_for_a_straggler_may_have_a_deadline() -> None:
    with (
        Cluster(1, workers=2) as cluster,
        paracel.connect(cluster.address, worker=1) as straggler,
        paracel.connect(cluster.address, worker=0, staleness=0, timeout=0.5) as client,
    ):
        client.write("k", 1)
        client.commit()
        with pytest.raises(paracel.WaitTimeout, match="asked to read 'k'"):
            client.read("k")
        straggler.commit()
        straggler.wait_acknowledged()
        assert client.read("k") == 1


OWNER = """
import sys, time
from paracel.launch.embedded import Cluster
cluster = Cluster(1)
print("address", cluster.address)
time.sleep(1000)
"""


def test_when_the_owner_is_killed_its_clients_are_told(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "COORDINATOR_PATIENCE", 2)
    owner = programs.start(OWNER)
    client = paracel.connect(owner.wait_said("address"))
    client.write("k", 1)
    owner.kill()
    with pytest.raises(paracel.ConnectionLost):
        client.read("k")
    with pytest.raises(paracel.ConnectionLost):
        client.write("k", 2)
    client.close()


BUSY_OWNER = """
import ctypes, time
import paracel
from paracel.launch.embedded import Cluster
if __name__ == "__main__":
    with Cluster(1, workers=2) as cluster:
        with paracel.connect(cluster.address, worker=1) as me:
            print("address", cluster.address)
            while len(cluster.statistics().workers) < 2:
                time.sleep(0.01)
            ctypes.PyDLL(None).sleep(5)  # and no other thread runs meanwhile
            me.commit()
        cluster.wait_departed()
"""


def test_an_owner_that_is_busy_is_only_a_straggler(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "COORDINATOR_PATIENCE", 2)
    owner = programs.start(BUSY_OWNER)
    with paracel.connect(owner.wait_said("address"), worker=0, staleness=0) as client:
        client.write("k", 1)
        client.commit()
        assert client.read("k") == 1
    owner.check_ended_well()
