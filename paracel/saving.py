"""Writes shards to files in processes of their own: a fork has the shard as it is at that moment, and all the time.

The fork shares the memory that neither side changes, so that a server goes on at once and needs little more of it. It
touches no socket, and ends with its parent. What came of it is sent to the server as any message is.
"""

import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from paracel import checkpoint
from paracel.cuts import SaveAs, file_of
from paracel.errors import ParacelError
from paracel.messages import Saved
from paracel.shard_state import ShardState

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_FAILED = 1


class Saver:
    """The saves that are on their way: of each shard one at a time."""

    def __init__(self, done: Callable[[Saved, bool], None]) -> None:
        """`done(saved, cut)` is called on a thread, once for each save."""
        self._done = done
        self._busy: set[int] = set()
        self._threads: list[threading.Thread] = []

    def finish(self) -> None:
        """Wait until all is written and told that was begun. On any thread."""
        for thread in list(self._threads):
            thread.join()

    def start(self, state: ShardState, save: SaveAs) -> bool:
        """Begin to write a shard as it is now. False if the one before is still being written: then it is to wait."""
        if state.number in self._busy:
            return False
        name = file_of(save.stem)
        saved = Saved(state.number, save.folder, name, 0, "", state.clock.value, state.clock.clocks, "")
        parent = os.getpid()
        with contextlib.ExitStack() as ends:
            try:
                reader, writer = os.pipe()
                ends.callback(os.close, writer)
                child = os.fork()
                if child == 0:
                    _write_and_exit(state, saved, writer, parent)
                self._await(lambda: _outcome(child, reader, saved), state.number, save.cut)
            except (OSError, RuntimeError) as error:  # no more files, processes or threads
                self._done(replace(saved, error=f"{name}: no process to write it can be started: {error}"), save.cut)
        return True

    def _await(self, outcome: Callable[[], Saved], shard: int, cut: bool) -> None:
        def run() -> None:
            saved = outcome()
            self._busy.discard(shard)  # before anybody is told, who may begin the next
            self._done(saved, cut)

        thread = threading.Thread(target=run, name="paracel-save", daemon=True)
        self._busy.add(shard)
        try:
            thread.start()
        except RuntimeError:
            self._busy.discard(shard)
            raise
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]


def _outcome(child: int, reader: int, saved: Saved) -> Saved:
    """Wait for what the process tells, and for its end."""
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code or not text:
        error = f"{saved.folder}/{saved.name}: the process that wrote it ended with status {code}"
        return replace(saved, error=error)
    return replace(saved, **json.loads(text))


def _write_and_exit(state: ShardState, saved: Saved, writer: int, parent: int) -> NoReturn:
    """In the fork: write the file, tell what came of it, and end without any of the parent's last acts."""
    status = _FAILED
    try:
        gc.disable()  # it would write to all that is shared
        if sys.platform == "linux":  # else it would go on, and hold the parent's addresses
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            os.write(writer, json.dumps(_written(state, saved)).encode())
            status = 0
    finally:
        os._exit(status)


def _written(state: ShardState, saved: Saved) -> dict[str, object]:
    try:
        file = checkpoint.write_shard(state, saved.folder, saved.name)
    except ParacelError as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": f"{saved.folder}/{saved.name} cannot be written: {type(error).__name__}: {error}"[:1000]}
    return {"size": file.size, "digest": file.digest}
