import sys
import threading

import msgpack
import numpy as np
import pytest
from support.exact import same

from paracel import messages as m
from paracel.errors import CarryError, WireError
from paracel.messages import TAGS, Envelope
from paracel.values import FRAME_BYTES, MAX_DEPTH, MAX_KEY_BYTES
from paracel.wire import VERSION, decode, encode, refused


def header(*fields, tag=6, version=VERSION):
    return [msgpack.packb([version, tag, 1, 0, 0, -1, *fields])]


def carried(value):
    frames = encode(Envelope(1, 0, 0, m.Result(value)))
    return decode([bytes(frame) for frame in frames]).message.value


def test_the_form_of_a_header():
    frames = encode(Envelope(7, 6, 5, m.Read(["w"], 3), 4))
    assert [msgpack.unpackb(frame) for frame in frames] == [[2, 1, 7, 6, 5, 4, ["w"], 3]]
    assert decode(frames) == Envelope(7, 6, 5, m.Read(["w"], 3), 4)
    assert decode(encode(Envelope(0, 0, 5, m.Forget()))).shard == -1


@pytest.mark.parametrize(("count", "frames"), [(FRAME_BYTES - 1, 1), (FRAME_BYTES, 2), (FRAME_BYTES + 1, 2)])
def test_arrays_from_a_size_on_have_a_frame_of_their_own(count, frames):
    array = np.arange(count).astype(np.uint8)
    sent = encode(Envelope(1, 0, 0, m.Result([array, (array,)])))
    assert len(sent) == 1 + 2 * (frames - 1)
    assert all(np.shares_memory(frame, array) for frame in sent[1:])
    assert same(decode([bytes(frame) for frame in sent]).message.value, [array, (array,)])


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a.T,
        lambda a: a[::2, ::-3],
        lambda a: np.broadcast_to(a[:, :1], a.shape),
        lambda a: a.astype(">f4"),
        lambda a: a.reshape(2, -1, 4),
    ],
    ids=["transposed", "strided", "broadcast", "big endian", "cube"],
)
@pytest.mark.parametrize("rows", [4, 400])
def test_arrays_of_every_layout(make, rows):
    array = make(np.arange(rows * 400.0).reshape(rows, 400))
    assert same(carried(array), np.array(array))


@pytest.mark.parametrize(
    "array", [np.empty((0, 3), np.int64), np.array(5.0), np.zeros((2, 0, 2), ">c16"), np.array(True)]
)
def test_empty_and_zero_dimensional_arrays(array):
    assert same(carried(array), array)


def test_what_arrives_inline_can_be_changed():
    array = carried(np.zeros(3))
    array += 1
    assert array.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([], "IndexError"),
        ([b""], "not a message"),
        ([b"GET / HTTP/1.1\r\n\r\n"], "not a message"),
        ([msgpack.packb({"version": 1})], "no header"),
        ([msgpack.packb([VERSION, 1, 1, 0, 0])], "no header"),
        ([msgpack.packb([VERSION, 1, 1, 0, 0, True, [], 0])], "no header"),
        ([msgpack.packb([VERSION, 1, 1.0, 0, 0, -1, [], 0])], "no header"),
        (header(["k"], version=1), "protocol version 1; this is version 2"),
        (header(["k"], tag=200), "no message has tag 200"),
        (header(), "Contains has 1 fields, not 0"),
        (header(["k"], 1), "Contains has 1 fields, not 2"),
        (header("k"), r"Contains\.keys is of a wrong type"),
        (header([b"k"]), r"Contains\.keys is of a wrong type"),
        (header(["k"], True, tag=1), r"Read\.min_clock is of a wrong type"),
        (header(1, False, 0, tag=2), r"Scan\.key_filter is of a wrong type"),
        (header(["k", "l"], [1], tag=4), "Write of 2 keys and 1 values"),
        (header(["k"], [], "add", False, tag=5), "Update of 1 keys and 0 values"),
        (header({1: b"a"}, tag=37), None),
        (header({b"k": 1}, tag=37), "cannot be carried"),
        (header(msgpack.Timestamp(1), tag=37), "cannot be carried"),
        (header(msgpack.ExtType(9, b""), tag=37), "extension type 9"),
        (header(msgpack.ExtType(2, b"\x03\x00|O8" + bytes(8)), tag=37), "dtype object"),
        (header(msgpack.ExtType(2, b"\x03\x00|V8" + bytes(8)), tag=37), "dtype"),
        (header(msgpack.ExtType(2, b"\x03\x00<M8" + bytes(8)), tag=37), "dtype datetime64"),
        (header(msgpack.ExtType(3, b"\x03\x01<f8" + b"\x02" + bytes(7) + bytes(8)), tag=37), "cannot reshape"),
        (header(msgpack.ExtType(3, b"\x03\x01<f8" + b"\xff" * 8), tag=37), "not a message"),
        (header(msgpack.ExtType(4, b"\x05\0\0\0\x03\x00<f8"), tag=37), "IndexError"),
        ([b"\x91" * 2000], "not a message"),
        ([b"\xdd\xff\xff\xff\xff"], "not a message"),
    ],
)
def test_what_is_not_a_message(frames, text):
    if text is None:
        decode(frames)
        return
    with pytest.raises(WireError, match=text):
        decode(frames)


