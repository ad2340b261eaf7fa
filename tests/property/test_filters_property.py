"""Message filters on any part, alone and in any order: exact, within the bound, or the sum kept; and only WireError."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.exact import same

from paracel.errors import WireError
from paracel.filters import (
    Compressing,
    Custom,
    DropZeros,
    FixedPoint,
    KeyCaching,
    Part,
    RandomSkip,
    SignificantlyModified,
    decode_all,
    encode_all,
    from_wire,
    size_of,
)
from paracel.filters.packing import pack, packed_size, unpack
from paracel.messages import Envelope, Result
from paracel.wire import decode, encode

FLOATS = [np.dtype(order + code) for order in "<>" for code in ("f2", "f4", "f8")]
NUMBERS = [*FLOATS, *(np.dtype(name) for name in ("?", "i1", "u2", ">i4", "u8", "c8", ">c16", "g"))]


class Table:
    """What a sender keeps, in float64, a dict for each value array."""

    def __init__(self, values):
        self.shapes, self.kept = [value.shape[1:] for value in values], [{} for _ in values]

    def read(self, keys, index):
        zero = np.zeros(self.shapes[index])
        return np.array([self.kept[index].get(int(k), zero) for k in keys]).reshape(len(keys), *self.shapes[index])

    def write(self, keys, index, rows):
        assert rows.shape == (len(keys), *self.shapes[index])
        self.kept[index].update(zip(map(int, keys), rows.astype(np.float64)))


def backwards(values):
    """A pair for Custom: the arrays in reverse order, and how many in bytes."""
    return [*values[::-1], bytes([len(values)])]


def forwards(payload):
    assert payload[-1] == bytes([len(payload) - 1])
    return [np.asarray(item) for item in payload[-2::-1]]


# --- what filters work on ---------------------------------------------------------------------------------------


@st.composite
def arrays(draw, rows, dtypes, bits=False):
    """Rows of numbers, of which many are zeros; with `bits`, any bits."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(st.sampled_from([(rows,), (rows, 1), (rows, 3), (rows, 0)]))
    seed, sparsity = draw(st.integers(0, 1 << 20)), draw(st.sampled_from([0, 0.5, 0.95, 1]))
    random = np.random.default_rng(seed)
    if bits and dtype.kind != "b" and dtype.itemsize <= 16 and dtype.char not in "gG":
        array = np.frombuffer(random.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape).copy()
    else:
        scale = draw(st.sampled_from([1, 0.01, 50]))
        array = (random.normal(size=shape) * scale).astype(np.float64)
        array = np.abs(array).astype(dtype) if dtype.kind in "ub" else array.astype(dtype)
    array[random.random(rows) < sparsity] = draw(st.sampled_from([0, 0, -0.0])) if dtype.kind in "fc" else 0
    return draw(st.sampled_from([lambda a: a, np.asfortranarray, lambda a: a[::-1]]))(array)


@st.composite
def parts(draw, dtypes, bits=False):
    """Parts of one to three value arrays: key lists, ranges or no keys; masked or not; fixed or not."""
    listed = draw(st.sampled_from([0, 1, 2, 9, 40, 300]))
    mask = draw(st.sampled_from([None, 0.0, 0.5, 0.9]))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    mask = None if mask is None else random.random(listed) < mask
    begin = draw(st.sampled_from([0, 17, (1 << 64) - 1 - listed]))
    keys = draw(st.sampled_from([None, (begin, begin + listed), "list"]))
    if keys == "list":
        keys = random.choice(1000, listed, replace=False).astype(np.uint64) * np.uint64(1 << 50)
    rows = listed if mask is None else int(mask.sum())
    values = [draw(arrays(rows, dtypes, bits)) for _ in range(draw(st.integers(1, 3)))]
    return Part(keys, values, mask, draw(st.booleans()))


def received(filters, part, memories=None):
    """What arrives, over the real wire, at a receiver with filters of the same names."""
    before = copy.deepcopy(part)
    sent, metas, sizes = encode_all(filters, part, memories or [None] * len(filters))
    assert same([part.keys, part.values, part.mask], [before.keys, before.values, before.mask])
    assert len(sizes) == len(metas) == len(filters)
    assert not filters or sizes[0][0] == size_of(part)
    count = len(sent.mask) if sent.mask is not None else len(part.values[0])
    return decode_all(
        [from_wire(one.to_wire()) for one in filters],
        arrived(sent, count if part.keys is None else None),
        arriving(metas),
    )


