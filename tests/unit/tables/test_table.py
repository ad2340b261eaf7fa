"""One server's part of a table."""

import numpy as np
import pytest
from support.table_rules import uint64

from paracel import optim
from paracel.errors import ServerFunctionError, TableError
from paracel.functions import updater
from paracel.ring import Ring
from paracel.tables.merge import Pushed
from paracel.tables.spec import function_wire, make_spec
from paracel.tables.table import Table

OWNERS = Ring([0]).owners


def table_of(size=None, dim=1, dtype="float64", *, functions=None, **settings):
    """The only server's part; `updater` and `init` may be functions."""
    functions = {}
    for name in ("updater", "init"):
        if callable(settings.get(name)):
            functions[f"m:{name}"] = settings[name]
            settings[name] = function_wire(f"m:{name}")
    spec = make_spec("t", size, dim, dtype, **settings)
    return Table.open(spec, OWNERS, 0, functions.__getitem__, functions.__getitem__)


def push(table, keys, *columns, clock=0, worker=0, complete=False):
    values = [np.asarray(column, table.spec.dtype) for column in columns]
    table.check_push(values)
    table.push(Pushed(worker, keys if isinstance(keys, tuple) else uint64(keys), values), clock, complete)


def pull(table, keys, *state):
    columns, found = table.pull(keys if isinstance(keys, tuple) else uint64(keys), list(state))
    assert (found is not None) == (isinstance(keys, tuple) and table.spec.size is None)
    lists = [column.tolist() for column in columns]
    return lists if state else lists[0]


def everything(table):
    """All that a part holds, to see whether something has changed."""
    return [table.part.keys().tolist(), *(table.part.column(name).tolist() for name in table.part._columns)]


@updater(state={"m": 1.0, "n": 0.0}, inputs=2)
def two_inputs(rows, deltas, state):
    gradient, weight = deltas
    state["m"] += weight
    state["n"] = state["n"] + 1
    return rows - gradient * state["m"]


@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_users_updater_with_state_and_several_inputs(size, dim):
    table = table_of(size, dim, updater=two_inputs)
    one, two = np.ones((2, dim)).reshape((2, *table.spec.tail)), np.full((2, dim), 2.0).reshape((2, *table.spec.tail))
    push(table, [3, 1], one, two)
    push(table, [1, 0], one, two)
    columns, _ = table.pull(uint64([0, 1, 3, 4]), ["m", "n"])
    assert [column.reshape(4, dim)[:, -1].tolist() for column in columns] == [
        [-3, -8, -3, 0],
        [3, 5, 3, 1],
        [1, 2, 1, 0],
    ]


BAD = {
    "raises": lambda rows, deltas, state: 1 // 0,
    "exits": lambda rows, deltas, state: exit(),
    "fewer rows": lambda rows, deltas, state: rows[:-1],
    "another shape": lambda rows, deltas, state: rows[:, None],
    "a number": lambda rows, deltas, state: 5,
    "none": lambda rows, deltas, state: None,
    "complex": lambda rows, deltas, state: rows + 1j,
    "text": lambda rows, deltas, state: rows.astype(str),
    "changes rows": lambda rows, deltas, state: rows.__iadd__(1),
    "spoils state": lambda rows, deltas, state: state.update(m=np.zeros(1)) or rows,
    "removes state": lambda rows, deltas, state: state.clear() or rows,
    "raises after changing state": lambda rows, deltas, state: state["m"].fill(9) or 1 // 0,
}


def named(function):
    """A lambda as an updater of the form that is asked for."""

    def bad(rows, deltas, state):
        return function(rows, deltas, state)

    return updater(state={"m": 1.0})(bad)


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("size", [None, 5])
def test_an_updater_that_fails_leaves_everything_as_it_was(what, size):
    broken = False

    def sometimes(rows, deltas, state):
        return BAD[what](rows, deltas, state) if broken else rows + deltas

    table = table_of(size, updater=updater(state={"m": 1.0})(sometimes), **({} if size else {"max_rows": 3}))
    push(table, [1, 2], [5, 6])
    before, broken = everything(table), True
    with pytest.raises((Exception, SystemExit)):
        push(table, [2, 3, 4], [1, 1, 1])
    assert everything(table) == before
    broken = False
    push(table, [2, 4], [1, 1])
    assert pull(table, [1, 2, 3, 4]) == [5, 7, 0, 1]


