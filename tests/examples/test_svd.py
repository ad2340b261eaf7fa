"""Truncated SVD against scipy's `svds`: singular values, the spaces of the vectors, and the product of all three."""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import subspace_angles
from scipy.sparse.linalg import svds

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/svd/svd.py"
CONFIG = "examples/svd/svd.json"
VOTES = ROOT / "examples/data/wiki-Vote.csv"


def vectors(folder, name, workers=1):
    """Ids and their vectors, of the files of all workers, in the order of the ids."""
    text = "".join((folder / f"{name}{worker}").read_text() for worker in range(workers))
    lines = [line.split("\t") for line in text.splitlines()]
    ids = [int(each) if each.isdecimal() else each for each, _ in lines]
    assert len(set(ids)) == len(ids)
    rows = np.array([row.split("|") for _, row in lines], np.float64)
    return sorted(ids), rows[sorted(range(len(ids)), key=ids.__getitem__)]


def check(folder, workers, expected, rtol):
    """Singular values within rtol of svds' ones, orthonormal vectors, of its spaces. Gives U and V."""
    u, s, vt = expected
    k = len(s)
    np.testing.assert_allclose(np.loadtxt(folder / "sigma_0", ndmin=1), s[::-1], rtol=rtol)
    (_, left), (_, right) = vectors(folder, "U_", workers), vectors(folder, "V_")
    for found, theirs in ((left, u), (right, vt.T)):
        np.testing.assert_allclose(found.T @ found, np.eye(k), atol=1e-12)
        assert subspace_angles(found, theirs).max() < 1e-5
    np.testing.assert_allclose(left * s[::-1] @ right.T, u * s @ vt, atol=1e-5)
    return left, right


def decaying(m, n, random):
    """A dense matrix whose singular values fall by a fifth each time."""
    left, right = np.linalg.qr(random.normal(size=(m, n))).Q, np.linalg.qr(random.normal(size=(n, n))).Q
    return left * (100 * 0.8 ** np.arange(n)) @ right.T


@pytest.fixture(scope="module")
def votes():
    """The ids of the rows and of the columns, and the SVD."""
    pairs = np.loadtxt(VOTES, np.int64, delimiter=",")
    rows, row = np.unique(pairs[:, 0], return_inverse=True)
    columns, column = np.unique(pairs[:, 1], return_inverse=True)
    return rows, columns, svds(sp.csr_array((np.ones(len(pairs)), (row, column))), 10)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 3)])
def test_real_votes(run, votes, tmp_path, workers, servers):
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, f"output={tmp_path}")
    assert done.status == 0, done.err
    rows, columns, expected = votes
    check(tmp_path, workers, expected, 1e-6)
    assert vectors(tmp_path, "U_", workers)[0] == rows.tolist()
    assert vectors(tmp_path, "V_")[0] == columns.tolist()
    assert done.figure("rows") == len(rows)
    assert done.figure("columns") == len(columns)


def test_dense_is_the_same_with_any_number_of_workers(run, tmp_path):
    matrix = decaying(60, 40, np.random.default_rng(3))
    np.savetxt(tmp_path / "matrix.csv", matrix, "%.17g", ",")
    settings = [f"input={tmp_path}/matrix.csv", "k=5", "rounds=12", "oversampling=5"]
    found, expected = {}, svds(matrix, 5)
    for workers in (1, 4):
        done = run.mpiexec(workers, SCRIPT, *settings, f"output={tmp_path}/out{workers}")
        assert done.status == 0, done.err
        found[workers] = check(tmp_path / f"out{workers}", workers, expected, 1e-6)
    for one, four in zip(found[1], found[4], strict=True):
        np.testing.assert_allclose(four, one, atol=1e-9)


def test_one_value_of_fewer_rows_than_workers(run, tmp_path):
    """Some workers have no row; and the table's rows are single numbers."""
    (tmp_path / "matrix.csv").write_text("b,0,-3,4\na,0,6,-8\n")
    settings = [f"input={tmp_path}/matrix.csv", "pattern=fvec", "k=1", "oversampling=0", "rounds=1"]
    done = run.prun(4, 1, SCRIPT, *settings, f"output={tmp_path}/out")
    assert done.status == 0, done.err
    assert done.figure("singular value 1") == pytest.approx(125**0.5)
    ids, left = vectors(tmp_path / "out", "U_", 4)
    assert ids == ["a", "b"]
    np.testing.assert_allclose(left[:, 0], np.array([-2, 1]) / 5**0.5)
    np.testing.assert_allclose(vectors(tmp_path / "out", "V_")[1][:, 0], [0, -0.6, 0.8], atol=1e-15)


def test_wrong_settings_are_told(run):
    cases = [
        (["-c", CONFIG, "pattern=smap"], "pattern is 'smap'"),
        (["-c", CONFIG, "k=0"], "k is 0"),
        (["-c", CONFIG, "k=2382"], "at most 2381, of a matrix of 6110 x 2381"),
        (["-c", CONFIG, "oversampling=-1"], "oversampling -1"),
    ]
    run.check_told(SCRIPT, cases)
