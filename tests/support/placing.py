"""A job's shards while servers come and go: the coordinator's decisions beside what the servers really hold."""

import random

from paracel import messages as m
from paracel.assignment import Assignment
from paracel.chains import Place, is_in_order


class Placing:
    """Servers that fill and drain as they are told, in any order; some are lost, leave, join, or fall behind.

    `complete` has, for each shard, the servers whose copy has all of it: only those may be in a chain.
    """

    def __init__(self, servers: int, shards: int, replicas: int, rng: random.Random) -> None:
        self.rng = rng
        self.assignment = Assignment(shards, replicas)
        self.view = 1
        self.servers = set(range(servers))
        self.staying = set(self.servers)
        self.lost: set[int] = set()
        self.old: list[m.Message] = []
        self.assignment.plan(self.staying, (), self.view)
        self.complete = [set(place.chain) for place in self.assignment.places]

    @property
    def places(self) -> list[Place]:
        return self.assignment.places

    def due(self) -> list[m.Message]:
        """What the servers would say now."""
        told: list[m.Message] = []
        for shard, place in enumerate(self.places):
            if place.primary in self.lost:
                continue
            if place.joining >= 0:
                told.append(m.Filled(place.chain[-1], shard, place.joining, place.epoch))
            elif place.target:
                told.append(m.Drained(place.primary, shard, place.epoch))
        return told

    def step(self) -> None:
        """Something happens."""
        events = [self.deliver] * 8 + [self.repeat, self.lose, self.join, self.leave, self.fall_behind]
        self._checked(self.rng.choice(events))

    def settle(self) -> None:
        """Nothing more happens but what has to."""
        for _ in range(40 * len(self.places) + 40):
            if not self.due():
                return
            self._checked(self.deliver)
        raise AssertionError(f"it never settles: {self.places}")

    def check_settled(self) -> None:
        """Every shard that is not lost has all its copies, on servers that stay, evenly."""
        if not self.staying:  # those that were to go keep what they have
            assert not self.due()
            return
        length = min(self.assignment.replicas, len(self.staying))
        whole = [place for place in self.places if place.primary not in self.lost]
        for place in whole:
            assert (place.joining, place.target, len(place.chain)) == (-1, (), length), place
            assert set(place.chain) <= self.staying, place
        counts = [sum(server in place.chain for place in whole) for server in self.staying]
        assert max(counts, default=0) - min(counts, default=0) <= 1
        for server in self.servers - self.staying:
            assert not self.assignment.has(server) or server in self.lost

    def _checked(self, event) -> None:
        before = list(self.places)
        self.view += 1
        event()
        begun = [self._check_place(shard, old) for shard, old in enumerate(before)]
        for shard, place in enumerate(self.places):
            for other in [each for each in range(len(self.places)) if begun[shard] and each != shard]:
                busy = self.places[other]
                if busy.joining >= 0:
                    assert not {place.joining, place.chain[-1]} & {busy.joining, busy.chain[-1]}, "two fills at once"

    def _check_place(self, shard: int, old: Place) -> bool:
        """Whether a fill was begun."""
        new = self.places[shard]
        assert new == old or new.epoch == self.view, "a change that nobody can tell from what was before"
        assert len(set(new.members)) == len(new.members)
        assert not (new.joining >= 0 and new.target)
        lost_whole = new.primary in self.lost
        assert lost_whole == (not self.complete[shard]), "lost if and only if no copy is left"
        assert lost_whole or set(new.chain) <= self.complete[shard], "one in the chain that does not have all"
        if new.chain != old.chain and old.primary not in self.lost:
            kept = new.primary == old.primary and is_in_order(new.chain, old.members)
            assert kept or new.chain == old.target, "another order, and what is on its way was not waited for"
        self.complete[shard] &= set(new.chain)
        return new.joining >= 0 and new.joining != old.joining

    # --- events -------------------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        due = self.due()
        if due:
            self.tell(self.rng.choice(due))

    def repeat(self) -> None:
        """An old message comes again, or for the first time."""
        if self.old:
            self.tell(self.rng.choice(self.old))

    def tell(self, message: m.Message) -> None:
        before = list(self.places)
        current = message.epoch == before[message.shard].epoch
        self.old += [message, *self.rng.sample(self.due(), min(2, len(self.due())))]
        if isinstance(message, m.Filled):
            if current and before[message.shard].joining == message.joining:
                self.complete[message.shard].add(message.joining)
            changed = self.assignment.filled(message, self.view)
        else:
            changed = self.assignment.drained(message, self.view)
        assert changed == (self.places != before)
        assert changed or not current or message.server in self.lost, "what the coordinator waits for"

    def lose(self) -> None:
        if self.servers - self.lost:
            gone = self.rng.choice(sorted(self.servers - self.lost))
            self.lost.add(gone)
            self.staying.discard(gone)
            for complete in self.complete:
                complete.discard(gone)
            self.assignment.lose(gone, self.view)
            self.assignment.plan(self.staying, self.lost, self.view)

    def join(self) -> None:
        new = max(self.servers) + 1
        self.servers.add(new)
        self.staying.add(new)
        self.assignment.plan(self.staying, self.lost, self.view)

    def leave(self) -> None:
        if len(self.staying) > self.assignment.replicas:
            self.staying.remove(self.rng.choice(sorted(self.staying)))
            self.assignment.plan(self.staying, self.lost, self.view)

    def fall_behind(self) -> None:
        shard = self.rng.randrange(len(self.places))
        place = self.places[shard]
        if len(place.members) > 1 and place.primary not in self.lost:
            backup = self.rng.choice(place.members[1:])
            assert self.assignment.behind(m.Behind(place.primary, shard, backup, place.epoch), self.view)


def check_placing(seed: int) -> None:
    """Whatever happens, and in whatever order it is heard of: nothing is lost that need not be, and it settles."""
    rng = random.Random(seed)
    servers = rng.randint(1, 5)
    placing = Placing(servers, rng.choice([1, servers, 4 * servers]), rng.randint(1, 3), rng)
    for _ in range(rng.randint(0, 60)):
        placing.step()
    placing.settle()
    placing.check_settled()
