"""Item similarity against scikit-learn's cosines, dense, between two sets, and sparse, with 1, 2 and 4 workers."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics.pairwise import cosine_similarity

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/similarity/similarity.py"
CONFIG = "examples/similarity/similarity.json"
VOTES = ROOT / "examples/data/wiki-Vote.csv"


def written(folder, workers):
    """The others of each item with their scores, of the files of all workers."""
    assert {path.name for path in folder.iterdir()} == {f"similarities_{worker}" for worker in range(workers)}
    text = "".join((folder / f"similarities_{worker}").read_text() for worker in range(workers))
    lines = [line.split("\t") for line in text.splitlines()]
    found = {item: [pair.rpartition(":")[::2] for pair in pairs.split("|")] for item, pairs in lines}
    assert len(found) == len(lines)
    return {item: [(other, float(score)) for other, score in pairs] for item, pairs in found.items()}


def expected(ids, others, scores, topk, lowest, highest=np.inf):
    """The same by sorting all pairs: of equal scores the lesser id first, ids as they sort as numbers or texts."""
    best = {}
    for item, row in zip(ids, scores):
        pairs = [(other, score) for other, score in zip(others, row) if other != item and lowest <= score <= highest]
        if pairs:
            best[str(item)] = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:topk]
    return best


def check(found, best, tolerance=1e-12):
    """Scores within the tolerance; the same others, but for pairs that are as near to each other as that."""
    assert found.keys() == best.keys()
    for item, pairs in best.items():
        scores = [score for _, score in pairs]
        np.testing.assert_allclose([score for _, score in found[item]], scores, rtol=0, atol=tolerance)
        clear = [score for score in scores if np.sum(np.abs(np.array(scores) - score) < 2 * tolerance) == 1]
        certain = {str(other) for other, score in pairs if score in clear and score > min(scores) + tolerance}
        assert certain <= {other for other, _ in found[item]}


def dense(path, ids, vectors):
    path.write_text("".join(f"{each},{','.join(map(repr, row.tolist()))}\n" for each, row in zip(ids, vectors)))
    return path


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 3)])
def test_dense_more_than_a_chunk(run, tmp_path, workers, servers):
    vectors = np.random.default_rng(1).normal(size=(1100, 6))
    vectors[7] = 0
    ids = np.arange(1100) * 3 - 50
    file = dense(tmp_path / "items.csv", ids, vectors)
    done = run.prun(workers, servers, SCRIPT, f"input={file}", f"output={tmp_path}/out", "topk=7", "simbar=0.85")
    assert done.status == 0, done.err
    found = written(tmp_path / "out", workers)
    check(found, expected(ids, ids, cosine_similarity(vectors), 7, 0.85))
    assert done.figure("items") == 1100
    assert done.figure("pairs") == sum(map(len, found.values()))


def test_dense_between_two_sets(run, tmp_path):
    random = np.random.default_rng(2)
    a, b = random.normal(size=(9, 4)), random.normal(size=(30, 4))
    names, others = [f"a{n}" for n in range(8)] + ["b3"], [f"b{n}" for n in range(30)]  # b3 is in both
    settings = [f"input_a={dense(tmp_path / 'a.csv', names, a)}", f"input_b={dense(tmp_path / 'b.csv', others, b)}"]
    done = run.prun(4, 1, SCRIPT, *settings, f"output={tmp_path}/out", "topk=3", "simbar=-1")
    assert done.status == 0, done.err
    found = written(tmp_path / "out", 4)
    check(found, expected(names, others, cosine_similarity(a, b), 3, -1))
    assert {len(pairs) for pairs in found.values()} == {3}


@pytest.fixture(scope="module")
def votes():
    """The ten candidates most alike to each one, by who voted for them: those of a similarity from 0.3 to 0.6."""
    pairs = np.loadtxt(VOTES, np.int64, delimiter=",")
    items, item = np.unique(pairs[:, 1], return_inverse=True)
    scores = cosine_similarity(sp.csr_array((np.ones(len(pairs)), (item, pairs[:, 0]))))
    return expected(items.tolist(), items.tolist(), scores, 10, 0.3, 0.6)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 1)])
def test_sparse_items_in_the_second_place_of_real_votes(run, votes, tmp_path, workers, servers):
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, f"output={tmp_path}", "sim_bar=0.3", "sim_ubar=0.6")
    assert done.status == 0, done.err
    check(written(tmp_path, workers), votes)


def test_sparse_with_values_and_ties(run, tmp_path):
    """Items in the first place; equal scores are in the order of the ids, and equal items have the similarity 1."""
    file = tmp_path / "triples.csv"
    file.write_text("x,p,1\nx,q,2\ny,p,2\ny,q,4\nz,q,1\nw,p,1\nw,q,2\nlone,r,5\n")
    settings = [f"input={file}", "format=fsv", "topk=2", f"output={tmp_path}/out", "sim_bar=0.01"]
    done = run.mpiexec(2, SCRIPT, *settings)
    assert done.status == 0, done.err
    found = written(tmp_path / "out", 2)
    assert {item: [other for other, _ in pairs] for item, pairs in found.items()} == {
        "w": ["x", "y"],
        "x": ["w", "y"],
        "y": ["w", "x"],
        "z": ["w", "x"],
    }
    assert [score for _, score in found["x"]] == pytest.approx([1.0, 1.0])
    assert found["z"][0][1] == pytest.approx(2 / 5**0.5)


def test_wrong_settings_are_told(run):
    cases = [
        (["format=dense"], "either input, or both"),
        (["input=x", "input_b=y"], "either input, or both"),
        (["input=x", "format=svf"], "format is 'svf'"),
        (["input=x", "sim_bar=0.5"], "the dense one has simbar"),
        (["input=x", "format=fsv", "simbar=0.5"], "fsv and sfv have input and sim_bar"),
        (["input=x", "topk=0"], "topk is 0"),
        (["input=examples/data/wiki-Vote.csv"], "several lines with the id"),
    ]
    run.check_told(SCRIPT, cases)
