"""Text files as lists of lines, the whole or one worker's part.

Reads files and nothing else: no MPI, no sockets, no opinion on what a line means.

A line belongs to the part in whose byte range its first byte lies, so each line is loaded exactly once
whatever the sizes and the number of parts. Lines end as in Python's universal newlines (`\\n`, `\\r\\n`, a
lone `\\r`); a file's end also ends its last line. Files are UTF-8; a byte order mark at a file's start is
dropped.
"""

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, TypeAlias

from paracel.errors import ConfigError, LoadError
from paracel.partition import ByteRange, split

FilePath: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = FilePath | Iterable[FilePath]

# Decoding a piece that fits the processor's cache is about twice as fast as decoding a whole file at once,
# and one wide character then widens only its own piece.
_BLOCK = 1 << 20
# A line end is mostly found in the first piece looked at.
_PEEK = 1 << 14


def expand(source: Source) -> list[str]:
    """The files that `source` names: a path, a glob (`**` is recursive), or several of them.

    Paths keep the order given; what a glob matches is sorted, without directories. No file comes twice. A
    path that exists is that file, even if it holds glob characters. LoadError when nothing is found.
    """
    named = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(named, Iterable):
        raise LoadError(f"input is {source!r}; give a path, a glob, or a list of them")
    found = dict.fromkeys(file for path in named for file in _expand_one(path))
    if not found:
        raise LoadError(f"input is {source!r}, which names no file; give a path, a glob, or a list of them")
    return list(found)


def load_lines(source: Source, part: int, parts: int) -> list[str]:
    """The lines of part `part` (0 <= part < parts) of the files of `source`, without their line ends.

    All parts in order make up all the lines. Raises LoadError for a file that cannot be read, or whose bytes
    are not UTF-8 (with the offset).
    """
    if not 0 <= part < parts:
        raise ConfigError(f"part {part} of {parts} does not exist; parts are numbered from 0 to parts - 1")
    return _load(_plan(source, parts)[part])


def load_all(source: Source) -> list[str]:
    """All lines of the files of `source`; raises as `load_lines`."""
    return load_lines(source, 0, 1)


def iter_parts(source: Source, parts: int) -> Iterator[list[str]]:
    """The lines of each of `parts` parts in turn, one part in memory at a time.

    Wrong paths are found at the call, bytes that are not UTF-8 when their part is read.
    """
    return (_load(ranges) for ranges in _plan(source, parts))


def _expand_one(path: FilePath) -> list[str]:
    if not isinstance(path, str | os.PathLike):
        raise LoadError(f"{path!r} is not a path; give a path, a glob, or a list of them")
    name = os.fspath(path)
    if os.path.exists(name):
        return [name]
    if not glob.has_magic(name):
        raise LoadError(f"no such file: {name!r} (looked for in {os.getcwd()!r})")
    matches = [match for match in glob.glob(name, recursive=True) if not os.path.isdir(match)]
    if not matches:
        raise LoadError(f"no file matches {name!r} (looked for in {os.getcwd()!r})")
    return sorted(matches)


def _plan(source: Source, parts: int) -> list[tuple[ByteRange, ...]]:
    return split([(path, _size(path)) for path in expand(source)], parts)


def _size(path: str) -> int:
    try:
        status = os.stat(path)
    except OSError as error:
        raise LoadError(f"cannot read {path!r}: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise LoadError(f"{path!r} is a directory; name its files, for instance {os.path.join(path, '*')!r}")
    if not stat.S_ISREG(status.st_mode):
        raise LoadError(f"{path!r} is not a regular file, so it cannot be read in parts; copy it to a file")
    return status.st_size


def _load(ranges: Sequence[ByteRange]) -> list[str]:
    lines: list[str] = []
    for piece in ranges:
        try:
            with open(piece.path, "rb") as file:
                for offset, data in _blocks(file, piece):
                    lines += _split_lines(data, piece.path, offset)
        except OSError as error:
            raise LoadError(f"cannot read {piece.path!r}: {error.strerror}") from error
    return lines


def _blocks(file: BinaryIO, piece: ByteRange) -> Iterator[tuple[int, memoryview]]:
    """The lines that begin in `piece`, as (offset, bytes) of whole lines each."""
    size = os.fstat(file.fileno()).st_size
    if size < piece.end:
        raise LoadError(_shrunk(piece.path))
    begin = _line_start(file, piece.begin, piece.end)
    if begin == piece.end:
        return
    end = _line_start(file, piece.end, size)
    rest = b""
    file.seek(begin)
    while begin + len(rest) < end:
        # At least as much as is left over, or a line of many blocks would be copied once for each of them.
        data = rest + _read(file, min(end - begin - len(rest), max(_BLOCK, len(rest))), piece.path)
        # Cut only after \n: a \r may be half of a \r\n.
        cut = len(data) if begin + len(data) == end else data.rfind(b"\n") + 1
        if cut:
            yield begin, memoryview(data)[:cut]
        begin, rest = begin + cut, data[cut:]


def _line_start(file: BinaryIO, position: int, limit: int) -> int:
    """The first line start at or after `position`; `limit` if there is none before it."""
    if position == 0:
        return 0
    at = position - 1
    file.seek(at)
    while at < limit:
        data = _read(file, min(_PEEK, limit - at), file.name)
        newline = data.find(b"\n")
        carriage_return = data.find(b"\r", 0, newline if newline >= 0 else None)
        found = carriage_return if carriage_return >= 0 else newline
        if found >= 0:
            file.seek(at + found)
            return min(limit, at + found + (2 if file.read(2) == b"\r\n" else 1))
        at += len(data)
    return limit


def _read(file: BinaryIO, size: int, path: str) -> bytes:
    data = file.read(size)
    if not data:
        raise LoadError(_shrunk(path))
    return data


def _shrunk(path: str) -> str:
    return f"{path!r} became shorter while it was being read; load it again when nothing writes to it"


def _split_lines(data: memoryview, path: str, offset: int) -> list[str]:
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        where = offset + error.start
        byte = data[error.start]
        raise LoadError(
            f"{path!r} is not UTF-8: byte 0x{byte:02x} at offset {where} ({error.reason}); convert it first"
        ) from None
    if offset == 0:
        text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    if not lines[-1]:  # what follows the last line end is not a line
        lines.pop()
    return lines
