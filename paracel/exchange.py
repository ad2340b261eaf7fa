"""A client's requests to the shards, and their replies. No sockets, no time of its own.

It routes keys by the ring, keeps a channel to each shard, and follows the view, which says what server answers for it.
What is to be sent is in `outbox`, as (server, envelope); the coordinator is the server number COORDINATOR.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from paracel import messages as m
from paracel.chains import Place
from paracel.channel import Channel
from paracel.errors import CoordinatorLost, ServerLost
from paracel.messages import COORDINATOR, READS, Envelope, Message
from paracel.pending import Pending, all_done, gather
from paracel.ring import Ring, in_parts

logger = logging.getLogger(__name__)

#: For how many seconds there may be no connection to the coordinator.
COORDINATOR_PATIENCE = 15
STRAGGLER_SECONDS = 30.0
#: How many keys a request has at most.
PART_KEYS = 16384


class Exchange:
    """The channels of one client in one job."""

    def __init__(self, view: m.View, worker: int | None) -> None:
        self.view = view
        self.worker = worker
        self.outbox: deque[tuple[int, Envelope]] = deque()
        self.ring = Ring(range(len(view.shards)))
        self.places = [Place.from_wire(each) for each in view.shards]
        self.channels = {
            shard: Channel(shard, place.primary, view.servers.get(place.primary, ""))
            for shard, place in enumerate(self.places)
        }
        self._unanswered = self._apart = 0
        self._waits: dict[int, float] = {}

    def ask(self, shard: int, message: Message) -> Pending:
        """Send one request to one shard."""
        channel = self.channels[shard]
        if channel.server in self.view.lost:
            lost = Pending()
            lost.fail(self._lost(channel))
            return lost
        pending, envelope = channel.ask(message, self.view.number)
        self.outbox.append((channel.server, envelope))
        return pending

    def ask_all(self, message: Message, combine: Callable[[list[Any]], Any]) -> Pending:
        """Send one request to every shard."""
        return gather([self.ask(shard, message) for shard in self.channels], combine)

    def ask_by_key(
        self, keys: list[str], make: Callable[[Any], Message], combine: Callable[[list[Any], list[Any]], Any]
    ) -> Pending:
        """Send each shard the request of its own keys: `make(positions)`; `combine(replies, positions of each)`.

        Many keys go in parts, so that a server works on one while the next is packed here.
        """
        routes = in_parts(self.ring.route(keys), len(keys), PART_KEYS)
        parts = [self.ask(shard, make(positions)) for shard, positions in routes]
        return gather(parts, lambda replies: combine(replies, [positions for _, positions in routes]))

    def acknowledged(self) -> Pending:
        """Done when every request so far has its reply, whatever it says; but not reads that wait for other workers."""
        outstanding = [request for channel in self.channels.values() for request in channel.outstanding.values()]
        return all_done([r.pending for r in outstanding if not _may_wait(r.message)])

    def give_up(self, shard: int, number: int, error: Exception) -> Envelope:
        """Fail a request that cannot be sent; what is to be sent in its place."""
        return self.channels[shard].give_up(number, error, self.view.number)

    def receive(self, envelope: Envelope, now: float) -> None:
        """Take a message from a server or the coordinator."""
        if isinstance(envelope.message, m.View):
            self._follow(envelope.message)
        elif envelope.shard in self.channels:
            shard = envelope.shard
            channel = self.channels[shard]
            self._send(channel, channel.receive(envelope, self.view.number))
            if isinstance(envelope.message, m.UnknownKeys):
                self._wanted(shard, envelope.message)
            self._replied(shard)
            if channel.waiting:
                self._report_straggler(channel.waiting, shard, now)
            else:
                self._waits.pop(shard, None)

    def _send(self, channel: Channel, envelopes: list[Envelope]) -> None:
        self.outbox.extend((channel.server, envelope) for envelope in envelopes)

    def _replied(self, shard: int) -> None:
        """Called after each message of a shard."""

    def _wanted(self, shard: int, message: m.UnknownKeys) -> None:
        """Called when a shard asks for a key list."""

    def tick(self, now: float, *, connected: bool = True) -> None:
        """To be called about once a second while something is awaited: asks after what stays without an answer.

        Without an answer, a coordinator to which there is a connection is only busy: it may share its process with
        rank 0, and Python's lock. Without a connection it is soon lost.
        """
        for channel in self.channels.values():
            probe = channel.tick(now, self.view.number)
            if probe is not None:
                self.outbox.append((channel.server, probe))
        self._apart = 0 if connected else self._apart + 1
        if self._apart > COORDINATOR_PATIENCE:
            self.fail(
                CoordinatorLost(f"no connection to the coordinator for {COORDINATOR_PATIENCE} s; the job is over")
            )
            return
        self._unanswered += 1
        if self._unanswered % STRAGGLER_SECONDS == 0:
            logger.warning("the coordinator has not answered for %d s; its process is busy", self._unanswered)
        self.outbox.append((COORDINATOR, Envelope(0, 0, self.view.number, m.GetView())))

    def fail(self, error: Exception) -> None:
        """No reply will come any more, from anyone."""
        for channel in self.channels.values():
            channel.fail(error)

    def _follow(self, view: m.View) -> None:
        self._unanswered = 0
        if view.number < self.view.number:
            return
        self.view = view
        self.places = [Place.from_wire(each) for each in view.shards]
        for channel, place in zip(self.channels.values(), self.places, strict=True):
            if place.primary in view.lost:
                channel.server = place.primary
                channel.fail(self._lost(channel))
            elif place.primary != channel.server:
                logger.info("shard %d is answered for by server %d now", channel.shard, place.primary)
                self._send(channel, channel.move(place.primary, view.servers[place.primary], view.number))

    def _lost(self, channel: Channel) -> ServerLost:
        server = channel.server
        where = f" ({channel.address})" if channel.address else ""  # not known to a client that came after the loss
        return ServerLost(f"server {server}{where} is gone: {self.view.lost[server]}; its keys went with it")

    def _report_straggler(self, waiting: m.Waiting, shard: int, now: float) -> None:
        since = self._waits.setdefault(shard, now)
        if now - since < STRAGGLER_SECONDS:
            return
        self._waits[shard] = now
        names = ", ".join(f"worker {w} ({self.view.hosts.get(w, 'not joined yet')})" for w in waiting.slowest)
        logger.warning(
            "worker %s has waited %.0f s for clock %d: %s at clock %d",
            self.worker, now - since, waiting.min_clock, names, waiting.clock,
        )  # fmt: skip


def _may_wait(message: Message) -> bool:
    """Whether it is a read that the server may let wait for other workers."""
    return type(message) in READS and getattr(message, "min_clock", 0) > 0
