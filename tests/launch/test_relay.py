import io
import os

import pytest

from paracel.launch.relay import Relay
from paracel.monitor import Progress

SECONDS = 30.0


class Broken(io.BytesIO):
    def write(self, data: bytes) -> int:
        raise BrokenPipeError


class Sparing(io.BytesIO):
    def write(self, data: bytes) -> int:
        return super().write(data[:1000])


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb", buffering=0)


def test_every_byte_reaches_every_target(pipe):
    source, sink = pipe
    targets = [io.BytesIO(), Sparing()]
    relay = Relay(source, targets, Progress(io.StringIO()))
    data = bytes(range(256)) * 2000
    with sink:
        for begin in range(0, len(data), 100_000):
            sink.write(data[begin : begin + 100_000])
    assert relay.wait_ended(SECONDS)
    assert [target.getvalue() for target in targets] == [data, data]
    assert source.closed


def test_a_target_that_is_closed_does_not_hold_up_the_others(pipe):
    source, sink = pipe
    target = io.BytesIO()
    relay = Relay(source, [Broken(), target], Progress(io.StringIO()))
    with sink:
        sink.write(b"one\n")
        sink.write(b"two\n")
    assert relay.wait_ended(SECONDS)
    assert target.getvalue() == b"one\ntwo\n"


def test_when_it_is_hushed_the_first_target_gets_no_more(pipe):
    source, sink = pipe
    shown, log = io.BytesIO(), io.BytesIO()
    relay = Relay(source, [shown, log], Progress(io.StringIO()))
    relay.hush()
    with sink:
        sink.write(b"one\n")
        sink.write(b"two\n")
    assert relay.wait_ended(SECONDS)
    assert (shown.getvalue(), log.getvalue()) == (b"", b"one\ntwo\n")


def test_it_has_not_ended_while_the_source_is_open(pipe):
    source, sink = pipe
    relay = Relay(source, [io.BytesIO()], Progress(io.StringIO()))
    assert not relay.wait_ended(0.01)
    sink.close()
    assert relay.wait_ended(SECONDS)
