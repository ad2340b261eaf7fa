"""What a client asks a shard of keys and values, and of itself."""

from dataclasses import dataclass

from paracel.messages.base import Keys, Message, Values


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
