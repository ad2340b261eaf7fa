import math

import numpy as np
import pytest
from support.exact import same

from paracel.errors import CarryError
from paracel.values import (
    FRAME_BYTES,
    MAX_DEPTH,
    MAX_KEY_BYTES,
    check_key,
    check_keys,
    check_tree,
    check_value,
    check_values,
    copy_value,
    guarded,
    size_of,
    sizes,
)


class Text(str):
    __slots__ = ()


class Matrix(np.ndarray):
    pass


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


CARRIED = [
    None,
    True,
    0,
    (1 << 64) - 1,
    -(1 << 63),
    math.nan,
    "",
    "\ud800",
    b"\xff",
    [],
    (),
    {},
    [1, "a", None, [b""], ({"k": 1.5},)],
    {1: 1, "1": 2, (1 << 64) - 1: 3},
    np.zeros((0, 3), np.int64),
    np.array(1.0),
    np.zeros(2, bool),
    np.zeros(2, ">c16"),
    np.zeros(2, np.longdouble),
    np.float16(1),
    np.bool_(True),
    np.uint64(1 << 63),
    [np.arange(3), {"a": np.float32(1)}],
    deep(MAX_DEPTH),
]
REFUSED = [
    (1 << 64, "int 18446744073709551616 needs more than 64 bits"),
    (-(1 << 63) - 1, "needs more than 64 bits"),
    ([1, 2, 1 << 64], "more than 64 bits"),
    ([1, "a", -(1 << 64)], "more than 64 bits"),
    ({1 << 64: 1}, "a dict key of more than 64 bits"),
    ({"a": 1 << 64}, "more than 64 bits"),
    ({b"k": 1}, "a dict key of type bytes; allowed: str, int"),
    ({True: 1}, "a dict key of type bool"),
    ({(1,): 1}, "a dict key of type tuple"),
    (1j, "type builtins.complex; allowed: None, bool, int"),
    ({1}, "type builtins.set"),
    (bytearray(b"a"), "type builtins.bytearray"),
    (Text("a"), "type .*Text"),
    ([[Text("a")]], "type .*Text"),
    (object(), "type builtins.object"),
    (np.array(["a"]), "ndarray of dtype <U1 is neither numbers nor bools"),
    (np.array([None]), "ndarray of dtype object"),
    (np.zeros(1, "i4,f4"), "neither numbers nor bools"),
    (np.datetime64("2020"), r"datetime64 of dtype datetime64\[Y\]"),
    (np.str_("a"), "str_ of dtype <U1"),
    (np.zeros(2).view(Matrix), "Matrix; pass numpy.asarray"),
    (np.ma.zeros(2), "MaskedArray; pass numpy.asarray"),
    (deep(MAX_DEPTH + 1), "nested more than 64 deep"),
]


@pytest.mark.parametrize("value", CARRIED, ids=lambda value: repr(value)[:30])
def test_what_is_carried(value):
    check_value("k", value)
    check_values(["k", "l"], [1, value])
    if not same(value, deep(MAX_DEPTH)):
        check_tree([value])


@pytest.mark.parametrize(("value", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_is_refused_names_the_key_and_the_type(value, reason):
    for check in (
        lambda: check_value("the key", value),
        lambda: check_values(["a", "b", "the key"], [1, np.zeros(1), value]),
        lambda: check_values(["a", "the key"], [1, value]),
        lambda: check_values(["the key"], [value]),
    ):
        with pytest.raises(CarryError, match="the value for key 'the key' cannot be carried: .*" + reason):
            check()
    with pytest.raises(CarryError, match="cannot be carried: .*" + reason):
        check_tree(value)
    with pytest.raises(TypeError):
        check_tree(value)


def test_a_list_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(CarryError, match="nested more than"):
        check_value("k", loop)


def test_as_many_keys_as_values():
    with pytest.raises(ValueError, match="zip"):
        check_values(["k"], [[], []])


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "\U0001f600" * (MAX_KEY_BYTES // 4), "a" * MAX_KEY_BYTES])
def test_keys(key):
    assert check_key(key) is key
    assert check_keys(iter([key, "b"])) == [key, "b"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (1, "a key must be a str, not int: 1"),
        (b"k", "a key must be a str, not bytes"),
        (None, "not NoneType"),
        (Text("k"), "not Text"),
        ("a" * (MAX_KEY_BYTES + 1), "has more than 65536 bytes in UTF-8"),
        ("\u00e9" * (MAX_KEY_BYTES // 2 + 1), "has more than 65536 bytes"),
    ],
    ids=["int", "bytes", "None", "subclass", "long", "wide"],
)
def test_what_is_not_a_key(key, text):
    with pytest.raises(CarryError, match=text):
        check_key(key)
    with pytest.raises(CarryError, match=text):
        check_keys(["fine", key])


def test_one_str_is_not_a_list_of_keys():
    with pytest.raises(CarryError, match=r"got the one str 'abc'; write \['abc'\]"):
        check_keys("abc")
    assert check_keys([]) == []
    assert check_keys({"a": 1}.keys()) == ["a"]


@pytest.mark.parametrize("value", CARRIED, ids=lambda value: repr(value)[:30])
def test_copies_are_the_same_and_share_nothing_that_can_change(value):
    for copied in (copy_value(value), guarded(value)):
        assert same(copied, value)
        if isinstance(value, list | dict) and value:
            assert copied is not value


def test_copies_of_nested_arrays_are_of_their_own():
    array = np.zeros(3)
    for value in ([array], (array,), {"a": [array]}, [[(array,)]], array):
        copied = copy_value(value)
        array += 1
        assert not same(copied, value)
        array -= 1


def test_arrays_are_shown_read_only_and_by_reference():
    array = np.zeros(3)
    seen = guarded(array)
    with pytest.raises(ValueError, match="read-only"):
        seen += 1
    array += 1
    assert seen.tolist() == [1, 1, 1]
    inner = guarded([array])
    inner[0] += 1
    assert array.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (np.zeros(FRAME_BYTES, np.uint8), FRAME_BYTES),
        ("a" * 1000, 1000),
        (b"a" * 1000, 1000),
        ([b"a" * 100] * 10, 1000),
        ([b"a" * 100] * 1000, 100_000),
        (dict.fromkeys(range(1000), b"a" * 100), 100_000),
        ([np.zeros(100)] * 1000, 800_000),
        ([[0.0] * 1000], 8000),
        (1, 8),
    ],
)
def test_sizes_are_about_right(value, size):
    for measured in (size_of(value), sizes([value])):
        assert size <= measured <= 2.5 * size + 64
