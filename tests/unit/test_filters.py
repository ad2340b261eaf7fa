"""Message filters, one by one: what each does to a part, what it promises, and what it refuses."""

import math
import sys

import numpy as np
import pytest
from support.exact import same

from paracel.errors import ConfigError, FunctionError, WireError
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
    for_worker,
    from_wire,
    pack_mask,
    size_of,
    unpack_mask,
)
from paracel.filters.packing import pack
from paracel.values import MESSAGE_BYTES

f2, f4, f8, u8 = np.float16, np.float32, np.float64, np.uint64
INF, NAN = math.inf, math.nan


class Table:
    """What a sender keeps, a dict for each value array."""

    def __init__(self, *like):
        self.like, self.kept = like, [{} for _ in like]

    def read(self, keys, index):
        like = self.like[index]
        rows = [self.kept[index].get(int(key), np.zeros(like.shape[1:], like.dtype)) for key in keys]
        return np.array(rows, like.dtype).reshape(len(keys), *like.shape[1:])

    def write(self, keys, index, rows):
        assert rows.shape == (len(keys), *self.like[index].shape[1:])
        self.kept[index].update(zip(map(int, keys), rows.astype(self.like[index].dtype)))


def part_of(*values, keys=None, **more):
    keys = np.arange(10, 10 + len(values[0]), dtype=u8) if keys is None else keys
    return Part(keys, list(values), **more)


def through(filters, part, memories=None, count=None):
    """What arrives at a receiver that has the same filters by their names."""
    sent, metas, _ = encode_all(filters, part, memories or [None] * len(filters))
    got = Part(sent.keys, sent.values, sent.mask, sent.fixed, count)
    return decode_all([from_wire(each.to_wire()) for each in filters], got, metas)


def keys_after(part):
    return part.keys_of(0).tolist()


# module-level functions for Custom


def halves(values):
    return [value.astype(f4) for value in values] + [b"".join(value.dtype.char.encode() for value in values)]


def wholes(payload):
    *values, dtypes = payload
    return [value.astype(chr(char)) for value, char in zip(values, dtypes)]


def loses_rows(payload):
    return [value[1:] for value in wholes(payload)]


def loses_dtype(payload):
    return list(payload[:-1])[:-1]


def gives_an_object(values):
    return [object()]


def gives_objects(values):
    return [np.array([None])]


def gives_a_tuple(values):
    return tuple(values)


def changes_in_place(values):
    values[0] += 1
    return values


def identity(values):
    return list(values)


def raises(values):
    raise KeyError("oh")


def two(values, more):
    return values


EXAMPLES = [
    KeyCaching(),
    KeyCaching(max_bytes=1),
    Compressing(),
    Compressing("lz4", 9),
    Compressing("zstd", level=1),
    FixedPoint(8),
    FixedPoint(1, error_feedback=False, seed=3),
    DropZeros(),
    SignificantlyModified(0.5),
    SignificantlyModified(0),
    RandomSkip(0.25, seed=(1 << 64) - 1),
    Custom(halves, wholes),
]


# --- names and parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", EXAMPLES, ids=repr)
def test_filters_travel_by_name_and_parameters(one):
    name, parameters = one.to_wire()
    assert (type(name), type(parameters)) == (str, dict)
    assert {type(value) for value in parameters.values()} <= {int, float, bool, str, type(None)}
    assert from_wire([name, parameters]) == one
    assert from_wire((name, parameters)) == one


def test_two_filters_are_equal_if_and_only_if_their_parameters_are():
    assert len(set(EXAMPLES)) == len(EXAMPLES)
    assert FixedPoint(8) == FixedPoint(8) != FixedPoint(8, seed=1)
    assert Custom(halves, wholes) == Custom(halves, wholes) != Custom(identity, identity)


def test_names_and_directions():
    assert {type(one).name for one in EXAMPLES} == {
        "key_caching", "compressing", "fixed_point", "drop_zeros", "significantly_modified", "random_skip", "custom",
    }  # fmt: skip
    assert {type(one).name for one in EXAMPLES if one.directions != {"push", "pull"}} == {"random_skip"}
    assert RandomSkip.directions == {"push"}


