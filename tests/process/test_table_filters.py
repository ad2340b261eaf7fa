"""Message filters over real sockets: what arrives, what is counted, and key lists that travel as hashes."""

from pathlib import Path

import numpy as np
import pytest
from real import Job, Raw

import paracel
from paracel import messages as m
from paracel.filters import (
    Compressing,
    Custom,
    DropZeros,
    Filter,
    FixedPoint,
    KeyCaching,
    RandomSkip,
    SignificantlyModified,
)
from paracel.hashing import digest

SERVED = Path(__file__).with_name("served_tables.py")
COMPILING = 100.0
HALF = (f"{SERVED}:halve", f"{SERVED}:unhalve")

LOSSLESS: dict[str, list[Filter]] = {
    "none": [],
    "key caching": [KeyCaching()],
    "lz4": [Compressing()],
    "zstd": [Compressing("zstd", 5)],
    "zeros": [DropZeros()],
    "custom": [Custom(*HALF)],  # of small whole numbers
    "most of them": [KeyCaching(), DropZeros(), Custom(*HALF), Compressing("zstd")],
    "in another order": [Compressing(), DropZeros(), KeyCaching()],
}


def traffic(table: paracel.Table, direction: str, name: str) -> tuple[int, int]:
    """The bytes that went into a filter of this client, and came out."""
    found = [each for each in table.statistics().traffic if (each.direction, each.name) == (direction, name)]
    return (found[0].bytes_in, found[0].bytes_out) if found else (0, 0)


def test_filters_that_lose_nothing_lose_nothing() -> None:
    rng = np.random.default_rng(3)
    with Job(2) as job, job.connect(timeout=COMPILING) as client:
        for number, (name, filters) in enumerate(LOSSLESS.items()):
            for size in (60_000, None):
                dim = 1 + number % 3
                table = client.table(f"{name} {size}", size, dim, push_filters=filters, pull_filters=filters)
                model = np.zeros((60_000, dim) if dim > 1 else 60_000, np.float32)
                keys = rng.integers(0, 60_000, 20_000)
                for selection in (keys, keys, slice(10, 50_000), keys[:1]):
                    count = len(model[selection])
                    values = rng.integers(0, 5, (count, *model.shape[1:])).astype(np.float32) * 32
                    values[rng.random(count) < 0.8] = 0
                    if isinstance(selection, slice):
                        model[selection] += values
                    else:
                        np.add.at(model, selection, values)
                    table.push(selection, values)
                assert np.array_equal(table.pull(keys).result(), model[keys]), name
                if filters:
                    into, out = traffic(table, "push", "all")
                    assert 0 < out < into, name


def test_fixed_point_keeps_the_sum_of_pushes() -> None:
    rng = np.random.default_rng(4)
    with Job(2) as job, job.connect() as client:
        table = client.table("w", 50_000, 2, push_filters=[KeyCaching(), FixedPoint(4)])
        keys, total = np.arange(0, 50_000, 3), np.zeros((16_667, 2))
        for _ in range(10):
            values = rng.standard_normal(total.shape).astype(np.float32)
            table.push(keys, values)
            total += values
        span = 2 * 6 / (2**4 - 3)  # the widest range of normal numbers, and what of it may wait
        assert np.abs(table.pull(keys).result() - total).max() <= span
        table.flush().result()
        np.testing.assert_allclose(table.pull(keys).result(), total, atol=1e-4)
        into, out = traffic(table, "push", "fixed_point")
        assert out < into * (8 + 1.1) / (8 + 8), "of a key and its two numbers, the numbers"
        rough = table.pull(keys, filters=[FixedPoint(8, error_feedback=False)]).result()
        assert 0 < np.abs(rough - total).max() < 2 * np.abs(total).max() / 255 * 2


def test_what_is_not_significant_waits() -> None:
    threshold = [SignificantlyModified(2.5)]
    with Job(2) as job, job.connect(timeout=COMPILING) as client, job.connect() as other:
        for size in (40_000, None):
            table = client.table(f"w {size}", size, dtype="float64", push_filters=threshold, pull_filters=threshold)
            seen = other.table(f"w {size}", size, dtype="float64")
            keys = np.arange(0, 40_000, 2)
            steps = np.where(keys % 4 == 0, 1.0, 3.0)
            for expected in (0, 0, 3):
                table.push(keys, steps).wait()
                rows = seen.pull(keys).result()
                times = 1 if expected == 0 else 0
                assert np.all(rows[keys % 4 == 0] == expected)
                assert np.all(rows[keys % 4 != 0] >= 3 * times)
            table.push(keys[:1], 1)
            table.flush().result()
            assert seen.pull(keys[:2]).result().tolist() == [4, 9]
            assert table.pull(keys[:4]).result().tolist() == [4, 9, 3, 9]
            seen.push(keys[:4], [1, 2, 3, 4]).wait()
            assert table.pull(keys[:4]).result().tolist() == [4, 9, 6, 13], "only changes above the threshold come"
            assert table.pull(keys[:4], filters=()).result().tolist() == [5, 11, 6, 13]


