"""A client's side of request numbers with one shard: each request is answered exactly once. No I/O.

The numbers stay the same when another server takes the shard over.
A request that stays without an answer is asked after with a small `Probe`; only what the server says it never got
is sent again, with its old number, so that the server can tell it from a new request.
"""

from dataclasses import dataclass
from typing import Any

from paracel import errors
from paracel.errors import RequestError
from paracel.messages import (
    Envelope,
    Failure,
    Lost,
    Message,
    Parked,
    Probe,
    Pull,
    Push,
    Read,
    RunTable,
    UnknownKeys,
    Update,
    Waiting,
    Write,
)
from paracel.pending import Pending
from paracel.values import key_sizes, sizes

PROBE_SECONDS = 1.0
PROBE_PATIENCE = 10.0
#: How often the same request may get lost before the server is given up: it takes others, but never this one.
RESENDS = 20


@dataclass(slots=True)
class Outstanding:
    """A request without a reply."""

    message: Message
    pending: Pending
    size: int


class Channel:
    """The requests of one client to one shard."""

    def __init__(self, shard: int, server: int, address: str) -> None:
        self.shard = shard
        self.server = server
        self.address = address
        self.outstanding: dict[int, Outstanding] = {}
        self.waiting: Waiting | None = None
        #: The requests that wait for other workers, as far as is known here.
        self.parked: set[int] = set()
        self.bytes = 0
        self._next = 1
        self._probed_at = 0.0
        self._probe_open = False
        self._quiet_since: float | None = None
        self._lost = (0, 0)  # the number that was lost last, and how often

    @property
    def confirmed(self) -> int:
        """The highest number up to which all replies are here."""
        return next(iter(self.outstanding), self._next) - 1

    def ask(self, message: Message, view: int) -> tuple[Pending, Envelope]:
        """Number a request."""
        number = self._next
        self._next += 1
        pending = Pending()
        size = request_size(message)
        self.bytes += size
        self.outstanding[number] = Outstanding(message, pending, size)
        return pending, Envelope(number, self.confirmed, view, message, self.shard)

    def move(self, server: int, address: str, view: int) -> list[Envelope]:
        """Another server answers from now on. Returns what it must be sent."""
        self.server, self.address = server, address
        self._probe_open = False
        self._quiet_since = None
        self.waiting = None
        self.parked.clear()
        return self._unanswered(self.confirmed + 1, view) if self.outstanding else []

    def receive(self, envelope: Envelope, view: int) -> list[Envelope]:
        """Take a reply. Returns what must be sent again."""
        self._quiet_since = None
        message = envelope.message
        if envelope.request:
            self._settle(envelope.request, message)
        elif isinstance(message, Lost):
            self._probe_open = False
            return self._again(message.expected, view)
        elif isinstance(message, Waiting | UnknownKeys):
            self._probe_open = False
            self.waiting = message if isinstance(message, Waiting) else None
        elif isinstance(message, Parked) and message.request in self.outstanding:
            self.parked.add(message.request)
        return []

    def tick(self, now: float, view: int) -> Envelope | None:
        """A probe for the oldest request, when the server has been quiet for a while."""
        if not self.outstanding:
            self._quiet_since = None
            return None
        if self._quiet_since is None:
            self._quiet_since = now
            return None
        patience = PROBE_PATIENCE if self._probe_open else PROBE_SECONDS
        if now - max(self._quiet_since, self._probed_at) < patience:
            return None
        self._probed_at = now
        self._probe_open = True
        return Envelope(0, self.confirmed, view, Probe(next(iter(self.outstanding))), self.shard)

    def give_up(self, number: int, error: Exception, view: int) -> Envelope:
        """Fail a request that cannot be delivered. An empty read takes its number, for which later ones wait."""
        gone = self.outstanding[number]
        self.bytes -= gone.size
        self.outstanding[number] = Outstanding(Read([], 0), Pending(), 0)
        gone.pending.fail(error)
        return Envelope(number, self.confirmed, view, Read([], 0), self.shard)

    def fail(self, error: Exception) -> None:
        """No reply will come any more."""
        outstanding, self.outstanding = self.outstanding, {}
        self.parked.clear()
        self.bytes = 0
        for request in outstanding.values():
            request.pending.fail(error)

    def _settle(self, number: int, reply: Message) -> None:
        request = self.outstanding.pop(number, None)
        if request is None:
            return  # a second copy
        self.bytes -= request.size
        self.parked.discard(number)
        self.waiting = None
        self._probe_open = False
        if isinstance(reply, Failure):
            request.pending.fail(error_of(reply))
        else:
            request.pending.resolve(reply)

    def _again(self, expected: int, view: int) -> list[Envelope]:
        number, times = self._lost
        self._lost = (expected, times + 1 if number == expected else 1)
        if self._lost[1] > RESENDS and expected in self.outstanding:
            text = f"server {self.server} ({self.address}) lost the same request {RESENDS} times, though it answers"
            self.give_up(expected, RequestError(f"{text}; it may have no memory for it (--mem_limit_server)"), view)
        return self._unanswered(expected, view)

    def _unanswered(self, first: int, view: int) -> list[Envelope]:
        """The requests from number `first` on. What was answered among them only read: an empty read is in its place,

        so that a server that does not know of the answer does not wait for it.
        """
        numbers = range(max(first, self.confirmed + 1), self._next)
        empty = Outstanding(Read([], 0), Pending(), 0)
        messages = [(number, self.outstanding.get(number, empty).message) for number in numbers]
        return [Envelope(number, self.confirmed, view, message, self.shard) for number, message in messages]


def error_of(failure: Failure) -> Exception:
    """The exception that a refusal stands for."""
    kind: Any = getattr(errors, failure.kind, None)
    if isinstance(kind, type) and issubclass(kind, errors.ParacelError) and "__init__" not in vars(kind):
        return kind(failure.text)
    return errors.RequestError(failure.text)


def request_size(message: Message) -> int:
    """About how many bytes a request has on its way."""
    if isinstance(message, Write):
        return 64 + sizes(message.values) + key_sizes(message.keys)
    if isinstance(message, Update):
        return 64 + sizes(message.deltas) + key_sizes(message.keys)
    if isinstance(message, Push):
        return 64 + sizes([message.selection, *message.values])
    if isinstance(message, RunTable):
        return 64 + sizes([message.selection, *message.arguments])
    if isinstance(message, Pull):
        return 64 + sizes([message.selection])
    return 64