@pytest.mark.parametrize(
    "data",
    [
        None, 1, "drop_zeros", [], ["drop_zeros"], ["drop_zeros", {}, 1], ["none", {}], [1, {}], [[], {}], [None, {}],
        ["drop_zeros", []], ["drop_zeros", {"more": 1}], ["fixed_point", {}], ["fixed_point", {"bits": 8}],
        ["fixed_point", {"bits": 8, "error_feedback": True, "seed": 0, "_random": 1}], ["custom", {"encode": "a:b"}],
        {"drop_zeros": {}},
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(data):
    with pytest.raises(WireError):
        from_wire(data)


BAD = [0, -1, 17, 1.0, "8", True, None, NAN, [], {}, 10**400]


@pytest.mark.parametrize(
    ("name", "good", "parameter", "bad"),
    [
        ("key_caching", {"max_bytes": 1}, "max_bytes", [0, -1, 1.0, "8", True, None, []]),
        ("compressing", {"method": "lz4", "level": None}, "method", ["gzip", "", 1, None, [], {}]),
        ("compressing", {"method": "lz4", "level": None}, "level", [0, 13, -1, 1.0, "1", True, []]),
        ("compressing", {"method": "zstd", "level": None}, "level", [0, 23, -1, 1.0, "1", True, {}]),
        ("fixed_point", {"bits": 2, "error_feedback": True, "seed": 0}, "bits", BAD),
        ("fixed_point", {"bits": 2, "error_feedback": True, "seed": 0}, "error_feedback", [0, 1, None, "yes", []]),
        ("fixed_point", {"bits": 2, "error_feedback": True, "seed": 0}, "seed", [-1, 1 << 64, 1.0, None, "0", True]),
        ("significantly_modified", {"threshold": 0}, "threshold", [-1, NAN, INF, -INF, True, None, "1", 10**400, []]),
        ("random_skip", {"probability": 0, "seed": 0}, "probability", [-0.1, 1, 1.5, NAN, INF, True, None, "0", []]),
        ("random_skip", {"probability": 0, "seed": 0}, "seed", [-1, 1 << 64, 1.0, None, "0", True, [1]]),
    ],
)
def test_parameters_are_checked_when_a_filter_is_made(name, good, parameter, bad):
    from_wire([name, good])
    for value in bad:
        with pytest.raises(ConfigError, match=rf"{parameter}=.*; allowed: ."):
            from_wire([name, {**good, parameter: value}])


def test_seeds_of_workers_differ_and_nothing_else_does():
    filters = [RandomSkip(0.5, seed=1), FixedPoint(4, error_feedback=False, seed=1), DropZeros()]
    seeds = [for_worker(filters, worker) for worker in range(3)]
    assert len({one[0].seed for one in seeds}) == 3
    assert [one[1:] == seeds[0][1:] for one in seeds] == [True, False, False]
    assert for_worker(filters, 2) == seeds[2]
    for skip, fixed, drop in seeds:
        assert (skip.probability, fixed.bits, fixed.error_feedback, drop) == (0.5, 4, False, DropZeros())
        assert from_wire(skip.to_wire()) == skip


# --- parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "size"),
    [
        (Part(None, []), 0),
        (Part(np.zeros(3, u8), [np.zeros(3, f4)]), 24 + 12),
        (Part((5, 8), [np.zeros((3, 2), f8), np.zeros(3, f4)]), 16 + 48 + 12),
        (Part(b"12345", [b"123", np.zeros(3, np.uint8)]), 5 + 3 + 3),
        (Part((0, 17), [np.zeros(1, f4)], np.zeros(17, bool)), 16 + 4 + 3),
    ],
)
def test_the_size_of_a_part(part, size):
    assert size_of(part) == size


MASK = np.array([True, False, True, True])
CHOSEN = np.array([True, False, True])


@pytest.mark.parametrize(
    ("keys", "mask", "fixed", "new_keys", "new_mask"),
    [
        (np.array([3, 1, 2], u8), None, False, np.array([3, 2], u8), None),
        (np.array([3, 1, 2], u8), None, True, np.array([3, 1, 2], u8), CHOSEN),
        (np.array([3, 9, 1, 2], u8), MASK, False, np.array([3, 9, 1, 2], u8), np.array([1, 0, 0, 1], bool)),
        (np.array([3, 9, 1, 2], u8), MASK, True, np.array([3, 9, 1, 2], u8), np.array([1, 0, 0, 1], bool)),
        ((5, 8), None, False, (5, 8), CHOSEN),
        ((5, 9), MASK, False, (5, 9), np.array([1, 0, 0, 1], bool)),
        (None, None, False, None, CHOSEN),
    ],
)
def test_selecting_cuts_the_keys_or_sets_the_mask(keys, mask, fixed, new_keys, new_mask):
    part = Part(keys, [np.arange(3), np.arange(6).reshape(3, 2)], mask, fixed)
    left = part.select(CHOSEN)
    assert same(left.keys, new_keys)
    assert same(left.mask, new_mask)
    assert same(left.values, [np.array([0, 2]), np.array([[0, 1], [4, 5]])])
    assert left.rows == 2
    assert left.fixed == fixed
    if keys is not None:
        assert same(left.keys_of(0), part.keys_of(0)[CHOSEN])
    assert part.select(np.ones(3, bool)) is part


def test_the_keys_of_ranges_up_to_the_last():
    part = Part(((1 << 64) - 3, 1 << 64), [np.zeros(2)], np.array([True, False, True]))
    assert keys_after(part) == [(1 << 64) - 3, (1 << 64) - 1]
    assert (part.listed, part.rows) == (3, 2)


def test_sizes_are_counted_for_each_filter():
    values = np.zeros(800, f4)
    values[:10] = np.arange(10) + 1
    filters = [KeyCaching(), DropZeros(), FixedPoint(8), Compressing("zstd")]
    _, metas, sizes = encode_all(filters, part_of(values, keys=(0, 800)), [None] * 4)
    (first, *_), (_, dropped), (after, _), (_, last) = sizes
    assert first == 16 + 3200 == sizes[0][1]
    assert len(metas[1]["masks"][0]) == 100
    assert 16 + 40 + 100 <= dropped <= 16 + 40 + 130
    assert after == 16 + 40
    assert last < 60
    with pytest.raises(ValueError, match="zip"):
        encode_all(filters, part_of(values), [None])


# --- key caching and compressing --------------------------------------------------------------------------------


def test_key_caching_passes_everything():
    part = part_of(np.arange(3.0))
    assert KeyCaching().encode(part, None) == (part, {})
    assert KeyCaching().decode(part, {}) is part


METHODS = ["lz4", "zstd"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fixed", [False, True])
def test_compressing_takes_keys_and_values_that_get_smaller(method, fixed):
    noise = np.random.default_rng(0).integers(0, 1 << 63, 500).view(f8)
    part = part_of(np.zeros((500, 3), ">f4"), noise, np.zeros(500, np.int8), fixed=fixed)
    (sent, meta) = Compressing(method).encode(part, None)
    assert [type(value) for value in sent.values] == [bytes, np.ndarray, bytes]
    assert sent.values[1] is noise
    assert type(sent.keys) is (np.ndarray if fixed else bytes)
    assert size_of(sent) < size_of(part)
    got = Compressing(method).decode(sent, meta)
    assert same([got.keys, *got.values], [part.keys, *part.values])


@pytest.mark.parametrize("method", METHODS)
def test_levels_change_the_size(method):
    part = part_of(np.random.default_rng(0).integers(0, 50, 20_000), keys=(0, 20_000))
    first, last = (size_of(Compressing(method, level).encode(part, None)[0]) for level in (1, 12))
    assert last != first


@pytest.mark.parametrize(("method", "module"), [("lz4", "lz4.block"), ("zstd", "zstandard")])
def test_a_missing_library_is_named_when_the_filter_is_made(method, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"not installed; pip install 'paracel\[compress\]'"):
        Compressing(method)
    with pytest.raises(ConfigError, match="not installed"):
        from_wire(["compressing", {"method": method, "level": None}])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "about",
    [
        ["<f4", 9999], ["<f4", 10_001], ["<f4", 10**9], ["<f4", 1 << 62], ["<f4", 0], ["<f4", -1], ["<f4", 1 << 62, 4],
        ["<f4", 0, 1 << 62], ["<f4", 10_000.0], ["|O8", 5000], ["O", 5000], ["<U10", 1000], ["<f3", 1], ["<V4", 10_000],
        ["<M8[s]", 5000], ["", 1], [4, 1], [], {}, "x", 1.5, True, 39_999, 40_001, -1, 1 << 70, ["<f4"] + [1] * 40,
    ],
    ids=repr,
)  # fmt: skip
def test_what_does_not_decompress_to_what_was_announced_is_refused(method, about):
    one = Compressing(method)
    sent, meta = one.encode(part_of(np.zeros(10_000, f4), keys=(0, 10_000)), None)
    with pytest.raises(WireError):
        decode_all([one], sent, [{**meta, "values": [about]}])


@pytest.mark.parametrize("method", METHODS)
def test_compressed_keys_must_be_as_many_as_expected(method):
    one = Compressing(method)
    sent, meta = one.encode(part_of(np.zeros(1000, f4)), None)
    assert keys_after(decode_all([one], sent, [meta])) == list(range(10, 1010))
    for count in (999, 1001, 0, -1, None, "1000", 1 << 61, [1000], True):
        with pytest.raises(WireError):
            decode_all([one], sent, [{**meta, "keys": count}])
    for more in ({"count": 999}, {"mask": np.ones(999, bool)}):
        with pytest.raises(WireError):
            decode_all([one], Part(sent.keys, sent.values, **more), [meta])


def test_a_lie_about_the_size_takes_no_memory():
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(4000))
    for data, size in [(bomb, 4000), (unsized, 4000), (bomb[:50], MESSAGE_BYTES), (b"", 4000), (b"\0" * 9, 400_000)]:
        for method in METHODS:
            with pytest.raises(WireError, match=r"not .* bytes compressed with"):
                decode_all([Compressing(method)], Part(None, [data]), [{"keys": None, "values": [["|u1", size]]}])


