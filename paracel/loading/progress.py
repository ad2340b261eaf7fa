"""A word about a load that takes long: on a terminal, or by lines that prun passes on to its own. Elsewhere nothing."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO, TypeVar

Item = TypeVar("Item")

_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class _Style:
    """What is written around a text; seconds until a load is long, and between two texts."""

    before: str
    after: str
    long: float
    pause: float


_ERASE = "\r\x1b[K"
_DRAWN = _Style(_ERASE, "", 2.0, 0.5)
_LINES = _Style("", "\n", 5.0, 5.0)


def _style(stream: TextIO | None) -> _Style | None:
    """A line drawn anew at a terminal; whole lines where prun says, by the environment, that it has one; else None."""
    if stream is None:
        return None
    if stream.isatty():
        return _DRAWN
    return _LINES if os.environ.get("PARACEL_PROGRESS") == "1" else None


class Progress:
    """How many bytes of `total` (0: nobody knows) have been read so far, and of which file, told on `stream`."""

    def __init__(self, total: int, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._style = _style(stream)
        self._clock = clock
        self._total = total
        self._done = 0
        self._began = clock()
        self._due = self._began + (self._style.long if self._style else 0)
        self._drawn = False

    def watch(self, items: Iterable[Item], about: Callable[[Item], tuple[str, int]]) -> Iterator[Item]:
        """The same items; each is of a file, and counts for so many bytes. A line that was drawn is gone at the end."""
        try:
            for item in items:
                yield item
                if self._style is not None:
                    self._count(*about(item))
        finally:
            if self._drawn:
                self._write(_ERASE)

    def _count(self, path: str, size: int) -> None:
        self._done += size
        now = self._clock()
        if self._style is not None and now >= self._due:
            self._due = now + self._style.pause
            self._drawn = self._style is _DRAWN
            self._write(f"{self._style.before}{self._told(path, now)}{self._style.after}")

    def _told(self, path: str, now: float) -> str:
        name = path.rpartition("/")[2]
        name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
        share = f"{min(100, 100 * self._done // self._total)} % of {_megabytes(self._total)}" if self._total else ""
        speed = _megabytes(self._done / max(now - self._began, 1e-9))
        return f"loading {name}: {share or _megabytes(self._done)}, {speed}/s"

    def _write(self, text: str) -> None:
        assert self._stream is not None
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._style = None  # the terminal is gone; the load is not


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
