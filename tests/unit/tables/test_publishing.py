import math

import numpy as np
import pytest
from support.table_rules import check_told, uint64

from paracel.errors import TableError
from paracel.tables.publishing import MOST_THRESHOLDS, Publisher
from paracel.tables.senderstate import Told
from paracel.tables.spec import make_spec
from paracel.tables.storage import ROWS, Form, SparsePart


@pytest.fixture
def part():
    part = SparsePart(Form(np.dtype(np.float32), (), 0))
    part.locate(uint64([10, 11, 12]), create=True)
    return part


def told(part, publisher, since, threshold=1.0, places=slice(None)):
    newer, column, version = publisher.changed(places, threshold, since)
    return newer.tolist(), part.column(column).tolist(), version


@pytest.mark.parametrize("seed", range(60))
def test_a_row_is_told_if_and_only_if_it_is_too_far_from_what_was_told(seed):
    check_told(seed)


def test_versions_rise_only_with_what_is_told(part):
    publisher, rows = Publisher(part), part.column(ROWS)
    assert told(part, publisher, 0) == ([True] * 3, [0, 0, 0], 1)
    rows[:] = [1, -1.5, 0.5]
    assert told(part, publisher, 1) == ([False, True, False], [0, -1.5, 0], 2)
    assert told(part, publisher, 1) == ([False, True, False], [0, -1.5, 0], 2), "the question repeated"
    assert told(part, publisher, 2) == ([False] * 3, [0, -1.5, 0], 2)
    assert told(part, publisher, 0)[0] == [True] * 3, "another reader"


def test_thresholds_are_apart(part):
    publisher = Publisher(part)
    assert told(part, publisher, 0)[2] == 1
    part.column(ROWS)[:] = 1
    assert told(part, publisher, 1)[0] == [False] * 3
    assert told(part, publisher, 0, threshold=0.0)[1] == [1] * 3


def test_rows_that_are_not_there_are_always_news(part):
    publisher = Publisher(part)
    newer, _, version = publisher.changed(np.array([-1, 0, -1]), 1.0, 0)
    assert newer.tolist() == [True] * 3
    assert publisher.changed(np.array([-1, 0, -1]), 1.0, version)[0].tolist() == [True, False, True]


def test_what_is_no_number_is_told_and_infinity_once(part):
    publisher, rows = Publisher(part), part.column(ROWS)
    version = told(part, publisher, 0)[2]
    rows[:] = [math.nan, math.inf, -math.inf]
    newer, values, version = told(part, publisher, version)
    assert newer == [True] * 3
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]
    assert told(part, publisher, version)[0][1:] == [False, False]
    rows[:] = [1, -math.inf, -math.inf]
    assert told(part, publisher, version)[1] == [1, -math.inf, -math.inf]


def test_an_older_reply_that_comes_late_changes_nothing_newer():
    reader, keys = Told(make_spec("t")), uint64([1, 2])
    reader.renew(keys, np.array([True, True]), np.array([5.0, 5.0]), 7)
    assert reader.renew(keys, np.array([True, False]), np.array([3.0]), 6).tolist() == [5, 5]
    assert reader.version(keys) == 7
    assert reader.version(uint64([1, 3])) == 0
    assert reader.renew(uint64([3, 1]), np.array([True, False]), np.array([8.0]), 9).tolist() == [8, 5]


def test_a_table_has_a_bounded_number_of_thresholds(part):
    publisher = Publisher(part)
    for threshold in range(MOST_THRESHOLDS):
        publisher.changed(np.array([0]), float(threshold), 0)
    publisher.changed(np.array([0]), 0.0, 0)
    with pytest.raises(TableError, match="more than 8 thresholds"):
        publisher.changed(np.array([0]), 99.0, 0)
