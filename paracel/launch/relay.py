"""Passes the workers' output on to the terminal, and into a file. It changes no byte of it."""

import os
import threading
from typing import IO

from paracel.monitor import Progress

_CHUNK = 1 << 16


class Relay:
    """Copies what comes from `source` to `targets` on a thread of its own, until the source ends.

    Targets are unbuffered: what a buffer held back would be lost, or come up again when the target is closed.
    The first of them is what people look at. The progress line makes room for each piece. A target that cannot be
    written to any more (a closed pipe) is left out from then on, so that the workers never wait for it.
    """

    def __init__(self, source: IO[bytes], targets: list[IO[bytes]], progress: Progress) -> None:
        self._source = source
        self._targets = targets
        self._shown = targets[0]
        self._hushed = False
        self._progress = progress
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def wait_ended(self, timeout: float) -> bool:
        """Wait until everything is passed on; False if the source is still open after `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def hush(self) -> None:
        """Let what comes from now on go to the first target no more: the others alone get it."""
        self._hushed = True

    def _run(self) -> None:
        with self._source:
            while piece := os.read(self._source.fileno(), _CHUNK):
                with self._progress.aside(ends_line=piece.endswith(b"\n")):
                    self._targets = [target for target in self._targets if self._passed(target, piece)]

    def _passed(self, target: IO[bytes], piece: bytes) -> bool:
        return not (self._hushed and target is self._shown) and _written(target, piece)


def _written(target: IO[bytes], piece: bytes) -> bool:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[target.write(rest) :]
    except OSError:
        return False
    return True
