"""A simulation that passes wrong protocols proves nothing: each of these must be told from the right one."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from simulated.cluster import TABLES, Failed, run
from simulated.mutants import CLOCKS, MUTANTS, without_reference
from simulated.table_mutants import TABLE_MUTANTS

#: Most fall in the first ten; the rarest need a commit, a departure and a return within the same 20 ms.
SEEDS = 3000
JOBS_WITH_TABLES = range(0, SEEDS, TABLES)
#: The others, which are small.
JOBS = [seed for seed in range(SEEDS) if seed % TABLES]


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_wrong_protocol_is_caught(mutant: Callable[[], AbstractContextManager[Any]]) -> None:
    with mutant():
        assert is_caught(JOBS)


@pytest.mark.parametrize("mutant", TABLE_MUTANTS.values(), ids=TABLE_MUTANTS.keys())
def test_a_wrong_protocol_of_tables_is_caught(mutant: Callable[[], AbstractContextManager[Any]]) -> None:
    with mutant():
        assert is_caught(JOBS_WITH_TABLES)


@pytest.mark.parametrize("name", CLOCKS)
def test_a_wrong_clock_is_seen_by_the_workers_too(name: str) -> None:
    """By the guarantee alone: the reference clock beside each server is not asked."""
    with MUTANTS[name](), without_reference():
        assert is_caught(JOBS)


def is_caught(seeds: Iterable[int]) -> bool:
    for seed in seeds:
        try:
            run(seed)
        except Failed:
            return True
    return False
