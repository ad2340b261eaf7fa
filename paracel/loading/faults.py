"""Lines that do not parse: the error that names one, or how many were left out."""

import logging
from dataclasses import dataclass

import numpy as np

from paracel.errors import ConfigError, LoadError
from paracel.loaders import line_number
from paracel.loading.fields import UNIT, Place, Sheet

logger = logging.getLogger(__name__)

_SHOWN = 100
_QUOTES = "; quotes have no meaning here: as parser give a function that knows them, one that calls csv.reader"


@dataclass(frozen=True, slots=True)
class Fault:
    """A line, number `line` of the block at `place`, that is not as expected. As str: all that a user is told of it."""

    place: Place
    line: int
    text: str
    separators: str
    expected: str

    @property
    def order(self) -> tuple[int, int, int]:
        """Rising from the first line of the source to the last."""
        return self.place.number, self.place.offset, self.line

    def __str__(self) -> str:
        piece = self.place.piece
        number = line_number(piece.path, self.place.offset, whole=piece.whole) + self.line
        text = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."
        told = f"{piece.path!r}, line {number}: {text!r}: expected {self.expected}"
        if self.separators == UNIT:
            return told
        told += f" (fields are separated by {self.separators!r})"
        return told + _QUOTES if '"' in self.text else told


class Faults:
    """What becomes of lines that do not parse: `on_error` is "raise" or "skip"; `skipped` counts the latter."""

    def __init__(self, on_error: str) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error={on_error!r}; allowed: 'raise', 'skip'")
        self.raises = on_error == "raise"
        self.skipped = 0

    def settle(self, sheet: Sheet) -> None:
        """Raise LoadError for the first line of the sheet that was refused, or count those lines."""
        if sheet.bad.any():
            line = int(np.argmax(sheet.bad))
            expected = next(reason for wrong, reason in sheet.reasons if wrong[line])
            self.note(fault_at(sheet, line, expected), int(np.count_nonzero(sheet.bad)))

    def note(self, first: Fault, count: int) -> None:
        """Raise LoadError for the first of some lines, or count them."""
        if self.raises:
            raise LoadError(str(first))
        if not self.skipped:
            logger.warning("lines that do not parse are left out, the first of them: %s", first)
        self.skipped += count


def fault_at(sheet: Sheet, line: int, expected: str) -> Fault:
    """What is to be told of a line of the sheet."""
    within = int(sheet.numbers[line])
    text = sheet.original.split(b"\n", within + 1)[within].decode()
    return Fault(sheet.place, within, text, sheet.separators.decode(), expected)
