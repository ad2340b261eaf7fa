"""What workers tell each other while they load: whether all could, and the rows that others own."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from paracel.comm import Comm
from paracel.errors import LoadError
from paracel.loading.ids import INT_WIDTH, Ids, as_texts

T = TypeVar("T")


def together(comm: Comm, work: Callable[[], T]) -> T:
    """What `work` gives; if it raises in one worker, it raises in all, so that none waits for one that gave up.

    If it raises in several, all tell of the first of them.
    """
    result, error = None, None
    try:
        result = work()
    except Exception as caught:
        error = caught
    problems = comm.allgather_json(None if error is None else str(error) or type(error).__name__)
    failed = next((rank for rank, problem in enumerate(problems) if problem is not None), None)
    if error is not None and failed == comm.rank:
        raise error
    if failed is not None:
        raise LoadError(f"worker {failed} could not load its part: {problems[failed]}")
    return result  # type: ignore[return-value]


def alike(comm: Comm, *columns: Ids, same_kind: bool = False) -> list[Ids]:
    """Each column as numbers if it is so in all workers, else as texts of the same width in all.

    With `same_kind`, all columns as numbers if all are so.
    """
    mine = [[column.dtype.kind, column.dtype.itemsize if len(column) else 1] for column in columns]
    told = comm.allgather_json(mine)
    if same_kind:
        every = [kind for each in told for kind in each]
        return [_as_all(column, every) for column in columns]
    return [_as_all(column, [each[at] for each in told]) for at, column in enumerate(columns)]


def _as_all(column: Ids, told: Sequence[Sequence[Any]]) -> Ids:
    if all(kind == "i" for kind, _ in told):
        return column
    width = max(INT_WIDTH if kind == "i" else int(size) for kind, size in told)
    return as_texts(column, width)


def send_to(comm: Comm, owner: NDArray[np.uint16], *columns: NDArray[Any]) -> list[NDArray[Any]]:
    """Give each item of the columns to its owner; those that came, in the order of the workers that had them."""
    if comm.size == 1:
        return list(columns)
    order = np.argsort(owner, kind="stable")
    counts = np.bincount(owner, minlength=comm.size).tolist()
    return [comm.alltoallv(column[order], counts) for column in columns]


def shared(comm: Comm, distinct: Ids, members: Sequence[int]) -> Ids:
    """The distinct ids of all `members`, rising. Collective; every worker calls it with the group that it is in."""
    if comm.size == 1:
        return distinct
    counts = [len(distinct) * (rank in members) for rank in range(comm.size)]
    return np.unique(comm.alltoallv(np.tile(distinct, len(members)), counts))