def test_what_cannot_be_true_is_not_even_tried(monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("lz4.block.decompress", fail)
    monkeypatch.setattr("zstandard.get_frame_parameters", fail)
    for method, size in [("lz4", 255 * 9 + 65), ("zstd", (1 << 15) * 9 + 65), ("lz4", MESSAGE_BYTES)]:
        with pytest.raises(WireError, match=rf"not {size} bytes compressed with {method}: b'"):
            decode_all([Compressing(method)], Part(None, [bytes(9)]), [{"keys": None, "values": [["|u1", size]]}])


@pytest.mark.parametrize("method", METHODS)
def test_bytes_behind_the_compressed_ones_are_refused(method):
    sent, meta = Compressing(method).encode(part_of(np.zeros(1000)), None)
    for spoilt in (sent.values[0] + b"more", sent.values[0][:-1]):
        with pytest.raises(WireError, match="not 8000 bytes compressed"):
            decode_all([Compressing(method)], Part(sent.keys, [spoilt]), [meta])


def test_an_array_where_bytes_were_announced_is_refused():
    meta = {"keys": None, "values": [["<f4", 3]]}
    with pytest.raises(WireError):
        decode_all([Compressing()], Part(None, [np.zeros(3, f4)]), [meta])
    with pytest.raises(WireError):
        decode_all([Compressing()], Part(np.zeros(3, u8), [np.zeros(3, f4)]), [{"keys": 3, "values": [None]}])


# --- dropping zeros ---------------------------------------------------------------------------------------------


def test_rows_of_zeros_are_dropped_and_minus_zero_is_not_one():
    values = np.array([0, 1, -0.0, 0, NAN, 0, 0, 0, 5e-324] + [0] * 20)
    sent, meta = DropZeros().encode(part_of(values), None)
    assert same(sent.values, [np.array([1, -0.0, NAN, 5e-324])])
    assert meta == {"count": 29, "masks": [pack_mask(np.isin(np.arange(29), [1, 2, 4, 8]))]}
    assert same(through([DropZeros()], part_of(values)).values, [values])


def test_a_row_is_dropped_if_and_only_if_it_is_all_zero():
    values = np.zeros((40, 3), f4)
    values[7, 2] = 1
    sent, _ = DropZeros().encode(part_of(values, np.arange(40)), None)
    assert same(sent.values[0], values[7:8])
    assert sent.kept[0].nonzero()[0].tolist() == [7]


@pytest.mark.parametrize(
    "values", [np.ones(40), np.zeros(0), np.zeros((0, 3)), np.zeros((3, 0)), np.array([0, 1], np.int8)]
)
def test_what_would_not_get_smaller_stays(values):
    sent, meta = DropZeros().encode(part_of(values), None)
    assert sent.values[0] is values
    assert meta["masks"] == [None]
    assert same(through([DropZeros()], part_of(values)).values, [values])


@pytest.mark.parametrize(
    "meta",
    [
        {"count": 10**12}, {"count": 1 << 70}, {"count": -1}, {"count": 39}, {"count": 41}, {"count": None},
        {"count": 40.0}, {"count": True}, {"masks": None}, {"masks": []}, {"masks": [None]}, {"masks": [b""]},
        {"masks": [b"\xff" * 5]}, {"masks": [b"\x80" + b"\0" * 3]}, {"masks": ["\x80" + "\0" * 4]}, {"masks": [7]},
        {"masks": [b"\x80" + b"\0" * 4, None]}, {"masks": [[1] + [0] * 39]}, {"masks": {"0": b"\x80\0\0\0\0"}},
    ],
    ids=repr,
)  # fmt: skip
def test_masks_that_do_not_fit_are_refused(meta):
    good = {"count": 40, "masks": [b"\x80\0\0\0\0"]}
    part = part_of(np.ones(1), keys=(0, 40))
    assert decode_all([DropZeros()], part, [good]).values[0].tolist() == [1] + [0] * 39
    with pytest.raises(WireError):
        decode_all([DropZeros()], part, [{**good, **meta}])


def test_a_mask_does_not_make_more_rows_than_a_message_has_room_for():
    wide = np.zeros((0, 1 << 30))
    for part in (Part(None, [wide], count=8), Part(None, [wide])):
        with pytest.raises(WireError, match="more than"):
            decode_all([DropZeros()], part, [{"count": 8, "masks": [b"\0"]}])
    with pytest.raises(WireError, match="belong to the keys"):
        decode_all([DropZeros()], Part(None, [np.ones(1)], count=40), [{"count": 48, "masks": [b"\x80" + b"\0" * 5]}])


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64])
def test_masks_travel_as_bits(count):
    mask = np.arange(count) % 3 == 0
    assert len(pack_mask(mask)) == (count + 7) // 8
    assert same(unpack_mask(pack_mask(mask), count), mask)
    with pytest.raises(WireError):
        unpack_mask(pack_mask(mask) + b"\0", count)
    if count % 8:
        with pytest.raises(WireError, match="behind its end"):
            unpack_mask(pack_mask(np.ones(count + 1, bool)), count)


