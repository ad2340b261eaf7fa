"""Sessions and shards joined by queues instead of sockets: every message still goes through the wire's bytes."""

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from paracel import connection, wire
from paracel.chains import Place
from paracel.client import Client
from paracel.errors import RequestError
from paracel.functions import Functions
from paracel.messages import Envelope, View
from paracel.pending import Pending
from paracel.session import Session
from paracel.shard import Shard


def view_of(servers: int, workers: int, number: int = 1) -> View:
    """As many shards as servers, one copy of each."""
    addresses = {server: f"ipc://{server}" for server in range(servers)}
    return View(number, addresses, {}, workers, {}, [Place(number, (server,)).to_wire() for server in addresses])


def carried(envelope: Envelope) -> Envelope:
    """What arrives of a message: made from bytes, so that nothing is shared with the sender."""
    return wire.decode([bytes(frame) for frame in wire.encode(envelope)])


class Cluster:
    """Some shards, each on a server of its own number, sessions, and the messages between them on their way.

    Messages of one sender to one receiver keep their order, unless it is `lossy`: then they are dropped, repeated
    and reordered as the random numbers say. `step` delivers one message; `settle` all that is needed for an outcome.
    """

    def __init__(self, servers: int = 2, workers: int = 1, *, rng: random.Random | None = None, lossy: bool = False):
        self.rng = rng or random.Random(0)
        self.lossy = lossy
        self.now = 0.0
        self.shards = {number: Shard(number, servers, workers, Functions()) for number in range(servers)}
        self.view = view_of(servers, workers)
        self.sessions: dict[bytes, Session] = {}
        self._links: dict[tuple[bytes, int, bool], deque[Envelope]] = {}

    def join(self, worker: int | None = None, staleness: float | None = None) -> Session:
        """A new client; with a number, one of the workers, entered."""
        session = Session(self.view, worker, staleness, Functions())
        self.sessions[b"client %d" % len(self.sessions)] = session
        if worker is not None:
            self.settle(session.enter())
        return session

    def collect(self) -> None:
        """Put what the sessions want to send on its way. The coordinator is not there."""
        for sender, session in self.sessions.items():
            while session.outbox:
                server, envelope = session.outbox.popleft()
                if server in self.shards:
                    self._put((sender, server, True), envelope)

    def step(self) -> bool:
        """Deliver one message, chosen by chance. Says whether there was one."""
        self.collect()
        ready = [link for link, queue in self._links.items() if queue]
        if not ready:
            return False
        client, server, upwards = self.rng.choice(ready)
        queue = self._links[client, server, upwards]
        envelope = queue.popleft()
        if upwards:
            self.deliver(client, server, envelope)
        else:
            self.sessions[client].receive(envelope, self.now)
        return True

    def deliver(self, client: bytes, server: int, envelope: Envelope) -> None:
        """Hand a request to a shard, and put its replies on their way."""
        shard = self.shards[server]
        shard.handle(client, envelope)
        for receiver, reply in shard.flush():
            self._put((receiver, server, False), reply)

    def pump(self) -> None:
        """Deliver everything."""
        while self.step():
            pass

    def settle(self, pending: Pending, seconds: int = 400) -> Any:
        """Deliver, and let time pass, until there is an outcome; returns it or raises its error."""
        while not pending.done:
            self.pump()
            if pending.done:
                break
            assert seconds, "no outcome, however long one waits"
            seconds -= 1
            self.tick()
        assert not isinstance(pending.error, RequestError), f"a request was given up: {pending.error}"
        return pending.result()

    def tick(self) -> None:
        """A second passes for every client; the coordinator answers each."""
        self.now += 1.0
        for session in self.sessions.values():
            session.tick(self.now)
            session.receive(Envelope(0, 0, 0, self.view), self.now)

    def _put(self, link: tuple[bytes, int, bool], envelope: Envelope) -> None:
        queue = self._links.setdefault(link, deque())
        copies = self.rng.choice([0, 1, 1, 1, 1, 2]) if self.lossy else 1
        for _ in range(copies):
            at = self.rng.randint(max(0, len(queue) - 4), len(queue)) if self.lossy else len(queue)
            queue.insert(at, carried(envelope))


class FakeNetwork:
    """Stands for the sockets under a real client: `link` takes the place of `transport.Link`.

    Requests are handled at once. A wait for something that can never come is an error, not a hang.
    """

    def __init__(self, servers: int = 2, workers: int = 4) -> None:
        self.shards = {f"ipc://{number}": Shard(number, servers, workers, Functions()) for number in range(servers)}
        self.view = view_of(servers, workers)
        self._inbound: dict[tuple[str, bytes], deque[Any]] = {}

    @contextmanager
    def clients(self) -> Iterator[None]:
        """Within it, clients are on this network."""
        with patch.multiple(connection, Link=self.link, wait_any=self.wait_any):
            yield

    def client(self, worker: int | None = None, staleness: float | None = None) -> Client:
        """A real client. Not closed by itself: it holds nothing."""
        with self.clients():
            return Client("ipc://coordinator", worker=worker, staleness=staleness)

    def link(self, address: str, key: str = "", identity: bytes = b"", *, watched: bool = False) -> "FakeLink":
        return FakeLink(self, address, identity)

    def queue(self, address: str, identity: bytes) -> deque[Any]:
        return self._inbound.setdefault((address, identity), deque())

    def send(self, address: str, identity: bytes, frames: list[Any]) -> None:
        envelope = wire.decode([bytes(frame) for frame in frames])
        if address not in self.shards:
            self._reply(address, identity, Envelope(0, 0, 0, self.view))
            return
        shard = self.shards[address]
        shard.handle(identity, envelope)
        for receiver, reply in shard.flush():
            self._reply(address, receiver, reply)

    def _reply(self, address: str, identity: bytes, envelope: Envelope) -> None:
        self.queue(address, identity).append([bytes(frame) for frame in wire.encode(envelope)])

    def wait_any(self, links: Any, seconds: float) -> list[Any]:
        """In place of `transport.wait_any`."""
        ready = [link for link in list(links) if link.waiting]
        assert ready or not seconds, "waits for ever"
        return ready


class FakeLink:
    """One end of it."""

    connected = True

    def __init__(self, network: FakeNetwork, address: str, identity: bytes) -> None:
        self._network, self._address, self._identity = network, address, identity

    @property
    def waiting(self) -> bool:
        return bool(self._network.queue(self._address, self._identity))

    def send(self, frames: list[Any]) -> None:
        self._network.send(self._address, self._identity, frames)

    def receive(self) -> Any:
        queue = self._network.queue(self._address, self._identity)
        return queue.popleft() if queue else None

    def wait(self, seconds: float) -> bool:
        assert self.waiting or not seconds, "waits for ever"
        return self.waiting

    def close(self, linger: float = 0.0) -> None:
        pass


def entries_of(shards: Any) -> dict[str, Any]:
    """Everything that some shards hold."""
    return {key: value for shard in shards for key, value in shard.store.entries.items()}
