"""How rows begin: the same bits for everyone who asks, of the distribution asked for, and nothing alike beside it."""

import json
import math
import re

import numpy as np
import pytest
from support.exact import same

from paracel.errors import ConfigError
from paracel.tables.initial import Initial, from_wire, make

RANDOM = ("normal", "uniform")
FLOATS = ("float16", "float32", "float64")
LAST = 2**64 - 1
MANY = np.arange(100_000, dtype=np.uint64)
#: What a mean or a correlation of so many independent numbers stays below.
SMALL = 4 / math.sqrt(len(MANY))

each_kind = pytest.mark.parametrize("kind", RANDOM)


def keys_of(*keys):
    return np.array(keys, np.uint64)


def mix(word):
    """The finaliser of splitmix64, on Python's integers."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & LAST
    word = (word ^ word >> 27) * 0x94D049BB133111EB & LAST
    return word ^ word >> 31


def hashes(key, seed, count):
    gamma = 0x9E3779B97F4A7C15
    state = mix(key + mix((seed + 1) * gamma & LAST) & LAST)
    return [mix(state + at * gamma & LAST) for at in range(1, count + 1)]


def signed(word):
    return word - 2**64 if word >> 63 else word


def plain_uniform(key, dim, seed, bits):
    return [(signed(word) >> 64 - bits) / 2 ** (bits - 1) for word in hashes(key, seed, dim)]


def plain_normal(key, dim, seed):
    words = iter(hashes(key, seed, 2 * dim))
    return [
        math.sqrt(-2 * math.log(((first >> 11) + 1) / 2**53)) * math.sin(math.pi * (signed(second) >> 11) / 2**53)
        for first, second in zip(words, words)
    ]


# --- the bits -------------------------------------------------------------------------------------------------------


def test_the_hash_is_splitmix64():
    """Of the state 1234567, as published with the reference implementation."""
    gamma = 0x9E3779B97F4A7C15
    outputs = [mix(1234567 + at * gamma & LAST) for at in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize(
    ("kind", "dtype", "golden"),
    [
        ("normal", "float64", ["-0x1.7f6b6d673fe47p-1", "0x1.a06575d41058cp-3", "-0x1.97d2d51fb7621p-2"]),
        ("normal", "float32", ["-0x1.7f6b6ep-1", "0x1.a06576p-3", "-0x1.97d2d6p-2"]),
        ("normal", "float16", ["-0x1.7f8p-1", "0x1.a08p-3", "-0x1.97cp-2"]),
        ("uniform", "float64", ["-0x1.c2cd52468eb5ap-1", "-0x1.f513e7f1a7d94p-2", "-0x1.df0bfca84e080p-3"]),
        ("uniform", "float32", ["-0x1.c2cd54p-1", "-0x1.f513e8p-2", "-0x1.df0c00p-3"]),
        ("uniform", "float16", ["-0x1.c3p-1", "-0x1.f6p-2", "-0x1.e0p-3"]),
    ],
)
def test_golden_values(kind, dtype, golden):
    rows = make(kind).rows(keys_of(0, LAST), 2, dtype, seed=7)
    assert same(rows.ravel()[:3], np.array(list(map(float.fromhex, golden)), dtype))


@pytest.mark.parametrize("seed", [0, 1, 7, 2**63, LAST])
def test_against_plain_integers(seed):
    keys = [0, 1, 2, 3, 1000, 2**32, 2**63, LAST]
    for dtype, bits in (("float16", 11), ("float32", 24), ("float64", 53)):
        uniform = make("uniform").rows(keys_of(*keys), 5, dtype, seed)
        assert uniform.tolist() == [plain_uniform(key, 5, seed, bits) for key in keys]
    normal = make("normal").rows(keys_of(*keys), 5, "float64", seed)
    np.testing.assert_allclose(normal, [plain_normal(key, 5, seed) for key in keys], rtol=1e-14)
    assert same(make("normal").rows(keys_of(*keys), 5, "float32", seed), normal.astype("float32"))


def test_normal_is_accurate_over_its_whole_range():
    rows = make("normal").rows(MANY[:20_000], 2, "float64", 3)
    expected = [plain_normal(int(key), 2, 3) for key in MANY[:20_000]]
    np.testing.assert_allclose(rows, expected, rtol=2e-14)


def test_seeds_count_modulo_2_to_the_64():
    rows = [make("normal").rows(MANY[:10], 2, "float32", seed) for seed in (-1, LAST, 2**65 - 1, 0)]
    assert same(rows[0], rows[1])
    assert same(rows[0], rows[2])
    assert not same(rows[0], rows[3])


@each_kind
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_rows_depend_neither_on_company_nor_on_order(kind, dim):
    initial = make((kind, 0.3))
    whole = initial.rows(MANY[:1000], dim, "float32", 5)
    order = np.random.default_rng(0).permutation(1000)
    assert same(initial.rows(MANY[order], dim, "float32", 5), whole[order])
    assert same(initial.rows(MANY[10:20], dim, "float32", 5), whole[10:20])
    assert same(initial.rows(keys_of(4, 4), dim, "float32", 5), whole[[4, 4]])
    assert same(initial.rows(MANY[:2000:2], dim, "float32", 5)[:500], whole[::2])  # keys need not be contiguous
    wider = initial.rows(MANY[:1000], dim + 3, "float32", 5)
    assert same(np.ascontiguousarray(wider[:, :dim]).reshape(whole.shape), whole)


def test_the_keys_stay():
    keys = keys_of(3, 1, LAST)
    keys.flags.writeable = False
    for given in (1, *RANDOM):
        make(given).rows(keys, 2, "float32", 0)
    assert keys.tolist() == [3, 1, LAST]


@pytest.mark.parametrize("given", [0.5, *RANDOM])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_shape_and_dtype(given, dtype, count):
    for dim, shape in ((1, (count,)), (3, (count, 3))):
        rows = make(given).rows(MANY[:count], dim, dtype, 0)
        assert (rows.shape, rows.dtype) == (shape, dtype)
        assert rows.flags.writeable
        assert rows.flags.c_contiguous


# --- the distribution -----------------------------------------------------------------------------------------------


def normal_share(limit):
    return math.erf(limit / math.sqrt(2))


@pytest.mark.parametrize("keys", [MANY, MANY << np.uint64(32), LAST - MANY, MANY * np.uint64(0x9E3779B97F4A7C15)])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_normal(keys, scale):
    rows = make(("normal", scale)).rows(keys, 1, "float64", 0) / scale
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        variance = math.prod(range(1, 2 * power, 2))  # at most: the moment of order 2 * power
        assert abs((rows**power).mean() - moment) < SMALL * math.sqrt(variance)
    for limit in (0.1, 0.5, 1, 2, 3):
        assert abs((abs(rows) < limit).mean() - normal_share(limit)) < SMALL / 2
    assert 4 < abs(rows).max() < 6


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1.0, 0.01, 3])
def test_uniform(dtype, scale):
    rows = make(("uniform", scale)).rows(MANY, 1, dtype, 0)
    assert rows.min() >= -np.dtype(dtype).type(scale)
    assert rows.max() < np.dtype(dtype).type(scale)
    rows = rows.astype(float) / scale
    for limit in np.linspace(-0.9, 1, 20):
        assert abs((rows < limit).mean() - (1 + limit) / 2) < SMALL / 2 + np.finfo(dtype).eps
    assert abs(rows.mean()) < SMALL + np.finfo(dtype).eps  # the lower end belongs to it, the upper does not
    assert abs((rows**2).mean() - 1 / 3) < SMALL


def correlation(left, right):
    return abs(np.corrcoef(left, right)[0, 1])


@each_kind
def test_keys_columns_and_seeds_are_independent(kind):
    initial = make(kind)
    first, second = (initial.rows(MANY, 4, "float64", seed) for seed in (0, 1))
    for column in range(4):
        assert correlation(first[:, column], second[:, column]) < SMALL
        assert correlation(first[1:, column], first[:-1, column]) < SMALL
        assert correlation(first[1:, column], second[:-1, column]) < SMALL
        for other in range(column):
            assert correlation(first[:, column], first[:, other]) < SMALL
            assert correlation(first[:, column] ** 2, first[:, other] ** 2) < SMALL
            assert correlation(first[1:, column], first[:-1, other]) < SMALL
            assert correlation(first[:-1, column], first[1:, other]) < SMALL


def test_one_key_under_many_seeds_is_as_random_as_many_keys():
    rows = np.array([make("normal").rows(keys_of(5, 6), 2, "float64", seed).ravel() for seed in range(3000)])
    limit = 4 / math.sqrt(3000)
    assert (abs(rows.mean(axis=0)) < limit).all()
    assert (abs(rows.std(axis=0) - 1) < limit).all()
    assert (abs(np.corrcoef(rows.T) - np.eye(4)) < limit).all()


@each_kind
def test_no_two_numbers_are_the_same(kind):
    rows = [make(kind).rows(MANY[:20_000], 5, "float64", seed) for seed in (0, 1)]
    assert len(np.unique(rows)) == 200_000


# --- constants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype", "stored"),
    [
        (0, "float32", 0.0),
        (0.1, "float32", np.float32(0.1)),
        (np.float32(0.1), "float64", float(np.float32(0.1))),
        (2**62 + 1, "int64", 2**62 + 1),
        (LAST, "uint64", LAST),
        (-5.0, "int8", -5),
        (np.int64(3), "float16", 3.0),
        (math.inf, "float32", math.inf),
        (-math.inf, "float64", -math.inf),
    ],
)
def test_constants(value, dtype, stored):
    initial = make(value)
    initial.check_dtype(dtype)
    for dim, shape in ((1, (2,)), (3, (2, 3))):
        assert same(initial.rows(keys_of(1, 2), dim, dtype, seed=1), np.full(shape, stored, dtype))


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None, True, math.nan, np.nan, np.float32("nan"), 2**64, -(2**64), 10**400, 1j, np.True_, b"normal", "", "zeros",
        "Normal", (), ("normal",), ("normal", 0), ("normal", -1), ("normal", math.inf), ("uniform", math.nan),
        ("uniform", True), ("uniform", "1"), ("uniform", 10**400), ("normal", 1j), ("normal", np.complex64(1)),
        ("normal", 1.0, 2.0), ("constant", 1.0),
        (np.zeros(2), 1.0), ("normal", np.ones(2)), ("normal", np.True_),
        {"normal": 1.0}, np.zeros(1), np.zeros(2), len,
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_what_cannot_be_an_initial(value):
    with pytest.raises(
        ConfigError, match=r"^init=.*; allowed: a number, .normal., .uniform., .*scale.*, a function of the keys$"
    ):
        make(value)


def test_scales():
    assert make("normal") == make(("normal", 1)) == make(["normal", np.float32(1)]) == Initial("normal", scale=1.0)
    assert make("normal") != make("uniform")
    assert make(("uniform", 0.5)) != make("uniform")
    assert make(0) == make(0.0) == make(np.int8(0)) == Initial("constant", value=0)
    assert (repr(make("normal")), repr(make(0.5))) == ("('normal', 1.0)", "0.5")


@pytest.mark.parametrize(
    ("value", "dtypes"),
    [
        (0, "int8 uint8 int64 uint64 float16 float32 float64"),
        (-1, "int8 int64 float16 float32 float64"),
        (200, "uint8 int64 uint64 float16 float32 float64"),
        (200.0, "uint8 int64 uint64 float16 float32 float64"),
        (LAST, "uint64 float32 float64"),
        (0.5, "float16 float32 float64"),
        (1e6, "int64 uint64 float32 float64"),
        (1e-20, "float32 float64"),
        (1e300, "float64"),
        (-math.inf, "float16 float32 float64"),
        ("normal", "float16 float32 float64"),
        ("uniform", "float16 float32 float64"),
        (("uniform", 60000), "float16 float32 float64"),
        (("normal", 60000), "float32 float64"),
        (("uniform", 1e39), "float64"),
        (("uniform", 1e-60), "float64"),
        (("uniform", 1e308), "float64"),
        (("normal", 1e308), ""),
    ],
)
def test_which_dtypes_can_begin_so(value, dtypes):
    initial = make(value)
    for dtype in ("bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64", "complex64", "O", "U3"):
        if dtype in dtypes.split():
            initial.check_dtype(dtype)
            rows = initial.rows(MANY[:1000], 1, dtype, 0)
            assert value == -math.inf or np.isfinite(rows).all()
        else:
            with pytest.raises(ConfigError, match=rf"^init={re.escape(repr(initial))} with dtype .*; allowed: "):
                initial.check_dtype(dtype)


# --- the wire -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 0.25, LAST, -math.inf, "normal", ("uniform", 0.5), ("normal", np.float32(0.1))])
def test_travels_as_plain_values(value):
    initial = make(value)
    wire = initial.to_wire()
    assert same(json.loads(json.dumps(wire)), wire)
    assert from_wire(wire) == initial
    assert same(from_wire(wire).to_wire(), wire)


@pytest.mark.parametrize(
    "data",
    [
        None, 0, "normal", [], ["normal"], ["normal", 1.0], ["normal", {}], ["normal", {"value": 1.0}],
        ["normal", {"scale": 0.0}], ["normal", {"scale": math.nan}], ["normal", {"scale": [1.0]}],
        ["normal", {"scale": 1.0, "x": 1}], ["normal", {"scale": 1.0}, 1], ["constant", {"value": "normal"}],
        ["constant", {"value": ["normal", 1.0]}], ["constant", {"value": True}], ["constant", {"value": math.nan}],
        ["constant", {"value": 2**64}], ["constant", {"scale": 1.0}], ["zeros", {}], [["normal"], {"scale": 1.0}],
        {"normal": {"scale": 1.0}}, [[[[]]]], [np.zeros(2), {"scale": 1.0}], ["normal", {"scale": np.zeros(2)}],
    ],
    ids=repr,
)  # fmt: skip
def test_what_comes_over_the_wire_is_not_trusted(data):
    with pytest.raises(ConfigError, match="allowed: "):
        from_wire(data)
