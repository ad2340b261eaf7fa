"""A client's side of checkpoints: it asks every shard to write its file, and then completes the checkpoint."""

import os
import secrets
from datetime import UTC, datetime

from paracel import checkpoint
from paracel import messages as m
from paracel.checkpoint import Manifest, ShardFile
from paracel.connection import Connection
from paracel.cuts import stem_of
from paracel.pending import gather


def absolute(path: str | os.PathLike[str]) -> str:
    """The folder as the servers know it."""
    where = os.fspath(path)
    return where if "://" in where else os.path.abspath(where)


def save(connection: Connection, path: str | os.PathLike[str]) -> Manifest:
    """Have all shards written to the folder. CheckpointError if that failed; an older checkpoint in it stays then."""
    folder, token = absolute(path), secrets.token_hex(4)
    session = connection.session
    asked = [(shard, m.Save(folder, stem_of(shard, token))) for shard in session.channels]
    try:
        # what one of them failed with is known when all have ended: then nothing is written any more
        manifest = manifest_of(connection.run(lambda: gather([session.ask(*each) for each in asked], list)))
        checkpoint.complete(folder, manifest)
    except BaseException:
        checkpoint.abandon(folder, token)
        raise
    return manifest


def restore(connection: Connection, path: str | os.PathLike[str]) -> Manifest:
    """Make all shards what a checkpoint, or the newest in the folder, says.

    CheckpointError if it is not whole: then nothing has changed.
    """
    folder = checkpoint.latest(absolute(path))
    manifest = checkpoint.verify(folder)
    session = connection.session
    connection.run(lambda: session.ask_all(m.Restore(folder), list))
    return manifest


def chosen(path: str) -> str:
    """The checkpoint from which a job begins: it is read once as a whole. CheckpointError names what is wrong."""
    folder = checkpoint.latest(absolute(path))
    checkpoint.verify(folder)
    return folder


def manifest_of(saved: list[m.Saved]) -> Manifest:
    """What the checkpoint of these files, in the order of their shards, consists of."""
    files = tuple(ShardFile(each.name, each.size, each.digest, each.shard) for each in saved)
    clocks: dict[int, int] = {}
    for each in saved:
        for worker, clock in each.clocks.items():
            clocks[worker] = min(clock, clocks.get(worker, clock))
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    return Manifest(files, min(each.clock for each in saved), clocks, created)
