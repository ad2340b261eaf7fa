"""This worker's part of a source as sheets of lines: what all the readers have in common."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from paracel.comm import Comm
from paracel.loading.chunks import Dispenser, Pieces, Schedule, check_schedule, share, taken
from paracel.loading.faults import Faults
from paracel.loading.fields import Sheet, sheets
from paracel.loading.formats import Format
from paracel.loading.progress import Progress
from paracel.sources import Source


@dataclass(slots=True)
class Reading:
    """Pieces to be read, how, and what became of lines that did not parse."""

    comm: Comm
    form: Format
    faults: Faults
    pieces: Pieces
    progress: Progress
    dispenser: Dispenser | None

    def sheets(self) -> Iterator[Sheet]:
        """The sheets of all pieces, in the order of the source."""
        every = (sheet for number, piece in self.pieces for sheet in sheets(number, piece, self.form))
        yield from self.progress.watch(every, lambda sheet: (sheet.place.piece.path, len(sheet.original)))

    def skipped(self) -> int:
        """How many lines of all workers were skipped. Collective, when all have read."""
        return int(sum(self.comm.allgather_json(self.faults.skipped)))

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        """Forget the chunks. Whether all could read or one could not, they have told each other, and want none."""
        if self.dispenser is not None and self.comm.rank == 0:
            self.dispenser.end()


def begin(comm: Comm, source: Source, form: Format, on_error: str, schedule: Schedule) -> Reading:
    """Check how it is to be read, and find out what. Collective."""
    check_schedule(schedule)
    faults = Faults(on_error)
    if isinstance(schedule, Dispenser):
        total, pieces = 0, taken(comm, source, schedule)
    else:
        own = share(comm, source)
        unknown = any(piece.whole for _, piece in own)
        total, pieces = 0 if unknown else sum(piece.end - piece.begin for _, piece in own), iter(own)
    progress = Progress(total, sys.stderr if comm.rank == 0 else None)
    return Reading(comm, form, faults, pieces, progress, schedule if isinstance(schedule, Dispenser) else None)
