"""What clients, servers and launchers say to the coordinator, and what it answers."""

from dataclasses import dataclass
from typing import Any

from paracel.messages.base import Message, Values


@dataclass(frozen=True, slots=True)
class Register(Message):
    """A server is ready at an address. Answer: View."""

    server: int
    address: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """A server lives, and has been in its turn for so many seconds. Answer: Lease."""

    server: int
    busy: int
    number: int


@dataclass(frozen=True, slots=True)
class Lease(Message):
    """The heartbeat of this number has come."""

    number: int


@dataclass(frozen=True, slots=True)
class Join(Message):
    """A client asks for the membership; `worker` is -1 for one outside the quorum. Answer: View, or Failure."""

    worker: int
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class GetView(Message):
    """Answer: View."""


@dataclass(frozen=True, slots=True)
class View(Message):
    """A numbered membership: the live servers' addresses, why others are gone, and the size of the quorum.

    `shards` has the place of each shard, as `chains.Place` puts it on the wire. `attempt` is 0 where the workers are
    not started anew if they fail, and else counts how often they were started.
    """

    number: int
    servers: dict[int, str]
    lost: dict[int, str]
    workers: int
    hosts: dict[int, str]
    shards: Values
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Goodbye(Message):
    """A client is closing: how long it was there, and how long in communication and in waiting. No answer."""

    worker: int
    seconds: float = 0.0
    communication: float = 0.0
    waiting: float = 0.0


@dataclass(frozen=True, slots=True)
class Control(Message):
    """Whoever runs the job asks for something: "status", "add" or "remove". Answer: Controlled, or Failure."""

    command: str
    arguments: Values


@dataclass(frozen=True, slots=True)
class Controlled(Message):
    """What has come of it."""

    value: Any
