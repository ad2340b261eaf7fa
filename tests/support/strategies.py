"""Hypothesis strategies for what may be carried."""

import struct
import typing
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import strategies as st

from paracel.messages import Envelope, Message

KEYS = st.text(st.characters(), max_size=12)  # lone surrogates too
INTS = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([0, -1, 127, 128, -32, -33, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63)]),
)
FLOATS = st.one_of(
    st.floats(), st.sampled_from([-0.0, float("inf"), 5e-324]), st.binary(min_size=8, max_size=8).map(
        lambda raw: struct.unpack("<d", raw)[0]
    ),
)  # fmt: skip
PLAIN = st.one_of(st.none(), st.booleans(), INTS, FLOATS, KEYS, st.binary(max_size=20))
DTYPES = [
    np.dtype(order + code)
    for order in "<>"
    for code in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
] + [np.dtype("g"), np.dtype("G"), np.dtype("g").newbyteorder()]
SHAPES = st.one_of(st.just(()), st.lists(st.integers(0, 4), max_size=4).map(tuple), st.just((0, 3)), st.just((1,) * 20))


@st.composite
def arrays(draw: Any) -> Any:
    """Arrays of any bits, with NaNs of every kind, in C order, Fortran order, reversed or read-only."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
    count = int(np.prod(shape, dtype=int))
    raw = bytearray(draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize)))
    array = np.frombuffer(bytes(b & 1 for b in raw) if dtype.kind == "b" else raw, dtype).reshape(shape)
    return draw(st.sampled_from([np.array, np.asfortranarray, lambda a: a[::-1] if a.ndim else a, lambda a: a]))(array)


@st.composite
def scalars(draw: Any) -> Any:
    """Numpy scalars of every dtype."""
    dtype = draw(st.sampled_from(DTYPES))
    raw = draw(st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize))
    return np.frombuffer(bytes(b & 1 for b in raw) if dtype.kind == "b" else raw, dtype)[0]


LEAVES = st.one_of(PLAIN, arrays(), scalars())


def nested(leaves: Any, most: int = 12) -> Any:
    """Lists, tuples and dicts of them, and of each other."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(st.one_of(KEYS, INTS), inner, max_size=4),
        ),
        max_leaves=most,
    )


VALUES = nested(LEAVES)
_SIMPLE = {
    int: INTS,
    str: KEYS,
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    float: FLOATS,
    type(None): st.none(),
    Any: VALUES,
}


def of_hint(hint: Any) -> Any:
    """A strategy for a field of a message."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is dict:
        return st.dictionaries(*map(of_hint, arguments), max_size=3)
    if typing.get_origin(hint) is list:
        return st.lists(of_hint(*arguments), max_size=4)
    return st.one_of(*map(of_hint, arguments))


def messages(kind: type[Message]) -> Any:
    """Messages of one class, with anything in their fields that may be there."""
    hints = typing.get_type_hints(kind)
    given = {field.name: of_hint(hints[field.name]) for field in fields(kind)}  # type: ignore[arg-type]
    pair = {"keys", "values", "deltas"} & set(given)
    if len(pair) < 2:
        return st.builds(kind, **given)
    # keys and what belongs to them are equally many
    count = st.shared(st.integers(0, 4), key=kind.__name__)
    for name in pair:
        item = KEYS if name == "keys" else VALUES
        given[name] = count.flatmap(lambda n, item=item: st.lists(item, min_size=n, max_size=n))
    return st.builds(kind, **given)


def envelopes(kind: type[Message]) -> Any:
    """Messages with their numbers."""
    number = st.integers(0, 1 << 40)
    return st.builds(Envelope, number, number, number, messages(kind), st.integers(-1, 1 << 20))
