"""Lines cut into fields, a block at a time: where each field begins and ends. What fields mean is not known here."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.errors import LoadError
from paracel.loaders import blocks, decoded
from paracel.loading.formats import Format
from paracel.loading.numerals import Bytes, Flags, Places
from paracel.partition import ByteRange

_BLANKS = b" \t"
#: Between the fields that a user's function gave.
UNIT = "\x1f"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a block of lines is from: the piece, its place in the order of the source, and the offset in the file."""

    number: int
    piece: ByteRange
    offset: int


@dataclass(slots=True)
class Sheet:
    """The lines of a block that are not blank. Field number i is `data[starts[i] : ends[i]]`.

    Line number j has the fields `first[j]` to `first[j + 1] - 1`, and is line `numbers[j]` of the block, from 0.
    """

    place: Place
    original: bytes
    data: Bytes
    starts: Places
    ends: Places
    first: NDArray[np.int64]
    numbers: NDArray[np.int64]
    separators: bytes
    bad: Flags = field(init=False)
    reasons: list[tuple[Flags, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bad = np.zeros(len(self.numbers), np.bool_)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many fields each line has."""
        return np.diff(self.first)

    def refuse(self, lines: NDArray[Any], expected: str) -> None:
        """Note that these lines (flags, or numbers in the sheet) are not as expected."""
        wrong = np.zeros(len(self.bad), np.bool_)
        wrong[lines] = True
        if wrong.any():
            self.reasons.append((wrong, expected))
            self.bad |= wrong


def sheets(number: int, piece: ByteRange, form: Format) -> Iterator[Sheet]:
    """The lines that begin in piece `number` and are not passed over, cut into fields by the parser.

    Each character of a string separates; if a blank is among them, runs of separators count as one. Blanks around a
    field are not part of it. LoadError for bytes that are not UTF-8.
    """
    header = form.header_of(piece)
    for offset, data in blocks(piece):
        place = Place(number, piece, offset)
        original = _plain(data, piece.path, offset)
        raw = form.blanked(original, header)
        header = max(0, header - original.count(b"\n")) if header else 0
        if callable(form.parser):
            joined, failed = _parsed(raw.decode(), form.parser)
            sheet = cut(joined, UNIT.encode(), place, original)
            for line, told in failed:
                sheet.refuse(sheet.numbers == line, told)
        else:
            sheet = cut(raw, form.parser.encode(), place, original)
        yield sheet


def _plain(data: memoryview, path: str, offset: int) -> bytes:
    """A block of UTF-8 with line ends `\\n`, one at the end, too."""
    raw = bytes(data)
    if not raw.isascii():
        raw = decoded(data, path, offset).encode()
    elif b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _parsed(text: str, parser: Callable[[str], Iterable[Any] | None]) -> tuple[bytes, list[tuple[int, str]]]:
    """The fields of each line, joined; and of those for which the parser raised, number and what was expected."""
    failed: list[tuple[int, str]] = []
    joined = []
    for number, line in enumerate(text.removesuffix("\n").split("\n")):
        try:
            fields = _texts(parser(line)) if line.strip() else []
            made = UNIT.join(fields)
            if made.count(UNIT) != max(0, len(fields) - 1) or "\n" in made:
                raise ValueError("a field holds a line end, or the character 0x1f")
        except Exception as error:
            failed.append((number, f"a line that the parser takes; it raised {type(error).__name__}: {error}"))
            made = "?"
        joined.append(made)
    return ("\n".join(joined) + "\n").encode(), failed


def _texts(fields: Any) -> list[str]:
    if fields is None:
        return []
    # The check of an abstract class costs as much as all the rest.
    if type(fields) is not list and (isinstance(fields, str | bytes) or not isinstance(fields, Iterable)):
        raise TypeError(f"it gave {fields!r}, where a list of fields is expected, or None")
    return list(map(str, fields))


def cut(raw: bytes, separators: bytes, place: Place, original: bytes) -> Sheet:
    """The fields of a block that has line ends `\\n` only, one at its end, too.

    `original` is what its lines were before they were changed.
    """
    if len(raw) >= 1 << 31:
        raise LoadError(f"{place.piece.path!r} has a line of {len(raw) >> 20} MiB; a line has less than 2 GiB")
    data = np.frombuffer(raw, np.uint8)
    is_end = data == 10
    edges = data == separators[0]
    for separator in separators[1:]:
        edges |= data == separator
    edges |= is_end
    ends = np.flatnonzero(edges).astype(np.int32)
    last = is_end[ends]
    starts = np.empty_like(ends)
    starts[:1] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    _strip(raw, data, starts, ends, separators)
    stops = np.flatnonzero(last) + 1
    counts = np.diff(stops, prepend=0)
    if b" " in separators:
        kept = starts < ends
        fields = np.add.reduceat(kept, stops - counts, dtype=np.int64)
        starts, ends = starts[kept], ends[kept]
    else:
        fields = counts
        blank = (counts == 1) & (starts[stops - 1] == ends[stops - 1])
        if blank.any():
            kept = np.ones(len(starts), np.bool_)
            kept[stops[blank] - 1] = False
            starts, ends, fields = starts[kept], ends[kept], counts - blank
    numbers = np.flatnonzero(fields)
    first = np.concatenate(([0], np.cumsum(fields[numbers])))
    sheet = Sheet(place, original, data, starts, ends, first, numbers, separators)
    if b"\0" in raw:
        at = np.searchsorted(np.flatnonzero(is_end), np.flatnonzero(data == 0))
        sheet.refuse(np.isin(numbers, at), "text without bytes of zero")
    return sheet


def _strip(raw: bytes, data: Bytes, starts: Places, ends: Places, separators: bytes) -> None:
    """Take blanks off the fields, in place."""
    blanks = [blank for blank in _BLANKS if blank not in separators and blank in raw]
    while blanks:
        before = np.isin(data.take(starts, mode="clip"), blanks) & (starts < ends)
        after = np.isin(data.take(ends - 1, mode="clip"), blanks) & (starts < ends) & ~before
        if not before.any() and not after.any():
            return
        starts += before
        ends -= after


def texts(sheet: Sheet, starts: Places, ends: Places) -> NDArray[np.bytes_]:
    """The fields as bytes, of as many as the longest of them."""
    lengths = ends - starts
    width = max(1, int(lengths.max(initial=0)))
    made = np.zeros((len(starts), width), np.uint8)
    for at in range(width):
        made[:, at] = np.where(lengths > at, sheet.data.take(starts + at, mode="clip"), 0)
    return made.view(f"S{width}").reshape(-1)
