"""Peers that do not receive, ports that do not answer."""

import contextlib
import os
import signal
import socket

import numpy as np
import pytest
from real import Job, Raw, eventually, resident_mb

import paracel
from paracel import messages as m

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("large", [False, True], ids=["inline", "in frames"])
def test_a_peer_that_asks_for_much_and_receives_nothing(large: bool) -> None:
    """The server's memory stays bounded, others are served, and the rest comes once the peer receives."""
    size, asked = (4 * MEGABYTE, 400) if large else (MEGABYTE // 10, 12_000)
    with Job(1) as job, job.connect() as client:
        key = "v"
        client.write(key, np.zeros(size, np.uint8) if large else b"x" * size)
        before = resident_mb(job.servers[0].pid)
        with Raw(job.addresses[0]) as peer:
            for request in range(1, asked + 1):
                peer.ask(request, m.Read([key], 0))
            eventually(lambda: client.statistics().servers[0].requests > 50)
            for count in range(1, 30):  # changes of what was lent to the peer
                if large:
                    client.update(key, np.ones(size, np.uint8)).wait(30)
                assert client.bupdate("other", 1) == count
            assert settled(job) < asked, "it was served beyond its credit"
            assert resident_mb(job.servers[0].pid) - before < 700, f"{asked * size // MEGABYTE} MB were asked for"
        assert client.bupdate("other", 1) == 30


def settled(job: Job) -> int:
    """The requests that the server had run when it had run no more for three heartbeats."""
    seen: list[int] = []

    def is_steady() -> bool:
        seen.append(job.coordinator.statistics().servers[0].requests)
        return len(seen) > 75 and len(set(seen[-75:])) == 1  # `eventually` looks every 20 ms

    eventually(is_steady)
    return seen[-1]


def test_a_peer_that_receives_late_gets_everything() -> None:
    count, size = 400, MEGABYTE
    with Job(1) as job, job.connect() as client, Raw(job.addresses[0]) as peer:
        client.write("v", b"x" * size)
        for request in range(1, count + 1):
            peer.ask(request, m.Read(["v"], 0))
        eventually(lambda: client.statistics().servers[0].requests > 50)
        for request in range(1, count + 1):
            answer = next(answer for answer in iter(peer.receive, None) if answer.request)
            assert answer.request == request
            assert len(answer.message.values[0]) == size
            peer.ask(0, m.Probe(request), confirmed=request)  # as a client's next message would confirm it


def test_many_peers_that_vanish_with_requests_under_way() -> None:
    with Job(1) as job, job.connect() as client:
        client.write("v", np.zeros(MEGABYTE, np.uint8))
        for count in range(1, 31):
            with Raw(job.addresses[0]) as peer:
                for request in range(1, 20):
                    peer.ask(request, m.Read(["v"], 0))
            assert client.bupdate("k", 1) == count


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_a_port_that_takes_connections_and_says_nothing(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        if kind == "tcp":
            deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        else:
            deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
            path = f"{os.environ['TMPDIR']}/deaf"
            deaf.bind(path)
            deaf.listen()
            address = f"ipc://{path}"
        with pytest.raises(paracel.CoordinatorLost, match=f"no answer from the coordinator at {address} in 0.3 s"):
            paracel.connect(address, timeout=0.3)


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(paracel.CoordinatorLost, match=address):
        paracel.connect(address, timeout=0.3)


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "", "tcp://127.0.0.1", "http://127.0.0.1:1"])
def test_what_is_not_an_address(address: str) -> None:
    with pytest.raises(paracel.ParacelError, match="is not an address"):
        paracel.connect(address)


def test_a_server_in_the_place_of_the_coordinator() -> None:
    with Job(1) as job, pytest.raises(paracel.ParacelError):
        paracel.connect(job.addresses[0], timeout=2)


def test_a_stopped_job_goes_on_where_it_was() -> None:
    """The server sleeps for longer than a probe takes; nothing is lost and nothing is applied twice."""
    with Job(1) as job, job.connect() as client:
        for _ in range(3):
            os.kill(job.servers[0].pid, signal.SIGSTOP)
            tasks = [client.update("k", 1) for _ in range(500)]
            with pytest.raises(paracel.WaitTimeout):
                tasks[-1].result(timeout=1.5)
            os.kill(job.servers[0].pid, signal.SIGCONT)
            tasks[-1].result(timeout=30)
        assert client.read("k") == 1500
