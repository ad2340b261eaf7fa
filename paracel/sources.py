"""The files that a source names, here or at a URL, and their bytes, unpacked. No opinion on what a line is.

`.gz` and `.zst` files, and files of a store that does not tell their size, are read whole by one reader.
"""

import glob
import gzip
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias, cast

from paracel.errors import LoadError

FilePath: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = FilePath | Iterable[FilePath]

_PACKED = (".gz", ".zst")
_PACKED_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class File:
    """A file, its size in bytes as it is stored, and whether it can only be read from its beginning to its end."""

    path: str
    size: int
    whole: bool


def expand(source: Source) -> list[str]:
    """The files that `source` names: a path, a directory, a glob (`**` is recursive), a URL, or several of them.

    Paths keep the order given; what a glob matches is sorted, without directories; of a directory, its files, sorted,
    but not hidden ones. No file comes twice, whether spelled in two ways or linked to: its first name is kept. A path
    that exists is that file, even if it holds glob characters. LoadError when nothing is found.
    """
    named = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(named, Iterable):
        raise LoadError(f"input is {source!r}; give a path, a glob, or a list of them")
    found: dict[str, str] = {}
    for path in named:
        for file in _expand_one(path):
            found.setdefault(file if "://" in file else os.path.realpath(file), file)
    if not found:
        raise LoadError(f"input is {source!r}, which names no file; give a path, a glob, or a list of them")
    return list(found.values())


def files_of(source: Source) -> list[File]:
    """The files of `expand`, with their sizes. LoadError for what is not a regular file."""
    return [_file(path) for path in expand(source)]


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked; those of a plain one can be sought in. LoadError says why it cannot be read."""
    try:
        with _open(path) as file:
            yield file
    except LoadError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LoadError(f"{path!r} is not a whole .gz file: {error}; write it again, or unpack what can be") from error
    except OSError as error:
        raise LoadError(f"cannot read {path!r}: {error.strerror or error}") from error


def _expand_one(path: FilePath) -> list[str]:
    if not isinstance(path, str | os.PathLike):
        raise LoadError(f"{path!r} is not a path; give a path, a glob, or a list of them")
    name = os.fspath(path)
    if "://" in name:
        return _expand_url(name)
    if os.path.isdir(name):
        return _visible(name, sorted(entry.path for entry in os.scandir(name) if entry.is_file()))
    if os.path.exists(name):
        return [name]
    if not glob.has_magic(name):
        raise LoadError(f"no such file: {name!r} (looked for in {os.getcwd()!r})")
    matches = [match for match in glob.glob(name, recursive=True) if not os.path.isdir(match)]
    if not matches:
        raise LoadError(f"no file matches {name!r} (looked for in {os.getcwd()!r})")
    return sorted(matches)


def _expand_url(url: str) -> list[str]:
    files, path = open_store(url)
    try:
        if glob.has_magic(path):
            found = [match for match in files.glob(path) if not files.isdir(match)]
        elif files.isdir(path):
            found = [entry["name"] for entry in files.ls(path, detail=True) if entry["type"] == "file"]
            return _visible(url, [files.unstrip_protocol(match) for match in sorted(found)])
        else:
            found = [path] if files.exists(path) else []
    except OSError as error:
        raise LoadError(f"cannot read {url!r}: {error}") from error
    if not found:
        raise LoadError(f"no such file: {url!r}")
    return [files.unstrip_protocol(match) for match in sorted(found)]


def _visible(folder: str, found: list[str]) -> list[str]:
    shown = [path for path in found if not path.rpartition("/")[2].startswith(".")]
    if not shown:
        raise LoadError(f"{folder!r} is a directory without files; for those below it give {folder.rstrip('/')}/**")
    return shown


def _file(path: str) -> File:
    packed = path.endswith(_PACKED)
    if "://" not in path:
        return File(path, _local_size(path), packed)
    files, inner = open_store(path)
    try:
        size = files.size(inner)
    except OSError as error:
        raise LoadError(f"cannot read {path!r}: {error}") from error
    return File(path, 1 if size is None else size, packed or size is None)


def _local_size(path: str) -> int:
    try:
        status = os.stat(path)
    except OSError as error:
        raise LoadError(f"cannot read {path!r}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise LoadError(f"{path!r} is not a regular file, so it cannot be read in parts; copy it to a file")
    return status.st_size


@contextmanager
def _open(path: str) -> Iterator[BinaryIO]:
    with _open_stored(path) as file:
        if path.endswith(".gz"):
            with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                yield cast(BinaryIO, unpacked)
        elif path.endswith(".zst"):
            yield cast(BinaryIO, _Unzstandard(path, file))
        else:
            yield file


def _open_stored(path: str) -> Any:
    if "://" not in path:
        return open(path, "rb")
    files, inner = open_store(path)
    return files.open(inner, "rb")


class _Unzstandard:
    """The bytes of a .zst file, read from its beginning on. (zstandard's own reader takes half a frame for a whole.)"""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._frame: Any = None

    def read(self, size: int) -> bytes:
        """Some bytes, about as many; none at the end of the file."""
        data = b""
        while not data:
            packed = self._file.read(_PACKED_PIECE)
            if not packed and self._frame is not None:
                raise LoadError(f"{self._path!r} is not a whole .zst file: it ends within a frame; write it again")
            if not packed:
                return b""
            data = b"".join(self._unpacked(packed))
        return data

    def _unpacked(self, packed: bytes) -> Iterator[bytes]:
        zstandard = _zstandard(self._path)
        try:
            while packed:  # packed in parallel or appended to, a file has several frames
                self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
                yield self._frame.decompress(packed)
                packed = self._frame.unused_data
                if self._frame.eof:
                    self._frame = None
        except zstandard.ZstdError as error:
            raise LoadError(f"{self._path!r} is not a whole .zst file: {error}; write it again") from error


def _zstandard(path: str) -> Any:
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise LoadError(f"{path!r} needs zstandard: pip install 'paracel[compress]', or unpack it first") from error
    return zstandard


def open_store(url: str) -> tuple[Any, str]:
    """The file system that a URL names, as fsspec has it, and the path there. LoadError."""
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise LoadError(f"{url!r} needs fsspec: pip install 'paracel[remote]'") from error
    try:
        files, path = url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise LoadError(f"{url!r} cannot be opened: {error}") from error
    return files, str(path)
