"""Checkpoints: what all shards of a job held, in the files of a folder. How they are completed, checked and loaded.

A folder is a checkpoint if it has a `manifest.json`, which names the files, their sizes and their hashes; it is written
last, and takes the place of an older one at once. So a crash at any moment leaves the older checkpoint whole, or none.
Each file has one shard, as a sequence of plain values: the pieces that also a new copy on another server is made of.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paracel import snapshot
from paracel.errors import CheckpointError
from paracel.folders import Folder
from paracel.hashing import Hasher
from paracel.ring import shard_owners
from paracel.snapshot import PIECE_BYTES, Piece
from paracel.tables.routes import Router
from paracel.tables.spec import TableSpec

FORMAT = 1
MANIFEST = "manifest.json"
#: As `cuts.file_of` makes them.
_FILE = re.compile(r"shard-\d{4,}-[0-9a-f]+-[0-9a-f]+\.bin")


class Saveable(Protocol):
    """What a checkpoint needs of a shard to write it."""

    number: int

    def pieces(self, most_bytes: int) -> Iterator[Piece]:
        """All that there is."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One file of a checkpoint. The digest is that of `snapshot`, in hexadecimal digits."""

    name: str
    size: int
    digest: str
    shard: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint consists of: the files of the shards in their order.

    `clock` is the least of the shards' clocks; `clocks` are the workers' commits.
    """

    files: tuple[ShardFile, ...]
    clock: int
    clocks: Mapping[int, int]
    created: str = ""

    @property
    def shards(self) -> int:
        """How many shards the job had."""
        return len(self.files)

    def to_json(self) -> bytes:
        """The text of the file."""
        clocks = {str(worker): clock for worker, clock in sorted(self.clocks.items())}
        files = [asdict(file) for file in self.files]
        values = {"clock": self.clock, "clocks": clocks, "created": self.created, "files": files, "format": FORMAT}
        return (json.dumps({**values, "digest": _digest_of(values)}, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, text: bytes, path: str) -> "Manifest":
        """The reverse. CheckpointError names the `path` that is wrong."""
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise CheckpointError(f"{path} is damaged: it has a {type(values).__name__}")
            if values["format"] != FORMAT:
                raise CheckpointError(f"{path} has format {values['format']!r:.20}; this version reads {FORMAT}")
            if values.pop("digest") != _digest_of(values):
                raise CheckpointError(f"{path} is damaged: it does not have the hash that it names")
            return cls._from_values(values)
        except CheckpointError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}"[:300]) from error

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> "Manifest":
        files = tuple(ShardFile(**each) for each in values["files"])
        for at, file in enumerate(files):
            if file.shard != at or not _FILE.fullmatch(file.name) or int(file.size) < 0:
                raise ValueError(f"no file of shard {at}: {file}")
        clocks = {int(worker): int(clock) for worker, clock in values["clocks"].items()}
        if not files:
            raise ValueError("no files")
        return cls(files, int(values["clock"]), clocks, str(values["created"]))


def _digest_of(values: Mapping[str, Any]) -> str:
    digest: str = Hasher(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return digest


# --- writing --------------------------------------------------------------------------------------------------


def write_shard(state: Saveable, folder: str, name: str) -> ShardFile:
    """Write one shard to a new file of the folder. CheckpointError if it cannot be; then there is no such file."""
    where = Folder(folder)
    # whoever goes on from a checkpoint does not repeat what others had asked
    pieces = (piece for piece in state.pieces(PIECE_BYTES) if "peers" not in piece)
    try:
        where.make()
        size, digest = snapshot.write(where, name, pieces)
    except OSError as error:
        raise _unwritable(where.path(name), error) from error
    return ShardFile(name, size, digest, state.number)


def complete(folder: str, manifest: Manifest) -> None:
    """Make the folder, which has all the files, the checkpoint; those of an older one are removed."""
    where = Folder(folder)
    _check_files(where, manifest)
    try:
        where.write(MANIFEST, manifest.to_json())
    except OSError as error:
        raise _unwritable(where.path(MANIFEST), error) from error
    kept = {file.name for file in manifest.files}
    with contextlib.suppress(OSError):  # they do no harm
        for name in where.names():
            if name not in kept and (_FILE.fullmatch(name) or name.startswith(f".{MANIFEST}.")):
                where.remove(name)


def abandon(folder: str, token: str) -> None:
    """Remove the files of this token that are no part of a checkpoint, and the folder if nothing else is in it."""
    where = Folder(folder)
    with contextlib.suppress(Exception):  # there is an error already that says more; a remote store raises anything
        names = where.names()
        kept = {file.name for file in _parsed(where).files} if MANIFEST in names else set()
        for name in names:
            if _FILE.fullmatch(name) and name.split("-")[2] == token and name not in kept:
                where.remove(name)
        where.remove_if_empty()


def remove(folder: str) -> None:
    """Remove a checkpoint, or what is left of one, and the folder if nothing else is in it. OSError."""
    where = Folder(folder)
    where.remove(MANIFEST)  # from here on it is none
    for name in where.names():
        if _FILE.fullmatch(name) or name.startswith(f".{MANIFEST}."):
            where.remove(name)
    where.remove_if_empty()


def _unwritable(path: str, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path} cannot be written: {error.strerror or error}")


# --- checking -------------------------------------------------------------------------------------------------


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """What a checkpoint consists of; CheckpointError if there is none, or a file is missing or of another size."""
    where = Folder(folder)
    manifest = _parsed(where)
    _check_files(where, manifest)
    return manifest


def _parsed(where: Folder) -> Manifest:
    if MANIFEST not in where.names():
        raise CheckpointError(f"{where.where} is not a checkpoint: it has no {MANIFEST}")
    with where.reading(MANIFEST) as file:
        return Manifest.from_json(file.read(), where.path(MANIFEST))


def _check_files(where: Folder, manifest: Manifest) -> None:
    sizes = where.sizes()
    for file in manifest.files:
        path, size = where.path(file.name), sizes.get(file.name)
        if size is None:
            raise CheckpointError(f"{path} is missing")
        if size != file.size:
            raise CheckpointError(f"{path} is damaged: it has {size} bytes and not {file.size}")


def verify(folder: str | os.PathLike[str]) -> Manifest:
    """Read all of a checkpoint; CheckpointError names a file that is missing or damaged."""
    manifest = read_manifest(folder)
    for file in manifest.files:
        snapshot.verify(Folder(folder), file.name, file.size, file.digest)
    return manifest


def read_shard(folder: str | os.PathLike[str], file: ShardFile) -> Iterator[Piece]:
    """The pieces that a file has. CheckpointError, perhaps at the end, if it is not whole."""
    return snapshot.read(Folder(folder), file.name, file.size, file.digest)


@contextlib.contextmanager
def understanding(folder: str | os.PathLike[str], file: ShardFile) -> Iterator[None]:
    """What cannot be done with the pieces of a file is a CheckpointError that names it."""
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        path = Folder(folder).path(file.name)
        raise CheckpointError(f"{path} cannot be restored: {type(error).__name__}: {error}") from error


def all_in(folder: str | os.PathLike[str]) -> list[str]:
    """The checkpoints in a folder that servers made by themselves, the oldest first. CheckpointError."""
    return [path for _, path in sorted((_parsed(where).created, where.where) for where in _made_in(folder))]


def _made_in(folder: str | os.PathLike[str]) -> Iterator[Folder]:
    where = Folder(folder)
    for name in where.names():
        if name.startswith("clock-") and MANIFEST in (where / name).names():
            yield where / name


def latest(folder: str | os.PathLike[str]) -> str:
    """The folder itself if it is a checkpoint, else the newest checkpoint in it. CheckpointError if there is none."""
    where = Folder(folder)
    if MANIFEST in where.names():
        return where.where
    found = all_in(folder)
    if not found:
        raise CheckpointError(f"{where.where} is not a checkpoint, and there is none in it")
    return found[-1]


# --- loading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableData:
    """A table of a checkpoint: its settings, keys (n,) uint64, rising; rows (n,) or (n, dim); state arrays by name.

    Pushes that were to be applied at the end of a clock, which had not come, are not in it.
    """

    settings: dict[str, Any]
    keys: NDArray[np.uint64]
    rows: NDArray[Any]
    state: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a checkpoint has. `clock` is that of the servers, `clocks` how often each worker had committed."""

    clock: int
    clocks: dict[int, int]
    created: str
    entries: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, TableData] = field(default_factory=dict)


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a whole checkpoint, or the newest in a folder of them, into memory; no servers are needed.

    CheckpointError names a file that is missing or damaged.
    """
    folder = latest(path)
    manifest = read_manifest(folder)
    entries: dict[str, Any] = {}
    parts: dict[str, _Parts] = {}
    for file in manifest.files:
        with understanding(folder, file):
            for piece in read_shard(folder, file):
                entries.update(zip(*piece.get("entries", ((), ())), strict=True))
                _gather(parts, piece.get("tables", {}), file.shard, manifest.shards)
    with understanding(folder, manifest.files[0]):
        tables = {name: parts.pop(name).whole() for name in list(parts)}
    return Checkpoint(manifest.clock, dict(manifest.clocks), manifest.created, entries, tables)


def _gather(parts: "dict[str, _Parts]", tables: Piece, shard: int, shards: int) -> None:
    for settings, _number in tables.get("made", ()):
        parts.setdefault(settings["name"], _Parts(settings, shards))
    for name, changes in tables.get("rows", {}).items():
        for selection, columns in changes.get("rows", ()):
            parts[name].add(shard, selection, columns)


class _Parts:
    """The rows of one table, as they come."""

    def __init__(self, settings: dict[str, Any], shards: int) -> None:
        self._settings = settings
        self._spec = TableSpec.from_wire(settings)
        self._router = Router(self._spec, shard_owners(shards))
        self._keys: list[Any] = []
        self._columns: dict[str, list[Any]] = {}

    def add(self, shard: int, selection: Any, columns: Mapping[str, Any]) -> None:
        self._keys.append(self._router.keys_at(shard, selection))
        for name, column in columns.items():
            self._columns.setdefault(name, []).append(column)

    def whole(self) -> TableData:
        """All of them, in the order of their keys."""
        spec = self._spec
        if not self._keys:
            return TableData(self._settings, np.empty(0, np.uint64), np.empty((0, *spec.tail), spec.dtype), {})
        keys = np.concatenate(self._keys)
        order = np.argsort(keys)
        columns = {name: np.concatenate(self._columns.pop(name))[order] for name in list(self._columns)}
        state = {name.removeprefix("state/"): column for name, column in columns.items() if name.startswith("state/")}
        return TableData(self._settings, keys[order], columns["rows"], state)
