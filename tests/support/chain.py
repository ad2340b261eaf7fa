"""The copies of one shard on some servers, joined by lists instead of sockets, and a client that asks the primary."""

import random
from collections import deque
from dataclasses import replace
from typing import Any

from paracel import messages as m
from paracel.assignment import Assignment
from paracel.chains import Place
from paracel.functions import Functions
from paracel.messages import COORDINATOR, READS, Envelope, Message
from paracel.replication import Replica
from paracel.shard import Shard
from support.shard_copies import Asker, state_of
from support.table_copies import assert_same, carried

FILL_BYTES = 1 << 20


class Chain:
    """Messages between two servers keep their order; whoever steps it says when they arrive, and whether."""

    def __init__(self, *chain: int) -> None:
        self.view = 0
        self.place = Place(0, (-1,))
        self.replicas: dict[int, Replica] = {}
        self.lost: set[int] = set()
        self.links: dict[tuple[int, int], deque[Message]] = {}
        self.reports: list[Message] = []
        self.client = Asker(b"client")
        self.told: list[int] = []
        self.follow(*chain)

    @property
    def primary(self) -> Replica:
        return self.replicas[self.place.primary]

    def follow(self, *chain: int, joining: int = -1, target: tuple[int, ...] = (), since: int | None = None) -> None:
        """A new view; all who are concerned know it at once, and the client asks again."""
        self.view += 1
        since = self.view if since is None else since
        self.publish(Place(self.view, chain, joining, target, since if joining >= 0 else -1))

    def publish(self, place: Place) -> None:
        self.place = place
        for server in place.members:
            if server not in self.replicas:
                self.replicas[server] = Replica(server, lambda: Shard(0, 1, 2, Functions()))
            self.replicas[server].follow(place, self.view)
        for gone in self.replicas.keys() - set(place.members) - self.lost:
            del self.replicas[gone]

    def ask(self, message: Message) -> int:
        """Send a request to the primary; its number."""
        envelope = self.client.ask(message)
        self.primary.handle(self.client.name, envelope)
        return envelope.request

    def resend(self) -> None:
        """As a client does that has heard of another primary."""
        client = self.client
        client.confirm()
        for number in range(client.confirmed + 1, client.number + 1):
            message = client.sent[number]
            known = number in client.replies and type(message) in READS
            self.primary.handle(client.name, Envelope(number, client.confirmed, 0, m.Read([], 0) if known else message))

    def turn(self, server: int, *, leased: bool = True) -> list[tuple[int, Message]]:
        """The end of a server's turn: what leaves goes on its way. The client's replies of this turn."""
        replies = []
        for to, envelope in self.replicas[server].flush(leased=leased):
            if isinstance(to, bytes):
                replies.append((envelope.request, envelope.message))
                self.client.take(envelope)
            elif to == COORDINATOR:
                self.reports.append(envelope.message)
            else:
                self.links.setdefault((server, to), deque()).append(envelope.message)
        self.told += [number for number, _ in replies if number]
        return replies

    def arrive(self, source: int, server: int, message: Message) -> None:
        """A message reaches a server, whether it has a copy or not."""
        replica = self.replicas.get(server)
        if replica is None or server in self.lost:
            return
        if isinstance(message, m.Replicate):
            replica.receive(replace(message, changes=carried(message.changes)))
        else:
            replica.progress(message)

    def deliver(self, source: int, server: int) -> None:
        """The next message between two servers arrives, and the turn ends."""
        self.arrive(source, server, self.links[source, server].popleft())
        if server in self.replicas and server not in self.lost:
            self.turn(server)

    def pump(self) -> None:
        """Deliver everything that is on its way."""
        for server in set(self.replicas) - self.lost:
            self.turn(server)
        while ready := [link for link, queue in self.links.items() if queue]:
            self.deliver(*ready[0])

    def tick(self) -> None:
        for server in set(self.replicas) - self.lost:
            self.replicas[server].tick(6, FILL_BYTES)
            self.turn(server)

    def lose(self, server: int) -> None:
        """It is gone, and all that is on its way to it. What it had sent may still arrive."""
        self.lost.add(server)
        for link in [link for link in self.links if link[1] == server]:
            del self.links[link]

    def check_same(self) -> None:
        """Every copy of the chain is the same."""
        first, *others = [self.replicas[server].shard for server in self.place.chain]
        for other in others:
            assert_same(state_of(other), state_of(first))


