"""A server's side of request numbers: every request of a sender is run exactly once, in order. No I/O.

Requests that come early wait for the gap before them to be filled; those that come again get the stored reply, or,
if they only read, are run again. Replies are kept until the sender confirms them. A sender that does not take its
replies is not served further once `UNCONFIRMED_BYTES` of them are on their way.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from paracel.messages import READS, Entries, Envelope, Found, Message, Pulled, Result, Updated
from paracel.values import size_of, sizes

UNCONFIRMED_BYTES = 256 * 1024 * 1024
WINDOW = 65536


@dataclass(slots=True)
class Peer:
    """What is known of one sender."""

    next: int = 1
    held: dict[int, Envelope] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    replies: dict[int, Message] = field(default_factory=dict)
    reply_bytes: dict[int, int] = field(default_factory=dict)
    unconfirmed: int = 0

    def confirm(self, up_to: int) -> None:
        """Drop what is kept for requests whose replies have arrived."""
        while self.reply_bytes:
            oldest = next(iter(self.reply_bytes))
            if oldest > up_to:
                return
            self.unconfirmed -= self.reply_bytes.pop(oldest)
            self.replies.pop(oldest, None)


class Inbox:
    """The peers of one server."""

    def __init__(self, can_run: Callable[[Message], bool] = lambda _message: True) -> None:
        """`can_run` says whether there is all that a request needs; if not, it waits, and those behind it."""
        self._peers: dict[bytes, Peer] = {}
        self._can_run = can_run
        self.duplicates = 0

    def take(self, sender: bytes, envelope: Envelope) -> Iterator[Envelope]:
        """Note what the message brings; the requests to run now, in order, each before the next is taken.

        A message without a number, or one that came before, brings only its confirmation.
        """
        peer = self._peers.get(sender)
        if peer is None:
            if not envelope.request:
                return
            peer = self._peers[sender] = Peer()
        peer.confirm(envelope.confirmed)
        if peer.next <= envelope.request < peer.next + WINDOW:
            peer.held[envelope.request] = envelope
        yield from self._ready(peer)

    def resume(self, sender: bytes) -> Iterator[Envelope]:
        """The requests to run now that something has come which one of them waited for."""
        peer = self._peers.get(sender)
        if peer is not None:
            yield from self._ready(peer)

    def in_want(self, sender: bytes) -> Envelope | None:
        """The sender's next request, if it is here and cannot run."""
        peer = self._peers.get(sender)
        following = peer.held.get(peer.next) if peer else None
        return following if following is not None and not self._can_run(following.message) else None

    def is_repeated(self, sender: bytes, request: int) -> bool:
        """Whether the request was taken before."""
        repeated = request < self.expected(sender)
        self.duplicates += repeated
        return repeated

    def _ready(self, peer: Peer) -> Iterator[Envelope]:
        while peer.next in peer.held and peer.unconfirmed <= UNCONFIRMED_BYTES:
            envelope = peer.held[peer.next]
            if not self._can_run(envelope.message):
                return
            del peer.held[peer.next]
            peer.running.add(peer.next)
            peer.next += 1
            yield envelope

    def answered(self, sender: bytes, request: Envelope, reply: Message) -> bool:
        """Note the reply of a request. Returns whether the sender is still known."""
        peer = self._peers.get(sender)
        if peer is None:
            return False
        peer.running.discard(request.request)
        size = _reply_size(reply)
        peer.unconfirmed += size - peer.reply_bytes.pop(request.request, 0)
        peer.reply_bytes[request.request] = size
        if type(request.message) not in READS:
            peer.replies[request.request] = reply
        return True

    def stored(self, sender: bytes, request: int) -> Message | None:
        """The reply that is kept for a request."""
        peer = self._peers.get(sender)
        return peer.replies.get(request) if peer else None

    def expected(self, sender: bytes) -> int:
        """The number of the first request of this sender that has not come."""
        peer = self._peers.get(sender)
        return peer.next if peer else 1

    def is_running(self, sender: bytes, request: int) -> bool:
        """Whether the request was taken and has no reply yet."""
        peer = self._peers.get(sender)
        return peer is not None and request in peer.running

    def forget(self, sender: bytes) -> None:
        """Drop all that is known of a sender."""
        self._peers.pop(sender, None)


def _reply_size(reply: Message) -> int:
    if isinstance(reply, Found | Entries | Updated | Pulled):
        return 64 + sizes(reply.values)
    return 64 + size_of(reply.value) if isinstance(reply, Result) else 64
