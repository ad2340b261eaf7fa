"""A line at the terminal about a load that takes long. Where there is no terminal, nothing is written."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")

#: Until a load is long, and between two looks at the line, in seconds.
_LONG, _PAUSE = 2.0, 0.5
_ERASE = "\r\x1b[K"


class Progress:
    """How many bytes of `total` (0: nobody knows) have been read so far; drawn on `stream` if that is a terminal."""

    def __init__(self, total: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._active = self._stream is not None and self._stream.isatty()
        self._clock = clock
        self._total = total
        self._done = 0
        self._due = clock() + _LONG
        self._drawn = False

    def watch(self, items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[Item]:
        """The same items; each counts for so many bytes. The line is gone when they are at their end."""
        try:
            for item in items:
                yield item
                self._done += size(item)
                if self._active and self._clock() >= self._due:
                    self._draw()
        finally:
            if self._drawn:
                self._write(_ERASE)

    def _draw(self) -> None:
        share = f", {min(100, 100 * self._done // self._total)} % of this worker's part" if self._total else ""
        self._write(f"{_ERASE}loading: {self._done / 1e6:,.0f} MB{share}")
        self._drawn = True
        self._due = self._clock() + _PAUSE

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._active = False  # the terminal is gone; the load is not
