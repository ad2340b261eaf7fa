"""The built-in updaters: one table of what each makes of a value and a delta."""

import contextlib

import numpy as np
import pytest
from support.exact import same

from paracel.updaters import BUILTINS, Arithmetic, first_value

f4, f8, i8, u1 = np.float32, np.float64, np.int64, np.uint8


@pytest.mark.parametrize(
    ("name", "value", "delta", "new"),
    [
        ("add", 1, 2, 3),
        ("add", 1, 2.5, 3.5),
        ("add", "a", "b", "ab"),
        ("add", [1], [2], [1, 2]),
        ("add", (1,), (2,), (1, 2)),
        ("add", True, True, 2),
        ("sub", 1, 2, -1),
        ("mul", 3, 4, 12),
        ("max", 3, 4, 4),
        ("min", 3, 4, 3),
        ("max", "a", "b", "b"),
        ("add", np.float32(1), np.float32(2), np.float32(3)),
        ("add", np.array([1, 2], i8), np.array([10, 20], i8), np.array([11, 22], i8)),
        ("sub", np.array([1, 2], i8), np.array([10, 20], i8), np.array([-9, -18], i8)),
        ("mul", np.array([1, 2], i8), np.array([10, 20], i8), np.array([10, 40], i8)),
        ("max", np.array([1, 20], i8), np.array([10, 2], i8), np.array([10, 20], i8)),
        ("min", np.array([1, 20], i8), np.array([10, 2], i8), np.array([1, 2], i8)),
        ("add", np.array([1, 2], f4), np.array([0.5, 0.5], f8), np.array([1.5, 2.5], f4)),
        ("add", np.array([1, 2], ">f4"), np.array([0.5, 0.5], f8), np.array([1.5, 2.5], ">f4")),
        ("add", np.array([1, 2], f4), 0.5, np.array([1.5, 2.5], f4)),
        ("add", np.array([1, 2], u1), 1, np.array([2, 3], u1)),
        ("mul", np.array([1, 2], np.uint64), 2, np.array([2, 4], np.uint64)),
        ("add", np.array([1, 2], np.int8), True, np.array([2, 3], np.int8)),
        ("add", np.array([1, 2], i8), 0.5, np.array([1.5, 2.5], f8)),
        ("add", np.array([1, 2], i8), np.array([0.5, 0.5]), np.array([1.5, 2.5], f8)),
        ("add", np.array([1, 2], u1), np.array([-1, 1], i8), np.array([0, 3], i8)),
        ("add", np.array([True, False]), np.array([True, True]), np.array([True, True])),
        ("add", np.zeros((2, 3)), np.array([1.0, 2, 3]), np.array([[1.0, 2, 3]] * 2)),
        ("add", np.zeros((2, 3)), np.array(1), np.ones((2, 3))),
        ("add", np.zeros(3), [1, 2, 3], np.array([1.0, 2, 3])),
        ("add", np.array(1.0), np.array(2.0), np.array(3.0)),
        ("add", np.zeros((0, 3)), np.ones((0, 3)), np.zeros((0, 3))),
        ("add", 1, np.array([1, 2], i8), np.array([2, 3], i8)),
        ("assign", 1, "x", "x"),
        ("append", [1], [2], [1, [2]]),
        ("extend", [1], (2, 3), [1, 2, 3]),
        ("union", [1, 2, 2], [3, 2], [1, 2, 3]),
        ("union", [[1]], [[1], [2]], [[1], [2]]),
        ("union", {"a": 1, "b": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("merge_add", {"a": 1, "b": 1}, {"b": 2, "c": 3}, {"a": 1, "b": 3, "c": 3}),
    ],
)
def test_new_values(name, value, delta, new):
    assert same(BUILTINS[name](value, delta), new)


@pytest.mark.parametrize(
    ("name", "value", "delta", "text"),
    [
        ("add", np.zeros(2), np.zeros(3), r"add: a delta of shape \(3,\) does not fit a value of shape \(2,\)"),
        ("add", np.zeros(1), np.zeros(3), "does not fit"),
        ("sub", np.zeros(3), np.zeros((2, 3)), "does not fit"),
        ("add", np.zeros(3), "abc", "ufunc"),
        ("add", np.zeros(3), None, "unsupported"),
        ("add", np.zeros(3, u1), 256, "out of bounds"),
        ("sub", np.array([True]), np.array([True]), "boolean subtract"),
        ("add", 1, "a", "unsupported"),
        ("max", 1, "a", "not supported"),
        ("append", 1, 2, "append needs a list, and was given a int"),
        ("extend", [1], 2, "extend needs a list or tuple, and was given a int"),
        ("union", 1, [2], "union needs a list or dict"),
        ("union", {}, [2], "union needs a dict, and was given a list"),
        ("merge_add", {}, [2], "merge_add needs a dict"),
        ("merge_add", [], {}, "merge_add needs a dict"),
    ],
)
def test_what_does_not_fit(name, value, delta, text):
    with pytest.raises((TypeError, ValueError, OverflowError), match=text):
        BUILTINS[name](value, delta)


@pytest.mark.parametrize("name", sorted(BUILTINS))
@pytest.mark.parametrize("kind", [list, dict, np.ndarray])
def test_neither_the_value_nor_the_delta_changes(name, kind):
    make = {list: lambda: [1, [2]], dict: lambda: {"a": 1}, np.ndarray: lambda: np.array([1.0, 2])}[kind]
    value, delta = make(), make()
    with contextlib.suppress(TypeError, ValueError):
        BUILTINS[name](value, delta)
    assert same(value, make())
    assert same(delta, make())


@pytest.mark.parametrize("name", [name for name, rule in BUILTINS.items() if isinstance(rule, Arithmetic)])
def test_in_place_if_and_only_if_asked_and_possible(name):
    rule = BUILTINS[name]
    for writeable in (True, False):
        for in_place in (True, False):
            value = np.array([1, 2], f4)
            value.flags.writeable = writeable
            new = rule(value, np.array([3, 1], f4), in_place=in_place)
            assert (new is value) == (writeable and in_place)
    value = np.array([1, 2], i8)
    assert rule(value, 0.5, in_place=True) is not value  # another dtype


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_a_missing_key_takes_the_delta(name):
    expected = {"append": [[1, 2]]}.get(name, [1, 2])
    assert first_value(name, [1, 2]) == expected


@pytest.mark.parametrize("name", ["extend", "union", "append"])
def test_lists_that_start_from_nothing_can_go_on(name):
    first = first_value(name, (1, 2))
    assert type(first) is list
    assert BUILTINS[name](first, (3,))[-1] in (3, (3,))
    assert first_value("assign", (1, 2)) == (1, 2)
