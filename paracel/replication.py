"""One server's copy of a shard in the chain of its copies. No sockets, no time of its own.

What changed in a turn of the primary gets a sequence number and goes down the chain, server by server; each keeps it
until all behind it have it. A reply leaves the primary only when every copy has all that was changed before it: so
nothing is answered that the loss of all servers but one could undo, and a server that takes the place of another has
at least what those behind it have (van Renesse and Schneider, OSDI 2004; reconfiguration as in PacificA, Lin et al.,
2008). A server that joins is filled by the last of the chain: pieces of the shard as it is then, with newer changes in
between. Both tell results, so that their order is all that matters.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from paracel import messages as m
from paracel.chains import Place
from paracel.messages import COORDINATOR, Envelope, Message
from paracel.shard import Shard
from paracel.values import size_of

logger = logging.getLogger(__name__)

PIECE_BYTES = 1024 * 1024
#: How many bytes of pieces are on their way to a server that joins.
FILL_WINDOW = 4 * 1024 * 1024
#: Client by name, another server by number, or the coordinator.
Receiver = bytes | int


class Sent(NamedTuple):
    """A message on its way to the next server."""

    number: int
    sequence: int
    piece: int
    changes: Any
    size: int


@dataclass(slots=True)
class Budget:
    """How many bytes of pieces a server may still send until its next tick, of all its shards."""

    left: int = FILL_WINDOW


class Outlet:
    """What goes to the server behind this one, or to one that joins, until it has said that it has it."""

    def __init__(self, peer: int, link: int, budget: Budget, filling: Iterator[dict[str, Any]] | None = None) -> None:
        """`filling` gives the pieces of a copy for a server that joins; one of the chain has a copy."""
        self.peer = peer
        self.link = link
        self.in_sync = filling is None
        self.stable = 0
        self.pieces = 0
        self.piece_bytes = 0
        #: What the peer must have, so that it can be one of the chain.
        self.needed: int | None = None
        self.sent: deque[Sent] = deque()
        self.quiet = 0
        self._budget = budget
        self._filling = filling
        self._number = 0
        self._unacknowledged = 0

    def add(self, sequence: int, changes: Any, piece: int = -1, size: int = 0) -> Sent:
        """Number what is to be sent."""
        self._number += 1
        self.sent.append(Sent(self._number, sequence, piece, changes, size))
        return self.sent[-1]

    def next_piece(self, sequence: int) -> Sent | None:
        """The next piece, if it may be on its way now."""
        may_wait = self.pieces > 0  # the first comes before any change
        if self._filling is None or (may_wait and (self._unacknowledged >= FILL_WINDOW or self._budget.left <= 0)):
            return None
        changes = next(self._filling, None)
        if changes is None:
            self._filling = None
            return None
        size = 64 + size_of(changes)
        self.pieces += 1
        self.piece_bytes += size
        self._budget.left -= size
        self._unacknowledged += size
        return self.add(sequence, changes, self.pieces - 1, size)

    @property
    def is_filled(self) -> bool:
        """Whether the peer has all the pieces, and perhaps not yet all the changes since."""
        return self._filling is None and not self._unacknowledged

    def acknowledge(self, number: int, stable: int) -> None:
        """Note what the peer has, and what those behind it have."""
        self.stable = max(self.stable, stable)
        while self.sent and self.sent[0].number <= number:
            self._unacknowledged -= self.sent.popleft().size
            self.quiet = 0


class Replica:
    """One server's copy of one shard: the shard itself, and what of it others have."""

    def __init__(self, server: int, make: Callable[[], Shard], budget: Budget | None = None) -> None:
        """`make()` is the shard with nothing in it. All replicas of a server share one budget."""
        self.place = Place(-1, (-1,))
        self._server = server
        self._make = make
        self._budget = budget or Budget()
        self.shard = make()
        self.applied = self.stable = 0
        self.outlet: Outlet | None = None
        self._log: deque[tuple[int, Any]] = deque()
        self._source, self._link, self._last = -1, -1, 0  # the server before this one, and what came from it
        self._failed = -2  # the link of which nothing more can be taken
        self._told: tuple[int, ...] = ()
        self._replies: deque[tuple[int, bytes, Envelope]] = deque()
        self._held: list[tuple[bytes, Envelope]] = []
        self._watched = self._reported = False
        self._out: list[tuple[int, Message]] = []

    @property
    def is_primary(self) -> bool:
        """Whether it is this server that answers for the shard."""
        return self.place.primary == self._server

    # --- the view -------------------------------------------------------------------------------------------

    def follow(self, place: Place, view: int) -> None:
        """Take the shard's place as it is now."""
        before, self.place = self.place, place
        if before == place:
            return
        self._reported = False
        if self.is_primary and before.primary != self._server:
            self.shard.begin_serving(view)
        elif before.primary == self._server and not self.is_primary:
            self.shard.stop_serving()
            self._replies.clear()
            self._watched = False
        self._note()
        self._connect(view)
        held, self._held = self._held, []
        for sender, envelope in held if self.is_primary else ():
            self.handle(sender, envelope)

    def _connect(self, view: int) -> None:
        """Have an outlet to the server behind this one, if there is one."""
        members = self.place.members
        peer = next((after for own, after in pairwise(members) if own == self._server), -1)
        joins = peer not in self.place.chain
        kept = self.outlet
        if peer < 0:
            self.outlet = None
            return
        self._watch()  # one that has become primary keeps the outlet that it had
        if kept is None or kept.peer != peer or (joins and kept.link < self.place.since):
            self.outlet = outlet = Outlet(peer, view, self._budget, self.shard.pieces(PIECE_BYTES) if joins else None)
            if joins:
                self._fill(outlet)  # the first piece comes before any change
            else:
                outlet.stable = self.stable
                for sequence, changes in self._log:
                    self._send(outlet.add(sequence, changes))

    def _watch(self) -> None:
        if self.is_primary and not self._watched:
            self._watched = True
            self.shard.watch()

    def _predecessor(self) -> int:
        return next((before for before, own in pairwise(self.place.members) if own == self._server), -1)

    # --- as the primary ---------------------------------------------------------------------------------------

    def handle(self, sender: bytes, envelope: Envelope) -> None:
        """Take a message of a client, or what the coordinator says of one."""
        if self.place.target:
            self._held.append((sender, envelope))
        else:
            self.shard.handle(sender, envelope)

    def flush(self, *, leased: bool) -> list[tuple[Receiver, Envelope]]:
        """At the end of a turn: what goes to clients, servers and the coordinator.

        Without a lease nothing is answered: another server may be in this one's place by now.
        """
        self._note()
        if self.is_primary:
            self._replies.extend((self.applied, receiver, reply) for receiver, reply in self.shard.flush())
        if self.outlet is not None:
            self._fill(self.outlet)
        self._settle()
        out: list[tuple[Receiver, Envelope]] = []
        while leased and self._replies and self._replies[0][0] <= self.stable:
            _, receiver, reply = self._replies.popleft()
            out.append((receiver, reply))
        self._report()
        out += [(to, Envelope(0, 0, 0, message, self.shard.number)) for to, message in self._out]
        self._out.clear()
        return out

    def _note(self) -> None:
        """Give what has changed since the last time a number, and send it down the chain."""
        changes = self.shard.take_changes() if self._watched else None
        if changes:
            self._pass_on(self.applied + 1, changes)

    def _pass_on(self, sequence: int, changes: Any) -> None:
        self.applied = sequence
        if self.outlet is not None:
            self._log.append((sequence, changes))
            self._send(self.outlet.add(sequence, changes))

    # --- as one behind another -----------------------------------------------------------------------------------

    def receive(self, message: m.Replicate) -> None:
        """Take what the server before this one sends: each message of a link once, in order."""
        same_link = (message.source, message.link) == (self._source, self._link)
        if self._predecessor() != message.source or message.source < 0 or not (same_link or message.link > self._link):
            return
        if not same_link:
            self._source, self._link, self._last = message.source, message.link, 0
        self._told = ()  # whatever it is, it is answered
        if message.number == self._last + 1 and message.link != self._failed and self._takes(message):
            self._last += 1

    def _takes(self, message: m.Replicate) -> bool:
        """Take it, or, if that cannot be done here, nothing of this link any more: then this copy is made anew."""
        try:
            return self._take(message)
        except Exception:  # no memory, no such function or file on this host
            logger.exception("server %d cannot follow shard %d", self._server, self.shard.number)
            self._failed = message.link
            return False

    def _take(self, message: m.Replicate) -> bool:
        if message.piece == 0:
            self.shard = self._make()
            self._watched = False
            self._log.clear()
            self.stable = self.applied = message.sequence
        if message.piece >= 0:
            self.shard.apply(message.changes)
        elif message.sequence == self.applied + 1:
            self.shard.apply(message.changes)
            self._pass_on(message.sequence, message.changes)
        return message.sequence <= self.applied

    def _settle(self) -> None:
        """Find out up to where all copies from here on are the same, and tell the server before this one."""
        outlet = self.outlet
        self.stable = max(self.stable, outlet.stable if outlet is not None and outlet.in_sync else self.applied)
        while self._log and self._log[0][0] <= self.stable:
            self._log.popleft()
        source = self._predecessor()
        told = (source, self._link, self._last, self.stable)
        if source >= 0 and source == self._source and told != self._told:
            self._told = told
            self._out.append((source, m.Progress(self._server, self._link, self._last, self.stable)))

    # --- the server behind this one --------------------------------------------------------------------------------

    def progress(self, message: m.Progress) -> None:
        """Take what the server behind this one says that it has."""
        if self.outlet is not None and (self.outlet.peer, self.outlet.link) == (message.source, message.link):
            self.outlet.acknowledge(message.number, message.stable)

    def tick(self, patience: float, fill_bytes: int) -> None:
        """Send again what was not acknowledged since the last tick; complain after so many ticks without any.

        Until the next tick, servers that join are sent so many bytes of pieces.
        """
        self._reported = False
        outlet = self.outlet
        self._budget.left = fill_bytes
        if outlet is None or not outlet.sent:
            self._ask_again()
            return
        outlet.quiet += 1
        size = 0
        for sent in outlet.sent if outlet.quiet > 1 else ():
            self._send(sent)
            size += sent.size or size_of(sent.changes)
            if size > FILL_WINDOW:
                break
        if outlet.quiet > patience:
            self._out.append((COORDINATOR, m.Behind(self._server, self.shard.number, outlet.peer, self.place.epoch)))

    def _ask_again(self) -> None:
        """The peer has all, and those behind it had not when it last said so: what it said since may be lost."""
        outlet = self.outlet
        if outlet is not None and outlet.in_sync and outlet.stable < self.applied:
            self._send(Sent(0, 0, -1, None, 0))  # nothing is taken of it, but all is answered

    def _fill(self, outlet: Outlet) -> None:
        """Send the next pieces to a server that joins. Once it has all, nothing is stable that it does not have."""
        while (piece := outlet.next_piece(self.applied)) is not None:
            self._send(piece)
        if not outlet.in_sync and outlet.is_filled:
            outlet.in_sync, outlet.needed = True, self.applied

    def _report(self) -> None:
        """Tell the coordinator what it waits for."""
        outlet, epoch = self.outlet, self.place.epoch
        if self._reported:
            return
        if self.place.joining >= 0 and outlet is not None and outlet.needed is not None:
            if outlet.peer == self.place.joining and outlet.stable >= outlet.needed:
                self._reported = True
                self._out.append((COORDINATOR, m.Filled(self._server, self.shard.number, outlet.peer, epoch)))
        elif self.is_primary and self.place.target and self.stable == self.applied and not self._replies:
            self._reported = True
            self._out.append((COORDINATOR, m.Drained(self._server, self.shard.number, epoch)))

    def _send(self, sent: Sent) -> None:
        assert self.outlet is not None
        message = m.Replicate(self._server, self.outlet.link, sent.number, sent.sequence, sent.piece, sent.changes)
        self._out.append((self.outlet.peer, message))
