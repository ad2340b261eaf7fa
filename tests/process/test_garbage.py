"""Whatever comes to the port of a server or of the coordinator: it goes on, and correct clients do not notice."""

import contextlib
import dataclasses
import os
import random
import socket
import struct
import typing
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from real import Job, Raw, ended, eventually, plain_socket

import paracel
from paracel import messages as m
from paracel import wire
from paracel.coordinator import Coordinator

PIECE = struct.Struct("<BIQQ")
EXT = msgpack.ExtType
HUGE = 2**62


def header(*fields: object, version: object = wire.VERSION, tag: object = 1, request: object = 1) -> bytes:
    packed: bytes = msgpack.packb([version, tag, request, 0, 0, 0, *fields])
    return packed


def nested(depth: int) -> bytes:
    return header(["k"], b"").replace(msgpack.packb(b""), b"\x91" * depth + b"\xc0")


def piece(number: int, size: int, offset: int, content: bytes = b"") -> tuple[bytes, bytes]:
    return PIECE.pack(0xC1, number, size, offset), content


def array(dtype: bytes, shape: tuple[int, ...], content: bytes) -> bytes:
    return struct.pack(f"<BB{len(dtype)}s{len(shape)}Q", len(dtype), len(shape), dtype, *shape) + content


def write_of(value: object) -> tuple[bytes]:
    return (header(["garbage"], [value], tag=4),)


GARBAGE: dict[str, tuple[bytes, ...]] = {
    "nothing": (b"",),
    "many empty frames": (b"",) * 1000,
    "text": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",),
    "not msgpack": (b"\xc1" * 21,),
    "half a message": (header(["k"], 0)[:-3],),
    "a message and more": (header(["k"], 0) + b"more",),
    "a number": (b"\x05",),
    "a short header": (msgpack.packb([1, 1]),),
    "another version": (header(["k"], 0, version=2),),
    "a version that is text": (header(["k"], 0, version="1"),),
    "an unknown tag": (header(tag=99),),
    "a tag that is a list": (header(tag=[1]),),
    "too few fields": (header(),),
    "too many fields": (header(["k"], 0, 1, 2, 3),),
    "keys that are numbers": (header([1, 2], 0),),
    "more keys than values": (header(["a", "b"], [1], tag=4),),
    "a request number below 0": (header(["k"], 0, request=-5),),
    "a huge request number": (header(["k"], 0, request=2**63),),
    "a number of 65 bits": (b"\x95\x01\xcf" + b"\xff" * 8 + b"\x01\x00\x00",),
    "very deep": (nested(100),),
    "deeper than the decoder": (nested(5000),),
    "an announced list of 4 billion": (b"\x96\x01\x01\x01\x00\x00\xdd\xff\xff\xff\xff",),
    "announced bytes of 4 GB": (b"\x96\x01\x01\x01\x00\x00\xc6\xff\xff\xff\xff",),
    "an unknown extension": write_of(EXT(77, b"x")),
    "a timestamp": write_of(msgpack.Timestamp(1, 2)),
    "an empty extension": write_of(EXT(3, b"")),
    "an array of objects": write_of(EXT(3, array(b"|O", (1,), b"\0" * 8))),
    "an array of text": write_of(EXT(3, array(b"<U4", (1,), b"\0" * 16))),
    "an array without a dtype": write_of(EXT(3, array(b"nonsense", (1,), b""))),
    "an array shorter than its shape": write_of(EXT(3, array(b"<f8", (100,), b"\0" * 8))),
    "an array of a huge shape": write_of(EXT(3, array(b"<f8", (HUGE, HUGE), b""))),
    "an array of 200 dimensions": write_of(EXT(3, array(b"<f8", (1,) * 200, b"\0" * 8))),
    "an array in a frame that is not there": write_of(EXT(4, struct.pack("<I", 7) + array(b"<f8", (1,), b""))),
    "an array in the header's frame": write_of(EXT(4, struct.pack("<I", 0) + array(b"<f8", (1,), b""))),
    "a tuple in a tuple, cut short": write_of(EXT(1, msgpack.packb([EXT(1, b"\x92\x01")]))),
    "a piece": piece(1, 10, 0, b"12345"),
    "a piece after a gap": piece(1, 10, 7, b"890"),
    "a piece that is too long": piece(1, 10, 0, b"x" * 100),
    "a piece of nothing": piece(1, 0, 0),
    "a piece of the header": piece(0, 5, 0, b"12345"),
    "a piece of more than any memory": piece(1, HUGE, 0, b"x"),
    "a piece of 15 GB": piece(1, 15 * 1024**3, 0, b"x"),
    "a piece beyond its end": piece(1, 10, HUGE, b"x"),
    "keys that are no text": (header(["k"], 0).replace(b"\xa1k", b"\xa1\xff"),),
    "a function that is none": (header("server_function", "os:no_such_thing", tag=9),),
    "a kind that is none": (header("nonsense", "add", tag=9),),
    "a file that is none": (header("updater", "/nowhere/x.py:f", tag=9),),
    "a module that ends the process": (header("updater", "paracel.__main__:f", tag=9),),
}