def test_a_failed_message_leaves_nothing_behind():
    array = np.zeros(FRAME_BYTES, np.uint8)
    for broken in (object(), 1 << 64, {1: {1}}):
        with pytest.raises(CarryError):
            encode(Envelope(1, 0, 0, m.Result([array, broken])))
        frames = encode(Envelope(1, 0, 0, m.Result([array])))
        assert len(frames) == 2
        assert decode(frames).message.value[0].tobytes() == array.tobytes()


def test_threads_encode_at_the_same_time(monkeypatch):
    """A coordinator and clients may live in one process: an encoder that they shared would mix their messages."""
    values = [[(number, np.full(3, number)) for _ in range(300)] for number in range(4)]
    wrong = []
    start = threading.Barrier(len(values))

    def work(value):
        start.wait(30)
        for _ in range(10):
            try:
                if not same(carried(value), value):
                    wrong.append("another's")
            except Exception as error:
                wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=[value]) for value in values]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_every_tag_has_one_message():
    assert len(set(TAGS.values())) == len(TAGS)
    assert all(0 < tag < 128 for tag in TAGS)


def test_a_message_without_room_keeps_its_numbers():
    large = np.zeros(FRAME_BYTES)
    frames = encode(Envelope(7, 6, 5, m.Write(["w"] * 1000, [large] + [1] * 999), 4))
    with pytest.raises(MemoryError, match="no room"):
        decode([bytes(frames[0]), None])
    assert refused([bytes(frames[0]), None], "no") == Envelope(7, 6, 5, m.Failure("RequestError", "no"), 4)


@pytest.mark.parametrize("start", [b"", b"\xc1", b"\x05", *map(msgpack.packb, ([1, 2, 3], [1, 2, 3, 4, 5, "6"]))])
def test_what_is_not_a_message_is_not_refused_as_one(start):
    with pytest.raises(WireError):
        refused([start], "no")


def test_a_key_that_no_client_may_use_is_not_taken_from_a_stranger():
    for length, allowed in ((MAX_KEY_BYTES, True), (MAX_KEY_BYTES + 1, False)):
        frames = encode(Envelope(1, 0, 1, m.Contains(["k" * length])))
        if allowed:
            assert decode(frames).message.keys == ["k" * length]
        else:
            with pytest.raises(WireError, match="more than 65536 bytes"):
                decode(frames)


def test_what_a_copy_is_told_may_be_deeper_than_a_value():
    value = None
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    changes = {"entries": [["a"], [value]], "peers": [[b"client", 1, 0, {1: [37, {"deep": value}]}]]}
    sent = Envelope(0, 0, 1, m.Replicate(0, 1, 1, 1, -1, changes), 3)
    assert decode([bytes(frame) for frame in encode(sent)]) == sent
