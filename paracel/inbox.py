"""A shard's side of request numbers: every request of a sender is run exactly once, in order. No I/O.

Requests that come early wait for the gap before them to be filled; those that come again get the stored reply, or,
if they only read, are run again. Replies are kept until the sender confirms them. A sender that does not take its
replies is not served further once `UNCONFIRMED_BYTES` of them are on their way.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from paracel.messages import READS, Entries, Envelope, Found, Message, Pulled, Result, Updated, packed, unpacked
from paracel.values import size_of, sizes

UNCONFIRMED_BYTES = 256 * 1024 * 1024
WINDOW = 65536
#: No request has a higher number, whatever a stranger says: it is to be told to other servers.
LAST = (1 << 63) - 1


@dataclass(slots=True)
class Peer:
    """What is known of one sender."""

    next: int = 1
    confirmed: int = 0
    held: dict[int, Envelope] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    replies: dict[int, Message] = field(default_factory=dict)
    reply_bytes: dict[int, int] = field(default_factory=dict)
    unconfirmed: int = 0
    paused: bool = False

    def confirm(self, up_to: int) -> None:
        """Drop what is kept for requests whose replies have arrived, and do not wait for those."""
        up_to = min(up_to, LAST)
        self.confirmed = max(self.confirmed, up_to)
        if self.next <= up_to:  # another server had answered them, and they changed nothing
            self.held = {number: envelope for number, envelope in self.held.items() if number > up_to}
            self.next = up_to + 1
        while self.reply_bytes:
            oldest = next(iter(self.reply_bytes))
            if oldest > up_to:
                return
            self.unconfirmed -= self.reply_bytes.pop(oldest)
            self.replies.pop(oldest, None)


class Inbox:
    """The peers of one shard."""

    def __init__(self, can_run: Callable[[Message], bool] = lambda _message: True) -> None:
        """`can_run` says whether there is all that a request needs; if not, it waits, and those behind it."""
        self._peers: dict[bytes, Peer] = {}
        self._can_run = can_run
        self.duplicates = 0
        #: The requests that were answered since they were last asked for, by sender; None: nobody wants to know.
        self.changed: dict[bytes, list[int]] | None = None

    def take_changes(self) -> list[Any]:
        """For each sender with new replies: its name, its next number, what it confirmed, and those replies."""
        changed, self.changed = self.changed or {}, {}
        return [self._state(sender, numbers) for sender, numbers in changed.items()]

    def senders(self) -> list[bytes]:
        """All that are known."""
        return list(self._peers)

    def state(self, sender: bytes) -> list[Any]:
        """All that is known of a sender, in the form of `take_changes`."""
        peer = self._peers.get(sender)
        return self._state(sender, list(peer.replies) if peer else [])

    def _state(self, sender: bytes, numbers: list[int]) -> list[Any]:
        peer = self._peers.get(sender)
        if peer is None:
            return [sender, 0, 0, {}]
        replies = {number: packed(peer.replies[number]) for number in numbers if number in peer.replies}
        return [sender, peer.next, peer.confirmed, replies]

    def restore(self, state: list[Any]) -> None:
        """Take what another server's inbox has told of a sender."""
        sender, following, confirmed, replies = state
        if not following:
            self.forget(sender)
            return
        peer = self._peers.setdefault(sender, Peer())
        peer.next = max(peer.next, following)
        for number, reply in replies.items():
            self._keep(peer, number, unpacked(reply))
        peer.confirm(confirmed)

    def forget_running(self) -> None:
        """Nothing runs here, and nothing is held: the senders will send again."""
        for peer in self._peers.values():
            peer.running.clear()
            peer.held.clear()
            peer.paused = False

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

    def holds_next(self, sender: bytes) -> bool:
        """Whether the sender's next request is here, and waits for its turn."""
        peer = self._peers.get(sender)
        return peer is not None and peer.next in peer.held

    def pause(self, sender: bytes) -> None:
        """Let the sender's further requests wait."""
        if sender in self._peers:
            self._peers[sender].paused = True

    def is_paused(self, sender: bytes) -> bool:
        """Whether the sender's requests wait."""
        return sender in self._peers and self._peers[sender].paused

    def go_on(self) -> list[bytes]:
        """Let all requests run that were to wait; their senders, to be resumed."""
        paused = [sender for sender, peer in self._peers.items() if peer.paused]
        for sender in paused:
            self._peers[sender].paused = False
        return paused

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
        while peer.next in peer.held and peer.unconfirmed <= UNCONFIRMED_BYTES and not peer.paused:
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
        number = request.request
        peer.running.discard(number)
        if type(request.message) in READS:
            self._count(peer, number, reply)
            return True
        self._keep(peer, number, reply)
        if self.changed is not None:
            self.changed.setdefault(sender, []).append(number)
        return True

    def _keep(self, peer: Peer, number: int, reply: Message) -> None:
        self._count(peer, number, reply)
        peer.replies[number] = reply

    def _count(self, peer: Peer, number: int, reply: Message) -> None:
        size = _reply_size(reply)
        peer.unconfirmed += size - peer.reply_bytes.pop(number, 0)
        peer.reply_bytes[number] = size

    def was_answered(self, sender: bytes, request: int) -> bool:
        """Whether the request was answered, by this server or by one whose place it took; or has no number."""
        peer = self._peers.get(sender)
        return request < 1 or (peer is not None and (request <= peer.confirmed or request in peer.reply_bytes))

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

    def run_again(self, sender: bytes, request: int) -> None:
        """Note that a request runs now which was taken before, and not answered."""
        self._peers[sender].running.add(request)

    def forget(self, sender: bytes) -> None:
        """Drop all that is known of a sender."""
        if self._peers.pop(sender, None) is not None and self.changed is not None:
            self.changed.setdefault(sender, [])


def _reply_size(reply: Message) -> int:
    if isinstance(reply, Found | Entries | Updated | Pulled):
        return 64 + sizes(reply.values)
    return 64 + size_of(reply.value) if isinstance(reply, Result) else 64