@contextlib.contextmanager
def undisturbed(job: Job) -> Iterator[paracel.Client]:
    """A client that works before, during and after; and the coordinator and the servers that are there afterwards."""
    with job.connect(timeout=30) as client:
        client.write("k", 0)
        yield client
        for count in range(1, 4):
            assert client.bupdate("k", 1) == count
        with job.connect(timeout=30) as newcomer:
            assert newcomer.read("k") == 3
        assert not any(ended(server.pid) for server in job.servers)
        assert not job.coordinator.statistics().lost


def ports(job: Job) -> list[str]:
    return [job.coordinator.address, *job.addresses]


def test_garbage_of_every_kind_over_zmq() -> None:
    with Job(1) as job, undisturbed(job) as client:
        for port in ports(job):
            with Raw(port) as peer:
                for frames in GARBAGE.values():
                    peer.send(*frames)
                peer.send(*GARBAGE["a piece"])  # and then nothing more
                peer.ask(0, m.GetStatistics() if port == job.addresses[0] else m.GetView())
                while (answer := peer.receive()) is not None and isinstance(answer.message, m.Failure):
                    assert answer.message.text
                assert answer is not None, "the peer itself is answered when it says something sensible"
        statistics = client.statistics().servers[0]
        assert statistics.malformed > 20


@pytest.mark.parametrize("name", [name for name in GARBAGE if "piece" in name or "announced" in name or "huge" in name])
def test_announced_sizes_cost_no_memory(name: str) -> None:
    with Job(1, memory_limit_mb=400) as job, undisturbed(job):
        for port in ports(job):
            with Raw(port) as peer:
                for _ in range(20):
                    peer.send(*GARBAGE[name])
                peer.ask(0, m.GetStatistics() if port == job.addresses[0] else m.GetView())
                while isinstance(getattr(peer.receive(), "message", None), m.Failure):
                    pass


def test_random_and_mutated_bytes() -> None:
    rng = random.Random(1)
    good = [b"".join(frames) for frames in GARBAGE.values()] + [header(["j"], 0), header(["j"], [1], tag=4)]
    with Job(1) as job, undisturbed(job):
        for port in ports(job):
            with Raw(port) as peer:
                for _ in range(2000):
                    content = bytearray(rng.choice(good))
                    for _ in range(rng.randint(1, 4)):
                        content[rng.randrange(len(content) or 1) : rng.randrange(len(content) + 1)] = rng.randbytes(2)
                    cut = rng.randrange(len(content) + 1)
                    peer.send(bytes(content[:cut]), bytes(content[cut:]))


VALUES: dict[Any, Callable[[random.Random], Any]] = {
    int: lambda rng: rng.choice((0, 1, -1, 7, 2**31, 2**40, -(2**63), 2**63 - 1)),
    str: lambda rng: rng.choice(("", "k", "nonsense", "\ud800", "tcp://", "ipc:///nowhere", "x" * 1000)),
    bool: lambda rng: rng.random() < 0.5,
    float: lambda rng: rng.choice((0.0, -1.5, 1e300, float("inf"), float("nan"))),
}