def arriving(value):
    frames = encode(Envelope(1, 0, 0, Result(value)))
    return decode([bytes(frame) for frame in frames]).message.value


def arrived(sent, count):
    keys, values, mask = arriving([sent.keys, sent.values, sent.mask])
    return Part(keys, values, mask, sent.fixed, count)


def check_form(got, part):
    """The same dtypes and shapes of rows; as many rows as keys."""
    assert [(v.dtype.str, v.shape[1:]) for v in got.values] == [(v.dtype.str, v.shape[1:]) for v in part.values]
    assert len({len(value) for value in got.values} | {got.rows}) == 1


LOSSLESS = [KeyCaching(), Compressing("lz4"), Compressing("zstd", 1), DropZeros(), Custom(backwards, forwards)]


@pytest.mark.parametrize("one", LOSSLESS, ids=repr)
@given(part=parts(NUMBERS, bits=True))
def test_lossless_filters_lose_nothing(one, part):
    got = received([one], part)
    assert same([got.keys, got.values, got.mask], [part.keys, part.values, part.mask])


@given(part=parts(NUMBERS, bits=True), filters=st.lists(st.sampled_from(LOSSLESS), max_size=4))
def test_lossless_filters_in_any_order_lose_nothing(part, filters):
    got = received(filters, part)
    assert same([got.keys, got.values, got.mask], [part.keys, part.values, part.mask])


@given(part=parts(NUMBERS, bits=True))
def test_nothing_gets_larger_but_by_the_meta(part):
    for one in LOSSLESS[:4]:
        assert size_of(one.encode(part, None)[0]) <= size_of(part)


# --- fixed point ------------------------------------------------------------------------------------------------


@given(bits=st.integers(1, 16), count=st.integers(0, 70), seed=st.integers(0, 99))
def test_numbers_of_a_few_bits_come_back(bits, count, seed):
    numbers = np.random.default_rng(seed).integers(0, 1 << bits, count).astype(np.uint16)
    packed = pack(numbers, bits)
    assert len(packed) == packed_size(bits, count)
    assert 0 <= 8 * len(packed) - bits * count < 15
    assert same(unpack(packed, bits, count), numbers)


@given(part=parts(FLOATS, bits=True), bits=st.integers(1, 16), seed=st.integers(0, 99))
def test_fixed_point_keeps_its_bound(part, bits, seed):
    for value in part.values:
        value[~np.isfinite(value)] = 1
    got = received([FixedPoint(bits, False, seed)], part)
    check_form(got, part)
    for value, back in zip(part.values, got.values):
        if value.size:
            exact = value.astype(np.longdouble)
            step = np.ptp(exact) / (2**bits - 1)
            rounding = np.finfo(value.dtype).eps * np.abs(exact).max() + np.finfo(value.dtype).smallest_subnormal
            assert np.abs(back - exact).max() <= step + 2 * rounding


@settings(max_examples=30)
@given(
    dtype=st.sampled_from(FLOATS), dim=st.sampled_from([(), (3,)]), bits=st.integers(2, 16), rounds=st.integers(1, 12),
    seed=st.integers(0, 999),
    first=st.lists(st.sampled_from([DropZeros(), KeyCaching(), SignificantlyModified(0.5)]), max_size=2),
)  # fmt: skip
def test_what_is_decoded_and_what_is_kept_add_up_to_what_was_pushed(dtype, dim, bits, rounds, seed, first):
    random, filters = np.random.default_rng(seed), [*first, FixedPoint(bits, seed=seed)]
    like = [np.zeros((0, *dim), dtype), np.zeros((0,), dtype)]
    memories = [Table(like) for _ in filters]
    pushed, decoded = [np.zeros((60, *value.shape[1:])) for value in like], Table(like)
    for _ in range(rounds):
        keys = np.sort(random.choice(60, 20, replace=False)).astype(np.uint64)
        values = [random.normal(size=(20, *value.shape[1:])).astype(dtype) for value in like]
        values[0][random.random(20) < 0.5] = 0
        part = Part(keys, values, fixed=bool(random.integers(2)))
        for total, value in zip(pushed, values):
            total[keys.astype(int)] += value
        got = received(filters, part, memories)
        for index, value in enumerate(got.values):
            of = got.keys_of(index)
            decoded.write(of, index, decoded.read(of, index) + value)
    everything = np.arange(60, dtype=np.uint64)
    for index, total in enumerate(pushed):
        kept = sum(memory.read(everything, index) for memory in memories)
        # the selecting filter adds in the dtype of the push, the rounding of which is all that is lost
        allowed = 1e-9 if not any(isinstance(one, SignificantlyModified) for one in first) else 40 * np.finfo(dtype).eps
        assert np.abs(decoded.read(everything, index) + kept - total).max() <= allowed * rounds


