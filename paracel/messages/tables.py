"""What a client asks a shard of tables.

A `selection` names keys: a uint64 array; a range [first, last] (empty: [1, 0]); or None where a `digest`, the hash of
a list that the server has seen, stands for it. With both, the server keeps the list. Filters are in their wire form.
"""

from dataclasses import dataclass
from typing import Any

from paracel.messages.base import Keys, Message, Values


@dataclass(frozen=True, slots=True)
class OpenTable(Message):
    """Make a table with these settings, if it is not there. Answer: Opened."""

    settings: Any


@dataclass(frozen=True, slots=True)
class DropTable(Message):
    """Remove a table and all it holds. Answer: Done with 1 if it was there."""

    table: str


@dataclass(frozen=True, slots=True)
class ListTables(Message):
    """Answer: Result, a dict of each table's settings and counters by its name."""


@dataclass(frozen=True, slots=True)
class Push(Message):
    """Let the table's updater take values in a worker's clock (-1: of no worker). Answer: Done, or of `reply` Pulled.

    `mask` says, in bits, which of the selected keys the values are of (None: of all); `filters` and `metas` how they
    are encoded.
    """

    table: str
    worker: int
    clock: int
    selection: Any
    digest: bytes
    mask: bytes | None
    values: Values
    filters: Values
    metas: Values
    reply: bool


@dataclass(frozen=True, slots=True)
class Pull(Message):
    """Send rows, and state of these names, once the server's clock has reached `min_clock`. Answer: Pulled.

    With a `threshold`, only rows that have changed by more since `version`.
    """

    table: str
    selection: Any
    digest: bytes
    state: Keys
    filters: Values
    threshold: float | None
    version: int
    min_clock: int


@dataclass(frozen=True, slots=True)
class RunTable(Message):
    """Run a function over the table's rows, or those selected; with `once` >= 0 once for that clock. Answer: Result."""

    table: str
    function: str
    arguments: Values
    selection: Any
    once: int
    min_clock: int


@dataclass(frozen=True, slots=True)
class KeyList(Message):
    """A list of keys that the server asked for, and its hash. No answer."""

    digest: bytes
    keys: Any
