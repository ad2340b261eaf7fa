import numpy as np
import pytest
from support.table_rules import ODD_KEYS, uint64

from paracel.tables.placement import Blocks, DensePlaces
from paracel.tables.storage import LEAST_ROWS, ROWS, DensePart, Form, SparsePart

FLOAT = np.dtype(np.float32)


def by_key(keys):
    return (keys % np.uint64(1000)).astype(np.float32)


def dense(own=(0, 2), fill=0):
    return DensePart(DensePlaces(Blocks("t", 10, 2), np.array(own)), Form(FLOAT, (), fill))


def test_a_dense_part_has_its_own_rows_from_the_start():
    part = dense(fill=by_key)
    assert part.keys().tolist() == part.column(ROWS).tolist() == [0, 1, 2, 3, 8, 9]
    assert part.locate(uint64([9, 4, 0]), create=True).tolist() == [5, -1, 0]
    assert part.locate((2, 9)) == slice(2, 5)
    assert part.nbytes == 24


@pytest.mark.parametrize("part", [dense(), SparsePart(Form(FLOAT, (), 0))])
def test_columns_may_be_written_to_and_added(part):
    part.locate(uint64([0, 1]), create=True)
    part.add_column("m", Form(np.dtype(np.int64), (2,), 7))
    assert part.column("m")[:2].tolist() == [[7, 7], [7, 7]]
    part.column(ROWS)[1] = 5
    assert part.column(ROWS)[:2].tolist() == [0, 5]
    assert (part.has("m"), part.has("v")) == (True, False)


def test_a_sparse_part_makes_rows_if_and_only_if_it_is_asked_to():
    part = SparsePart(Form(FLOAT, (2,), 3))
    assert part.locate(uint64([5, 6])).tolist() == [-1, -1]
    assert (part.count, part.column(ROWS).shape) == (0, (0, 2))
    assert part.locate(uint64([6, 5, 6]), create=True).tolist() == [0, 1, 0]
    assert part.locate(uint64([5, 7, 6])).tolist() == [1, -1, 0]
    assert part.column(ROWS).tolist() == [[3, 3]] * 2


def test_new_rows_begin_by_their_own_keys_whatever_comes_beside_them():
    part = SparsePart(Form(FLOAT, (), by_key))
    part.locate(uint64([1, 2]), create=True)
    part.column(ROWS)[:] = -1
    part.locate(uint64([7, 2, 3, 7, 1, 9, 3]), create=True)
    assert dict(zip(part.keys().tolist(), part.column(ROWS).tolist(), strict=True)) == {1: -1, 2: -1, 7: 7, 3: 3, 9: 9}


def test_a_part_grows_and_keeps_all_columns():
    part = SparsePart(Form(FLOAT, (), 0))
    part.add_column("m", Form(np.dtype(np.int64), (2,), 1))
    for begin in range(0, 6 * LEAST_ROWS, LEAST_ROWS - 1):
        keys = np.arange(begin, begin + LEAST_ROWS - 1, dtype=np.uint64)
        places = part.locate(keys, create=True)
        part.column(ROWS)[places] = keys
        part.column("m")[places, 1] = keys
    assert part.column(ROWS).tolist() == part.column("m")[:, 1].tolist() == list(range(part.count))
    assert (part.column("m")[:, 0] == 1).all()


@pytest.mark.parametrize(
    "selection", [(0, 1 << 64), (0, 0), (1, 1025), (1 << 63, 1 << 64), ((1 << 64) - 1, 1 << 64), (5, 3), (2, 2)]
)
def test_a_range_of_a_sparse_part_is_the_keys_in_it_rising(selection):
    part = SparsePart(Form(FLOAT, (), 0))
    part.locate(uint64(reversed(ODD_KEYS)), create=True)
    begin, end = selection
    assert part.keys()[part.locate(selection)].tolist() == [key for key in ODD_KEYS if begin <= key < end]


def test_keep_moves_all_columns_together():
    part = SparsePart(Form(FLOAT, (), by_key))
    part.add_column("m", Form(FLOAT, (), by_key))
    part.locate(uint64(range(10)), create=True)
    part.keep(np.arange(10) % 3 == 0)
    assert part.keys().tolist() == part.column(ROWS).tolist() == part.column("m").tolist() == [0, 3, 6, 9]
    assert part.locate(uint64([1, 9]), create=True).tolist() == [4, 3]
    assert part.column(ROWS).tolist() == [0, 3, 6, 9, 1]


@pytest.mark.parametrize("shape", ["raises", "wrong"])
def test_rows_that_cannot_begin_are_not_there(shape):
    def picky(keys):
        if (keys > np.uint64(99)).any():
            if shape == "raises":
                raise KeyError("too large")
            return np.zeros(len(keys) + 1)
        return by_key(keys)

    part = SparsePart(Form(FLOAT, (), picky))
    part.locate(uint64([1, 2]), create=True)
    with pytest.raises((KeyError, ValueError)):
        part.locate(uint64([3, 100, 1]), create=True)
    assert part.keys().tolist() == part.column(ROWS).tolist() == [1, 2]
    assert part.locate(uint64([3, 4]), create=True).tolist() == [2, 3]
    assert part.column(ROWS).tolist() == [1, 2, 3, 4]


def test_adding_makes_rows_and_takes_repeated_keys():
    part = SparsePart(Form(FLOAT, (), 10))
    part.add(uint64([1, 2, 1]), np.array([1, 2, 3], np.float32))
    part.add(uint64([2, 3, 3, 2]), np.array([1, 1, 1, 1], np.float32))
    assert part.keys().tolist() == [1, 2, 3]
    assert part.column(ROWS).tolist() == [14, 14, 12]
