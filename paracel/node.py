"""A server's brain: which shards it has copies of, and who may ask it for what. No sockets, no time of its own.

It follows the view that the coordinator publishes. A request for a shard of which it is not the primary is answered
with the view; one that knows of a newer view waits until that one is here.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from paracel import messages as m
from paracel.chains import Place
from paracel.cuts import Cuts, SaveAs
from paracel.errors import ServerLost
from paracel.functions import Functions
from paracel.messages import COORDINATOR, Envelope, Message
from paracel.replication import Budget, Receiver, Replica
from paracel.shard import Shard

logger = logging.getLogger(__name__)

#: How many messages may wait for a newer view; others are sent again by whom they are from.
MOST_EARLY = 65536
#: 200 MB a second, where there are two ticks in one.
FILL_BYTES_PER_TICK = 100_000_000
Outgoing = tuple[Receiver, Envelope]


class Node:
    """All that one server has."""

    def __init__(
        self,
        server: int,
        workers: int,
        functions: Functions,
        patience: float = 6.0,
        fill_bytes: int = FILL_BYTES_PER_TICK,
    ) -> None:
        """A backup that takes nothing for `patience` ticks is reported as being behind.

        Between two ticks, `fill_bytes` go to servers that join, beside what changes.
        """
        self._fill_bytes = fill_bytes
        self._budget = Budget(fill_bytes)
        self.server = server
        self.view: m.View | None = None
        self.replicas: dict[int, Replica] = {}
        self.malformed = 0
        self._workers = workers
        self._functions = functions
        self._patience = patience
        self._active: dict[int, Replica] = {}
        self._was_leased = True
        self._cuts: Callable[[], Cuts] = Cuts
        self._restore_from = ""
        self._early: list[tuple[bytes, Envelope]] = []
        self._out: list[Outgoing] = []

    @property
    def needs_lease(self) -> bool:
        """Whether another server may come into this one's place without asking it."""
        return any(len(replica.place.members) > 1 for replica in self.replicas.values())  # who joins may have joined

    def handle(self, sender: bytes, envelope: Envelope) -> None:
        """Take a message of a client, another server, or the coordinator. ServerLost when this one was given up."""
        message = envelope.message
        if isinstance(message, m.View):
            self._follow(message)
        elif self.view is None or envelope.view > self.view.number:
            if len(self._early) < MOST_EARLY:
                self._early.append((sender, envelope))
        elif isinstance(message, m.Replicate | m.Progress):
            self._handle_peer(envelope.shard, message)
        elif isinstance(message, m.Saved):
            self._handle_saved(message)
        elif isinstance(message, m.GetStatistics) and not envelope.request:
            self._out.append((sender, Envelope(0, 0, 0, self.statistics())))
        else:
            self._handle_client(sender, envelope)

    def _handle_client(self, sender: bytes, envelope: Envelope) -> None:
        """Of a shard, or, without a number, of all."""
        asked = [self.replicas[envelope.shard]] if envelope.shard in self.replicas else []
        for replica in self._primaries() if envelope.shard < 0 and not envelope.request else asked:
            if replica.is_primary:
                replica.handle(sender, envelope)
                self._active[replica.shard.number] = replica
                asked = [replica]
        if not any(replica.is_primary for replica in asked):
            assert self.view is not None
            self._out.append((sender, Envelope(0, 0, 0, self.view)))

    def save_at(self, cuts: Callable[[], Cuts]) -> None:
        """Let each shard that this server answers for be saved at the clocks that `cuts()` say."""
        self._cuts = cuts

    def restore_from(self, folder: str) -> None:
        """Let the shards begin as a checkpoint says."""
        self._restore_from = folder

    def take_saves(self) -> list[tuple[Shard, SaveAs]]:
        """What is to be saved as it is now; its shard is to be told what has begun."""
        shards = [replica.shard for replica in self._active.values() if not replica.place.target]
        return [(shard, save) for shard in shards for save in shard.saves]

    def tick(self) -> None:
        """To be called about twice a second."""
        for number, replica in self.replicas.items():
            replica.tick(self._patience, self._fill_bytes)
            if not replica.place.target:
                replica.shard.tick()
            self._active[number] = replica

    def flush(self, *, leased: bool = True) -> list[Outgoing]:
        """At the end of a turn: what is to be sent. Without a lease, nothing is answered that others might answer."""
        out, self._out = self._out, []
        leased = leased or not self.needs_lease
        active, self._active = self._active, {}
        if leased and not self._was_leased:
            active = self.replicas
        self._was_leased = leased
        for replica in active.values():
            out += replica.flush(leased=leased)
        view = 0 if self.view is None else self.view.number
        return [(to, envelope if type(to) is bytes else envelope._replace(view=view)) for to, envelope in out]

    def statistics(self) -> m.Statistics:
        """The counters as they are now, of the shards that it answers for."""
        shards = [replica.shard for replica in self._primaries()]
        clocks: dict[int, int] = {}
        for shard in shards:
            for worker, clock in shard.clock.clocks.items():
                clocks[worker] = min(clock, clocks.get(worker, clock))
        counts = Counter[str]()
        for replica in self.replicas.values():
            counts["requests"] += replica.shard.requests
            counts["operations"] += replica.shard.operations
            counts["duplicates"] += replica.shard.inbox.duplicates
        return m.Statistics(
            server=self.server,
            requests=counts["requests"],
            operations=counts["operations"],
            duplicates=counts["duplicates"],
            malformed=self.malformed,
            keys=sum(len(shard.store.entries) for shard in shards),
            parked=sum(shard.clock.parked for shard in shards),
            clock=min((shard.clock.value for shard in shards), default=0),
            clocks=clocks,
            filled={n: r.outlet.piece_bytes for n, r in self.replicas.items() if r.outlet and r.outlet.needed is None},
        )

    def _handle_saved(self, message: m.Saved) -> None:
        replica = self.replicas.get(message.shard)
        if replica is None:
            return
        if replica.place.target:  # nothing may change until the next view
            self._early.append((b"", Envelope(0, 0, 0, message)))
            return
        self._active[message.shard] = replica  # its next file can be begun
        replica.shard.saved(message)

    # --- the view -----------------------------------------------------------------------------------------------

    def _follow(self, view: m.View) -> None:
        if self.view is not None and view.number <= self.view.number:
            return
        if self.server in view.lost:
            raise ServerLost(f"server {self.server} was given up: {view.lost[self.server]}")
        places = [Place.from_wire(each) for each in view.shards]
        self.view = view
        for number, place in enumerate(places):
            if self.server in place.members:
                first = self.server in place.chain
                self._replica(number, len(places), first=first).follow(place, view.number)
                self._active[number] = self.replicas[number]
            elif number in self.replicas:
                logger.info("shard %d is not here any more", number)
                del self.replicas[number]
                self._active.pop(number, None)
        early, self._early = self._early, []
        for sender, envelope in early:
            self.handle(sender, envelope)

    def _replica(self, number: int, shards: int, *, first: bool) -> Replica:
        """The copy of a shard that is here; of a chain that is new, it begins as the checkpoint says."""

        def make() -> Shard:
            shard = Shard(number, shards, self._workers, self._functions)
            shard.statistics = self.statistics
            shard.save_at(self._cuts())
            return shard

        if number not in self.replicas:
            self.replicas[number] = Replica(self.server, make, self._budget)
            if first and self._restore_from:
                self.replicas[number].shard.restore(self._restore_from)
        return self.replicas[number]

    def _primaries(self) -> Iterable[Replica]:
        return [replica for replica in self.replicas.values() if replica.is_primary]

    def _handle_peer(self, shard: int, message: Message) -> None:
        replica = self.replicas.get(shard)
        source = getattr(message, "source", COORDINATOR)
        if replica is None:
            self._tell(source)
        elif isinstance(message, m.Replicate):
            replica.receive(message)
            if source not in replica.place.members:
                self._tell(source)
        elif isinstance(message, m.Progress):
            replica.progress(message)
        if replica is not None:
            self._active[shard] = replica

    def _tell(self, server: int) -> None:
        """Another server does not know the view yet."""
        assert self.view is not None
        self._out.append((server, Envelope(0, 0, 0, self.view)))
