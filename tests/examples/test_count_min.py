"""The distributed CountMin sketch against exact counts, and against a plain numpy sketch of the whole stream."""

import importlib
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "examples/count_min"
SCRIPT = f"{FOLDER}/count_min.py"
CONFIG = f"{FOLDER}/count_min.json"
TEXT = ROOT / "examples/data/kjv.txt"
GOLDEN_RATIO = 0x9E3779B97F4A7C15


@pytest.fixture(scope="module")
def program():
    """The example's script; its folder is where its modules are looked for, as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / FOLDER))
        yield importlib.import_module("count_min")
    for name in ("count_min", "counting"):
        del sys.modules[name]


def mix(keys, salt):
    """SplitMix64 as published, in numpy."""
    bits = keys + np.uint64((salt * GOLDEN_RATIO) % 2**64)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def estimates_of(stream, probes, partitions, depth, width):
    """What one sketch of the whole stream estimates, and the number of keys in each probe's partition."""
    counters = np.zeros((partitions, depth, width), np.int64)
    lines = range(depth)
    for line in lines:
        np.add.at(counters, (mix(stream, 0) % partitions, line, mix(stream, line + 1) % width), 1)
    partition = mix(probes, 0) % partitions
    found = [counters[partition, line, mix(probes, line + 1) % width] for line in lines]
    return np.min(found, axis=0), counters[partition, 0].sum(axis=1)


def written(path):
    table = np.loadtxt(path, dtype=np.uint64, delimiter="\t")
    return table[:, 0], table[:, 1].astype(np.int64)


def test_hash_is_the_published_one(program):
    """The first outputs of SplitMix64 from the state 0."""
    assert [int(sys.modules["counting"].mix(np.uint64(0), salt)) for salt in (1, 2)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
    ]


@pytest.mark.parametrize(("workers", "servers", "depth", "width"), [(1, 1, 3, 256), (2, 2, 4, 64), (4, 3, 1, 512)])
def test_estimates_are_those_of_one_sketch_and_within_the_bound(run, program, tmp_path, workers, servers, depth, width):
    settings = [f"depth={depth}", f"width={width}", "partitions=16", "inserts=300000", "universe=50000", "batch=7000"]
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, *settings, f"output={tmp_path}/out")
    assert done.status == 0, done.err
    ends = 300000 * np.arange(workers + 1) // workers
    counts = np.diff(ends).tolist()
    streams = [program.zipf(n, 50000, 1.1, np.random.default_rng([0, w])) for w, n in enumerate(counts)]
    stream = np.concatenate(streams)
    probes, estimates = written(tmp_path / "out/estimates_0")
    expected, seen = estimates_of(stream, probes, 16, depth, width)
    np.testing.assert_array_equal(estimates, expected)
    true = np.bincount(stream.astype(np.int64), minlength=50001)[probes.astype(np.int64)]
    above = estimates - true
    assert above.min() >= 0
    assert above.max() > 0  # the sketch is small enough to err
    beyond = np.mean(above > np.e / width * seen)
    assert beyond <= np.exp(-depth)
    assert done.figure("keys") == 300000
    assert done.figure("estimates too low") == 0
    assert done.figure("largest error") == above.max()
    assert done.figure("share above the bound") == pytest.approx(beyond, abs=1e-5)


def test_words_of_a_text(run, tmp_path):
    counts = Counter(TEXT.read_text().split())
    done = run.prun(2, 2, SCRIPT, f"input={TEXT}", f"output={tmp_path}/out")
    assert done.status == 0, done.err
    assert done.figure("keys") == counts.total()
    assert done.figure("estimates too low") == 0
    for word in ("the", "and", "of"):
        line = next(line for line in done.out.splitlines() if line.startswith(f"{word} came"))
        assert f"came {counts[word]} times" in line
        assert counts[word] <= int(line.split()[-1]) <= counts[word] + 100


def test_alone_without_a_launcher_and_with_more_servers_than_partitions(run):
    small = ["inserts=50000", "partitions=1", "width=64"]
    for done in (run.python(SCRIPT, *small), run.prun(1, 3, SCRIPT, *small)):
        assert done.status == 0, done.err
        assert done.figure("estimates too low") == 0


def test_keys_of_another_servers_partition_are_refused(program):
    """Whether all of them are, or some; and those of the own partitions are counted, all of them and once."""
    keys, rows = np.array([2, 3], np.uint64), np.zeros((2, 2 * 8), np.int64)
    stream = np.arange(1000, dtype=np.uint64)
    partition = mix(stream, 0) % 4
    own = stream[(partition == 2) | (partition == 3)]
    program.insert(keys, rows, {}, own, [4, 2, 8])
    assert rows.reshape(2, 2, 8).sum(axis=2).tolist() == [[np.sum(partition == p)] * 2 for p in (2, 3)]
    with pytest.raises(ValueError, match=f"{1000 - len(own)} of 1000 keys"):
        program.insert(keys, rows, {}, stream, [4, 2, 8])
    estimates, seen = program.query(keys, rows, {}, stream, [4, 2, 8])
    assert ((estimates == -1) == ~np.isin(stream, own)).all()
    assert ((seen == -1) == ~np.isin(stream, own)).all()


def test_wrong_configuration_is_told_in_words(run):
    cases = [
        (["width=1000"], "width is 1000", "powers of two"),
        (["partitions=0"], "partitions is 0", "powers of two"),
        (["exponent=1"], "exponent is 1", "above 1"),
        (["depth=0"], "depth is 0", "above 0"),
        (["universe=0"], "universe is 0", "above 0"),
        (["batch=0"], "batch is 0", "above 0"),
        (["probes=-1"], "probes is -1", "above -1"),
        (["deep=3"], "deep", "depth"),
    ]
    run.check_told(SCRIPT, cases)


def test_fewer_keys_than_workers_are_told(run):
    done = run.prun(2, 1, SCRIPT, "inserts=1")
    assert done.status != 0
    assert "inserts is 1" in done.err
    assert "above 1" in done.err