class Wild:
    """A chain on which everything happens at the worst moment, under a real assignment."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.assignment = Assignment(1, rng.randint(1, 3))
        self.servers = set(range(rng.randint(1, 4)))
        self.assignment.plan(self.servers, (), 1)
        self.chain = Chain(*self.assignment.places[0].chain)
        self.assignment.places = [self.chain.place]
        self.unleased: set[int] = set()
        self.tokens = 0

    def step(self) -> None:
        events = (
            [self.ask] * 4 + [self.deliver] * 12 + [self.turn] * 4 + [self.drop, self.repeat, self.tick, self.report]
        )
        rare = [self.lose, self.join, self.leave, self.behind]
        self.rng.choice(rare if self.rng.random() < 0.08 else events)()

    def finish(self) -> None:
        """Nothing fails any more: every request is answered, and was done once."""
        for _ in range(60):
            self.chain.pump()
            self.tick()
            while self.chain.reports:
                self.report()
            self.chain.resend()
        self.chain.pump()
        client, place = self.chain.client, self.chain.place
        assert (place.joining, place.target) == (-1, ()), place
        assert len(place.chain) == min(self.assignment.replicas, len(self.servers))
        assert sorted(client.replies) == list(range(1, client.number + 1)), "a request without an answer"
        self.chain.check_same()
        entries = self.chain.primary.shard.store.entries
        assert sorted(token for key in "ab" for token in entries.get(key, [])) == list(range(self.tokens))

    def ask(self) -> None:
        key = self.rng.choice("ab")
        if self.rng.random() < 0.7:
            self.chain.ask(m.Update([key], [self.tokens], "append", False))
            self.tokens += 1
        else:
            self.chain.ask(m.Read([key], 0))

    def deliver(self) -> None:
        ready = [link for link, queue in self.chain.links.items() if queue]
        if ready:
            source, server = self.rng.choice(ready)
            self.chain.arrive(source, server, self.chain.links[source, server].popleft())

    def drop(self) -> None:
        ready = [link for link, queue in self.chain.links.items() if queue]
        if ready:
            self.chain.links[self.rng.choice(ready)].popleft()

    def repeat(self) -> None:
        ready = [link for link, queue in self.chain.links.items() if queue]
        if ready:
            queue = self.chain.links[self.rng.choice(ready)]
            queue.append(self.rng.choice(list(queue)))

    def turn(self) -> None:
        server = self.rng.choice(sorted(set(self.chain.replicas) - (self.chain.lost - self.unleased)))
        self.chain.turn(server, leased=server not in self.unleased and self.rng.random() < 0.9)

    def tick(self) -> None:
        self.chain.tick()

    def report(self) -> None:
        """Something that a server has said reaches the coordinator."""
        if not self.chain.reports:
            return
        message = self.chain.reports.pop(self.rng.randrange(len(self.chain.reports)))
        kinds = {m.Filled: self.assignment.filled, m.Drained: self.assignment.drained, m.Behind: self.assignment.behind}
        self._changed(lambda view: kinds[type(message)](message, view))

    def lose(self) -> None:
        place = self.chain.place
        gone = self.rng.choice(sorted(self.servers))
        if len(set(place.chain) - {gone}) < min(2, self.assignment.replicas) or len(self.servers) < 2:
            return  # the last copy, or another one before the last loss is made good
        self.servers.discard(gone)
        self.chain.lose(gone)
        if self.rng.random() < 0.5:
            self.unleased.add(gone)  # it lives on, cut off from the coordinator

        def lost(view: int) -> bool:
            self.assignment.lose(gone, view)
            self.assignment.plan(self.servers, self.chain.lost, view)
            return True

        self._changed(lost)

    def join(self) -> None:
        self.servers.add(max(self.servers | self.chain.lost) + 1)
        self._changed(lambda view: self.assignment.plan(self.servers, self.chain.lost, view) or True)

    def leave(self) -> None:
        """Another server is to have the copy of one that stays in the job without it."""
        if len(self.servers) > self.assignment.replicas:
            staying = self.servers - {self.rng.choice(sorted(self.servers))}
            self._changed(lambda view: self.assignment.plan(staying, self.chain.lost, view) or True)

    def behind(self) -> None:
        place = self.chain.place
        if len(place.members) > 1:
            backup = self.rng.choice(place.members[1:])
            self._changed(lambda view: self.assignment.behind(m.Behind(place.primary, 0, backup, place.epoch), view))

    def _changed(self, change: Any) -> None:
        self.chain.view += 1
        before = self.chain.place
        if change(self.chain.view):
            self.chain.publish(self.assignment.places[0])
            if self.chain.place.primary != before.primary:
                self.chain.resend()


def check_chain(seed: int) -> None:
    """Whatever is lost and whoever: what was answered is never lost, and nothing is done twice."""
    rng = random.Random(seed)
    run = Wild(rng)
    for _ in range(rng.randint(20, 300)):
        run.step()
    run.finish()
