"""The coordinator's decisions about where the shards are, step by step. No sockets, no time.

A chain is changed in steps that lose nothing: a server is filled behind it, and then it is one of the chain; the
primary takes no requests until all copies are the same, and then the chain is in another order, or shorter. A server
that is lost leaves every chain at once.
"""

import logging
from collections.abc import Collection
from dataclasses import replace

from paracel import messages as m
from paracel.chains import Chain, Place, first_chains, is_in_order, wanted_chains

logger = logging.getLogger(__name__)


class Assignment:
    """The place of each shard, and what it should become."""

    def __init__(self, shards: int, replicas: int) -> None:
        self.replicas = replicas
        self.places: list[Place] = []
        self.count = shards
        self._wanted: list[Chain] = []
        self._servers: set[int] = set()
        self._gone: set[int] = set()

    def has(self, server: int) -> bool:
        """Whether a server has anything of a shard."""
        return any(server in place.members or server in place.target for place in self.places)

    def broken(self, lost: Collection[int]) -> list[int]:
        """The shards that are lost."""
        return [number for number, place in enumerate(self.places) if place.primary in lost]

    def lose(self, server: int, view: int) -> None:
        """A server is gone: where it was, the rest of the chain goes on; `plan` says with whom else."""
        self._gone.add(server)
        for number, place in enumerate(self.places):
            if server in place.members or server in place.target:
                chain = tuple(s for s in place.chain if s != server)
                joining = -1 if place.joining == server or not chain else place.joining  # nobody is left to fill it
                self.places[number] = Place(view, chain or place.chain, joining, (), view if joining >= 0 else -1)

    def plan(self, servers: Collection[int], lost: Collection[int], view: int) -> None:
        """Decide where the shards should be, on these servers, and take the first steps."""
        self._servers, self._gone = set(servers), set(lost)
        if not self.places:
            chains = first_chains(self.count, sorted(servers), self.replicas) if servers else []
            self.places = [Place(view, chain) for chain in chains]
            self._wanted = chains
            return
        living = [number for number, place in enumerate(self.places) if place.primary not in lost]
        wanted = wanted_chains([self.places[number].chain for number in living], servers, self.replicas)
        self._wanted = [place.chain for place in self.places]
        for number, chain in zip(living, wanted, strict=True) if servers else ():  # else all stays where it is
            self._wanted[number] = chain
        self._step(view)

    def filled(self, message: m.Filled, view: int) -> bool:
        """A server that was being filled has all: it is the last of the chain now. Whether anything changed."""
        place = self._place(message.shard, message.epoch)
        if place is None or (place.joining, place.chain[-1]) != (message.joining, message.server):
            return False
        self.places[message.shard] = Place(view, (*place.chain, place.joining), target=place.target)
        logger.info("shard %d has a copy on server %d now", message.shard, place.joining)
        self._step(view)
        return True

    def drained(self, message: m.Drained, view: int) -> bool:
        """The copies of a shard are all the same, and it takes no requests: its chain is now what it should be."""
        place = self._place(message.shard, message.epoch)
        if place is None or not place.target or place.primary != message.server:
            return False
        self.places[message.shard] = Place(view, place.target)
        self._step(view)
        return True

    def behind(self, message: m.Behind, view: int) -> bool:
        """A copy is too far behind the others: they go on without it, and it is filled anew."""
        place = self._place(message.shard, message.epoch)
        if place is None or message.backup not in place.members[1:]:
            return False
        logger.warning("server %d was behind with shard %d, and is filled anew", message.backup, message.shard)
        chain = tuple(server for server in place.chain if server != message.backup)
        joining = -1 if place.joining == message.backup else place.joining
        self.places[message.shard] = Place(view, chain, joining, (), place.since if joining >= 0 else -1)
        self.plan(self._servers, self._gone, view)
        return True

    def _place(self, shard: int, epoch: int) -> Place | None:
        """The place of a shard, if it is still the one of that epoch."""
        known = 0 <= shard < len(self.places) and self.places[shard].epoch == epoch
        return self.places[shard] if known else None

    def _step(self, view: int) -> None:
        """Begin what can be begun: each server is filled, and fills, with one shard at a time."""
        for number, (place, wanted) in enumerate(zip(self.places, self._wanted, strict=True)):
            if place.joining >= 0 and place.joining not in wanted and place.primary not in self._gone:
                self.places[number] = Place(view, place.chain)
        busy = {server for place in self.places if place.joining >= 0 for server in (place.joining, place.chain[-1])}
        for number, (place, wanted) in enumerate(zip(self.places, self._wanted, strict=True)):
            missing = [server for server in wanted if server not in place.chain]
            if place.primary in self._gone or place.joining >= 0 or place.target:
                continue
            if missing and not busy & {missing[0], place.chain[-1]}:
                busy |= {missing[0], place.chain[-1]}
                self.places[number] = replace(place, epoch=view, joining=missing[0], since=view)
            elif not missing and wanted != place.chain:
                self.places[number] = self._towards(place, wanted, view)

    def _towards(self, place: Place, wanted: Chain, view: int) -> Place:
        if wanted[0] == place.primary and is_in_order(wanted, place.chain):
            return Place(view, wanted)
        return Place(view, place.chain, target=wanted)
