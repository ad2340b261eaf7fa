"""Lines of as many numbers each, with an id before them or without: rows of a dense matrix."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paracel.loading.faults import Fault, Faults, fault_at
from paracel.loading.fields import Sheet
from paracel.loading.ids import LONGEST_ID, Ids, joined, owners, read_ids
from paracel.loading.numerals import floats
from paracel.loading.reading import Reading
from paracel.loading.trading import alike, send_to, together


@dataclass(frozen=True, slots=True)
class Rows:
    """Ids, shape (n,), and their rows, shape (n, k)."""

    ids: Ids
    rows: NDArray[np.float64]


#: Of a sheet the number of its piece, ids, and rows.
_Part: TypeAlias = tuple[int, Ids, NDArray[np.float64]]


@dataclass(slots=True)
class _Lines:
    """This worker's lines of one width: the first, and how many; of those that are not numbers, too; others' rows."""

    first: Fault
    count: int = 0
    wrong: Fault | None = None
    wrong_count: int = 0
    parts: list[_Part] = field(default_factory=list)


def numbered_rows(reading: Reading, columns: Sequence[int] | None = None) -> Rows:
    """The rows of this worker's part; their ids are their places in the source: line numbers without blank lines.

    With `columns`, lines have at least these fields, of which a row is made.
    """
    parts, width = _read(reading, with_id=False, columns=columns)
    told = reading.comm.allgather_json([[number, len(rows)] for number, _, rows in parts])
    return Rows(_places(told, reading.comm.rank), _stacked(parts, width))


def owned_rows(reading: Reading) -> Rows:
    """The rows that this worker owns by the hash of their id, of lines `id f1 ... fk`; rising by id."""
    parts, width = _read(reading, with_id=True)
    (ids,) = alike(reading.comm, joined([ids for _, ids, _ in parts]))
    ids, rows = send_to(reading.comm, owners(ids, ids, (reading.comm.size, 1)), ids, _stacked(parts, width - 1))
    order = np.argsort(ids, kind="stable")
    return Rows(ids[order], rows[order])


def _read(reading: Reading, *, with_id: bool, columns: Sequence[int] | None = None) -> tuple[list[_Part], int]:
    """The parts of this worker, and how many fields lines have. Collective."""
    found = together(reading.comm, lambda: _by_width(reading, with_id, columns))
    width = _most(reading.comm.allgather_json([[width, lines.count] for width, lines in found.items()]))
    together(reading.comm, lambda: _settle(reading.faults, found, width))
    return found[width].parts if width in found else [], width


def _by_width(reading: Reading, with_id: bool, columns: Sequence[int] | None) -> dict[int, _Lines]:
    """The lines of this worker's part, by how many fields they have: which number is right, all workers together know.

    One that knows that a line is wrong, whichever number it is, reads no further if that is an error.
    """
    found: dict[int, _Lines] = {}
    for sheet in reading.sheets():
        widths = sheet.counts
        if with_id:
            lengths = (sheet.ends - sheet.starts)[sheet.first[:-1]]
            sheet.refuse((lengths < 1) | (lengths > LONGEST_ID), f"an id of 1 to {LONGEST_ID} bytes")
            sheet.refuse(widths < 2, "an id and numbers")
        if columns is not None:
            sheet.refuse(widths <= max(columns), f"at least {max(columns) + 1} fields")
            widths = np.full(len(widths), len(columns))
        reading.faults.settle(sheet)
        for width in np.flatnonzero(np.bincount(widths[~sheet.bad])).tolist():
            lines = np.flatnonzero((widths == width) & ~sheet.bad)
            same = found.get(width) or found.setdefault(width, _Lines(fault_at(sheet, int(lines[0]), "")))
            at = np.arange(with_id, width) if columns is None else np.array(columns)
            _add(same, sheet, lines, at, with_id=with_id)
        if reading.faults.raises and (len(found) > 1 or any(same.wrong for same in found.values())):
            break
    return found


def _add(same: _Lines, sheet: Sheet, lines: NDArray[np.int64], at: NDArray[np.int64], *, with_id: bool) -> None:
    """Add these lines: rows are made of their fields number `at`, and ids, if they have one, of the first field."""
    same.count += len(lines)
    rows, right = _numbers(sheet, lines, at)
    if not right.all():
        good = right.all(axis=1)
        wrong = int(np.argmin(good))
        expected = f"a number in field {at[right[wrong].argmin()] + 1}"
        same.wrong = same.wrong or fault_at(sheet, int(lines[wrong]), expected)
        same.wrong_count += int(np.count_nonzero(~good))
        lines, rows = lines[good], rows[good]
    first = sheet.first[lines] if with_id else sheet.first[:0]
    same.parts.append((sheet.place.number, read_ids(sheet, sheet.starts[first], sheet.ends[first]), rows))


def _numbers(
    sheet: Sheet, lines: NDArray[np.int64], at: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fields number `at` of the lines as numbers, and which of them are one: a row for each line."""
    starts, ends = sheet.starts, sheet.ends
    if len(lines) * len(at) < len(starts) or not np.array_equal(at, np.arange(len(at))):
        places = (sheet.first[lines][:, None] + at).reshape(-1)
        starts, ends = starts[places], ends[places]
    numbers, right = floats(sheet.data, starts, ends)
    return numbers.reshape(-1, len(at)), right.reshape(-1, len(at))


def _most(told: Sequence[Sequence[tuple[int, int]]]) -> int:
    """The width that most lines of all workers have; of two with as many lines, the greater; 0 without lines."""
    counts: Counter[int] = Counter()
    for width, count in chain.from_iterable(told):
        counts[width] += count
    return max(counts, key=lambda width: (counts[width], width), default=0)


def _settle(faults: Faults, found: dict[int, _Lines], width: int) -> None:
    """Raise LoadError for the first line that is of another width or has no numbers, or count those."""
    others = [lines for each, lines in found.items() if each != width]
    wrong = [replace(lines.first, expected=f"{width} fields, as in most lines read") for lines in others]
    count = sum(lines.count for lines in others)
    same = found.get(width)
    if same and same.wrong:
        wrong.append(same.wrong)
        count += same.wrong_count
    if wrong:
        faults.note(min(wrong, key=lambda fault: fault.order), count)


def _stacked(parts: Sequence[_Part], width: int) -> NDArray[np.float64]:
    """One matrix, which has as many columns in all workers, also in one that has no lines."""
    return np.concatenate([np.zeros((0, max(0, width))), *[rows for _, _, rows in parts]])


def _places(told: Sequence[Sequence[Sequence[int]]], rank: int) -> NDArray[np.int64]:
    """The places of this worker's rows among all, of the pieces' numbers and counts of rows that each worker told."""
    sizes = np.array([[number, worker, count] for worker, each in enumerate(told) for number, count in each], np.int64)
    sizes = sizes.reshape(-1, 3)
    order = np.argsort(sizes[:, 0], kind="stable")
    begins = np.zeros(len(sizes), np.int64)
    begins[order[1:]] = np.cumsum(sizes[order, 2])[:-1]
    mine = sizes[:, 1] == rank
    parts = [np.arange(begin, begin + count) for begin, count in zip(begins[mine], sizes[mine, 2])]
    return np.concatenate([np.zeros(0, np.int64), *parts])
