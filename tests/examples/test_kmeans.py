"""k-means against scikit-learn from the same first centres, with 1, 2 and 4 workers; and clusters without points."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.metrics import adjusted_rand_score

from paracel.datagen.__main__ import main as datagen

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/kmeans/kmeans.py"
CONFIG = "examples/kmeans/kmeans.json"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("kmeans_program", ROOT / SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    """A file of points around eight centres that are not apart, and what is in it: k-means has many local optima."""
    path = tmp_path_factory.mktemp("points") / "points.tsv"
    datagen(f"kmeans -o {path} -n 1500 --columns=3 --clusters=8 --spread=4 --seed=5".split())
    return path, numbers(path)[:, 1:]


def numbers(path, separator=","):
    return np.loadtxt(path.read_text().replace("\t", separator).splitlines(), delimiter=separator, ndmin=2)


def centres_in(folder):
    table = numbers(folder / "centers_0", "|")
    np.testing.assert_array_equal(table[:, 0], np.arange(len(table)))
    return table[:, 1:]


def labels_in(folder, workers):
    """By id, from all workers' files."""
    names = [f"kmeans_{worker}" for worker in range(workers)]
    assert sorted(path.name for path in folder.iterdir()) == ["centers_0", *names]
    lines = [line.split("\t") for name in names for line in (folder / name).read_text().splitlines()]
    labels = {key: int(label) for key, label in lines}
    assert len(labels) == len(lines)
    return labels


def in_order(labels):
    return np.array([labels[str(key)] for key in range(len(labels))])


@pytest.fixture(scope="module")
def first_centres(overlapping, tmp_path_factory):
    """What is drawn by one worker: no round."""
    folder = tmp_path_factory.mktemp("first")
    settings = [f"input={overlapping[0]}", f"output={folder}", "kclusters=8", "rounds=0"]
    subprocess.run([sys.executable, SCRIPT, *settings], cwd=ROOT, check=True, timeout=90)
    return centres_in(folder)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 3)])
def test_equals_scikit_learn_from_the_same_first_centres(run, overlapping, first_centres, workers, servers, tmp_path):
    path, points = overlapping
    expected = KMeans(8, init=first_centres, n_init=1, tol=0, max_iter=1000, algorithm="lloyd").fit(points)
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, f"input={path}", f"output={tmp_path}", "kclusters=8")
    assert done.status == 0, done.err
    np.testing.assert_allclose(centres_in(tmp_path), expected.cluster_centers_, rtol=0, atol=1e-9)
    labels = in_order(labels_in(tmp_path, workers))
    np.testing.assert_array_equal(labels, expected.labels_)
    assert done.figure("inertia") == pytest.approx(expected.inertia_, rel=1e-9)
    assert done.figure("points") == 1500
    assert done.figure("largest cluster") == np.bincount(labels).max()
    assert 5 < done.figure("rounds") < 300


def test_first_centres_are_points_and_as_good_as_those_of_scikit_learn(overlapping, first_centres):
    _, points = overlapping
    assert np.unique(first_centres, axis=0).shape == (8, 3)
    distances = ((points[:, None] - first_centres) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances.min(axis=0), 0, atol=1e-20)

    def cost(centres):
        return ((points[:, None] - centres) ** 2).sum(axis=2).min(axis=1).sum()

    theirs = [cost(kmeans_plusplus(points, 8, random_state=seed)[0]) for seed in range(20)]
    assert cost(first_centres) <= max(theirs)


def test_clusters_that_are_apart_are_found_also_far_from_the_origin(run, tmp_path):
    """With ids that are texts, some of one worker's longer than those of the other."""
    path, out = tmp_path / "points.tsv", tmp_path / "out"
    datagen(f"kmeans -o {path} -n 400 --columns=2 --clusters=6 --spread=0.1 --seed=2".split())
    table = numbers(path)
    lines = [f"{'é' * (key % 3)}{key}\t{x + 1e7:.4f},{y - 1e7:.4f}" for key, (x, y) in enumerate(table[:, 1:])]
    path.write_text("\r\n".join(lines), encoding="utf-8")
    datagen(f"kmeans -o {tmp_path / 'labels'} -n 400 --columns=2 --clusters=6 --part=labels --seed=2".split())
    settings = [f"input={path}", "kclusters=6", "seed=3"]
    for done in (
        run.python(SCRIPT, *settings, f"output={out}/1"),
        run.prun(2, 1, SCRIPT, *settings, f"output={out}/2"),
    ):
        assert done.status == 0, done.err
    found = labels_in(out / "1", 1)
    assert found == labels_in(out / "2", 2)
    labels = [found[f"{'é' * (key % 3)}{key}"] for key in range(400)]
    assert adjusted_rand_score(numbers(tmp_path / "labels")[:, 1], labels) == 1


@pytest.fixture
def far_away(overlapping, tmp_path):
    """A file of centres, two at points and three where none is, and what is in it."""
    begin = np.vstack([overlapping[1][:2], [[500, 0, 0], [600, 0, 0], [700, 0, 0]]])
    path = tmp_path / "begin"
    path.write_text("".join(f"{n}\t{x}|{y}|{z}\n" for n, (x, y, z) in enumerate(begin)))
    return path, begin


