"""The file of one shard in a checkpoint: a sequence of plain values, each behind a head that has its hash.

A head has the number of the value's frames, their sizes, the hash of their bytes, and a hash of itself; the digest of
the file is the hash of its heads. So no byte is believed before its hash was seen to be right, and what is read at
once is never longer than what was written at once, however the file is damaged.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import IO, Any

from paracel import wire
from paracel.errors import CheckpointError, WireError
from paracel.folders import Folder
from paracel.hashing import Hasher, hash_bytes

#: About how many bytes of a shard a value in its file has.
PIECE_BYTES = 4 * 1024 * 1024
_MAGIC = b"paracel shard 1\n"
_COUNT, _CHECK = struct.Struct("<I"), struct.Struct("<Q")
_DIGEST_BYTES = 16
_MOST_FRAMES = 1 << 20

Piece = dict[str, Any]


def write(folder: Folder, name: str, pieces: Iterable[Piece]) -> tuple[int, str]:
    """Write a new file; its size, and its digest. OSError if it cannot be written: then there is none."""
    heads, size = Hasher(_MAGIC), len(_MAGIC)
    with folder.writing(name) as file:
        file.write(_MAGIC)
        for piece in pieces:
            frames = wire.pack(piece)
            head = _head(frames)
            heads.update(head)
            for data in (head, *frames):
                file.write(data)
                size += len(data)
    return size, heads.hexdigest()


def read(folder: Folder, name: str, size: int, digest: str) -> Iterator[Piece]:
    """The values in a file, which has this size and digest. CheckpointError, perhaps at the end, if it has not."""
    path = folder.path(name)
    for frames in _checked(folder, name, size, digest):
        try:
            piece = wire.unpack(frames)
        except WireError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
        if not isinstance(piece, dict):
            raise CheckpointError(f"{path} is damaged: it has a {type(piece).__name__}")
        yield piece


def verify(folder: Folder, name: str, size: int, digest: str) -> None:
    """Read a whole file. CheckpointError unless it has this size and digest."""
    for _frames in _checked(folder, name, size, digest):
        pass


def _checked(folder: Folder, name: str, size: int, digest: str) -> Iterator[list[bytes]]:
    with folder.reading(name) as file:
        yield from _Reader(file, folder.path(name), size, digest).values()


def _head(frames: list[Any]) -> bytes:
    sizes = struct.pack(f"<{len(frames)}Q", *map(len, frames))
    head = _COUNT.pack(len(frames)) + sizes + _digest(frames)
    return head + _CHECK.pack(hash_bytes(head))


def _digest(frames: list[Any]) -> bytes:
    content = Hasher()
    for frame in frames:
        content.update(frame)
    return content.digest()


class _Reader:
    def __init__(self, file: IO[bytes], path: str, size: int, digest: str) -> None:
        self._file, self._path = file, path
        self._left, self._expected = size, digest
        self._heads = Hasher(_MAGIC)

    def values(self) -> Iterator[list[bytes]]:
        """The frames of each value."""
        if self._take(len(_MAGIC)) != _MAGIC:
            raise self._damaged("it does not begin as the file of a shard does")
        while self._left:
            sizes, content = self._take_head()
            frames = [self._take(size) for size in sizes]
            if _digest(frames) != content:
                raise self._damaged("a part of it does not have the hash that it names")
            yield frames
        if self._file.read(1):
            raise self._damaged("it is longer than the manifest says")
        if self._heads.hexdigest() != self._expected:
            raise self._damaged("it does not have the hash that the manifest names")

    def _take_head(self) -> tuple[tuple[int, ...], bytes]:
        count = self._take(_COUNT.size)
        (frames,) = _COUNT.unpack(count)
        if frames > _MOST_FRAMES:
            raise self._damaged("a head in it is none")
        head = count + self._take(8 * frames + _DIGEST_BYTES)
        check = self._take(_CHECK.size)
        if check != _CHECK.pack(hash_bytes(head)):
            raise self._damaged("a head in it does not have the hash that it names")
        self._heads.update(head + check)
        return struct.unpack_from(f"<{frames}Q", head, _COUNT.size), head[-_DIGEST_BYTES:]

    def _take(self, size: int) -> bytes:
        data = self._file.read(size) if size <= self._left else b""
        if len(data) != size:
            raise self._damaged("it ends too early")
        self._left -= size
        return data

    def _damaged(self, how: str) -> CheckpointError:
        return CheckpointError(f"{self._path} is damaged: {how}")
