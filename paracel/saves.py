"""Checkpoints that servers make by themselves, completed when all their files are there. On a thread of its own.

The coordinator hears of each file. When it has heard of all of a checkpoint it completes that one, and removes the
oldest; when one failed, the checkpoint is given up, and the job goes on.
"""

import logging
import queue
import threading

from paracel import checkpoint
from paracel.checkpointing import manifest_of
from paracel.errors import CheckpointError
from paracel.folders import Folder
from paracel.messages import Saved

logger = logging.getLogger(__name__)


class Saves:
    """The checkpoints of one job that are being made."""

    def __init__(self, shards: int, folder: str, keep: int, token: str) -> None:
        """In `folder`, the newest `keep` checkpoints stay. CheckpointError if there can be none in it.

        The servers' files of this job have the `token`.
        """
        self._shards = shards
        self._folder = folder
        self._keep = keep
        self._token = token
        self._files: dict[str, dict[int, Saved]] = {}
        self._queue: queue.SimpleQueue[Saved | None] = queue.SimpleQueue()
        try:
            Folder(folder).make()
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be made: {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._run, name="paracel-checkpoints", daemon=True)
        self._remove_unfinished()  # before any server can write
        self._thread.start()

    def take(self, saved: Saved) -> None:
        """A server has written a file, or failed to. What is not of these checkpoints is dropped."""
        if saved.folder.startswith(f"{self._folder.rstrip('/')}/clock-") and 0 <= saved.shard < self._shards:
            self._queue.put(saved)

    def close(self) -> None:
        """Complete what is complete, and end. The files of a checkpoint that is not are removed."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (saved := self._queue.get()) is not None:
            files = self._files.setdefault(saved.folder, {})
            files[saved.shard] = saved
            if len(files) == self._shards:
                self._finish(saved.folder, [files[shard] for shard in sorted(files)])
        for folder in self._files:
            checkpoint.abandon(folder, self._token)

    def _finish(self, folder: str, files: list[Saved]) -> None:
        for older in list(self._files):  # those that were begun before will not be complete any more
            del self._files[older]
            if older == folder:
                break
            checkpoint.abandon(older, self._token)
        try:
            failed = next((each for each in files if each.error), None)
            if failed is not None:
                raise CheckpointError(failed.error)
            manifest = manifest_of(files)
            checkpoint.complete(folder, manifest)
        except Exception as error:  # of a store at the other end of a network it may be anything
            logger.error("no checkpoint in %s: %s", folder, error)
            checkpoint.abandon(folder, self._token)
        else:
            logger.info("checkpoint at clock %d: %s", manifest.clock, folder)
            self._remove_old()

    def _remove_old(self) -> None:
        """Remove all checkpoints but the newest."""
        try:
            for folder in checkpoint.all_in(self._folder)[: -self._keep]:
                checkpoint.remove(folder)
        except Exception as error:
            logger.warning("older checkpoints stay in %s: %s", self._folder, error)

    def _remove_unfinished(self) -> None:
        """Remove what earlier jobs have left of checkpoints that were not completed before they ended."""
        try:
            where = Folder(self._folder)
            for name in where.names():
                if name.startswith("clock-") and checkpoint.MANIFEST not in (where / name).names():
                    checkpoint.remove(where.path(name))
        except Exception as error:
            logger.warning("unfinished checkpoints stay in %s: %s", self._folder, error)
