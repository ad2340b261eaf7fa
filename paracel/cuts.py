"""When a shard is to be saved, and who waits until it has been. No files, no messages.

A checkpoint at clock c has the updates of every worker's iterations before c, and no others: a worker that has
committed c waits with what it asks next until all that still run have committed c, and the shard is saved then. So its
commit marks the cut in what it sends (as the barriers of Carbone et al., "Lightweight asynchronous snapshots for
distributed dataflows", 2015). Of a worker that left before, all is in it.
"""

import secrets
from typing import Any, NamedTuple

from paracel.clock import SspClock

#: After how many ticks a cut is given up for which workers wait.
PATIENCE_TICKS = 240


class SaveAs(NamedTuple):
    """A file that is to be written: its folder, and how its name begins; whether it is of a cut, or was asked for."""

    folder: str
    stem: str
    cut: bool = False


def folder_of(folder: str, clock: int) -> str:
    """Where the checkpoint at a clock is, of those that servers make by themselves."""
    return f"{folder.rstrip('/')}/clock-{clock:08d}"


def stem_of(shard: int, token: str) -> str:
    """How the name of a shard's file begins; `token` is hexadecimal digits, of all files that were begun together."""
    return f"shard-{shard:04d}-{token}"


def file_of(stem: str) -> str:
    """A name of a file that begins so and that no other has: what is begun again, perhaps elsewhere, harms nothing."""
    return f"{stem}-{secrets.token_hex(4)}.bin"


def stem_in(name: str) -> str:
    """What a name of `file_of` was made of."""
    return name.rpartition("-")[0]


class Cuts:
    """The clocks at which one shard is saved: every so many (0: at none)."""

    def __init__(self, every: int = 0, folder: str = "", token: str = "") -> None:
        self.clock = 0
        self._every = every
        self._folder = folder
        self._token = token
        self._ticks = 0
        self._waiting = False

    def begin(self, clock: SspClock[Any]) -> None:
        """Choose the next clock: one that nobody who runs has passed, whose later updates would be in it."""
        if self._every:
            reached = [clock.clocks[worker] for worker in clock.running]
            self.clock = (max((clock.value, *reached)) // self._every + 1) * self._every
        self._ticks, self._waiting = 0, False

    def waits(self, worker: int, clock: SspClock[Any]) -> bool:
        """Whether a worker, which has committed or come, is to wait."""
        if not self._every or worker not in clock.running or clock.clocks[worker] < self.clock:
            return False
        self._waiting = True
        return True

    def is_due(self, clock: SspClock[Any]) -> bool:
        """Whether the shard, whose clock is this now, is to be saved."""
        return self._every > 0 and bool(clock.running) and clock.value >= self.clock

    def save_as(self, shard: int) -> SaveAs:
        """The file for it."""
        return SaveAs(folder_of(self._folder, self.clock), stem_of(shard, self._token), cut=True)

    def tick(self) -> bool:
        """Count ticks while somebody waits; whether it was for too long."""
        self._ticks = self._ticks + 1 if self._waiting else 0
        return self._ticks > PATIENCE_TICKS
