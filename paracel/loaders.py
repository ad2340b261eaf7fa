"""Text files as lists of lines, or as blocks of whole lines: all of a source, or one worker's part.

Reads files and nothing else: no MPI, no sockets, no opinion on what a line means.

A line belongs to the part in whose byte range its first byte lies, so each line is loaded exactly once
whatever the sizes and the number of parts. Lines end as in Python's universal newlines (`\\n`, `\\r\\n`, a
lone `\\r`); a file's end also ends its last line. Files are UTF-8; a byte order mark at a file's start is
dropped. Packed files are read whole, by the part to which the middle of the file belongs.
"""

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from paracel.errors import ConfigError, LoadError
from paracel.partition import ByteRange, split
from paracel.sources import FilePath, Source, expand, files_of, opened

__all__ = [
    "FilePath",
    "Source",
    "blocks",
    "chunks",
    "expand",
    "iter_parts",
    "line_number",
    "lines_before",
    "load_all",
    "load_lines",
]

# Decoding a piece that fits the processor's cache is about twice as fast as decoding a whole file at once,
# and one wide character then widens only its own piece.
_BLOCK = 1 << 20
# A line end is mostly found in the first piece looked at.
_PEEK = 1 << 14


def load_lines(source: Source, part: int, parts: int) -> list[str]:
    """The lines of part `part` (0 <= part < parts) of the files of `source`, without their line ends.

    All parts in order make up all the lines. Raises LoadError for a file that cannot be read, or whose bytes
    are not UTF-8 (with the offset).
    """
    if not 0 <= part < parts:
        raise ConfigError(f"part {part} of {parts} does not exist; parts are numbered from 0 to parts - 1")
    return lines_of(plan(source, parts)[part])


def load_all(source: Source) -> list[str]:
    """All lines of the files of `source`; raises as `load_lines`."""
    return load_lines(source, 0, 1)


def iter_parts(source: Source, parts: int) -> Iterator[list[str]]:
    """The lines of each of `parts` parts in turn, one part in memory at a time.

    Wrong paths are found at the call, bytes that are not UTF-8 when their part is read.
    """
    return (lines_of(ranges) for ranges in plan(source, parts))


def plan(source: Source, parts: int) -> list[tuple[ByteRange, ...]]:
    """The byte ranges of each of `parts` parts."""
    files = files_of(source)
    return split([(file.path, file.size) for file in files], parts, {file.path for file in files if file.whole})


def chunks(source: Source, size: int) -> list[ByteRange]:
    """All the bytes in order, in ranges of about `size` bytes; packed files whole."""
    total = sum(file.size for file in files_of(source))
    return [piece for share in plan(source, max(1, -(-total // size))) for piece in share]


def lines_of(ranges: Iterable[ByteRange]) -> list[str]:
    """The lines that begin in the ranges."""
    return [line for piece in ranges for offset, data in blocks(piece) for line in _split_lines(data, piece, offset)]


def blocks(piece: ByteRange) -> Iterator[tuple[int, memoryview]]:
    """The lines that begin in `piece`, as (offset, bytes): each of whole lines, with their line ends as they are.

    Of a packed file, bytes and offsets are those of what was packed. A byte order mark is still there.
    """
    with opened(piece.path) as file:
        yield from _whole_blocks(file) if piece.whole else _blocks(file, piece)


def line_number(path: str, offset: int, *, whole: bool = False) -> int:
    """The number, from 1, of the line that begins at `offset`."""
    count = 1
    if not offset:
        return count
    for begin, data in blocks(ByteRange(path, 0, offset, whole)):
        before = bytes(data[: max(0, offset - begin)])
        count += _line_ends(before)
    return count


def lines_before(path: str, offset: int, most: int) -> int:
    """How many lines of a plain file begin before `offset`; `most`, if there are more."""
    count = 0
    for _, data in blocks(ByteRange(path, 0, offset)):
        count += _line_ends(bytes(data))
        if count >= most:
            return most
    return count


def _line_ends(data: bytes) -> int:
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")


def _blocks(file: BinaryIO, piece: ByteRange) -> Iterator[tuple[int, memoryview]]:
    size = file.seek(0, os.SEEK_END)
    if size < piece.end:
        raise LoadError(_shrunk(piece.path))
    begin = _line_start(file, piece.begin, piece.end, piece.path)
    if begin == piece.end:
        return
    end = _line_start(file, piece.end, size, piece.path)
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


def _whole_blocks(file: BinaryIO) -> Iterator[tuple[int, memoryview]]:
    begin, rest = 0, b""
    while more := file.read(max(_BLOCK, len(rest))):
        data = rest + more
        cut = data.rfind(b"\n") + 1
        if cut:
            yield begin, memoryview(data)[:cut]
        begin, rest = begin + cut, data[cut:]
    if rest:
        yield begin, memoryview(rest)


def _line_start(file: BinaryIO, position: int, limit: int, path: str) -> int:
    """The first line start at or after `position`; `limit` if there is none before it."""
    if position == 0:
        return 0
    at = position - 1
    file.seek(at)
    while at < limit:
        data = _read(file, min(_PEEK, limit - at), path)
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


def decoded(data: memoryview, path: str, offset: int) -> str:
    """A block as text, its byte order mark dropped, and its line ends all `\\n`. LoadError names what is not UTF-8."""
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
    return text


def _split_lines(data: memoryview, piece: ByteRange, offset: int) -> list[str]:
    lines = decoded(data, piece.path, offset).split("\n")
    if not lines[-1]:  # what follows the last line end is not a line
        lines.pop()
    return lines
