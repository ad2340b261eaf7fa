"""Messages of tables that make no sense: the server says so, goes on, and no table is harmed."""

import dataclasses
import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from real import Job, Raw, ended, eventually

import paracel
from paracel import messages as m
from paracel import wire
from paracel.hashing import digest
from paracel.messages import Message
from paracel.tables.spec import make_spec

COMPILING = 100.0
LIMIT_MB = 1500  # so that what an announced size provokes is an error, and not the end of this machine

KEYS = np.arange(4, dtype=np.uint64)
ROWS = np.ones(4, np.float32)
PLAIN = {
    "dense": make_spec("other dense", 100).to_wire(),
    "sparse": make_spec("other sparse").to_wire(),
    "commit": make_spec("other commit", 100, apply="commit").to_wire(),
}
#: Messages that a server takes. Each of their fields is then replaced by what does not belong there.
GOOD: dict[str, Message] = {
    "open dense": m.OpenTable(PLAIN["dense"]),
    "open sparse": m.OpenTable(PLAIN["sparse"]),
    "list": m.ListTables(),
    "push": m.Push("dense", -1, 0, KEYS, b"", None, [ROWS], [], [], False),
    "push of a worker": m.Push("commit", 0, 0, KEYS, b"", None, [ROWS], [], [], False),
    "push of a range": m.Push("dense", -1, 0, [0, 3], b"", None, [ROWS], [], [], True),
    "push to sparse": m.Push("sparse", -1, 0, KEYS, digest(KEYS), None, [ROWS], [], [], True),
    "push with a mask": m.Push("sparse", -1, 0, KEYS, b"", b"\xf0", [ROWS], [], [], False),
    "push of zeros": m.Push(
        "dense", -1, 0, KEYS, b"", None, [ROWS[:2]], [["drop_zeros", {}]], [{"count": 4, "masks": [b"\xc0"]}], False
    ),
    "pull": m.Pull("dense", KEYS, b"", [], [], None, 0, 0),
    "pull of a range": m.Pull("sparse", [0, 2**64 - 2], b"", [], [["drop_zeros", {}]], None, 0, 0),
    "pull of changes": m.Pull("dense", [0, 99], b"", [], [], 0.5, 0, 0),
    "run": m.RunTable("dense", "os.path:join", [1, 2], KEYS, -1, 0),
    "drop": m.DropTable("not there"),
}
JUNK: list[Any] = [
    None, True, -1, 0, 1, 7, 2**31, 2**48, 2**62, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, float("nan"), float("inf"), -1.5,
    "", "dense", "commit", "sparse", "nonsense", "\ud800", "x" * 1000, b"", b"\0" * 16, b"\xff" * 100, digest(KEYS),
    [], [0], [3, 1], [1, 0], [0, 2**63], [-5, 5], [0, 2**64 - 1], [None, None], [[]], ["add", {}], [["drop_zeros", {}]],
    [["compressing", {"method": "zstd", "level": None}]], [["fixed_point", {"bits": 99}]], [["custom", {}]],
    [["key_caching", {"max_bytes": -1}]], [{}], [{"count": 2**60, "masks": [b""]}], [{"arrays": [["<f8", 2**40]]}], {},
    {"a": 1}, ("a", 1), KEYS, KEYS[:0], KEYS + np.uint64(2**63), KEYS.astype("i8"), KEYS.astype("f8"),
    KEYS.reshape(2, 2), ROWS, ROWS[:3], ROWS.astype("f8"), ROWS.astype("c8"), ROWS.reshape(4, 1), ROWS.reshape(2, 2),
    np.float32(3), [ROWS, ROWS], [ROWS[:1]], [ROWS.astype("?")], [ROWS.astype("f8")], [KEYS], [b"abc"],
    [np.zeros((4, 0), "f4")], [np.full(4, np.nan, "f4")], [np.array(5.0, "f4")],
]  # fmt: skip


def replaced(message: Message) -> Iterator[Message]:
    """The message with each of its fields replaced by each of the others."""
    yield message
    for field in dataclasses.fields(message):
        for junk in JUNK:
            yield dataclasses.replace(message, **{field.name: junk})


def settings() -> Iterator[Message]:
    """Tables with each setting replaced, under names of their own."""
    for number, (spec, name) in enumerate(itertools.product((PLAIN["dense"], PLAIN["sparse"]), PLAIN["dense"])):
        for other, junk in enumerate(JUNK):
            changed = {**spec, "name": f"junk {number} {other}", name: junk}
            yield m.OpenTable(changed)
            yield m.DropTable(changed["name"] if isinstance(changed["name"], str) else "")


