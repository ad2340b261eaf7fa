"""A simulation that passes wrong protocols proves nothing: each of these must be told from the right one."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from simulated.cluster import Failed, run
from simulated.mutants import CLOCKS, MUTANTS, without_reference

#: Most fall in the first ten; the rarest need a commit, a departure and a return within the same 20 ms.
SEEDS = 3000


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_wrong_protocol_is_caught(mutant: Callable[[], AbstractContextManager[Any]]) -> None:
    with mutant():
        assert is_caught()


@pytest.mark.parametrize("name", CLOCKS)
def test_a_wrong_clock_is_seen_by_the_workers_too(name: str) -> None:
    """By the guarantee alone: the reference clock beside each server is not asked."""
    with MUTANTS[name](), without_reference():
        assert is_caught()


def is_caught() -> bool:
    for seed in range(SEEDS):
        try:
            run(seed)
        except Failed:
            return True
    return False
