"""What a table tells of its changes, and copies that are made of it."""

import numpy as np
import pytest
from support.table_copies import assert_same, carried, check_table_copies, holdings, shrink
from support.table_rules import uint64

from paracel.ring import Ring
from paracel.tables import journal
from paracel.tables.merge import Pushed
from paracel.tables.spec import make_spec
from paracel.tables.table import Table

KEYS = uint64([1, 2, 3])


def table_of(size=None, **settings):
    spec = make_spec("t", size, 1, "float64", **settings)
    return Table.open(spec, Ring([0]).owners, 0, {}.__getitem__, {}.__getitem__)


@pytest.fixture
def table():
    table = table_of()
    journal.watch(table)
    return table


def push(table, keys=KEYS, *, clock=0, worker=0, complete=True):
    table.push(Pushed(worker, keys, [np.ones(len(keys))]), clock, complete)


@pytest.mark.parametrize("seed", range(50))
def test_whoever_hears_of_all_changes_has_the_same(seed):
    check_table_copies(seed)


def test_nothing_is_told_of_nothing(table):
    assert journal.take_changes(table) is None
    table.pull(KEYS, [])
    assert journal.take_changes(table) is None, "nor of reads"


def test_a_row_that_changes_often_is_told_once_as_it_is_then(table):
    for _ in range(5):
        push(table)
    push(table, uint64([3, 4]))
    ((keys, columns),) = journal.take_changes(table)["rows"]
    assert (keys.tolist(), columns["rows"].tolist()) == ([1, 2, 3, 4], [5, 5, 6, 1])


def test_what_was_told_does_not_change_after(table):
    push(table)
    changes = journal.take_changes(table)
    push(table)
    assert changes["rows"][0][1]["rows"].tolist() == [1, 1, 1]


def test_what_is_told_is_no_more_than_what_a_function_changed():
    table = table_of(100_000)
    push(table, uint64([99_999]))
    journal.watch(table)
    table.run(lambda keys, rows, state: None, None, [])
    assert journal.take_changes(table) is None
    table.run(lambda keys, rows, state: rows.__setitem__(slice(2, 3), 7.0), None, [])
    ((keys, columns),) = journal.take_changes(table)["rows"]
    assert 1 < len(keys) < len(table.part.keys()) / 4
    assert columns["rows"][:4].tolist() == [0, 0, 7, 0]


def test_a_row_that_goes_and_comes_back_is_there():
    table, copy = table_of(expire_after=1), table_of(expire_after=1)
    journal.watch(table)
    for clock in (3, 6, 9):
        push(table)
        table.complete(lambda _clock: True, clock)
        push(table, uint64([3, 9]))
        changes = carried(journal.take_changes(table))
        journal.apply(copy, changes)
        assert_same(holdings(copy), holdings(table))
        assert sorted(copy.part.keys().tolist()) == [3, 9]
        assert changes["gone"].tolist() == [1, 2]


def test_a_clock_that_is_taken_and_pushed_for_again_at_once_keeps_the_later_push():
    """While nobody runs every clock is complete; who enters then is not beyond it."""
    table, copy = table_of(apply="commit"), table_of(apply="commit")
    journal.watch(table)
    push(table, clock=5, complete=False)
    table.complete(lambda _clock: True, 0)
    push(table, uint64([8]), clock=5, complete=False)
    journal.apply(copy, carried(journal.take_changes(table)))
    assert_same(holdings(copy), holdings(table))
    assert copy.commits.clocks() == [5]


@pytest.mark.parametrize("size", [None, 50])
def test_a_push_that_was_refused_is_nothing_to_be_told(size):
    table = table_of(size)
    journal.watch(table)
    bad = uint64([50, 1 << 63])
    if size is not None:
        for change in (lambda: push(table, bad), lambda: table.run(shrink, bad, [])):
            with pytest.raises(Exception, match="which has the keys 0 to 49"):
                change()
        assert journal.take_changes(table) is None
    push(table)
    assert len(journal.take_changes(table)["rows"]) == 1


def test_a_copy_is_made_in_pieces_of_the_size_that_is_asked_for():
    table, copy = table_of(), table_of()
    journal.watch(table)
    push(table, np.arange(1000, dtype=np.uint64))
    pieces = list(journal.pieces(table, 1600))
    assert [len(piece["rows"][0][0]) for piece in pieces] == [100] * 10
    for piece in pieces:
        journal.apply(copy, carried(piece))
    assert_same(holdings(copy), holdings(table))


def test_a_table_without_rows_has_no_pieces(table):
    assert list(journal.pieces(table, 100)) == []


def test_what_readers_were_told_is_not_copied(table):
    push(table)
    table.pull_published(KEYS, 0.5, 0)
    push(table)
    ((_, columns),) = journal.take_changes(table)["rows"]
    assert list(columns) == ["rows"]


def test_after_unwatch_nothing_is_kept(table):
    journal.unwatch(table)
    push(table)
    assert table.journal is None
    assert table.part.dropped is None