def test_the_wrong_shape_is_named():
    table = table_of(updater=named(BAD["fewer rows"]))
    with pytest.raises(
        ServerFunctionError, match=r"updater .*bad made float64 of shape \(1,\) of rows that are float64 of"
    ):
        push(table, [1, 2], [5, 6])


def picky(keys):
    if (keys > 99).any():
        raise KeyError("too large")
    return keys.astype(float) * 10


@pytest.mark.parametrize("rule", ["add", "assign"])
def test_rows_begin_as_a_users_function_says_and_one_that_fails_changes_nothing(rule):
    table = table_of(init=picky, updater=rule)
    push(table, [1], [1])
    before = everything(table)
    with pytest.raises(KeyError):
        push(table, [1, 2, 100], [1, 1, 1])
    assert everything(table) == before
    assert pull(table, [2, 1, 3]) == [20, 11 if rule == "add" else 1, 30]
    with pytest.raises(KeyError):
        pull(table, [100])


@pytest.mark.parametrize("size", [None, 50])
@pytest.mark.parametrize("init", [2.5, "normal", ("uniform", 3.0), picky])
@pytest.mark.parametrize("dim", [1, 3])
def test_what_is_read_before_a_push_is_what_the_push_begins_with(size, init, dim):
    if init is picky and dim == 3:
        init = None
    table = table_of(size, dim, init=init or (lambda keys: np.outer(keys, [1.0, 2, 3])), seed=7)
    keys = uint64([3, 49, 0])
    (before,), _ = table.pull(keys, [])
    assert table.part.count == (size or 0)
    push(table, keys, np.ones_like(before))
    (after,), _ = table.pull(keys, [])
    assert (after - 1 == before).all() or np.allclose(after - 1, before)
    assert len(np.unique(before)) == 1 if init == 2.5 else 3


def test_state_of_missing_rows_reads_as_it_would_begin():
    table = table_of(updater=optim.adagrad(0.1, initial=0.5))
    (name,) = table.rule.columns()
    assert pull(table, [5], name) == [[0], [0.5]]
    with pytest.raises(TableError, match=f"table 't' keeps no state 'x'; its updater keeps: {name}"):
        pull(table, [5], "x")
    with pytest.raises(TableError, match="keeps: none"):
        pull(table_of(), [5], "m")


@pytest.mark.parametrize(
    "values",
    [[], [np.zeros(2)] * 2, [np.zeros((2, 1))], [np.zeros(2, np.float32)], [np.zeros(())], [np.zeros(2, ">f8")]],
)
def test_values_of_another_form_are_refused(values):
    with pytest.raises(TableError, match="a push"):
        table_of().check_push(values)


@pytest.mark.parametrize("keys", [[5], [0, (1 << 64) - 1], [1 << 63]])
def test_keys_behind_the_end_are_refused(keys):
    table = table_of(5)
    for use in (lambda: pull(table, keys), lambda: push(table, keys, np.zeros(len(keys)))):
        with pytest.raises(TableError, match="has the keys 0 to 4"):
            use()


def test_keys_of_another_server_are_refused():
    spec = make_spec("t", 100_000)
    table = Table.open(spec, Ring([0, 1]).owners, 1, None, None)
    mine = table.part.keys()
    other = np.setdiff1d(np.arange(100_000), mine)[:1]
    with pytest.raises(TableError, match="another server's"):
        table.pull(uint64([mine[0], *other]), [])
    assert table.count_in((0, 100_000)) == table.part.count == len(mine)


def test_a_range_of_a_sparse_table_says_its_keys_and_cannot_be_pushed():
    table = table_of()
    push(table, [9, 2, 5], [9, 2, 5])
    columns, keys = table.pull((2, 9), [])
    assert (keys.tolist(), columns[0].tolist()) == ([2, 5], [2, 5])
    with pytest.raises(TableError, match="names its keys one by one"):
        table.count_in((0, 5))


