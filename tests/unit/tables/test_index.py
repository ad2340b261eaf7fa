import numpy as np
import pytest
from support.table_rules import ODD_KEYS, check_index, uint64

from paracel.tables import index
from paracel.tables.index import LEAST_SLOTS, MOST_LOAD, Index, add_at


@pytest.mark.parametrize("seed", range(30))
def test_an_index_is_a_dict(seed):
    check_index(seed)


def test_odd_keys_are_keys_as_others():
    odd = Index()
    assert odd.find(uint64(ODD_KEYS)).tolist() == [-1] * len(ODD_KEYS), "not even 0 is there from the start"
    assert odd.insert(uint64(ODD_KEYS)).tolist() == list(range(len(ODD_KEYS)))
    assert odd.keys().tolist() == list(ODD_KEYS)


def test_repeated_keys_get_one_row():
    one = Index()
    assert one.insert(uint64([5, 5, 7, 5])).tolist() == [0, 0, 1, 0]
    assert one.count == 2


@pytest.mark.parametrize("count", [int(MOST_LOAD * LEAST_SLOTS) + more for more in (-1, 0, 1)] + [100_000])
def test_it_grows_when_it_must(count):
    grown = Index()
    keys = np.arange(count, dtype=np.uint64) << np.uint64(20)
    assert (grown.insert(keys) == np.arange(count)).all()
    assert (grown.find(keys) == np.arange(count)).all()
    assert grown.nbytes <= max(12 * LEAST_SLOTS, 12 * 2 * count / MOST_LOAD)


def test_one_that_keeps_nothing_is_small_and_empty():
    index = Index()
    index.insert(np.arange(5000, dtype=np.uint64))
    index.keep(np.zeros(5000, bool))
    assert (index.count, index.nbytes) == (0, 12 * LEAST_SLOTS)
    assert index.find(uint64([0])).tolist() == [-1]
    index.keep(np.zeros(0, bool))
    assert index.insert(uint64([9])).tolist() == [0]


def test_there_is_an_end_to_it(monkeypatch):
    monkeypatch.setattr(index, "MOST_ROWS", 3)
    full = Index()
    with pytest.raises(MemoryError, match="at most 3 rows"):
        full.insert(uint64([1, 2, 3, 4]))
    assert full.insert(uint64([1, 2, 3])).tolist() == [0, 1, 2], "nothing has changed"


def test_what_came_last_can_be_taken_back():
    index = Index()
    first, later = np.arange(700, dtype=np.uint64), np.arange(600, 1400, dtype=np.uint64)
    index.insert(first)
    index.insert(later)
    index.take_back(700)
    assert index.keys().tolist() == first.tolist()
    assert (index.find(later) == np.where(later < 700, later.astype(int), -1)).all()
    assert index.insert(uint64([5000])).tolist() == [700]


@pytest.mark.parametrize("tail", [(), (2,)])
def test_adding_in_one_walk(tail):
    values, deltas = np.zeros((3, *tail), np.float32), np.ones((4, *tail), np.float32)
    add_at(values, np.array([2, 0, 2, 2]), deltas)
    assert values.reshape(3, -1)[:, 0].tolist() == [1, 0, 3]
    known = Index()
    known.insert(uint64([10, 11, 12]))
    assert known.add(uint64([12, 99, 10, 0]), values, deltas).tolist() == [1, 3]
    assert values.reshape(3, -1)[:, -1].tolist() == [2, 0, 4]