# --- selecting --------------------------------------------------------------------------------------------------


@given(part=parts(FLOATS), threshold=st.sampled_from([0.0, 0.01, 1.0, 1e9]), rounds=st.integers(1, 3))
def test_significant_rows_are_sent_and_the_others_kept(part, threshold, rounds):
    assume(part.keys is not None)
    one, memory, keys = SignificantlyModified(threshold), Table(part.values), part.keys_of(0)
    for _ in range(rounds):
        sums = [(v + memory.read(keys, index)).astype(v.dtype) for index, v in enumerate(part.values)]
        got = received([one], part, [memory])
        check_form(got, part)
        sent = np.isin(keys, got.keys_of(0))
        above = np.logical_or.reduce(
            [(np.abs(total.astype(float)) > threshold).any(axis=tuple(range(1, total.ndim))) for total in sums]
        )
        assert (sent == above).all()
        for index, total in enumerate(sums):
            assert same(got.values[index], total[sent])
            assert same(
                memory.read(keys, index), np.where(sent.reshape(-1, *[1] * (total.ndim - 1)), 0, total).astype(float)
            )


@given(part=parts(FLOATS), probability=st.sampled_from([0.0, 0.1, 0.5, 0.99]), seed=st.integers(0, 99))
def test_rows_that_stay_are_scaled(part, probability, seed):
    got = received([RandomSkip(probability, seed)], part)
    check_form(got, part)
    if part.keys is None:
        return
    stayed = np.isin(part.keys_of(0), got.keys_of(0))
    assert same(got.keys_of(0), part.keys_of(0)[stayed])
    for value, back in zip(part.values, got.values):
        expected = (value[stayed].astype(np.longdouble) / (1 - probability)).astype(value.dtype)
        np.testing.assert_allclose(back.astype(float), expected.astype(float), rtol=2 * np.finfo(value.dtype).eps)


@given(part=parts(FLOATS), first=st.sampled_from([SignificantlyModified(0.3), RandomSkip(0.4)]))
def test_fixed_lists_and_ranges_stay_and_others_are_cut(part, first):
    got = received([first], part, [Table(part.values)])
    may_be_cut = isinstance(part.keys, np.ndarray) and not part.fixed and part.mask is None
    if may_be_cut:
        assert got.mask is None
        assert set(got.keys.tolist()) <= set(part.keys.tolist())
    else:
        assert same(got.keys, part.keys)
        assert got.mask is None or (part.mask is None) or not (got.mask & ~part.mask).any()


# --- every filter with every other ------------------------------------------------------------------------------

ALL = [
    KeyCaching(),
    Compressing("lz4"),
    Compressing("zstd"),
    FixedPoint(12),
    DropZeros(),
    SignificantlyModified(0.5),
    RandomSkip(0.5),
    Custom(backwards, forwards),
]
ORDERS = [list(order) for length in (2, 3) for order in itertools.product(ALL, repeat=length)]


def some_part(kind, random):
    values = [random.normal(size=(60, 2)).astype("f4"), random.normal(size=60).astype(">f8")]
    for value in values:
        value[random.random(60) < 0.6] = 0
    keys = np.sort(random.choice(1 << 40, 60, replace=False)).astype(np.uint64)
    mask = np.arange(120) % 2 == 0
    return {
        "list": Part(keys, values),
        "fixed": Part(keys, values, fixed=True),
        "range": Part((7, 67), values),
        "masked": Part((7, 127), values, mask),
        "reply": Part(None, values),
    }[kind]


@pytest.mark.parametrize("kind", ["list", "fixed", "range", "masked", "reply"])
def test_all_pairs_and_triples_compose(kind):
    random = np.random.default_rng(3)
    for filters in ORDERS:
        part = some_part(kind, random)
        sent, metas, _ = encode_all(filters, part, [Table(part.values) for _ in filters])
        count = len(part.values[0]) if kind == "reply" else None
        got = decode_all(filters, Part(sent.keys, sent.values, sent.mask, count=count), metas)
        check_form(got, part)
        if not any(isinstance(one, FixedPoint | RandomSkip | SignificantlyModified) for one in filters):
            assert same([got.keys, got.values, got.mask], [part.keys, part.values, part.mask]), filters
        elif not any(isinstance(one, RandomSkip) for one in filters) and kind != "reply":
            # what came is within the bound, and what did not come is not significant
            near = dict(zip(got.keys_of(0).tolist(), got.values[1].tolist()))
            for key, value in zip(part.keys_of(0).tolist(), part.values[1].tolist()):
                assert abs(near.get(key, 0) - value) <= (0.01 if key in near else 0.5), filters


