"""What servers tell each other, and the coordinator, of the copies of a shard.

The copies of a shard form a chain: each server sends what changed to the next one, on a link of its own numbering.
"""

from dataclasses import dataclass
from typing import Any

from paracel.messages.base import Message


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