@pytest.mark.parametrize("workers", [1, 4])
def test_clusters_without_points_begin_anew_at_the_farthest_points(run, overlapping, far_away, workers, tmp_path):
    (path, points), (begin_path, begin) = overlapping, far_away
    settings = [f"input={path}", f"centers_input={begin_path}", f"output={tmp_path}/out", "kclusters=5", "rounds=1"]
    done = run.prun(workers, 2, SCRIPT, *settings)
    assert done.status == 0, done.err
    distances = ((points[:, None] - begin) ** 2).sum(axis=2)
    labels, farthest = distances.argmin(axis=1), np.argsort(-distances.min(axis=1))[:3]
    expected = np.vstack([points[labels == 0].mean(axis=0), points[labels == 1].mean(axis=0), points[farthest]])
    np.testing.assert_allclose(centres_in(tmp_path / "out"), expected, rtol=0, atol=1e-9)


def test_all_clusters_have_points_in_the_end(run, overlapping, far_away, tmp_path):
    (path, points), (begin_path, _) = overlapping, far_away
    out = tmp_path / "out"
    done = run.prun(2, 1, SCRIPT, f"input={path}", f"centers_input={begin_path}", f"output={out}", "kclusters=5")
    assert done.status == 0, done.err
    centres, labels = centres_in(out), in_order(labels_in(out, 2))
    assert done.figure("smallest cluster") == np.bincount(labels, minlength=5).min() > 0
    expected = KMeans(5, init=centres, n_init=1, tol=0, algorithm="lloyd").fit(points)  # goes on, and nothing moves
    np.testing.assert_allclose(centres, expected.cluster_centers_, rtol=0, atol=1e-9)


def test_more_workers_than_points(run, tmp_path):
    path = tmp_path / "points.tsv"
    path.write_text("5\t0,0\n6\t0,2\n7\t9,9\n")
    done = run.prun(4, 1, SCRIPT, f"input={path}", f"output={tmp_path}/out", "kclusters=2")
    assert done.status == 0, done.err
    assert sorted(centres_in(tmp_path / "out").tolist()) == [[0, 1], [9, 9]]
    labels = labels_in(tmp_path / "out", 4)
    assert labels["5"] == labels["6"] != labels["7"]


def test_what_cannot_be_is_told(run, tmp_path):
    texts = {"alike": "1\t0,0\n2\t1,1\n3\t1,1\n", "few": "1\t0,0\n2\t1,1\n", "wrong": "1\t0,0\n2\t1,x\n"}
    for name, lines in texts.items():
        (tmp_path / name).write_text(lines)
    cases = [
        ([f"input={tmp_path}/alike", "kclusters=3"], "has 2 different points"),
        ([f"input={tmp_path}/few", "kclusters=3"], "kclusters is 3, and"),
        ([f"input={tmp_path}/wrong", "kclusters=1"], "line 2"),
        ([f"input={tmp_path}/few", "kclusters=0"], "allowed: whole numbers from 1 on"),
        ([f"input={tmp_path}/few", "kclusters=1", "type=fmap"], "allowed: 'fvec'"),
    ]
    run.check_told(SCRIPT, cases)


def test_error_of_one_ends_all(run, overlapping, tmp_path):
    (tmp_path / "begin").write_text("0\t1|2\n")
    settings = [f"input={overlapping[0]}", f"centers_input={tmp_path / 'begin'}", "kclusters=1"]
    done = run.prun(2, 1, SCRIPT, *settings)
    assert done.status != 0
    assert "has centres of shape (1, 2); needed: (1, 3)" in done.err


# --- parts ------------------------------------------------------------------------------------------------------------


def test_nearest_is_the_nearest_also_in_blocks(program, monkeypatch):
    random = np.random.default_rng(0)
    points, centres = random.normal(size=(101, 3)), random.normal(size=(7, 3))
    distances = ((points[:, None] - centres) ** 2).sum(axis=2)
    monkeypatch.setattr(program, "BLOCK", 70)
    labels = program.nearest(points, centres)
    np.testing.assert_array_equal(labels, distances.argmin(axis=1))
    np.testing.assert_allclose(program.squares(points, centres[labels]), distances.min(axis=1))


def test_waiting_times_are_exponential_and_of_each_turn_their_own(program):
    numbers = np.arange(5000, dtype=np.uint64)
    one, other = (program.waiting_times(numbers, 0, turn) for turn in (0, 1))
    assert kstest(one, "expon").pvalue > 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.05
    np.testing.assert_array_equal(one[100:], program.waiting_times(numbers[100:], 0, 0))


def test_numbers_of_texts_do_not_depend_on_the_others(program):
    ids = np.array(["a", "b", "ab", "ba", "é", "a" * 30])
    assert len(set(program.numbers_of(ids).tolist())) == 6
    np.testing.assert_array_equal(program.numbers_of(ids)[:2], program.numbers_of(np.array(["a", "b"])))
    assert program.numbers_of(ids[:0]).shape == (0,)
