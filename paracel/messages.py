"""Every message of the protocol, as a frozen value, and the tag it has on the wire. Nothing here sends.

A request is numbered by its sender and handled exactly once, in order; `Probe`, `GetStatistics`, `GetView` and
the coordinator's messages carry the number 0 and may be repeated at will.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

Keys = list[str]
Values = list[Any]
Clocks = dict[int, int]


class Message:
    """The base of all of them."""

    __slots__ = ()


# --- a worker asks a server -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read(Message):
    """Send the values, once the server's clock has reached `min_clock`. Answer: Found."""

    keys: Keys
    min_clock: int


@dataclass(frozen=True, slots=True)
class Scan(Message):
    """Send all entries, or those that a key filter chooses; of `keys_only` the keys. Answer: Entries."""

    key_filter: str | None
    keys_only: bool
    min_clock: int


@dataclass(frozen=True, slots=True)
class Top(Message):
    """Send the `count` entries with the largest values. Answer: Entries."""

    count: int
    key_filter: str | None
    min_clock: int


@dataclass(frozen=True, slots=True)
class Write(Message):
    """Set values. Answer: Done."""

    keys: Keys
    values: Values


@dataclass(frozen=True, slots=True)
class Update(Message):
    """Apply an updater to each key, in order; `reply` asks for the new values. Answer: Updated."""

    keys: Keys
    deltas: Values
    updater: str
    reply: bool


@dataclass(frozen=True, slots=True)
class Contains(Message):
    """Which of the keys are there? Answer: Flags."""

    keys: Keys


@dataclass(frozen=True, slots=True)
class Remove(Message):
    """Remove keys. Answer: Flags, true where the key was there."""

    keys: Keys


@dataclass(frozen=True, slots=True)
class RemoveChosen(Message):
    """Remove what a key filter chooses, or everything. Answer: Done with the count."""

    key_filter: str | None


@dataclass(frozen=True, slots=True)
class Load(Message):
    """Register a function by its reference. Answer: Done, or Failure."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Run(Message):
    """Run a server function over the entries. Answer: Result."""

    name: str
    arguments: Values


@dataclass(frozen=True, slots=True)
class Save(Message):
    """Write the shard as it is now to a file in a folder, whose name begins so. Answer: Saved, or Failure."""

    folder: str
    name: str


@dataclass(frozen=True, slots=True)
class Restore(Message):
    """Become what the checkpoint in the folder says. Answer: Done."""

    folder: str


@dataclass(frozen=True, slots=True)
class Enter(Message):
    """The worker is here. One that had left is in the quorum again, level with the fastest. Answer: Entered.

    `attempt` is that of the view. With a `level` (>= 0), it is where the fastest was when that level was first named,
    or further if it has committed more since: so workers that are started anew go on where they were.
    """

    worker: int
    attempt: int = 0
    level: int = -1


@dataclass(frozen=True, slots=True)
class Commit(Message):
    """The worker has committed `clock` iterations; all its updates of them are acknowledged. Answer: Done.

    One that `resumes` there, having been started anew, will push to tables once more what it had pushed since.
    """

    worker: int
    clock: int
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Leave(Message):
    """The worker has finished, or is gone: nobody waits for it any more. Answer: Done.

    The coordinator says it of workers that are gone, as of a `view`: one that entered in a later view stays.
    """

    worker: int
    view: int = 0


@dataclass(frozen=True, slots=True)
class Probe(Message):
    """What has become of my request of this number? Answer: Waiting, Lost, or the stored reply once more."""

    request: int


@dataclass(frozen=True, slots=True)
class GetStatistics(Message):
    """Answer: Statistics."""


@dataclass(frozen=True, slots=True)
class Forget(Message):
    """The sender is going away: drop what is kept for it. No answer."""


# --- of tables ----------------------------------------------------------------------------------------------
#
# A `selection` names keys: a uint64 array; a range [first, last] (empty: [1, 0]); or None where a `digest`, the hash of
# a list that the server has seen, stands for it. With both, the server keeps the list. Filters are in their wire form.


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


# --- a server answers -------------------------------------------------------------------------------------


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


# --- servers among themselves -----------------------------------------------------------------------------
#
# The copies of a shard form a chain: each server sends what changed to the next one, on a link of its own numbering.


@dataclass(frozen=True, slots=True)
class Replicate(Message):
    """What changed in a shard, as its change `sequence`. Answer: Progress.

    Or a `piece` of a copy (else -1) as it is after that change; what the receiver had before piece 0 is void.
    """

    source: int
    link: int
    number: int
    sequence: int
    piece: int
    changes: Any


@dataclass(frozen=True, slots=True)
class Progress(Message):
    """The link's messages have been taken up to `number`; all copies from here on have changes up to `stable`."""

    source: int
    link: int
    number: int
    stable: int


@dataclass(frozen=True, slots=True)
class Filled(Message):
    """The joining server has all of the shard, and nothing is answered any more that it does not have. No answer."""

    server: int
    shard: int
    joining: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Drained(Message):
    """The shard takes no requests, and all its copies are the same: its chain may be changed. No answer."""

    server: int
    shard: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Behind(Message):
    """A backup has not taken what its shard's copies wait for, for too long. No answer."""

    server: int
    shard: int
    backup: int
    epoch: int


# --- with the coordinator ---------------------------------------------------------------------------------


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
    """A client is closing. No answer."""

    worker: int


@dataclass(frozen=True, slots=True)
class Control(Message):
    """Whoever runs the job asks for something: "status", "add" or "remove". Answer: Controlled, or Failure."""

    command: str
    arguments: Values


@dataclass(frozen=True, slots=True)
class Controlled(Message):
    """What has come of it."""

    value: Any


TAGS: dict[int, type[Message]] = {
    1: Read,
    2: Scan,
    3: Top,
    4: Write,
    5: Update,
    6: Contains,
    7: Remove,
    8: RemoveChosen,
    9: Load,
    10: Run,
    11: Commit,
    12: Leave,
    13: Probe,
    14: GetStatistics,
    15: Forget,
    16: Enter,
    17: OpenTable,
    18: DropTable,
    19: ListTables,
    20: Push,
    21: Pull,
    22: RunTable,
    23: KeyList,
    24: Save,
    25: Restore,
    32: Done,
    33: Found,
    34: Entries,
    35: Updated,
    36: Flags,
    37: Result,
    38: Waiting,
    39: Lost,
    40: Failure,
    41: Statistics,
    42: Entered,
    43: Pulled,
    44: UnknownKeys,
    45: Opened,
    46: Saved,
    48: Replicate,
    49: Progress,
    50: Filled,
    51: Drained,
    52: Behind,
    64: Register,
    65: Join,
    66: GetView,
    67: View,
    68: Goodbye,
    69: Heartbeat,
    70: Lease,
    71: Control,
    72: Controlled,
}

TAG_OF = {kind: tag for tag, kind in TAGS.items()}

#: Requests that change nothing: their replies are not kept, a repetition reads again.
READS = frozenset({Read, Scan, Top, Contains, Pull, ListTables})


class Envelope(NamedTuple):
    """A message with its numbers: the request's own, the highest that the sender has all replies up to, the view.

    And the shard that it is for, or of: -1 for none.
    """

    request: int
    confirmed: int
    view: int
    message: Message
    shard: int = -1


def packed(message: Message) -> list[Any]:
    """A message as plain values, to be carried within another one."""
    return [TAG_OF[type(message)], *(getattr(message, each.name) for each in fields(message))]  # type: ignore[arg-type]


def unpacked(values: list[Any]) -> Message:
    """The reverse."""
    tag, *given = values
    return TAGS[tag](*given)
