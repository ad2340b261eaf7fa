"""Samples with labels, dense from CSV and sparse from LIBSVM. Each worker has those of its part of the source."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.errors import ConfigError, LoadError
from paracel.loading.dense import numbered_rows
from paracel.loading.fields import Sheet, texts
from paracel.loading.matrices import sparse
from paracel.loading.numerals import Flags, floats, integers
from paracel.loading.reading import Reading
from paracel.loading.trading import together


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Features, shape (n, k), a float64 ndarray or `scipy.sparse.csr_array`, and labels, float64, shape (n,).

    `skipped` counts the lines, of all workers, that did not parse. It unpacks as features, labels.
    """

    features: Any
    labels: NDArray[np.float64]
    skipped: int = 0

    def __iter__(self) -> Any:
        return iter((self.features, self.labels))


def csv_samples(
    reading: Reading, label: int, columns: Sequence[int] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features and labels of lines of numbers, of which number `label` (negative: from the end) is the label.

    With `columns`, lines are made of these fields.
    """
    rows = numbered_rows(reading, columns).rows
    width = rows.shape[1]
    if width and not -width <= label < width:
        raise ConfigError(f"label={label!r}, where lines have {width} fields; allowed: {-width} to {width - 1}")
    if not width:
        return rows, np.zeros(0)
    return np.delete(rows, label, axis=1), rows[:, label].copy()


def libsvm_samples(reading: Reading, width: int | None, least: int) -> tuple[Any, NDArray[np.float64]]:
    """Features in CSR and labels of lines `label index:value ...`, with indices from `least`, 0 or 1.

    There are `width` features, or as many as the highest index of all workers says.
    """
    module = sparse()
    labels, counts, columns, values = together(reading.comm, lambda: _read(reading, least))
    highest = max(reading.comm.allgather_json(int(columns.max(initial=-1)))) + 1
    if width is not None and highest > width:
        raise LoadError(
            f"there is a feature {highest - 1 + least}, and width={width}, with indices from {least}; "
            f"give as many as there are, or none"
        )
    indptr = np.concatenate(([0], np.cumsum(counts)))
    shape = (len(labels), highest if width is None else width)
    features = module.csr_array((values, columns, indptr), shape=shape)
    features.sum_duplicates()
    return features, labels


def _read(reading: Reading, least: int) -> tuple[NDArray[Any], ...]:
    """Labels; for each how many features; their indices, from 0; and their values."""
    parts: list[tuple[NDArray[Any], ...]] = [(np.zeros(0), *[np.zeros(0, np.int64)] * 2, np.zeros(0))]
    parts.extend(_parsed(sheet, reading, least) for sheet in reading.sheets())
    return tuple(np.concatenate(column) for column in zip(*parts))


def _parsed(sheet: Sheet, reading: Reading, least: int) -> tuple[NDArray[Any], ...]:
    counts = sheet.counts
    sheet.refuse(counts % 2 == 0, "a label, and pairs index:value")
    line_of = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(sheet.starts)) - np.repeat(sheet.first[:-1], counts)
    is_index, is_value = within % 2 == 1, (within % 2 == 0) & (within > 0)
    colon = sheet.data.take(sheet.ends, mode="clip") == ord(":")
    sheet.refuse(line_of[colon != is_index], "pairs index:value after the label")
    labels, good = floats(sheet.data, sheet.starts[sheet.first[:-1]], sheet.ends[sheet.first[:-1]])
    sheet.refuse(~good, "a number as the label")
    columns, good = integers(sheet.data, sheet.starts[is_index], sheet.ends[is_index])
    # The number of features, one more than the highest index from 0, is int64, too.
    good &= columns < np.iinfo(np.int64).max
    _refuse_indices(sheet, is_index, np.where(good, columns, -1), least)
    values, good = floats(sheet.data, sheet.starts[is_value], sheet.ends[is_value])
    sheet.refuse(line_of[is_value][~good], "numbers as values")
    reading.faults.settle(sheet)
    kept = ~sheet.bad
    return (
        labels[kept],
        (counts // 2)[kept],
        columns[kept[line_of[is_index]]] - least,
        values[kept[line_of[is_value]]],
    )


def _refuse_indices(sheet: Sheet, is_index: Flags, indices: NDArray[np.int64], least: int) -> None:
    """Refuse the lines of those that are below `least`; what is no number is -1."""
    wrong = np.flatnonzero(is_index)[indices < least]
    if not len(wrong):
        return
    line_of = np.repeat(np.arange(len(sheet.counts)), sheet.counts)
    short = wrong[(sheet.ends - sheet.starts)[wrong] <= len("qid")]
    names = texts(sheet, sheet.starts[short], sheet.ends[short])
    from_zero = "whole numbers from 1 as indices; give zero_based=True for those from 0"
    sheet.refuse(line_of[short[names == b"qid"]], "no qid:, as there are no queries here; take it out of the file")
    sheet.refuse(line_of[short[names == b"0"]], from_zero)
    sheet.refuse(line_of[wrong], f"whole numbers from {least} as indices")
