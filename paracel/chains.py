"""Where the shards are: which servers have copies of each, in which order, and which should. No messages, no time.

The copies of a shard form a chain (van Renesse and Schneider, OSDI 2004): its first server is the primary, which
answers; each passes on what changed to the next, so that every server has all that those behind it have. When one is
lost, the rest of its chain goes on in the same order.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from paracel.errors import WireError

Chain = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one shard is, since the view `epoch`.

    `joining` (-1: nobody) is a server that is being filled behind the chain, since the view `since`. With a `target`,
    the primary takes no requests, until all copies are the same and the target is the chain. The last server of a
    chain that has lost all of them stays in it: the shard is lost with it.
    """

    epoch: int
    chain: Chain
    joining: int = -1
    target: Chain = ()
    since: int = -1

    @property
    def primary(self) -> int:
        """The server that answers."""
        return self.chain[0]

    @property
    def members(self) -> Chain:
        """All that have something of the shard."""
        return self.chain if self.joining < 0 else (*self.chain, self.joining)

    def to_wire(self) -> list[Any]:
        """Plain values."""
        return [self.epoch, list(self.chain), self.joining, list(self.target), self.since]

    @classmethod
    def from_wire(cls, values: Any) -> "Place":
        """The reverse; WireError for anything else."""
        try:
            epoch, chain, joining, target, since = values
            return cls(
                int(epoch), (int(chain[0]), *map(int, chain[1:])), int(joining), tuple(map(int, target)), int(since)
            )
        except (TypeError, ValueError, LookupError) as error:
            raise WireError(f"not a place: {values!r}"[:300]) from error


def first_chains(shards: int, servers: Sequence[int], replicas: int) -> list[Chain]:
    """The chains of a new job: even, and the backups of one server's shards are spread over all the others."""
    count = len(servers)
    chains = []
    for shard in range(shards):
        shift = shard // count
        steps = [1 + (shift + step) % (count - 1) for step in range(min(replicas, count) - 1)] if count > 1 else []
        chains.append(tuple(servers[(shard + step) % count] for step in (0, *steps)))
    return chains


def wanted_chains(chains: Sequence[Chain], servers: Collection[int], replicas: int) -> list[Chain]:
    """What the chains should become on these servers: `replicas` long where there are as many, even, few moves.

    Members that are not among `servers` are to go; where none stays, what takes their place is filled from them.
    """
    plan = _Plan(chains, servers, min(replicas, len(servers)))
    plan.complete()
    plan.level_copies()
    plan.level_primaries()
    return [tuple(chain) for chain in plan.chains]


class _Plan:
    def __init__(self, chains: Sequence[Chain], servers: Collection[int], replicas: int) -> None:
        self._servers = sorted(servers)
        self._replicas = replicas
        self.chains = [[s for s in chain if s in servers][:replicas] for chain in chains]
        self._load = Counter(dict.fromkeys(self._servers, 0))
        for chain in self.chains:
            self._load.update(chain)

    def complete(self) -> None:
        """Add the servers with the fewest copies where there are too few."""
        for chain in self.chains:
            while len(chain) < self._replicas:
                least = min((s for s in self._servers if s not in chain), key=lambda s: (self._load[s], s))
                chain.append(least)
                self._load[least] += 1

    def level_copies(self) -> None:
        """Move copies from the servers that have most to those that have least, until they differ by one at most."""
        while self._move_one():
            pass

    def _move_one(self) -> bool:
        by_load = sorted(self._servers, key=lambda s: (self._load[s], s))
        for least in by_load:
            for most in reversed(by_load):
                if self._load[most] - self._load[least] < 2:
                    break
                movable = [chain for chain in self.chains if most in chain and least not in chain]
                if movable:
                    chain = max(movable, key=lambda c: c.index(most))  # a backup, if there is one
                    chain[chain.index(most)] = least
                    self._load[most] -= 1
                    self._load[least] += 1
                    return True
        return False

    def level_primaries(self) -> None:
        """Let other copies be primary, until no server is it for two more shards than another could be."""
        primaries = Counter(dict.fromkeys(self._servers, 0))
        primaries.update(chain[0] for chain in self.chains if chain)
        moved = True
        while moved:
            moved = False
            for chain in self.chains:
                best = min(chain, key=lambda s: primaries[s], default=-1)
                if chain and primaries[chain[0]] - primaries[best] > 1:
                    primaries[chain[0]] -= 1
                    primaries[best] += 1
                    chain.remove(best)
                    chain.insert(0, best)
                    moved = True


def is_in_order(chain: Chain, within: Chain) -> bool:
    """Whether all of `chain` is in `within`, in the same order: then it needs no pause to become the chain."""
    rest = iter(within)
    return all(server in rest for server in chain)
