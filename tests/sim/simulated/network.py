"""A virtual clock, and a network on which messages are dropped, repeated, reordered and late, as a seed decides.

What travels is what travels between processes: encoded frames, with arrays by reference until they are delivered,
when they must still be what they were.
"""

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from paracel import messages as m
from paracel import wire
from paracel.messages import Envelope

Address = bytes
#: No message takes longer, in seconds.
LATEST = 1.5
Receive = Callable[[Address, Envelope], None]
#: Messages that hold nothing of users' and nothing that could change: they are not encoded, which saves half the time.
_PLAIN = frozenset(
    {m.View, m.GetView, m.Heartbeat, m.Lease, m.GetStatistics, m.Statistics, m.Leave, m.Progress, m.Done, m.Commit}
)


@dataclass(frozen=True, slots=True)
class Weather:
    """The chance that a message is dropped, comes twice, or is late by seconds; `ordered` per connection or not."""

    drop: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    ordered: bool = True

    @classmethod
    def random(cls, rng: random.Random) -> "Weather":
        """Fine weather half of the time."""
        if rng.random() < 0.4:
            return cls(ordered=rng.random() < 0.5)
        return cls(
            drop=rng.choice((0.0, 0.03, 0.1)),
            repeat=rng.choice((0.0, 0.1, 0.4)),
            late=rng.choice((0.0, 0.05, 0.2)),
            ordered=rng.random() < 0.4,
        )


class Changed(AssertionError):
    """A message that was changed after it had been handed to the network."""


class Network:
    """Nodes by address, and events in the order of virtual time."""

    def __init__(self, rng: random.Random, weather: Weather) -> None:
        self.now = 0.0
        self.nodes: dict[Address, Receive] = {}
        self.sent = 0
        self._random = rng.random
        self._weather = weather
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._last: dict[tuple[Address, Address], float] = {}
        #: How often each way is cut; and how much later all of a node's messages are.
        self.cuts: Counter[tuple[Address, Address]] = Counter()
        self.slow: dict[Address, float] = defaultdict(float)

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call `action` that much later."""
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, action, arguments))

    def step(self) -> bool:
        """The next event; false if there is none."""
        if not self._events:
            return False
        self.now, _, action, arguments = heapq.heappop(self._events)
        action(*arguments)
        return True

    def send(self, source: Address, target: Address, envelope: Envelope) -> None:
        """Put a message on its way."""
        self.sent += 1
        if self._random() < self._weather.drop or self.cuts[source, target]:
            return
        copies = 2 if self._random() < self._weather.repeat else 1
        if type(envelope.message) in _PLAIN:
            for _ in range(copies):
                self.after(self._delay(source, target), self._hand_over, source, target, envelope)
            return
        frames = wire.encode(envelope)
        content = [bytes(frame) for frame in frames[1:]]
        for _ in range(copies):
            self.after(self._delay(source, target), self._deliver, source, target, frames, content)

    def _delay(self, source: Address, target: Address) -> float:
        weather = self._weather
        delay = 0.001 + 0.02 * self._random()
        if self._random() < weather.late:
            delay = LATEST * self._random() ** 3
        if self.slow:
            delay += self.slow[source] + self.slow[target]
        if not weather.ordered:
            return delay
        arrival = max(self.now + delay, self._last.get((source, target), 0.0))
        self._last[source, target] = arrival
        return arrival - self.now

    def cut(self, ways: Iterable[tuple[Address, Address]], seconds: float) -> None:
        """Let nothing through on these ways for a while."""
        self.cuts.update(ways)
        self.after(seconds, self._less, self.cuts, dict.fromkeys(ways, 1))

    def delay(self, node: Address, later: float, seconds: float) -> None:
        """Let all messages of a node, and to it, take longer for a while."""
        self.slow[node] += later
        self.after(seconds, self._less, self.slow, {node: later})

    def _less(self, counts: dict[Any, float], by: dict[Any, float]) -> None:
        for key, less in by.items():
            if key in counts:  # else all is well again
                counts[key] -= less

    def _hand_over(self, source: Address, target: Address, envelope: Envelope) -> None:
        if not self.cuts[source, target]:
            self.nodes[target](source, envelope)

    def _deliver(self, source: Address, target: Address, frames: list[Any], content: list[bytes]) -> None:
        if any(bytes(frame) != was for frame, was in zip(frames[1:], content, strict=True)):
            raise Changed(f"{wire.decode(frames)} was changed while it travelled")
        if self.cuts[source, target]:
            return
        arrived = wire.decode([frames[0], *(memoryview(bytearray(part)) for part in content)])
        self.nodes[target](source, arrived)
