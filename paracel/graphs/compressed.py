"""Edges as compressed sparse rows: numbers of vertices and weights in arrays. No ids here."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Compressed:
    """The edges of row `r` are at `starts[r]:starts[r + 1]` of `columns` and `weights`, columns rising.

    `starts` is int64 of shape (rows + 1,), `columns` int64 and `weights` float64 of shape (edges,).
    """

    starts: Positions
    columns: Positions
    weights: Weights
    width: int

    @classmethod
    def of(cls, rows: Positions, columns: Positions, weights: Weights, shape: tuple[int, int]) -> "Compressed":
        """From edges in any order; of one that comes again the last weight counts."""
        height, width = shape
        code = rows * max(width, 1) + columns
        rising = code[1:] > code[:-1]
        if not rising.all():
            order = rising_order(code, height * width)
            code = code[order]
            last = np.append(code[1:] != code[:-1], True)
            chosen = order[last]
            rows, columns, weights = rows[chosen], columns[chosen], weights[chosen]
        return cls(_starts(rows, height), columns, weights, width)

    @property
    def height(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1

    @property
    def degrees(self) -> Positions:
        """How many edges each row has, shape (rows,)."""
        return np.diff(self.starts)

    @property
    def rows(self) -> Positions:
        """The row of each edge, shape (edges,)."""
        edges = len(self.columns)
        if edges < self.height // 8:  # so that memory goes with the edges
            return np.searchsorted(self.starts, np.arange(edges), "right") - 1
        return np.repeat(np.arange(self.height), self.degrees)

    def row(self, number: int) -> slice:
        """Where the edges of a row are."""
        return slice(int(self.starts[number]), int(self.starts[number + 1]))

    def transposed(self) -> "Compressed":
        """The same edges by column."""
        order = rising_order(self.columns, self.width)
        return Compressed(
            _starts(self.columns, self.width), self.rows[order], self.weights[order], self.height
        )  # fmt: skip


def rising_order(keys: Positions, end: int) -> Positions:
    """The positions that sort keys from 0 to `end` - 1, those of equal ones rising."""
    if (keys[1:] >= keys[:-1]).all():
        return np.arange(len(keys))
    bits = len(keys).bit_length()
    if end <= 1 << 16:  # which numpy sorts by radix
        return np.argsort(keys.astype(np.uint16), kind="stable")
    if end.bit_length() + bits > 62:
        return np.argsort(keys, kind="stable")
    # numpy sorts plain int64 with vector instructions, so key and position go into one
    packed = np.sort((keys << bits) | np.arange(len(keys)))
    return packed & ((1 << bits) - 1)


def _starts(rows: Positions, height: int) -> Positions:
    counts = np.bincount(rows + 1, minlength=height + 1)
    return np.cumsum(counts, out=counts)


def runs(starts: NDArray[Any], lengths: NDArray[Any]) -> Positions:
    """All the positions of runs of these starts and lengths, one run after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