@given(part=parts(FLOATS), filters=st.lists(st.sampled_from(ALL), max_size=5), pulled=st.booleans())
def test_any_part_passes_any_list_of_filters(part, filters, pulled):
    got = received(filters, part, None if pulled else [Table(part.values) for _ in filters])
    check_form(got, part)


# --- what peers may send ----------------------------------------------------------------------------------------

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.integers(-2, 70), st.floats(),
    st.text(max_size=3), st.binary(max_size=9), st.just([]), st.just({}), st.just([None]),
    st.just(["<f4", 5]), st.just(["|O8", 5]),
)  # fmt: skip


def places(meta, path=()):
    """The path to everything in a meta."""
    yield path
    items = meta.items() if isinstance(meta, dict) else enumerate(meta) if isinstance(meta, list) else ()
    for at, item in items:
        yield from places(item, (*path, at))


def changed(meta, path, value):
    if not path:
        return value
    copied = copy.copy(meta)
    copied[path[0]] = changed(meta[path[0]], path[1:], value)
    return copied


def spoilt(data):
    """Bytes or an array with something else in it, or less, or more."""
    random = np.random.default_rng(len(data))
    if isinstance(data, bytes):
        flipped = bytearray(data)
        for at in random.integers(0, max(len(data), 1), 3):
            flipped[at : at + 1] = bytes([random.integers(256)])
        return [data[:-1], data + b"\0", b"", bytes(flipped), np.frombuffer(data, np.uint8)]
    return [data[:-1], data.tobytes(), np.concatenate([data, data]), data.astype("i2"), data[None], None]


def refused_or_whole(filters, part, metas):
    """Whatever arrives is a WireError, or rows that fit the keys."""
    try:
        got = decode_all(filters, part, metas)
    except WireError:
        return
    assert len({len(value) for value in got.values} | ({got.rows} - {None})) <= 1


@settings(max_examples=120)
@given(part=parts(FLOATS), filters=st.lists(st.sampled_from(ALL), min_size=1, max_size=3), data=st.data())
def test_changed_metas_are_refused_or_harmless(part, filters, data):
    sent, metas, _ = encode_all(filters, part, [None] * len(filters))
    path = data.draw(st.sampled_from(list(places(metas))))
    value = data.draw(ANYTHING)
    refused_or_whole(filters, replace(sent, kept=None, encoded=False), changed(metas, path, value))


@settings(max_examples=60)
@given(part=parts(FLOATS), filters=st.lists(st.sampled_from(ALL), min_size=1, max_size=3), data=st.data())
def test_changed_values_keys_and_masks_are_refused_or_harmless(part, filters, data):
    sent, metas, _ = encode_all(filters, part, [None] * len(filters))
    at = data.draw(st.integers(0, len(sent.values) - 1))
    for value in spoilt(sent.values[at]):
        values = [*sent.values[:at], value, *sent.values[at + 1 :]]
        refused_or_whole(filters, Part(sent.keys, values, sent.mask), metas)
    refused_or_whole(filters, Part(sent.keys, sent.values[1:], sent.mask), metas)
    refused_or_whole(filters, Part(sent.keys, sent.values, np.ones(5, bool)), metas)
    for keys in (None, (0, 1 << 64), np.zeros(3, np.uint64), b"keys"):
        refused_or_whole(filters, Part(keys, sent.values, sent.mask), metas)


NAMES = st.one_of(st.sampled_from([one.name for one in ALL]), ANYTHING)
PARAMETERS = st.sampled_from(sorted({name for one in ALL for name in one.parameters()} | {"x"}))


@given(name=NAMES, parameters=st.dictionaries(PARAMETERS, ANYTHING, max_size=3))
def test_names_and_parameters_from_anywhere(name, parameters):
    try:
        one = from_wire([name, parameters])
    except (WireError, ValueError):  # ConfigError and FunctionError are ValueErrors
        return
    assert from_wire(one.to_wire()) == one
