"""A client's requests to the servers of a view, and their replies. No sockets, no time of its own.

It routes keys by the ring, keeps a channel to each server, and follows the view. What is to be sent is in `outbox`,
as (server, envelope); the coordinator is the server number COORDINATOR.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from paracel import messages as m
from paracel.channel import Channel
from paracel.errors import CoordinatorLost, ServerLost
from paracel.messages import READS, Envelope, Message
from paracel.pending import Pending, all_done, gather
from paracel.ring import Ring, in_parts

logger = logging.getLogger(__name__)

COORDINATOR = -1
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
        self.ring = Ring([*view.servers, *view.lost])
        self.channels = {server: Channel(server, view.servers.get(server, "")) for server in self.ring.servers}
        self._unanswered = self._apart = 0
        self._waits: dict[int, float] = {}

    def ask(self, server: int, message: Message) -> Pending:
        """Send one request to one server."""
        if server in self.view.lost:
            lost = Pending()
            lost.fail(self._lost(server))
            return lost
        pending, envelope = self.channels[server].ask(message, self.view.number)
        self.outbox.append((server, envelope))
        return pending

    def ask_all(self, message: Message, combine: Callable[[list[Any]], Any]) -> Pending:
        """Send one request to every server."""
        return gather([self.ask(server, message) for server in self.ring.servers], combine)

    def ask_by_key(
        self, keys: list[str], make: Callable[[Any], Message], combine: Callable[[list[Any], list[Any]], Any]
    ) -> Pending:
        """Send each server the request of its own keys: `make(positions)`; `combine(replies, positions of each)`.

        Many keys go in parts, so that a server works on one while the next is packed here.
        """
        routes = in_parts(self.ring.route(keys), len(keys), PART_KEYS)
        parts = [self.ask(server, make(positions)) for server, positions in routes]
        return gather(parts, lambda replies: combine(replies, [positions for _, positions in routes]))

    def acknowledged(self) -> Pending:
        """Done when every request so far has its reply, whatever it says; but not reads that wait for other workers."""
        outstanding = [request for channel in self.channels.values() for request in channel.outstanding.values()]
        return all_done([r.pending for r in outstanding if not _may_wait(r.message)])

    def give_up(self, server: int, number: int, error: Exception) -> Envelope:
        """Fail a request that cannot be sent; what is to be sent in its place."""
        return self.channels[server].give_up(number, error, self.view.number)

    def receive(self, server: int, envelope: Envelope, now: float) -> None:
        """Take a message from a server or the coordinator."""
        if isinstance(envelope.message, m.View):
            self._follow(envelope.message)
        elif server in self.channels:
            channel = self.channels[server]
            for again in channel.receive(envelope, self.view.number):
                self.outbox.append((server, again))
            if isinstance(envelope.message, m.UnknownKeys):
                self._wanted(server, envelope.message)
            self._replied(server)
            if channel.waiting:
                self._report_straggler(channel.waiting, server, now)
            else:
                self._waits.pop(server, None)

    def _replied(self, server: int) -> None:
        """Called after each message of a server."""

    def _wanted(self, server: int, message: m.UnknownKeys) -> None:
        """Called when a server asks for a key list."""

    def tick(self, now: float, *, connected: bool = True) -> None:
        """To be called about once a second while something is awaited: asks after what stays without an answer.

        Without an answer, a coordinator to which there is a connection is only busy: it may share its process with
        rank 0, and Python's lock. Without a connection it is soon lost.
        """
        for server, channel in self.channels.items():
            probe = channel.tick(now, self.view.number)
            if probe is not None:
                self.outbox.append((server, probe))
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
        for server in view.lost:
            self.channels[server].fail(self._lost(server))

    def _lost(self, server: int) -> ServerLost:
        address = self.channels[server].address
        where = f" ({address})" if address else ""  # not known to a client that came after the loss
        return ServerLost(f"server {server}{where} is gone: {self.view.lost[server]}; its keys went with it")

    def _report_straggler(self, waiting: m.Waiting, server: int, now: float) -> None:
        since = self._waits.setdefault(server, now)
        if now - since < STRAGGLER_SECONDS:
            return
        self._waits[server] = now
        names = ", ".join(f"worker {w} ({self.view.hosts.get(w, 'not joined yet')})" for w in waiting.slowest)
        logger.warning(
            "worker %s has waited %.0f s for clock %d: %s at clock %d",
            self.worker, now - since, waiting.min_clock, names, waiting.clock,
        )  # fmt: skip


def _may_wait(message: Message) -> bool:
    """Whether it is a read that the server may let wait for other workers."""
    return type(message) in READS and getattr(message, "min_clock", 0) > 0
