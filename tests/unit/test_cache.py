import numpy as np
import pytest
from support.invariants import check_cache_seed

from paracel.cache import Cache
from paracel.updaters import BUILTINS

add = BUILTINS["add"]


@pytest.mark.parametrize("seed", range(100))
def test_against_a_server_that_is_a_dict(seed):
    check_cache_seed(seed)


@pytest.fixture
def cache():
    cache = Cache()
    cache.put("a", [1], 3, 2)
    return cache


@pytest.mark.parametrize(("needed", "fresh"), [(0, True), (3, True), (4, False)])
def test_fresh_if_and_only_if_its_clock_suffices(cache, needed, fresh):
    assert cache.fresh("a", needed) == fresh
    assert not cache.fresh("b", needed)


def test_what_is_in_it(cache):
    assert ("a" in cache, "b" in cache, len(cache)) == (True, False, 1)
    assert (cache.clock_of("a"), cache.clock_of("b")) == (3, None)
    with pytest.raises(KeyError):
        cache.value("b")
    cache.drop(["a", "b"])
    assert len(cache) == 0
    cache.put("a", 1, 0, 0)
    cache.clear()
    assert "a" not in cache


def test_values_are_copies_on_every_way():
    cache, array = Cache(), np.zeros(2)
    cache.put("a", array, 0, 0)
    array += 1
    assert cache.value("a").tolist() == [0, 0]
    cache.value("a")[0] = 9
    assert cache.value("a").tolist() == [0, 0]
    cache.write(["a"], [array])
    array += 1
    assert cache.value("a").tolist() == [1, 1]
    cache.update("a", array, BUILTINS["assign"])
    array += 1
    assert cache.value("a").tolist() == [2, 2]
    cache.update("a", array, None)
    array += 1
    assert cache.value("a").tolist() == [3, 3]


def test_own_changes_make_no_entries(cache):
    cache.write(["b"], [1])
    cache.update("b", 1, add)
    assert "b" not in cache


def test_a_change_that_cannot_be_made_here_drops_the_entry(cache):
    cache.update("a", 1, add)
    assert "a" not in cache


def test_a_function_cannot_change_the_entry_and_fail_then(cache):
    cache.update("a", 1, lambda value, delta: value.append(2) or value)
    assert cache.value("a") == [1, 2]
    cache.update("a", 1, lambda value, delta: value.append(3) or 1 // 0)
    assert "a" not in cache


def test_a_refresh_is_asked_for_once_after_each_commit():
    cache = Cache()
    assert not cache.start_refresh("a", 9), "nothing to renew"
    cache.put("a", 1, 0, 0)
    assert not cache.start_refresh("a", 0)
    assert cache.start_refresh("a", 1)
    assert not cache.start_refresh("a", 2), "one is on its way"
    cache.finish_refresh("a", 2, 1, 1)
    assert not cache.start_refresh("a", 1)
    assert cache.start_refresh("a", 2)


def test_a_refresh_brings_the_newer_value_with_own_changes_since():
    cache, delta = Cache(), np.ones(2)
    cache.put("a", np.zeros(2), 0, 0)
    cache.update("a", delta, add)
    cache.start_refresh("a", 1)
    cache.update("a", delta, add)
    delta *= 100
    cache.finish_refresh("a", np.full(2, 10.0), 5, 1)
    assert cache.value("a").tolist() == [11, 11]
    assert cache.clock_of("a") == 5
    cache.start_refresh("a", 2)
    cache.update("a", np.ones(2), add)
    cache.write(["a"], [7])
    cache.update("a", 1, add)
    cache.finish_refresh("a", 0, 6, 2)
    assert cache.value("a") == 8


@pytest.mark.parametrize("meanwhile", ["dropped", "replaced", "never asked"])
def test_a_refresh_that_is_overtaken_is_not_kept(cache, meanwhile):
    if meanwhile != "never asked":
        cache.start_refresh("a", 5)
    if meanwhile == "dropped":
        cache.drop(["a"])
    if meanwhile == "replaced":
        cache.put("a", "newer", 9, 9)
    before = cache.clock_of("a")
    cache.finish_refresh("a", "older", 5, 5)
    assert cache.clock_of("a") == before
    assert "a" not in cache or cache.value("a") != "older"
