"""Errors of one worker that all have to hear of, as the others would wait for it for ever."""

from collections.abc import Callable
from typing import TypeVar

from paracel.comm import Comm
from paracel.errors import ConfigError

T = TypeVar("T")


def together(ranks: Comm, work: Callable[[], T]) -> T:
    """What `work` gives; if it raises in one worker, all raise. Collective."""
    result, error = None, None
    try:
        result = work()
    except Exception as caught:
        error = caught
    raise_in_all(ranks, error, "before the first superstep")
    return result  # type: ignore[return-value]


def raise_in_all(ranks: Comm, error: Exception | None, when: str) -> None:
    """Raise this worker's error, or ConfigError, which tells of another's, if there is one. Collective."""
    told = ranks.allgather_json(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for rank, problem in enumerate(told):
        if problem is not None:
            raise ConfigError(f"worker {rank} failed {when}, which ends the run in all workers: {problem}")
