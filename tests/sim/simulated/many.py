"""Many runs at once, one process for each core: runs share nothing, and the seeds of those that failed are told."""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from functools import cache
from multiprocessing import get_context

from .cluster import Failed, run_failures, small_scale
from .replica_mutants import REPLICA_MUTANTS

CHUNK = 50


@cache
def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _begin)


def _begin() -> None:
    logging.disable(logging.ERROR)


def _run(seeds: range, mutant: str) -> tuple[Counter[str], str]:
    """What was met, and what the first failure says."""
    seen: Counter[str] = Counter()
    with small_scale(), REPLICA_MUTANTS[mutant]() if mutant else nullcontext():
        for seed in seeds:
            try:
                cluster = run_failures(seed)
            except Failed as failed:
                return seen, str(failed)
            seen += cluster.seen + cluster.faults.seen
            seen["excused"] += cluster.faults.excused
    return seen, ""


def run_many(seeds: range) -> Counter[str]:
    """What the runs met; Failed if one of them did."""
    seen: Counter[str] = Counter()
    for done in as_completed(_submit(_chunks(seeds), "")):
        met, failure = done.result()
        if failure:
            raise Failed(failure)
        seen += met
    return seen


def is_caught(mutant: str, seeds: range) -> bool:
    """Whether one of the runs of a wrong protocol fails; the others are not waited for."""
    runs = _submit(_chunks(seeds), mutant)
    try:
        return any(done.result()[1] for done in as_completed(runs))
    finally:
        for each in runs:
            each.cancel()


def _chunks(seeds: range) -> Iterable[range]:
    return [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]


def _submit(chunks: Iterable[range], mutant: str) -> list[Future[tuple[Counter[str], str]]]:
    return [_pool().submit(_run, chunk, mutant) for chunk in chunks]