def test_random_skip_is_right_on_average() -> None:
    with Job(2) as job, job.connect(worker=0) as client:
        table = client.table("w", 100_000, push_filters=[RandomSkip(0.75)])
        for _ in range(4):
            table.push(slice(None), 1)
        rows = table.pull().result()
        assert set(np.unique(rows).tolist()) == {0, 4, 8, 12, 16}
        assert abs(rows.mean() - 4) < 0.1
        into, out = traffic(table, "push", "random_skip")
        assert out < into / 2


def test_a_decoder_that_is_wrong_fails_its_push_and_nothing_else() -> None:
    with Job(1) as job, job.connect() as client:
        table = client.table("w", 1000)
        bad = Custom(HALF[0], f"{SERVED}:unhalve_badly")
        with pytest.raises(paracel.WireError, match="unhalve_badly gave"):
            table.push(np.arange(1000), 1, filters=[bad]).result()
        with pytest.raises(paracel.WireError, match="unhalve_badly gave"):
            table.pull(filters=[bad]).result()
        with pytest.raises(ValueError, match="finite"):
            table.push([1, 2], [np.nan, 1], filters=[FixedPoint(8)])
        table.push([1], 1).result()
        assert table.pull([0, 1]).result().tolist() == [0, 1]


def test_a_key_list_that_is_known_is_not_sent_again() -> None:
    keys = np.arange(0, 2**40, 2**23, np.uint64)
    with Job(1) as job, job.connect(timeout=COMPILING) as one, job.connect(timeout=COMPILING) as other:
        tables = [
            client.table("w", push_filters=[KeyCaching()], pull_filters=[KeyCaching()]) for client in (one, other)
        ]
        for table in tables:
            for _ in range(3):
                table.push(keys, 1)
            assert np.all(table.pull(keys).result() > 0)
            into, out = traffic(table, "push", "key_caching")
            assert into == 3 * (keys.nbytes + 4 * len(keys))
            assert keys.nbytes < into - out < 2 * keys.nbytes + 1
        assert np.all(tables[0].pull(keys).result() == 6)
        few = keys[5:9].copy()
        other._session._sent_keys.knows(0, digest(few), few, 10**6)  # as if the server had long forgotten it
        tables[1].push(few, 1).result()
        assert tables[0].pull(keys[4:10]).result().tolist() == [6, 7, 7, 7, 7, 6], "it asked for the list"


def test_a_server_that_is_told_a_wrong_hash() -> None:
    """Nobody's keys are taken for others."""
    mine, others = np.arange(5, dtype=np.uint64), np.arange(100, 105, dtype=np.uint64)
    with Job(1) as job, job.connect() as client, Raw(job.addresses[0]) as liar:
        table = client.table("w", 1000, push_filters=[KeyCaching()])
        lies = (
            m.Push("w", -1, 0, others, digest(mine), None, [np.ones(5, np.float32)], [], [], False),
            m.Pull("w", others, digest(mine), [], [], None, 0, 0),
        )
        for request, message in enumerate(lies, 1):
            liar.ask(request, message)
            answer = liar.receive()
            assert answer is not None
            assert isinstance(answer.message, m.Failure)
            assert "not the one of its hash" in answer.message.text
        for keys in (others, [1, 2], "text", mine.astype("f8")):
            liar.ask(0, m.KeyList(digest(mine), keys))
        # and one that names a list that nobody has sent: it is asked for it, and never answers
        liar.ask(3, m.Push("w", -1, 0, None, digest(mine), None, [np.ones(5, np.float32)], [], [], False))
        answer = liar.receive()
        assert answer is not None
        assert isinstance(answer.message, m.UnknownKeys)
        table.push(mine, 1)
        table.push(mine, 1).result()
        rows = table.pull().result()
        assert rows[:5].tolist() in ([2] * 5, [3] * 5)
        assert rows[5:].sum() == 0
