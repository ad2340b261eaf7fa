"""Lines of as many numbers each, with an id before them or without: rows of a dense matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paracel.comm import Comm
from paracel.errors import LoadError
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


def numbered_rows(reading: Reading) -> Rows:
    """The rows of this worker's part; their ids are their places in the source: line numbers without blank lines."""
    read = together(reading.comm, lambda: _read(reading, with_id=False))
    told = reading.comm.allgather_json([[number, len(rows)] for number, _, rows in read])
    rows = _stacked(reading.comm, [rows for _, _, rows in read])
    return Rows(_places(told, reading.comm.rank), rows)


def owned_rows(reading: Reading) -> Rows:
    """The rows that this worker owns by the hash of their id, of lines `id f1 ... fk`; rising by id."""
    read = together(reading.comm, lambda: _read(reading, with_id=True))
    rows = _stacked(reading.comm, [rows for _, _, rows in read])
    (ids,) = alike(reading.comm, joined([ids for _, ids, _ in read]))
    ids, rows = send_to(reading.comm, owners(ids, ids, (reading.comm.size, 1)), ids, rows)
    order = np.argsort(ids, kind="stable")
    return Rows(ids[order], rows[order])


def _read(reading: Reading, *, with_id: bool) -> list[tuple[int, Ids, NDArray[np.float64]]]:
    """For each sheet the number of its piece, the ids, and the rows."""
    read = []
    width = 0
    for number, sheet in reading.sheets():
        if not len(sheet.numbers):
            continue
        width = width or int(np.bincount(sheet.counts).argmax())
        lines, rows = _rows(sheet, width, int(with_id))
        reading.faults.settle(sheet)
        kept = ~sheet.bad[lines]
        if not kept.all():
            lines, rows = lines[kept], rows[kept]
        first = sheet.first[lines] if with_id else np.zeros(0, np.int64)
        read.append((number, read_ids(sheet, sheet.starts[first], sheet.ends[first]), rows))
    return read


def _rows(sheet: Sheet, width: int, before: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The lines that have `width` fields, and their numbers: all fields but so many `before` them."""
    counts = sheet.counts
    sheet.refuse(counts != width, f"{width} fields, as in most lines before it")
    if before:
        lengths = (sheet.ends - sheet.starts)[sheet.first[:-1]]
        sheet.refuse((lengths < 1) | (lengths > LONGEST_ID), f"an id of 1 to {LONGEST_ID} bytes")
        sheet.refuse(counts < 2, "an id and numbers")
    lines = np.flatnonzero(~sheet.bad)
    starts, ends = sheet.starts, sheet.ends
    if before or len(lines) < len(counts):
        at = (sheet.first[lines][:, None] + np.arange(before, width)).reshape(-1)
        starts, ends = starts[at], ends[at]
    numbers, right = floats(sheet.data, starts, ends)
    shape = (len(lines), width - before)
    if not right.all():
        wrong = ~right.reshape(shape)
        bad = np.flatnonzero(wrong.any(axis=1))
        sheet.refuse(lines[bad], f"a number in field {int(wrong[bad[0]].argmax()) + before + 1}")
    return lines, numbers.reshape(shape)


def _stacked(comm: Comm, parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One matrix, which has as many columns in all workers, also in one that has no lines."""
    widths = comm.allgather_json(parts[0].shape[1] if parts else -1)
    known = sorted({width for width in widths if width >= 0})
    if len(known) > 1:
        rank = widths.index(known[1])
        raise LoadError(
            f"lines of worker {rank} have {known[1]} numbers, and of worker {widths.index(known[0])} {known[0]}; "
            f"a matrix needs as many in each"
        )
    return np.concatenate([np.zeros((0, known[0] if known else 0)), *parts])


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