# --- fixed point ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(1, 17))
def test_fixed_point_takes_its_bits_and_keeps_its_bound(bits):
    values = np.random.default_rng(bits).normal(size=1001)
    sent, _ = FixedPoint(bits, bits > 1).encode(part_of(values), None)
    assert 0 <= sent.values[0].nbytes - bits * 1001 / 8 <= 1
    (got,) = through([FixedPoint(bits, bits > 1)], part_of(values)).values
    assert np.abs(got - values).max() <= np.ptp(values) / (2**bits - 1)
    assert len(np.unique(got)) <= 2**bits
    assert {values.min(), values.max()} <= set(got)


@pytest.mark.parametrize("bits", [1, 3, 8, 11])
def test_rounding_is_unbiased(bits):
    values = np.random.default_rng(1).uniform(-3, 5, 50)
    one, rounds = FixedPoint(bits, bits > 1, seed=2), 2000
    total = sum(one.decode(*one.encode(part_of(values), None)).values[0] for _ in range(rounds))
    step = np.ptp(values) / (2**bits - 1)
    # the mean of so many, each within a step of which the deviation is at most half
    assert np.abs(total / rounds - values).max() <= 4 * step / 2 / math.sqrt(rounds)
    assert np.abs(total / rounds - values).max() > 0


