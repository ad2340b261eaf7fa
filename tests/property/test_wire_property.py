"""The wire: exact round trips of whatever may be carried, and only WireError for whatever else arrives."""

from unittest.mock import patch

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.exact import same
from support.strategies import FLOATS, KEYS, PLAIN, VALUES, arrays, envelopes, nested

from paracel import wire
from paracel.errors import CarryError, WireError
from paracel.messages import TAGS, Envelope, Result, Write
from paracel.values import check_tree
from paracel.wire import decode, encode

FRAME_SIZES = st.sampled_from([1, 16, 1 << 17])


def carried(envelope: Envelope, frame_bytes: int = 1 << 17) -> Envelope:
    """What arrives, from bytes that are nobody else's."""
    with patch.object(wire, "FRAME_BYTES", frame_bytes):
        frames = encode(envelope)
    return decode([bytes(frame) for frame in frames])


@given(value=VALUES, frame_bytes=FRAME_SIZES)
@example(value=[(), [], {}, ((),), {0: -0.0, "0": 0.0}], frame_bytes=1)
@example(value={"\ud800": "\udfff\x00", (1 << 64) - 1: -(1 << 63)}, frame_bytes=1)
def test_every_value_arrives_as_it_was(value, frame_bytes):
    check_tree(value)
    assert same(carried(Envelope(1, 0, 0, Result(value)), frame_bytes).message.value, value)


@pytest.mark.parametrize("kind", TAGS.values(), ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_every_message_arrives_as_it_was(kind, data):
    sent = data.draw(envelopes(kind))
    got = carried(sent)
    assert got._replace(message=None) == sent._replace(message=None)
    assert type(got.message) is kind
    for name in kind.__slots__:
        assert same(getattr(got.message, name), getattr(sent.message, name)), name


@given(values=st.lists(st.one_of(arrays(), nested(arrays(), 3)), max_size=4))
def test_large_arrays_travel_beside_the_header_by_reference(values):
    with patch.object(wire, "FRAME_BYTES", 1):
        frames = encode(Envelope(1, 0, 0, Write(["k"] * len(values), values)))
    copies = [bytes(frame) for frame in frames]
    assert same(decode(copies).message.values, values)
    for missing in range(1, len(copies)):
        with pytest.raises(WireError):
            decode(copies[:missing])


def tree(depth: int, wrap: str) -> object:
    value: object = 1
    for level in range(depth):
        kind = wrap[level % len(wrap)]
        value = {"l": [value], "t": (value,), "d": {"k": value}}[kind]
    return value


@given(depth=st.integers(55, 75), wrap=st.text("ltd", min_size=1, max_size=4))
def test_a_tree_is_carried_if_and_only_if_it_is_not_too_deep(depth, wrap):
    value = tree(depth, wrap)
    header = Envelope(1, 0, 0, Result(value))
    if depth <= 64:
        check_tree(value)
        assert same(carried(header).message.value, value)
    else:
        with pytest.raises(CarryError, match="nested more than 64 deep"):
            check_tree(value)
        with pytest.raises(WireError):
            carried(header)


def decoded_or_refused(frames: list[bytes]) -> None:
    """Decode gives a message that can be sent again and arrives the same, or raises WireError: nothing else."""
    try:
        envelope = decode(frames)
    except WireError:
        return
    again = decode([bytes(frame) for frame in encode(envelope)])
    assert type(again.message) is type(envelope.message)
    for name in type(again.message).__slots__:
        assert same(getattr(again.message, name), getattr(envelope.message, name))


@given(frames=st.lists(st.binary(max_size=60), max_size=3))
def test_arbitrary_bytes_are_refused(frames):
    decoded_or_refused(frames)


EXTENSIONS = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=30))
SKELETONS = st.recursive(
    st.one_of(PLAIN, st.integers(-2, 300), EXTENSIONS, st.just(msgpack.Timestamp(1))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.one_of(KEYS, FLOATS, st.booleans()), inner)
    ),
    max_leaves=8,
)


@given(tag=st.one_of(st.sampled_from([*TAGS]), st.integers(-1, 300)), fields=st.lists(SKELETONS, max_size=6))
def test_headers_of_the_wrong_form_are_refused(tag, fields):
    packer = msgpack.Packer(unicode_errors="surrogatepass")
    decoded_or_refused([packer.pack([wire.VERSION, tag, 1, 0, 0, -1, *fields])])


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "cut", "insert", "drop", "double"]), st.integers(0, 10**6), st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)


def mutate(frames: list[bytes], kind: str, at: int, byte: int) -> list[bytes]:
    """One change to one frame, or to the list of frames."""
    if not frames:
        return [bytes([byte])]
    number = byte % len(frames)
    frame = frames[number]
    at %= len(frame) + 1
    rest = frame[at + 1 :]
    if kind == "drop":
        return frames[:number] + frames[number + 1 :]
    if kind == "double":
        return [*frames, frame]
    old = frame[at] if at < len(frame) else 0
    new = {
        "set": frame[:at] + bytes([byte]) + rest,
        "flip": frame[:at] + bytes([old ^ (1 << byte % 8)]) + rest,
        "cut": frame[:at],
        "insert": frame[:at] + bytes([byte]) + frame[at:],
    }[kind]
    return [*frames[:number], new, *frames[number + 1 :]]


@pytest.mark.parametrize("kind", TAGS.values(), ids=lambda kind: kind.__name__)
@settings(max_examples=25)
@given(data=st.data(), mutations=MUTATIONS)
def test_mutated_messages_are_refused_or_are_messages(kind, data, mutations):
    with patch.object(wire, "FRAME_BYTES", 16):
        frames = [bytes(frame) for frame in encode(data.draw(envelopes(kind)))]
    for mutation in mutations:
        frames = mutate(frames, *mutation)
    decoded_or_refused(frames)