def made_up(hint: Any, rng: random.Random) -> Any:
    """A value of the annotated type that makes no sense."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind is list:
        return [made_up(inner[0], rng) for _ in range(2)]
    if kind is dict:
        return {made_up(inner[0], rng): made_up(inner[1], rng)}
    if inner:
        return made_up(inner[0], rng)
    return VALUES.get(hint, VALUES[str])(rng)


@pytest.mark.parametrize("seed", range(4))
def test_well_formed_messages_that_make_no_sense(seed: int) -> None:
    """Any message, to anyone, with any numbers; requests out of any order. Only the job itself must not be told off.

    Whoever has the job's key is believed that workers have left, and that servers are lost.
    """
    rng = random.Random(seed)
    kinds = [kind for kind in m.TAGS.values() if kind is not m.Leave]
    with Job(1, workers=2) as job, undisturbed(job):
        for port in ports(job):
            with Raw(port) as peer:
                for number in range(1500):
                    kind = rng.choice(kinds)
                    hints = typing.get_type_hints(kind)
                    fields = {field.name: made_up(hints[field.name], rng) for field in dataclasses.fields(kind)}
                    if kind is m.View:
                        fields["lost"] = {}
                    peer.ask(rng.choice((0, number, rng.randrange(10**6))), kind(**fields))


@pytest.mark.parametrize("pid", [-(2**63), -1, 0, 2**31, 2**63 - 1])
def test_a_worker_with_an_impossible_process_id(pid: int) -> None:
    with Job(1, workers=2) as job, undisturbed(job), Raw(job.coordinator.address) as peer:
        peer.ask(0, m.Join(1, socket.gethostname(), pid))
        assert peer.receive() is not None
        peer.ask(0, m.Join(1, socket.gethostname(), os.getpid()))
        assert peer.receive() is not None


@pytest.mark.parametrize("address", ["", "nonsense", "tcp://", "ipc://" + "x" * 300])
def test_a_server_with_an_impossible_address(address: str) -> None:
    """It is lost, and says so; the coordinator goes on."""
    with Coordinator(servers=2, workers=1) as coordinator:
        coordinator.start()
        with Raw(coordinator.address) as peer:
            peer.ask(0, m.Register(1, address, "host", 1))
            assert peer.receive() is not None
            eventually(lambda: coordinator.statistics().lost)
            assert "is not an address" in dict(coordinator.statistics().lost)[1]
            peer.ask(0, m.Register(7, address, "host", 1))
            answer = peer.receive()
            assert answer is not None
            assert isinstance(answer.message, m.Failure)


def test_a_client_of_another_version_is_told() -> None:
    with Job(1) as job:
        for port in ports(job):
            with Raw(port) as peer:
                peer.send(header(tag=66, request=0, version=7))
                answer = peer.receive()
                assert answer is not None
                assert isinstance(answer.message, m.Failure)
                assert "version 7" in answer.message.text


GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
READY = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
STREAMS: dict[str, bytes] = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "half a greeting": GREETING[:20],
    "a greeting": GREETING,
    "another mechanism": GREETING.replace(b"NULL", b"PLAI"),
    "a frame of 8 exabytes": GREETING + READY + b"\x02" + struct.pack(">Q", 2**63 - 1) + b"x",
    "a frame of 100 GB": GREETING + READY + b"\x02" + struct.pack(">Q", 100 * 1024**3) + b"x",
    "a frame that does not end": GREETING + READY + b"\x00\x64abc",
    "a message that does not end": GREETING + READY + b"\x01\x03abc",
    "zeros": b"\0" * 100_000,
    "noise": random.Random(3).randbytes(100_000),
}


@pytest.mark.parametrize("endpoint", [None, "tcp://127.0.0.1:*"])
def test_garbage_of_every_kind_over_plain_sockets(endpoint: str | None) -> None:
    with Job(1, endpoint=endpoint) as job, contextlib.ExitStack() as stay, undisturbed(job):
        for port in ports(job):
            for content in STREAMS.values():
                with plain_socket(port) as short, contextlib.suppress(ConnectionError):
                    short.sendall(content)
                open_ended = stay.enter_context(plain_socket(port))
                with contextlib.suppress(ConnectionError):
                    open_ended.sendall(content)
            for _ in range(50):
                stay.enter_context(plain_socket(port))