def test_rounding_depends_on_the_seed_and_on_nothing_else():
    part = part_of(np.random.default_rng(0).normal(size=100))
    runs = []
    for seed, noise in ((1, 5), (1, 6), (2, 5)):
        one = FixedPoint(4, seed=seed)
        np.random.default_rng(noise).random()
        runs.append([one.encode(part, None)[0].values[0].tobytes() for _ in range(3)])
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 3


@pytest.mark.parametrize(
    "values",
    [
        np.full(9, 0.1, f4), np.zeros(0, f4), np.zeros((0, 3)), np.zeros((4, 0)), np.full((3, 2), -7.0, ">f8"),
        np.array([1.5]), np.array([0, 5e-324]), np.array([-0.0, 0.0]), np.zeros(3, f2),
        np.array([-1, 1], f8) * sys.float_info.max, np.array([-1, 1], f4) * np.finfo(f4).max,
        np.array([-65504, 65504], f2),
    ],
    ids=repr,
)  # fmt: skip
def test_what_fixed_point_gives_back_as_it_was(values):
    for bits in (1, 8, 16):
        (got,) = through([FixedPoint(bits, bits > 1)], part_of(values)).values
        assert (got.dtype.str, got.shape) == (values.dtype.str, values.shape)
        assert (got == values).all()


def test_extremes_next_to_the_largest_float_do_not_overflow():
    most = sys.float_info.max
    values = np.linspace(np.nextafter(most, 0), most, 50)
    (got,) = through([FixedPoint(5)], part_of(values)).values
    assert set(got) <= {np.nextafter(most, 0), most}


@pytest.mark.parametrize("low", [0.1, 0.6404226504432821, -0.7037352358069926, sys.float_info.max * (1 - 2**-53)])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_no_number_stands_for_what_is_outside_the_extremes(low, steps):
    high = min(low + steps * math.ulp(low), sys.float_info.max)
    part = Part(None, [pack(np.arange(1 << 16, dtype=np.uint16), 16)])
    (got,) = decode_all([FixedPoint(16)], part, [{"arrays": [["<f8", 1 << 16, low, high]]}]).values
    assert (got[0], got[-1]) == (got.min(), got.max()) == (low, high)


def test_the_largest_random_number_does_not_round_the_maximum_up():
    class Largest:
        def random(self, count):
            return np.full(count, np.nextafter(1, 0))

    one = FixedPoint(16)
    object.__setattr__(one, "_random", Largest())
    assert one.decode(*one.encode(part_of(np.array([-1.0, 2.0])), None)).values[0][1] == 2


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", [f2, f4, f8])
def test_what_is_not_finite_is_refused_and_nothing_is_written(bad, dtype):
    good, evil = np.ones(3, dtype), np.array([1, bad, 2], dtype)
    memory = Table(good, evil)
    with pytest.raises(ValueError, match="finite values; array 1 holds NaN, infinity"):
        FixedPoint(8).encode(part_of(good, evil), memory)
    assert memory.kept == [{}, {}]
    memory.write(np.array([10], u8), 0, np.array([np.finfo(dtype).max]))
    with pytest.raises(ValueError, match="or what overflows"):
        FixedPoint(8).encode(part_of(np.full(3, np.finfo(dtype).max, dtype)), memory)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, np.complex64, np.longdouble])
