"""One line of progress for the person at the terminal. It knows the job only through its statistics."""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

from paracel.membership import JobStatistics

_ERASE = "\r\x1b[K"
#: How long the main thread lets others finish what they write, and then as long for its own.
PATIENCE_SECONDS = 1.0


def commits(statistics: JobStatistics) -> Mapping[int, int]:
    """How many iterations each worker still in the job has committed, on the server that knows of the fewest."""
    gone = {status.worker for status in statistics.workers if status.left}
    found: dict[int, int] = {}
    for server in statistics.servers:
        for worker, clock in server.clocks:
            if worker not in gone:
                found[worker] = min(clock, found.get(worker, clock))
    return found


def operations(statistics: JobStatistics) -> int:
    """How many operations the servers have done in all."""
    return sum(server.operations for server in statistics.servers)


def format_progress(statistics: JobStatistics, seconds: float, rate: float) -> str:
    """The progress of a job that has run for `seconds`, and does `rate` operations per second.

    The iterations are those that every worker still in the job has committed.
    """
    parts = [f"{seconds:.0f} s"]
    clocks = commits(statistics)
    if any(clocks.values()):
        slowest = min(clocks, key=lambda worker: (clocks[worker], worker))
        ahead = max(clocks.values()) - clocks[slowest]
        parts.append(f"iterations: {clocks[slowest]:,}")
        if ahead:
            parts.append(f"slowest: worker {slowest}{_host(statistics, slowest)}, {ahead:,} behind")
    elif statistics.workers:
        running = sum(not status.left for status in statistics.workers)
        parts.append(f"{running} of {len(statistics.workers)} workers running")
    moving = sum(place.joining >= 0 or bool(place.target) for place in statistics.shards)
    if moving:
        parts.append(f"{moving:,} shards on their way")
    parts.append(f"{rate:,.0f} operations/s")
    return " | ".join(parts)


def _host(statistics: JobStatistics, worker: int) -> str:
    hosts = {status.worker: status.host for status in statistics.workers}
    return f" on {hosts[worker]}" if worker in hosts and len(set(hosts.values())) > 1 else ""


class Progress:
    """The progress line at the bottom of `stream`, if that is a terminal; else only what is said is written.

    `update` draws it, `erase` takes it away, `say` writes a line in its place, and `aside` takes it away while
    something else is written; from any thread. Only `aside` waits for as long as it takes: whoever calls the others
    goes on after a moment, also when nobody reads the stream.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.active = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._drawn = False
        self._within_line = False
        self._started = self._last = clock()
        self._operations = 0

    def update(self, statistics: JobStatistics) -> None:
        """Draw the line anew; its rate is that since the last call. Does nothing while something else is written."""
        if self.active and self._lock.acquire(blocking=False):
            self._briefly(lambda: self._draw(statistics))

    @contextlib.contextmanager
    def aside(self, *, ends_line: bool = True) -> Iterator[None]:
        """Keep the line off the terminal for a while, and until a line is ended if this does not end one."""
        with self._lock:
            self._erase()
            yield
            self._within_line = not ends_line

    def say(self, line: str) -> None:
        """Write a line; into what else is being written, if that does not come to an end."""
        self._briefly(lambda: self._replace(line + "\n"))

    def erase(self) -> None:
        """Take the line away."""
        self._briefly(lambda: self._replace(""))

    def _briefly(self, write: Callable[[], None]) -> None:
        """Write, and wait for it as long as a stream that somebody reads may need."""
        writer = threading.Thread(target=write, name="progress", daemon=True)
        writer.start()
        writer.join(2 * PATIENCE_SECONDS)

    def _draw(self, statistics: JobStatistics) -> None:
        """Draw the line, and release the lock."""
        try:
            now, done = self._clock(), operations(statistics)
            # fewer than before, when a server is gone that did some of them
            rate = max(0, done - self._operations) / max(now - self._last, 1e-9)
            self._last, self._operations = now, done
            if not self._within_line:
                line = format_progress(statistics, now - self._started, rate)
                self._write(_ERASE + line[: shutil.get_terminal_size().columns - 1])
                self._drawn = True
        finally:
            self._lock.release()

    def _replace(self, text: str) -> None:
        alone = self._lock.acquire(timeout=PATIENCE_SECONDS)
        try:
            if alone:
                self._erase()
            if text:
                self._write(text)
                self._within_line = False
        finally:
            if alone:
                self._lock.release()

    def _erase(self) -> None:
        if self._drawn:
            self._write(_ERASE)
            self._drawn = False

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self.active = False  # the terminal is gone; the job is not
