"""A virtual clock, and a network on which messages are dropped, repeated, reordered and late, as a seed decides.

What travels is what travels between processes: encoded frames, with arrays by reference until they are delivered,
when they must still be what they were.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paracel import wire
from paracel.messages import Envelope

Address = bytes
#: No message takes longer, in seconds.
LATEST = 1.5
Receive = Callable[[Address, Envelope], None]


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
        frames = wire.encode(envelope)
        if self._random() < self._weather.drop:
            return
        content = [bytes(frame) for frame in frames[1:]]
        self.after(self._delay(source, target), self._deliver, source, target, frames, content)
        if self._random() < self._weather.repeat:
            self.after(self._delay(source, target), self._deliver, source, target, frames, content)

    def _delay(self, source: Address, target: Address) -> float:
        weather = self._weather
        delay = 0.001 + 0.02 * self._random()
        if self._random() < weather.late:
            delay = LATEST * self._random() ** 3
        if not weather.ordered:
            return delay
        arrival = max(self.now + delay, self._last.get((source, target), 0.0))
        self._last[source, target] = arrival
        return arrival - self.now

    def _deliver(self, source: Address, target: Address, frames: list[Any], content: list[bytes]) -> None:
        if any(bytes(frame) != was for frame, was in zip(frames[1:], content, strict=True)):
            raise Changed(f"{wire.decode(frames)} was changed while it travelled")
        arrived = wire.decode([frames[0], *(memoryview(bytearray(part)) for part in content)])
        self.nodes[target](source, arrived)