def test_fixed_point_needs_floats(dtype):
    with pytest.raises(ConfigError, match="needs float16, float32 or float64 values, not"):
        FixedPoint(8).encode(part_of(np.ones(3, dtype)), None)


def test_error_feedback_is_for_pushes_that_want_it():
    values = np.random.default_rng(0).normal(size=20)
    memory = Table(values)
    FixedPoint(2, error_feedback=False).encode(part_of(values), memory)
    FixedPoint(2).encode(part_of(values, keys=()), None)
    FixedPoint(2).encode(Part(None, [values]), memory)
    assert memory.kept == [{}]
    FixedPoint(2).encode(part_of(values, keys=(5, 25)), memory)
    assert set(memory.kept[0]) == set(range(5, 25))


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_error_feedback_makes_up_for_what_was_lost(bits):
    """Without it the sum strays like a random walk; with it, it never strays by more than the bound of a residual."""
    values, rounds = np.random.default_rng(0).uniform(-1, 1, 30), 500
    strayed = {}
    for feedback in (True, False):
        memory, one = Table(values), FixedPoint(bits, feedback, seed=1)
        total = sum(one.decode(*one.encode(part_of(values), memory)).values[0] for _ in range(rounds))
        strayed[feedback] = np.abs(total - rounds * values).max()
    assert strayed[True] <= np.ptp(values) / (2**bits - 3)
    assert strayed[False] > 2 * strayed[True]


def test_one_bit_has_no_error_feedback():
    with pytest.raises(ConfigError, match="bits=1 with error_feedback=True; allowed: 2 to 16, or"):
        FixedPoint(1)
    assert FixedPoint(1, error_feedback=False).bits == 1


