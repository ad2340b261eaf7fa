import numpy as np
import pytest
from support.exact import same
from support.invariants import check_store_seed

from paracel.errors import RequestError
from paracel.store import Store, largest
from paracel.updaters import BUILTINS
from paracel.values import FRAME_BYTES


@pytest.fixture
def store():
    return Store()


def add(store, keys, deltas, name="add"):
    return store.update(keys, deltas, name, BUILTINS[name])


@pytest.mark.parametrize("seed", range(60))
def test_against_a_plain_dict_and_what_was_handed_out_never_changes(seed):
    check_store_seed(seed)


@pytest.mark.parametrize("count", [3, FRAME_BYTES])
def test_an_array_that_was_not_handed_out_is_updated_in_place(store, count):
    array = np.zeros(count)
    store.write(["w"], [array])
    add(store, ["w", "w"], [np.ones(count), 1])
    assert store.entries["w"] is array
    assert array[0] == 2


@pytest.mark.parametrize(("count", "by_reference"), [(3, False), (FRAME_BYTES, True)])
def test_small_arrays_are_copied_when_read_and_large_ones_when_next_updated(store, count, by_reference):
    array = np.zeros(count)
    store.write(["w"], [array])
    (read,), _ = store.read(["w"])
    assert (read is array) == by_reference
    add(store, ["w"], [1])
    assert (store.entries["w"] is array) != by_reference
    assert read[0] == 0
    new = store.entries["w"]
    add(store, ["w"], [1])
    assert store.entries["w"] is new, "nobody else has it"


def test_after_a_write_nothing_is_lent(store):
    store.write(["w", "v"], [np.zeros(FRAME_BYTES), np.zeros(FRAME_BYTES)])
    store.select(None)
    array = np.zeros(FRAME_BYTES)
    store.write(["w"], [array])
    store.remove(["v"])
    store.write(["v"], [array])
    add(store, ["w"], [1])
    add(store, ["v"], [1])
    assert store.entries["w"] is store.entries["v"] is array


def test_what_a_users_function_returned_is_not_written_into(store):
    kept = np.zeros(3)
    store.write(["w"], [1])
    store.update(["w"], [1], "f:kept", lambda _value, _delta: kept)
    add(store, ["w"], [1])
    assert kept.tolist() == [0, 0, 0]


def test_a_users_function_cannot_change_what_is_stored(store):
    store.write(["list", "array"], [[1], np.zeros(2)])

    def fails_late(value, delta):
        if isinstance(value, list):
            value.append(2)
            delta.append(3)
        else:
            value[0] = 1
        raise RuntimeError("late")

    failures = store.update(["list", "array"], [[1], np.ones(2)], "f:fails_late", fails_late)
    assert "RuntimeError: late" in failures[0]
    assert "read-only" in failures[1]
    assert same([*store.entries.values()], [[1], np.zeros(2)])


def test_the_entries_are_a_view_and_guarded_ones_are_copies(store):
    store.write(["a", "w"], [[1], np.zeros(2)])
    with pytest.raises(TypeError):
        store.entries["a"] = 2
    entries = store.guarded_entries()
    entries["a"].append(2)
    with pytest.raises(ValueError, match="read-only"):
        entries["w"][0] = 1
    assert store.entries["a"] == [1]
    assert (len(entries), list(entries), "a" in entries, "b" in entries) == (2, ["a", "w"], True, False)
    with pytest.raises(KeyError):
        entries["b"]


def test_a_filter_sees_guarded_values(store):
    store.write(["a"], [[1]])
    assert store.select(lambda _key, value: value.append(2) or len(value) == 2) == (["a"], [[1]])


@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min"])
@pytest.mark.parametrize(
    "deltas",
    [
        [1] * 9,
        [0.5, 2] * 5,
        [1] * 8 + [1 << 63],
        [1] * 8 + [1e308],
        [1] * 8 + ["text"],
        [1] * 8 + [np.ones(2)],
        [float("nan"), float("inf"), -0.0, 0.0] * 3,
    ],
    ids=["ints", "mixed", "too large", "overflow", "text", "array", "odd floats"],
)
@pytest.mark.parametrize("missing", [False, True])
def test_many_at_once_are_as_one_by_one(name, deltas, missing):
    keys = [f"key {number}" for number in range(len(deltas))]
    values = [(1 << 63) - 1 if number % 2 else 1e308 for number in range(len(deltas))]
    together, single = Store(), Store()
    for store in (together, single):
        store.write(keys[missing:], values[missing:])
    failures = add(together, keys, deltas, name)
    one_by_one = {at: add(single, [key], [delta], name) for at, (key, delta) in enumerate(zip(keys, deltas))}
    assert sorted(failures) == [at for at, failed in one_by_one.items() if failed]
    assert same(dict(together.entries), dict(single.entries)) or missing
    assert all(same(together.entries[key], single.entries[key]) for key in keys)


def test_a_key_that_comes_twice_among_many_is_updated_twice(store):
    keys = [str(number) for number in range(20)] + ["0"] * 3
    add(store, keys, [1] * 23)
    add(store, keys, [1] * 23)
    assert store.entries["0"] == 8


@pytest.mark.parametrize("count", [0, 1, 3, 4, 99])
def test_top_is_the_head_of_the_sorted_list(store, count):
    store.write(list("dbacfe"), [2, 2, 2.0, 5, -1, True])
    keys, values = store.top(count, None)
    assert list(zip(keys, values)) == [("c", 5), ("a", 2.0), ("b", 2), ("d", 2), ("e", True), ("f", -1)][:count]


def test_largest_takes_ties_by_key_and_keeps_what_is_not_a_number_for_the_end():
    nan = float("nan")
    pairs = [("b", 1), ("a", 1), ("n", nan), ("c", 2), ("m", nan)]
    assert largest(pairs, 2) == [("c", 2), ("a", 1)]
    assert [key for key, _ in largest(pairs, 4)] == ["c", "a", "b", "m"]
    assert [key for key, _ in largest(pairs, 9)] == ["c", "a", "b", "m", "n"]
    assert largest([("b", "y"), ("a", "x")], 1) == [("b", "y")]
    assert largest([], 3) == largest(pairs, 0) == []


def test_values_that_have_no_order_are_an_error(store):
    store.write(["a", "b"], [1, "text"])
    for value in ("text", np.ones(2), None):
        store.write(["b"], [value])
        with pytest.raises(RequestError, match=r"have no order .*; choose keys by a filter"):
            store.top(2, None)
    assert store.top(2, lambda key, _value: key == "a") == (["a"], [1])


def test_clear_and_remove(store):
    store.write(["a", "b"], [None, 1])
    assert store.remove(["a", "a", "x"]) == [True, False, False]
    assert (store.clear(), store.clear()) == (1, 0)
    assert store.read(["b"]) == ([None], [0])


def test_what_is_shared_with_others_is_not_changed_in_place(store):
    shared = np.zeros(3)
    store.put_shared(["w", "n"], [shared, 1])
    store.update(["w", "n"], [1, 1], "add", BUILTINS["add"])
    assert shared.tolist() == [0, 0, 0]
    assert store.read(["w", "n"])[0][0].tolist() == [1, 1, 1]
    assert store.entries["n"] == 2