@pytest.mark.parametrize("size", [None, 10])
def test_what_was_pulled_does_not_change(size):
    table = table_of(size)
    push(table, [1, 2], [1, 2])
    pulled = [table.pull(keys, [])[0][0] for keys in (uint64([1, 2]), (1, 3))]
    push(table, [1, 2], [10, 10])
    assert [rows.tolist() for rows in pulled] == [[1, 2], [1, 2]]


# --- commits --------------------------------------------------------------------------------------------------------


def test_a_clock_is_applied_when_it_is_complete_and_late_pushes_at_once():
    table = table_of(4, apply="commit", updater=lambda rows, deltas, state: 10 * rows + deltas)
    push(table, [0, 1], [1, 1], clock=0, worker=1)
    push(table, (0, 2), [1, 1], clock=0, worker=0)
    push(table, [1], [5], clock=1)
    assert pull(table, (0, 4)) == [0] * 4
    assert table.nbytes > table.part.nbytes
    table.complete(lambda clock: clock < 1, 1)
    assert pull(table, (0, 4)) == [2, 2, 0, 0]
    table.complete(lambda clock: clock < 1, 1)
    assert pull(table, (0, 4)) == [2, 2, 0, 0]
    push(table, [0], [3], clock=0, complete=True)
    table.complete(lambda clock: clock < 2, 2)
    assert pull(table, (0, 4)) == [23, 25, 0, 0]


# --- keeping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["add", "assign"])
def test_a_key_has_a_row_from_its_nth_push_on(rule):
    table = table_of(admit_after=3, updater=rule)
    for number in range(1, 5):
        push(table, [7, number + 100], [number, 1])
        expected = 0 if number < 3 else number if rule == "assign" or number == 3 else 7
        assert pull(table, [7]) == [expected]
    assert table.part.keys().tolist() == [7]


def test_rows_that_nobody_uses_are_dropped():
    table = table_of(expire_after=1)
    push(table, [1, 2, 3], [1, 2, 3])
    table.complete(lambda _clock: True, 1)
    pull(table, [2])
    push(table, [3], [3])
    table.complete(lambda _clock: True, 2)
    assert table.part.keys().tolist() == [2, 3]
    table.complete(lambda _clock: True, 3)
    assert (table.part.count, pull(table, [3])) == (0, [0])


def test_no_more_rows_than_the_bound_whatever_makes_them():
    table = table_of(max_rows=3)
    for key in range(6):
        push(table, [key], [key])
    assert sorted(table.part.keys().tolist()) == [3, 4, 5]
    pull(table, [3])
    table.run(lambda keys, rows, state: None, uint64([8, 9]), [])
    assert sorted(table.part.keys().tolist()) == [3, 8, 9]


# --- functions ------------------------------------------------------------------------------------------------------


def raise_rows(keys, rows, state, by):
    rows += by
    state["m"] += keys
    return keys.tolist()


@pytest.mark.parametrize("size", [None, 5])
def test_a_function_changes_rows_and_state_in_place(size):
    table = table_of(size, updater=named(lambda rows, deltas, state: rows + deltas))
    push(table, [3, 1], [1, 1])
    assert sorted(table.run(raise_rows, None, [10])) == ([1, 3] if size is None else list(range(5)))
    assert pull(table, [1, 3], "m") == [[11, 11], [2, 4]]
    assert table.run(raise_rows, uint64([4, 1]), [100]) == [4, 1]
    assert table.run(raise_rows, (3, 5), [1000]) == [3, 4]
    assert pull(table, [1, 3, 4], "m")[0] == [111, 1011, 1100 + (10 if size else 0)]


def test_a_function_over_keys_that_fails_changes_nothing():
    def spoils(keys, rows, state):
        rows += 1
        raise ValueError("spoilt")

    table = table_of()
    push(table, [1], [1])
    before = everything(table)
    with pytest.raises(ValueError, match="spoilt"):
        table.run(spoils, uint64([1, 2]), [])
    assert everything(table) == before