@pytest.mark.parametrize(
    "about",
    [
        ["<f4", 8, 0.0, INF], ["<f4", 8, -INF, 0.0], ["<f4", 8, NAN, NAN], ["<f4", 8, 1.0, 0.0], ["<f4", 8, 0.0, 1e39],
        ["<f2", 8, 0.0, 1e5], ["<f4", 7, 0.0, 1.0], ["<f4", 9, 0.0, 1.0], ["<f4", 1 << 62, 0.0, 1.0], ["<f4", 0.0, 1.0],
        ["<i4", 8, 0.0, 1.0], ["|O8", 8, 0.0, 1.0], ["<f16", 8, 0.0, 1.0], ["<c8", 8, 0.0, 1.0], ["<f4", 8, 0, 1],
        ["<f4", 8, 0.0, None], ["<f4", 8, 0.0], ["<f4", -8, 0.0, 1.0], ["<f4", 8.0, 0.0, 1.0], [], None, 3, "f",
        ["<f4", 2, 2, 2, 0.0, 1.0], ["<f4", 4, 2, 0.0, 1.0], {},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_not_in_fixed_point_is_refused(about):
    one = FixedPoint(8)
    sent, meta = one.encode(part_of(np.arange(8, dtype=f4)), None)
    with pytest.raises(WireError):
        decode_all([one], sent, [{**meta, "arrays": [about]}])


@pytest.mark.parametrize(
    "value", [b"12345678", np.zeros(8, np.int8), np.zeros((8, 1), np.uint8), np.zeros(9, np.uint8)]
)
def test_what_is_not_packed_is_refused(value):
    with pytest.raises(WireError):
        decode_all([FixedPoint(8)], part_of(value), [{"arrays": [["<f4", 8, 0.0, 1.0]]}])


# --- selecting --------------------------------------------------------------------------------------------------


def test_a_row_is_sent_if_and_only_if_it_adds_up_to_more_than_the_threshold():
    one, values = SignificantlyModified(1.0), np.array([0.4, -0.6, 1.0, 1.5, NAN])
    memory = Table(values)
    sent = [keys_after(one.encode(part_of(values), memory)[0]) for _ in range(4)]
    assert sent == [[13, 14], [11, 12, 13, 14], [10, 13, 14], [11, 12, 13, 14]]
    assert memory.kept[0] == {10: 0.4, 11: 0, 12: 0, 13: 0, 14: 0}


def test_a_row_goes_as_a_whole_and_clears_what_waited():
    one = SignificantlyModified(1.0)
    first, second = np.zeros((3, 2), f4), np.zeros(3, np.int8)
    memory = Table(first, second)
    first[:] = [[0.5, 0.5], [0.5, -2.0], [0.0, 0.5]]
    second[:] = [1, 1, -128]
    sent, meta = one.encode(part_of(first, second), memory)
    assert meta == {}
    assert keys_after(sent) == [11, 12]
    assert same(sent.values, [first[1:], second[1:]])
    assert [memory.read(np.array([10, 11, 12], u8), index).tolist() for index in (0, 1)] == [
        [[0.5, 0.5], [0, 0], [0, 0]],
        [1, 0, 0],
    ]
    sent, _ = one.encode(part_of(np.full((3, 2), 0.6, ">f4"), np.zeros(3, np.int8)), memory)
    assert keys_after(sent) == [10]
    assert sent.values[0].dtype.str == ">f4"


def test_the_threshold_is_compared_as_it_is_given():
    for dtype, value, above in [(f4, 0.1, True), (f2, 60000, False), (np.uint64, (1 << 64) - 1, True)]:
        threshold = 1e6 if dtype is f2 else 0.1
        values = np.array([value], dtype)
        sent, _ = SignificantlyModified(threshold).encode(part_of(values), Table(values))
        assert len(sent.keys) == above
    assert SignificantlyModified(1) == SignificantlyModified(1.0)


def test_complex_rows_are_measured_by_their_absolute_value():
    values = np.array([3 + 4j, 0.5j])
    sent, _ = SignificantlyModified(4.9).encode(part_of(values), Table(values))
    assert keys_after(sent) == [10]


def test_without_a_memory_or_keys_every_row_is_significant():
    values = np.zeros(3)
    for part, memory in [(part_of(values), None), (Part(None, [values]), Table(values)), (Part((0, 0), []), Table())]:
        assert SignificantlyModified(1.0).encode(part, memory) == (part, {})


def test_rows_are_skipped_at_the_rate_asked_for_and_the_mean_stays():
    values = np.random.default_rng(0).uniform(1, 2, (200, 2)).astype(f4)
    one, rounds, total, count = RandomSkip(0.75, seed=5), 400, np.zeros((200, 2)), 0
    for _ in range(rounds):
        sent, meta = one.encode(part_of(values), None)
        assert meta == {}
        rows = sent.keys.astype(int) - 10
        assert same(sent.values[0], values[rows] * 4)
        total[rows] += sent.values[0]
        count += len(rows)
    # deviations of the count, and of the mean of each row: a value times sqrt(p / (1 - p))
    assert abs(count / (200 * rounds) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / (200 * rounds))
    assert (np.abs(total / rounds - values) <= 5 * values * math.sqrt(3 / rounds)).all()


def test_skipping_nothing_and_almost_everything():
    values = np.arange(1, 100, dtype=">f2")
    part = part_of(values)
    sent, _ = RandomSkip(0).encode(part, None)
    assert same([sent.keys, *sent.values], [part.keys, values])
    sent, _ = RandomSkip(1 - 1e-12).encode(part, None)
    assert len(sent.keys) == len(sent.values[0]) == 0
    assert sent.values[0].dtype.str == ">f2"


def test_skipping_needs_floats():
    with pytest.raises(ConfigError, match="needs floats, not int64"):
        RandomSkip(0.5).encode(part_of(np.arange(3)), None)


def test_workers_skip_different_rows():
    part = part_of(np.ones(1000))
    left = [for_worker([RandomSkip(0.5)], worker)[0].encode(part, None)[0].keys for worker in range(2)]
    assert 150 < len(np.intersect1d(*left)) < 350


# --- the user's own ---------------------------------------------------------------------------------------------


def test_a_pair_of_functions():
    values = [np.array([1.5, -2.5]), np.array([[1, 2], [3, 4]], f4)]
    one = Custom(halves, wholes)
    sent, meta = one.encode(part_of(*values), None)
    assert [type(item) for item in sent.values] == [np.ndarray, np.ndarray, bytes]
    assert same(one.decode(sent, meta).values, values)


def test_a_pair_of_a_file(tmp_path):
    path = tmp_path / "pair.py"
    path.write_text(
        "def there(values):\n    return [v * 2 for v in values]\n"
        "def back(payload):\n    return [v / 2 for v in payload]\n"
    )
    one = Custom(f"{path}:there", f"{path}:back")
    assert one.to_wire() == ["custom", {"encode": f"{path}:there", "decode": f"{path}:back"}]
    assert same(through([one], part_of(np.arange(3.0))).values, [np.arange(3.0)])


@pytest.mark.parametrize(
    ("encode", "decode", "text"),
    [
        (1, wholes, "not a function"),
        (two, wholes, r"encoder two\(values, more\) must take \(values\)"),
        (halves, two, r"decoder two\(values, more\) must take \(payload\)"),
        (lambda values: values, wholes, "define it at the top level"),
        ("nowhere_at_all:x", "nowhere_at_all:y", "importing nowhere_at_all failed"),
        ("zip", wholes, "no encoder 'zip'"),
        (halves, loses_rows, r"\(4,\) went in, and then: decoder .*:loses_rows gave"),
        (halves, loses_dtype, "went in, and then"),
        (identity, raises, "decoder .*:raises raised KeyError: 'oh'"),
        (raises, identity, r"encoder .*:raises raised KeyError: 'oh' \(it was given a list of arrays\)"),
        (
            gives_an_object,
            identity,
            "must return a list of arrays of numbers and bytes, and gave a list with object in it",
        ),
        (gives_objects, identity, "must return a list .*, and gave a list with an object array"),
        (gives_a_tuple, identity, "must return a list .*, and gave one tuple"),
        (identity, gives_a_tuple, "gave tuple"),
        (identity, gives_an_object, "gave list"),
        (changes_in_place, identity, "read-only"),
    ],
)
def test_a_pair_is_checked_when_it_is_registered(encode, decode, text):
    with pytest.raises(FunctionError, match=text):
        Custom(encode, decode)


@pytest.mark.parametrize(
    "data", [{"encode": 1, "decode": None}, {"encode": "", "decode": ""}, {"encode": "..:x", "decode": "\0.py:y"}]
)
def test_a_pair_that_is_not_found_is_refused(data):
    with pytest.raises(FunctionError):
        from_wire(["custom", data])


@pytest.mark.parametrize(
    "arrays", [None, [], [["<f4", 2]], [["<f8", 3]], [["<f8", 2], ["<f8", 2]], ["<f8"], [["|O8", 2]], {}, 5]
)
def test_what_the_decoder_gives_must_be_what_was_encoded(arrays):
    one = Custom(identity, identity)
    sent, _ = one.encode(part_of(np.zeros(2)), None)
    with pytest.raises(WireError):
        decode_all([one], sent, [{"arrays": arrays}])
    with pytest.raises(WireError, match="raised"):
        decode_all([Custom(halves, wholes)], Part(None, []), [{"arrays": []}])


# --- lists of filters -------------------------------------------------------------------------------------------


def test_selecting_filters_leave_alone_what_is_no_longer_rows():
    values = np.zeros(100, f4)
    values[3] = 1e-3
    for first in (DropZeros(), FixedPoint(8), Compressing(), Custom(halves, wholes)):
        got = through(
            [first, SignificantlyModified(1.0), RandomSkip(0.9)], part_of(values), [None, Table(values), None]
        )
        assert len(got.keys) == 100


def test_the_residual_of_rows_that_are_left_belongs_to_their_keys():
    values = np.zeros((100, 2), f4)
    values[[3, 50, 97]] = [[1, 0.3], [0, 0.6], [0.4, 0.2]]
    memory = Table(values)
    for keys, mask in [((0, 100), None), ((0, 200), np.arange(200) % 2 == 0)]:
        through([DropZeros(), FixedPoint(2)], part_of(values, keys=keys, mask=mask), [None, memory])
        assert set(memory.kept[0]) == ({3, 50, 97} if mask is None else {3, 50, 97, 6, 100, 194})


@pytest.mark.parametrize(
    "part",
    [
        Part("keys", []), Part([1, 2], []), Part(np.zeros(2, np.int64), []), Part(np.zeros((2, 1), u8), []),
        Part((1, 0), []), Part((-1, 3), []), Part((0, 1.0), []), Part((0, (1 << 64) + 1), []), Part((1, 2, 3), []),
        Part(b"keys", []), Part((0, 2), [np.zeros(3)]), Part((0, 2), [1.0]), Part((0, 1), [np.zeros((1, 1, 1))]),
        Part((0, 2), [np.zeros(2), np.zeros(1)]), Part((0, 2), [np.array(["a", "b"])]), Part((0, 2), [b"12"]),
        Part((0, 2), [np.array([None] * 2)]), Part((0, 2), [np.array(1.0)]), Part(None, [np.zeros(2), np.zeros(3)]),
        Part((0, 2), [np.zeros(2)], np.ones(3, bool)), Part((0, 2), [np.zeros(2)], np.ones(2, np.int8)),
        Part((0, 2), [np.zeros(2)], [True, True]), Part((0, 2), [np.zeros(2)], np.array([True, False])),
        Part((0, 2), [np.zeros(2)], np.ones((2, 1), bool)), Part(None, [np.zeros(2)], count=3),
        Part(None, [np.zeros(2)], np.ones(2, bool), count=3), Part(np.zeros(2, u8), [np.zeros(2)], count=3),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(part):
    with pytest.raises(WireError):
        decode_all([], part, [])


@pytest.mark.parametrize("metas", [None, [], {}, [{}, {}], [[]], [None], "x", [1]])
def test_metas_that_are_none_are_refused(metas):
    with pytest.raises(WireError, match="not the metas of 1 message filters"):
        decode_all([DropZeros()], part_of(np.zeros(2)), metas)
