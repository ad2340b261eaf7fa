"""Lines that say how two ids are related: `a,b`, `a,b,0.2`, `a,b:0.2,c`. Parsed by byte range, then owned by hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.loading.fields import Sheet
from paracel.loading.ids import LONGEST_ID, Ids, joined, owners, read_ids
from paracel.loading.numerals import Places, floats
from paracel.loading.reading import Reading
from paracel.loading.trading import alike, send_to, together

#: What stands between an item of mixed lines and its value, where it is no separator of fields.
_VALUE_MARKS = b":| "
#: How many bytes of an item an error tells.
_SHOWN = 100


@dataclass(frozen=True, slots=True, eq=False)
class Relations:
    """Pairs of ids, int64 or str, with a float64 value (1.0 where none is written): arrays of shape (n,).

    `skipped` counts the lines, of all workers, that did not parse. It unpacks as first, second, values.
    """

    first: Ids
    second: Ids
    values: NDArray[np.float64]
    skipped: int = 0

    def __iter__(self) -> Any:
        return iter((self.first, self.second, self.values))


@dataclass(slots=True)
class _Records:
    """What a sheet has: for each record its line, and where its ids and its value stand; -1 where there is none."""

    line: NDArray[np.int64]
    first: NDArray[np.int64]
    second_starts: Places
    second_ends: Places
    value_starts: Places
    value_ends: Places

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop the others."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[kept])


def own_relations(
    reading: Reading,
    grid: tuple[int, int],
    *,
    mix: bool = False,
    columns: Sequence[int] | None = None,
    same_kind: bool = False,
) -> Relations:
    """The relations that this worker of the grid owns, of those in all workers' parts. Collective."""
    first, second, values = together(reading.comm, lambda: _read(reading, mix, columns))
    first, second = alike(reading.comm, first, second, same_kind=same_kind)
    first, second, values = send_to(reading.comm, owners(first, second, grid), first, second, values)
    return Relations(first, second, values)


def _read(reading: Reading, mix: bool, columns: Sequence[int] | None) -> tuple[Ids, Ids, NDArray[np.float64]]:
    firsts, seconds, values = [], [], []
    for sheet in reading.sheets():
        records = _records(sheet, mix, columns)
        numbers = _values(sheet, records)
        reading.faults.settle(sheet)
        kept = ~sheet.bad[records.line]
        if not kept.all():
            records.keep(kept)
            numbers = numbers[kept]
        firsts.append(read_ids(sheet, sheet.starts[records.first], sheet.ends[records.first]))
        seconds.append(read_ids(sheet, records.second_starts, records.second_ends))
        values.append(numbers)
    return joined(firsts), joined(seconds), np.concatenate([np.zeros(0), *values])


def _records(sheet: Sheet, mix: bool, columns: Sequence[int] | None) -> _Records:
    if columns is not None:
        records = _of_columns(sheet, columns)
    elif mix:
        records = _of_mixed(sheet)
    else:
        records = _of_pairs(sheet)
    if mix and (columns is None or len(columns) == 2):
        _split_items(sheet, records)
    _check_ids(sheet, records)
    return records


def _of_columns(sheet: Sheet, columns: Sequence[int]) -> _Records:
    least = max(columns) + 1
    sheet.refuse(sheet.counts < least, f"at least {least} fields")
    lines = np.flatnonzero(sheet.counts >= least)
    begin = sheet.first[lines]
    value = begin + columns[2] if len(columns) == 3 else None
    return _made(sheet, lines, begin + columns[0], begin + columns[1], value)


def _of_mixed(sheet: Sheet) -> _Records:
    sheet.refuse(sheet.counts < 2, "an id and the items that it is related to")
    lines = np.repeat(np.arange(len(sheet.numbers)), np.maximum(sheet.counts - 1, 0))
    items = np.ones(len(sheet.starts), np.bool_)
    items[sheet.first[:-1]] = False
    return _made(sheet, lines, sheet.first[lines], np.flatnonzero(items), None)


def _of_pairs(sheet: Sheet) -> _Records:
    sheet.refuse(
        (sheet.counts < 2) | (sheet.counts > 3), "two ids, and a value perhaps; with mix=True, an id and items"
    )
    lines = np.flatnonzero(~sheet.bad)
    begin, three = sheet.first[lines], sheet.counts[lines] == 3
    if three.all():
        return _made(sheet, lines, begin, begin + 1, begin + 2)
    records = _made(sheet, lines, begin, begin + 1, None)
    at = begin[three]
    records.value_starts[three] = sheet.starts[at + 2]
    records.value_ends[three] = sheet.ends[at + 2]
    return records


def _made(
    sheet: Sheet,
    lines: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    value: NDArray[np.int64] | None,
) -> _Records:
    starts, ends = sheet.starts[second], sheet.ends[second]
    if value is not None:
        return _Records(lines, first, starts, ends, sheet.starts[value], sheet.ends[value])
    none = np.full(len(lines), -1, np.int32)
    return _Records(lines, first, starts, ends, none, none.copy())


def _split_items(sheet: Sheet, records: _Records) -> None:
    """Cut `b:0.2` into the id and the value, at the last mark in it."""
    marks = np.zeros(len(sheet.data), np.bool_)
    for mark in _VALUE_MARKS:
        if mark not in sheet.separators:
            marks |= sheet.data == mark
    found = np.flatnonzero(marks)
    if not len(found) or not len(records.line):
        return
    item = np.searchsorted(records.second_starts, found, side="right") - 1
    inside = (item >= 0) & (found < records.second_ends[item])
    found, item = found[inside].astype(np.int32), item[inside]
    ends = records.second_ends.copy()
    # Of several marks in an item the last one stays.
    records.value_ends[item] = ends[item]
    records.value_starts[item] = found + 1
    records.second_ends[item] = found


def _values(sheet: Sheet, records: _Records) -> NDArray[np.float64]:
    values = np.ones(len(records.line))
    written = np.flatnonzero(records.value_starts >= 0)
    if len(written):
        numbers, right = floats(sheet.data, records.value_starts[written], records.value_ends[written])
        values[written] = numbers
        if not right.all():
            wrong = written[~right]
            sheet.refuse(records.line[wrong], f"a number as the value{_told_of_split(sheet, records, wrong[0])}")
    return values


def _told_of_split(sheet: Sheet, records: _Records, at: np.intp) -> str:
    """Why there is a value, if a mark within an item says so."""
    begin, mark, end = records.second_starts[at], records.value_starts[at] - 1, records.value_ends[at]
    if mark != records.second_ends[at] or sheet.data[mark] not in _VALUE_MARKS or sheet.data[mark] in sheet.separators:
        return ""
    item = sheet.data[begin : min(end, begin + _SHOWN)].tobytes().decode(errors="ignore")
    return (
        f", as with mix= the item {item!r} is split at its last {chr(sheet.data[mark])!r}; "
        f"add ':1' to items that hold such a mark and have no value"
    )


def _check_ids(sheet: Sheet, records: _Records) -> None:
    first = sheet.ends[records.first] - sheet.starts[records.first]
    second = records.second_ends - records.second_starts
    wrong: Any = (np.minimum(first, second) < 1) | (np.maximum(first, second) > LONGEST_ID)
    if wrong.any():
        sheet.refuse(records.line[wrong], f"ids of 1 to {LONGEST_ID} bytes")
