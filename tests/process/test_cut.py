"""Connections that break while requests and replies are on their way: nothing is lost, nothing is done twice."""

import contextlib
import random
import selectors
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from real import Background, Job, plain_socket

from paracel import channel, connection
from paracel.client import Client


class Proxy:
    """Passes bytes on between clients and a server, until the connections are cut."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._kept: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.cuts = 0

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self, both: bool = True) -> None:
        """Break every connection; with `both` false, the server is not told and keeps what it had."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        self.cuts += len(pairs)
        for client, server in pairs:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            if both:
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for end in self._kept:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        for end in self._kept:
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = plain_socket(self._target)
                with self._lock:
                    self._pairs.append((client, server))
                    self._kept += [client, server]
                pump = threading.Thread(target=self._pump, args=(client, server), daemon=True)
                self._threads.append(pump)
                pump.start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        """Until the client's side ends. The server's stays open, as a network that breaks leaves it."""
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    source = key.fileobj
                    content = source.recv(256 * 1024)
                    if not content:
                        return
                    other[source].sendall(content)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Job, Proxy]]:
    """A job whose one server is reached through a proxy."""
    monkeypatch.setattr(connection, "TICK_SECONDS", 0.1)
    monkeypatch.setattr(channel, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(channel, "PROBE_PATIENCE", 0.5)
    with Job(1, endpoint="tcp://127.0.0.1:*") as job, contextlib.ExitStack() as stack:
        proxy = Proxy(job.addresses[0])
        stack.callback(proxy.close)
        link = connection.Link

        def through_the_proxy(address: str, *rest: object, **options: object) -> connection.Link:
            return link(proxy.address if address == job.addresses[0] else address, *rest, **options)

        monkeypatch.setattr(connection, "Link", through_the_proxy)
        yield job, proxy


@pytest.mark.parametrize("both", [True, False], ids=["both sides know", "the server does not know"])
def test_every_update_is_applied_once_over_broken_connections(proxied: tuple[Job, Proxy], both: bool) -> None:
    job, proxy = proxied
    rng = random.Random(1)
    with job.connect(worker=0, staleness=2, timeout=60) as client:
        for count in range(1, 401):
            client.update("list", count, "append")
            client.update_multi({"sum": 1, "array": np.ones(50_000)})  # 400 kB: in a frame of its own
            if count % 10 == 0:
                assert client.bupdate("blocking", 1) == count // 10
                client.commit()
            if rng.random() < 0.015:
                proxy.cut(both)
        assert client.read("sum") == 400
        assert client.read("list") == list(range(1, 401))
        assert np.all(client.read("array") == 400)
        assert client.clock == 40
        assert client.read("server_clock") == 40
    assert proxy.cuts > 3


def test_a_large_array_whose_pieces_were_cut_comes_whole(proxied: tuple[Job, Proxy]) -> None:
    job, proxy = proxied
    array = np.random.default_rng(1).standard_normal(2_500_000)
    with job.connect(timeout=60) as client:
        for count in range(3):
            pushing = Background(lambda: client.write("a", array))
            while pushing.running and proxy.cuts < 3 * count + 2:
                proxy.cut()
            pushing.result()
            pulling = Background(lambda: client.read("a"))
            while pulling.running and proxy.cuts < 3 * count + 3:
                proxy.cut()
            assert np.array_equal(pulling.result(), array)


def test_a_reply_that_was_lost_comes_again(proxied: tuple[Job, Proxy]) -> None:
    job, proxy = proxied

    def use(client: Client, number: int) -> None:
        for count in range(1, 30):
            assert client.bupdate(f"k {number}", 1) == count

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(job.connect(timeout=60)) for _ in range(4)]
        calls = [Background(lambda n=n: use(clients[n], n)) for n in range(4)]
        for _ in range(5):
            proxy.cut()
        for call in calls:
            call.result()
