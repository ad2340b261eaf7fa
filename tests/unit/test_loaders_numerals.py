"""Numbers in bytes: the same bits as Python's, or not a number if and only if Python says so."""

import struct

import numpy as np
import pytest

from paracel.loading import numerals
from paracel.loading.numerals import floats, integers

FLOATS = [
    "0", "-0", "1", "-1.5", "0.1", ".5", "5.", "-.25", "007", "0.000000", "123456789012345678", "9007199254740993",
    "0.1234567890123456789", "1234567890.1234567890", "18446744073709551615", "18446744073709551616",
    "99999999999999999999", "0.30000000000000004", "2.2250738585072014e-308", "5e-324", "1e22", "1e23", "1e-7",
    "1E5", "1e+05", "-1.7976931348623157e308", "1e400", "nan", "inf", "-inf", "NaN", "+3", "8.5e0", "1.e2",
    "123456789.12345678", "0.0000000000000000000001", "1000000000000000000000000", "9" * 40,
]  # fmt: skip
# With 64 bits they look to be just between two floats, and are not.
FLOATS += ["5107063435567.416504", "67663.41308262885286", "2485.204638486000249e0", "1428511528877287445e-7"]
NO_FLOATS = [
    "",
    "-",
    ".",
    "-.",
    "1.2.3",
    "1-2",
    "--1",
    "1e",
    "1e+-2",
    "e5",
    "1e2.5",
    "1_000",
    "0x10",
    "1 2",
    "a",
    "1e2e3",
]
INTEGERS = [
    "1700000000000000001",
    "9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775807",
    "1" + "0" * 18,
]
INTEGERS += ["0", "7", "-12", "123456789", "1234567890", "999999999999999999", "-999999999999999999"]
NO_INTEGERS = ["", "-", "-0", "00", "01", "+1", "1.0", "1e3", "x", "1 ", "0" * 19, "-0" + "1" * 18]
NO_INTEGERS += ["9223372036854775808", "-9223372036854775809", "9" * 19, "-" + "9" * 19]
# 2**64 and near it: of 20 digits and more, 64 bits keep what may look right
NO_INTEGERS += [str(2**64 * times + more) for times in (1, 2, 10**4) for more in (-1, 0, 5)] + [
    f"-{2**64 + 5}",
    "1" * 30,
]


def places(texts):
    data = np.frombuffer("".join(f"{text}," for text in texts).encode(), np.uint8)
    ends = np.flatnonzero(data == ord(",")).astype(np.int32)
    return data, np.concatenate(([0], ends[:-1] + 1)).astype(np.int32), ends


def bits(number):
    return struct.pack("d", number)


@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 1 << 15])
def test_floats(monkeypatch, extended, batch):
    monkeypatch.setattr(numerals, "_EXTENDED", numerals._EXTENDED and extended)
    monkeypatch.setattr(numerals, "_BATCH", batch)
    texts = [text for pair in zip(FLOATS, NO_FLOATS * 3, strict=False) for text in pair] + FLOATS
    values, right = floats(*places(texts))
    assert right.tolist() == [text in FLOATS for text in texts]
    for text, value in zip(texts, values.tolist(), strict=True):
        if text in FLOATS:
            assert bits(value) == bits(float(text)) or value != value, text


def test_floats_written_in_every_way(monkeypatch):
    random = np.random.default_rng(0)
    numbers = (random.normal(size=3000) * 10.0 ** random.integers(-30, 30, 3000)).tolist()
    for form in ("%.6f", "%.3g", "%r", "%.18e", "%.9f", "%.17g", "%d"):
        texts = [form % number for number in numbers]
        values, right = floats(*places(texts))
        assert right.all()
        assert values.tolist() == [float(text) for text in texts]


def test_integers():
    texts = [*INTEGERS, *NO_INTEGERS, *INTEGERS]
    values, right = integers(*places(texts))
    assert right.tolist() == [text in INTEGERS for text in texts]
    assert values[right].tolist() == [int(text) for text in texts if text in INTEGERS]


def test_nothing():
    nowhere = np.zeros(0, np.int32)
    for parse in (floats, integers):
        values, right = parse(np.zeros(0, np.uint8), nowhere, nowhere)
        assert len(values) == len(right) == 0
