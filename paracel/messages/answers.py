"""What a shard, or its server, answers."""

from dataclasses import dataclass
from typing import Any

from paracel.messages.base import Clocks, Keys, Message, Values


@dataclass(frozen=True, slots=True)
class Done(Message):
    """It is done, to `count` entries."""

    count: int


@dataclass(frozen=True, slots=True)
class Entered(Message):
    """How often the worker has committed, as far as the server's clock goes; how often the level stands for."""

    clock: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class Found(Message):
    """Values, None at the positions in `missing`, valid for this clock of the server."""

    values: Values
    missing: list[int]
    clock: int


@dataclass(frozen=True, slots=True)
class Entries(Message):
    """Keys and values (none if only keys were asked for), valid for this clock of the server."""

    keys: Keys
    values: Values
    clock: int


@dataclass(frozen=True, slots=True)
class Updated(Message):
    """The new values if asked for (of failed keys the old ones), and the traceback texts of failures by position."""

    values: Values
    failures: dict[int, str]
    clock: int


@dataclass(frozen=True, slots=True)
class Flags(Message):
    """One truth value a key."""

    flags: list[bool]


@dataclass(frozen=True, slots=True)
class Result(Message):
    """What a server function returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Opened(Message):
    """The table is there, and `made` now or before. One that is dropped and made again has another number."""

    number: int
    made: bool


@dataclass(frozen=True, slots=True)
class Pulled(Message):
    """Rows, then state; the keys if the client could not know them. The clock is what they are valid for.

    `mask` says, in bits, which of the keys the rows are of; `metas` how they are encoded; `version` for the next Pull.
    """

    values: Values
    keys: Any
    mask: bytes | None
    metas: Values
    version: int
    clock: int


@dataclass(frozen=True, slots=True)
class Saved(Message):
    """The shard, as it was at its clock, is in the file of this name, of so many bytes; or there was an `error`.

    To the coordinator it has the folder of a checkpoint that the servers made by themselves.
    """

    shard: int
    folder: str
    name: str
    size: int
    digest: str
    clock: int
    clocks: Clocks
    error: str


@dataclass(frozen=True, slots=True)
class UnknownKeys(Message):
    """The request waits for the key list of this hash: send it as a KeyList."""

    request: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Waiting(Message):
    """The request is parked until `min_clock`; the clock is `clock`, and these workers hold it there."""

    request: int
    min_clock: int
    clock: int
    slowest: list[int]


@dataclass(frozen=True, slots=True)
class Parked(Message):
    """The request waits for other workers' commits from now on. Nothing depends on its arrival."""

    request: int


@dataclass(frozen=True, slots=True)
class Lost(Message):
    """The request never came: send again from number `expected` on."""

    expected: int


@dataclass(frozen=True, slots=True)
class Failure(Message):
    """The request was refused. `kind` is a class name in `errors`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Statistics(Message):
    """A server's counters since its start: requests, keys touched, what it holds and what waits.

    `filled` has the bytes sent, by shard, to servers that join.
    """

    server: int
    requests: int
    operations: int
    duplicates: int
    malformed: int
    keys: int
    parked: int
    clock: int
    clocks: Clocks
    filled: dict[int, int]
