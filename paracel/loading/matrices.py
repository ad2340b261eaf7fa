"""Blocks of a matrix that is spread over the workers, with the ids of their rows and columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.comm import Comm
from paracel.errors import LoadError
from paracel.loading.dense import Rows
from paracel.loading.ids import Ids, for_users, numbered
from paracel.loading.relations import Relations
from paracel.loading.trading import shared


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """This worker's block of a matrix: a float64 `scipy.sparse.csr_array` or ndarray of shape (n, k).

    `row_ids`, shape (n,), and `col_ids`, shape (k,), are int64 or str. `skipped` counts the lines, of all workers,
    that did not parse. It unpacks as matrix, row_ids, col_ids.
    """

    matrix: Any
    row_ids: NDArray[Any]
    col_ids: NDArray[Any]
    skipped: int = 0

    def __iter__(self) -> Any:
        return iter((self.matrix, self.row_ids, self.col_ids))


def sparse() -> Any:
    """The module scipy.sparse. LoadError says what to install."""
    try:
        import scipy.sparse
    except ModuleNotFoundError as error:
        raise LoadError("a sparse matrix needs scipy: pip install 'paracel[matrix]'") from error
    return scipy.sparse


def dense_block(rows: Rows, skipped: int) -> Block:
    """The rows as they are; columns are numbered."""
    return Block(rows.rows, for_users(rows.ids), np.arange(rows.rows.shape[1]), skipped)


def sparse_block(comm: Comm, relations: Relations, grid: tuple[int, int], skipped: int) -> Block:
    """Relations as a matrix; the values of pairs that come twice are added up. Collective.

    Blocks in one row of the grid have the same row ids, those in one column the same column ids.
    """
    module = sparse()
    row, column = divmod(comm.rank, grid[1])
    row_ids, rows = _aligned(comm, relations.first, [row * grid[1] + each for each in range(grid[1])])
    col_ids, columns = _aligned(comm, relations.second, [each * grid[1] + column for each in range(grid[0])])
    shape = (len(row_ids), len(col_ids))
    matrix = module.coo_array((relations.values, (rows, columns)), shape=shape).tocsr()
    return Block(matrix, for_users(row_ids), for_users(col_ids), skipped)


def _aligned(comm: Comm, ids: Ids, members: list[int]) -> tuple[Ids, NDArray[np.intp]]:
    """The ids that the members have, rising, and the number of each of ours among them."""
    mine, numbers = numbered(ids)
    every = shared(comm, mine, members)
    return every, numbers if len(every) == len(mine) else np.searchsorted(every, mine)[numbers]
