"""Across hosts, a peer without the job's key gets nothing."""

import pytest
import zmq
from real import Job, Raw, eventually, plain_socket

import paracel
from paracel import messages as m
from paracel import transport
from paracel.launch.embedded import Cluster

ENDPOINT = "tcp://127.0.0.1:*"


def test_a_job_over_tcp_is_secured_and_works() -> None:
    with Cluster(2, endpoint=ENDPOINT) as cluster:
        assert cluster.address.startswith("tcp://")
        assert len(cluster.key) == 40
        with paracel.connect(cluster.address, key=cluster.key, worker=0) as client:
            client.write("k", 1)
            client.commit()
            assert client.read("k") == 1


@pytest.mark.parametrize("key", ["", transport.new_key()], ids=["no key", "another job's key"])
def test_a_client_without_the_key_gets_nothing(key: str) -> None:
    with Cluster(1, endpoint=ENDPOINT) as cluster:
        with pytest.raises(paracel.CoordinatorLost, match="no answer from the coordinator"):
            paracel.connect(cluster.address, key=key, timeout=0.5)
        with paracel.connect(cluster.address, key=cluster.key) as client:
            client.write("k", 1)


def test_raw_peers_without_the_key_get_nothing_and_disturb_nothing() -> None:
    with Job(1, endpoint=ENDPOINT) as job, job.connect() as client:
        for port in [job.coordinator.address, *job.addresses]:
            with Raw(port) as peer:
                peer.ask(1, m.Write(["k"], ["evil"]))
                peer.ask(0, m.GetView())
                peer.ask(0, m.GetStatistics())
                assert peer.receive(0.5) is None
            with plain_socket(port) as bare:
                bare.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert client.read("k", default=None) is None
        assert client.statistics().servers[0].requests < 10


def test_the_public_key_alone_does_not_help() -> None:
    """A peer that knows the job's public key, which is never sent, still has to prove the secret one."""
    with Job(1, endpoint=ENDPOINT) as job:
        public, secret = zmq.curve_keypair()
        context = zmq.Context()
        try:
            peer = context.socket(zmq.DEALER)
            peer.curve_publickey, peer.curve_secretkey = public, secret
            peer.curve_serverkey = zmq.curve_public(transport.new_key().encode())
            peer.connect(job.addresses[0])
            peer.send(b"hello")
            assert not peer.poll(500)
        finally:
            context.destroy(linger=0)


def test_the_key_is_on_no_command_line_and_in_no_environment() -> None:
    with Job(2, endpoint=ENDPOINT) as job:
        secret = job.coordinator.key.encode()
        for server in job.servers:
            for file in ("cmdline", "environ"):
                with open(f"/proc/{server.pid}/{file}", "rb") as content:
                    assert secret not in content.read()
        with job.connect() as client:
            eventually(lambda: client.bupdate("k", 1))
