"""Lines that do not parse: the error that names one, or how many were left out."""

import logging

import numpy as np

from paracel.errors import ConfigError, LoadError
from paracel.loaders import line_number
from paracel.loading.fields import Sheet

logger = logging.getLogger(__name__)

_SHOWN = 100


class Faults:
    """What becomes of lines that do not parse: `on_error` is "raise" or "skip"; `skipped` counts the latter."""

    def __init__(self, on_error: str) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error={on_error!r}; allowed: 'raise', 'skip'")
        self._raises = on_error == "raise"
        self.skipped = 0

    def settle(self, sheet: Sheet) -> None:
        """Raise LoadError for the first line of the sheet that was refused, or count those lines."""
        if not sheet.bad.any():
            return
        if self._raises:
            raise LoadError(told(sheet))
        if not self.skipped:
            logger.warning("lines that do not parse are left out, the first of them: %s", told(sheet))
        self.skipped += int(np.count_nonzero(sheet.bad))


def told(sheet: Sheet) -> str:
    """The first line of the sheet that was refused: its file, its number, the line, and what was expected."""
    line = int(np.argmax(sheet.bad))
    expected = next(reason for wrong, reason in sheet.reasons if wrong[line])
    piece, within = sheet.place.piece, int(sheet.numbers[line])
    number = line_number(piece.path, sheet.place.offset, whole=piece.whole) + within
    text = _line(sheet, within)
    return f"{piece.path!r}, line {number}: {text!r}: expected {expected}"


def _line(sheet: Sheet, number: int) -> str:
    text = sheet.original.split(b"\n")[number].decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