def answered(peer: Raw, messages: list[Message], first: int) -> int:
    """Send them all, and take the answer of each; says how many were refused."""
    for request, message in enumerate(messages, first):
        peer.ask(request, message)
    refused, left = 0, set(range(first, first + len(messages)))
    while left:
        answer = peer.receive()
        assert answer is not None, f"no answer for {[messages[request - first] for request in sorted(left)[:3]]}"
        if isinstance(answer.message, m.UnknownKeys):  # else it would wait for the list
            peer.ask(0, m.KeyList(answer.message.digest, KEYS))
            continue
        left.discard(answer.request)
        refused += isinstance(answer.message, m.Failure)
        assert getattr(answer.message, "text", "why") != ""
    return refused


def test_every_field_of_every_message_of_tables_replaced_by_what_does_not_belong_there() -> None:
    with Job(1, memory_limit_mb=LIMIT_MB) as job, job.connect(timeout=COMPILING) as client, job.connect() as owner:
        mine, sparse = owner.table("mine", 1000, 2), owner.table("my sparse", dtype="float64")
        mine.push(slice(None), 1)
        sparse.push(np.arange(500), 2).result()
        for name, size, apply in (("dense", 100, "push"), ("sparse", None, "push"), ("commit", 100, "commit")):
            client.table(name, size, apply=apply)
        with Raw(job.addresses[0]) as peer:
            request, refused = 1, 0
            for message in GOOD.values():
                # a field that is of a wrong type is no message at all, and has no answer under its number
                sent = [each for each in replaced(message) if _is_message(each) and not _waits(each)]
                refused += answered(peer, sent, request)
                request += len(sent)
            assert refused > 1000
            opened = [message for message in settings() if _is_message(message)]
            assert answered(peer, opened, request) > 500
            broken = [each for message in GOOD.values() for each in replaced(message) if not _is_message(each)]
            for message in broken:
                peer.ask(0, message)
        assert not ended(job.servers[0].pid)
        assert len(broken) > 1000
        eventually(lambda: client.statistics().servers[0].malformed >= len(broken))
        assert np.all(mine.pull().result() == 1)
        assert sparse.pull(np.arange(501)).result().tolist() == [2] * 500 + [0]
        again = job.connect(timeout=30)
        table = again.table("one more", 10)
        table.push(slice(None), 1)
        assert table.pull().result().tolist() == [1] * 10
        again.close()


def _is_message(message: Message) -> bool:
    """Whether it decodes."""
    try:
        _carried(message)
    except paracel.WireError:
        return False
    return True


def _carried(message: Message) -> Message:
    return wire.decode([bytes(frame) for frame in wire.encode(m.Envelope(1, 0, 0, message))]).message


def _waits(message: Message) -> bool:
    """Whether it may wait for a clock or a key list that never comes."""
    waits = getattr(message, "min_clock", 0) > 0
    hashed = getattr(message, "selection", 0) is None and getattr(message, "digest", b"") not in (b"", digest(KEYS))
    return waits or hashed


def test_random_messages_of_tables() -> None:
    """Several fields at once replaced, by values that other fields may have."""
    rng = random.Random(7)
    with Job(1, memory_limit_mb=LIMIT_MB) as job, job.connect(timeout=COMPILING) as client:
        for name, size, apply in (("dense", 100, "push"), ("sparse", None, "push"), ("commit", 100, "commit")):
            client.table(name, size, apply=apply)
        mine = client.table("mine", 1000)
        mine.push(slice(None), 1).result()
        fields = [getattr(each, f.name) for each in GOOD.values() for f in dataclasses.fields(each)]
        sent: list[Message] = []
        while len(sent) < 1500:
            message = rng.choice([each for each in GOOD.values() if dataclasses.fields(each)])
            names = [field.name for field in dataclasses.fields(message)]
            chosen = rng.sample(names, min(len(names), rng.randint(1, 3)))
            made = dataclasses.replace(message, **{name: rng.choice(rng.choice((fields, JUNK))) for name in chosen})
            if _is_message(made) and not _waits(made):
                sent.append(made)
        with Raw(job.addresses[0]) as peer:
            assert 0 < answered(peer, sent, 1) < len(sent)
        assert not ended(job.servers[0].pid)
        assert np.all(mine.pull().result() == 1)
