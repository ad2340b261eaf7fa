import numpy as np
import pytest
from support.table_rules import check_commits, check_distinct, uint64

from paracel.tables import merge
from paracel.tables.merge import Commits, Pushed, distinct, merged


def listed(keys):
    return np.arange(*keys, dtype=np.uint64) if isinstance(keys, tuple) else keys


def push(worker, keys, *columns):
    keys = keys if isinstance(keys, tuple) else uint64(keys)
    return Pushed(worker, keys, [np.array(column, np.float64) for column in columns])


@pytest.mark.parametrize("keys", [[], [4], [1, 5, 9], [9, 1, 5], [7, 7], [3, 1, 3, 3, 2, 1], [(1 << 64) - 1, 0] * 2])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64])
def test_repeated_keys_are_summed(keys, dtype):
    count = len(keys)
    check_distinct(uint64(keys), [np.arange(count).astype(dtype), np.arange(2 * count).astype(dtype).reshape(-1, 2)])


def test_small_numbers_keep_their_dtype():
    _, (sums,) = distinct(uint64([1, 1]), [np.array([100, 100], np.int8)])
    assert (sums.dtype, sums.tolist()) == (np.int8, [-56])


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("most", [0, 200, 1 << 20])
def test_a_clock_is_the_sum_of_its_pushes(seed, most, monkeypatch):
    monkeypatch.setattr(merge, "PENDING_BYTES", most)
    check_commits(seed)


def test_the_sum_does_not_depend_on_who_came_first():
    pushes = [push(worker, [1, 2], [value, 0.1]) for worker, value in enumerate([1e16, 1.0, -1e16, 1.0])]
    sums = {
        tuple(merged([pushes[at] for at in order], listed).values[0].tolist())
        for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])
    }
    assert len(sums) == 1


def test_equal_ranges_stay_a_range_and_others_become_lists():
    same = merged([push(1, (2, 4), [1, 2]), push(0, (2, 4), [3, 4])], listed)
    assert (same.keys, same.values[0].tolist(), same.worker) == ((2, 4), [4, 6], 0)
    mixed = merged([push(1, (2, 4), [1, 2]), push(0, [3, 9], [3, 4])], listed)
    assert (mixed.keys.tolist(), mixed.values[0].tolist()) == ([2, 3, 9], [1, 5, 4])


def test_what_was_pushed_is_not_changed():
    first, second = push(0, (0, 2), [1, 1]), push(1, (0, 2), [2, 2])
    merged([first, second], listed)
    assert first.values[0].tolist() == [1, 1]


def test_much_that_waits_is_added_up_early(monkeypatch):
    monkeypatch.setattr(merge, "PENDING_BYTES", 1000)
    commits = Commits(listed)
    for number in range(100):
        commits.add(0, push(number % 3, range(20), np.full(20, number)))
        assert commits.nbytes <= 1000 + 320
    assert commits.take(0).values[0].tolist() == [99 * 50.0] * 20
