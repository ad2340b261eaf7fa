"""Timing side by side: A B A B ..., so that what else the machine does falls on both. Nothing here knows paracel."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds of some work and of its floor, and how often the floor's time goes into the work's."""

    seconds: float
    floor: float
    ratio: float


def seconds_of(work: Work) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def repeated(work: Work, count: int) -> Work:
    """The same work many times over."""

    def repeat() -> None:
        for _ in range(count):
            work()

    return repeat


def side_by_side(works: Sequence[Work], rounds: int) -> list[list[float]]:
    """Seconds of each work in each round; the works take turns."""
    turns = [[seconds_of(work) for work in works] for _ in range(rounds)]
    return [list(times) for times in zip(*turns, strict=True)]


def warmed(works: Sequence[Work]) -> Sequence[Work]:
    """The same works, each done once: the first time is often another."""
    for work in works:
        work()
    return works


def against(times: Sequence[float], floor: Sequence[float]) -> Pair:
    """The medians, and the median of the rounds' own ratios: a slow phase of the machine slows both of a round."""
    ratios = [base / spent for spent, base in zip(times, floor, strict=True)]
    return Pair(statistics.median(times), statistics.median(floor), statistics.median(ratios))
