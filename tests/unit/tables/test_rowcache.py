import numpy as np
import pytest
from support.table_rules import check_row_cache, uint64

from paracel.optim import adam, builtin
from paracel.tables.rowcache import RowCache
from paracel.tables.spec import make_spec

KEYS = uint64([1, 2, 3])


def cache_of(updater="add", size=None, **settings):
    spec = make_spec("t", size, 1, "float64", updater=updater, **settings)
    return RowCache(spec, builtin(updater) if isinstance(updater, str) else updater)


def filled(cache, clock=5, keys=KEYS):
    cache.end(cache.begin(0, waits=False), keys, np.arange(1.0, 4.0), clock)
    return cache


@pytest.mark.parametrize("seed", range(150))
def test_a_row_is_used_if_and_only_if_its_clock_suffices_and_has_own_pushes_once(seed):
    check_row_cache(seed)


@pytest.mark.parametrize("size", [None, 10])
def test_a_row_is_valid_for_its_clock(size):
    cache = filled(cache_of(size=size))
    assert cache.stale(uint64([1, 4, 3]), 5).tolist() == [False, True, False]
    assert cache.stale(KEYS, 6).tolist() == [True] * 3
    assert cache.rows(KEYS).tolist() == [1, 2, 3]
    assert (cache.valid_for(KEYS), cache.valid_for(uint64([1, 9])), cache.valid_for(uint64([]))) == (5, -1, 0)


def test_ranges_are_keys_like_others():
    cache = filled(cache_of(size=10), keys=(1, 4))
    assert cache.stale((0, 5), 5).tolist() == [True, False, False, False, True]
    cache.push((2, 5), [np.full(3, 10.0)])
    assert cache.rows((1, 4)).tolist() == [1, 12, 13]


@pytest.mark.parametrize(
    ("updater", "expected"), [("add", [11, 2, 3]), ("assign", [10, 2, 3]), ("max", [10, 2, 3]), (adam(0.1), None)]
)
def test_own_pushes_are_applied_or_the_rows_are_forgotten(updater, expected):
    cache = filled(cache_of(updater))
    cache.push(uint64([1, 8]), [np.array([10.0, 10.0])])
    if expected is None:
        assert cache.stale(KEYS, 0).tolist() == [True, False, False]
    else:
        assert cache.rows(KEYS).tolist() == expected
    assert cache.stale(uint64([8]), 0).tolist() == [True]


def test_what_waits_for_its_commit_is_not_seen():
    cache = filled(cache_of(apply="commit"))
    cache.push(KEYS, [np.ones(3)])
    assert cache.rows(KEYS).tolist() == [1, 2, 3]


def test_an_older_pull_does_not_replace_a_newer_one():
    cache = cache_of()
    old, new = cache.begin(0, waits=False), cache.begin(0, waits=False)
    cache.end(new, KEYS, np.full(3, 7.0), 4)
    cache.end(old, uint64([1, 5]), np.full(2, 1.0), 3)
    assert cache.rows(uint64([1, 5])).tolist() == [7, 1]


def test_each_row_may_have_a_clock_of_its_own():
    cache = filled(cache_of(), clock=4)
    cache.end(cache.begin(0, waits=False), KEYS, np.full(3, 7.0), np.array([5, 3, 4]))
    assert cache.rows(KEYS).tolist() == [7, 2, 7], "the second one has a newer one already"
    assert cache.stale(KEYS, 5).tolist() == [False, True, True]
    assert cache.stale(KEYS, 4).tolist() == [False, False, False]


def test_rows_that_are_forgotten_are_stale_and_others_are_not():
    cache = filled(cache_of())
    cache.forget(uint64([9, 2]))
    assert cache.stale(KEYS, 0).tolist() == [False, True, False]
    assert cache.start_refresh(KEYS, 3).tolist() == [True, True, True]


def test_arrays_may_be_changed_after():
    cache, keys, values = cache_of(), KEYS.copy(), np.ones(3)
    fetch = cache.begin(0, waits=False)
    cache.push(keys, [values])
    keys[:], values[:] = 9, 9
    cache.end(fetch, KEYS, np.zeros(3), 0)
    assert cache.rows(KEYS).tolist() == [1, 1, 1]


def test_nothing_is_logged_that_no_pull_needs():
    cache = cache_of()
    first, second = cache.begin(0, waits=False), cache.begin(0, waits=True)
    cache.push(KEYS, [np.ones(3)])
    cache.end(first, None, None, 0)
    assert len(cache._log) == 1
    cache.end(second, None, None, 0)
    cache.push(KEYS, [np.ones(3)])
    assert len(cache._log) == 0


def test_a_pull_under_way_brings_nothing_into_a_cache_that_was_cleared():
    cache = filled(cache_of())
    fetch = cache.begin(0, waits=False)
    cache.clear()
    cache.end(fetch, KEYS, np.ones(3), 9)
    assert cache.stale(KEYS, 0).all()
    assert filled(cache).rows(KEYS).tolist() == [1, 2, 3]


@pytest.mark.parametrize("size", [None, 10])
def test_a_refresh_starts_once_after_each_commit(size):
    cache = filled(cache_of(size=size))
    keys = uint64([1, 3, 7]) if size is None else (1, 4)
    assert cache.start_refresh(keys, 0).tolist() == [False] * 3
    first = [True, True, False] if size is None else [True] * 3
    assert cache.start_refresh(keys, 1).tolist() == first
    assert cache.start_refresh(keys, 1).tolist() == [False] * 3
    assert cache.start_refresh(keys, 2).tolist() == first
