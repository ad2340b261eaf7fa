"""DeepWalk on real links, with 1, 2 and 4 workers: the vectors tell links that were held out from false ones."""

import importlib.util
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/embedding/embedding.py"
CONFIG = "examples/embedding/embedding.json"
DATA = ROOT / "examples/data/wiki-Vote.csv"
CROWDS = ["dim=8", "rounds=20", "window=2", "batch=10"]


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("embedding_program", ROOT / SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def random():
    return np.random.default_rng(0)


def vectors(path):
    """Lines `id<TAB>f1|f2|...`; each id is there once."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    found = {int(key): np.array(numbers.split("|"), float) for key, numbers in lines}
    assert len(found) == len(lines)
    return found


def pairs_in(folder):
    """Ends, labels and scores."""
    table = np.loadtxt(folder / "pairs_0", delimiter=",")
    return [tuple(ends) for ends in table[:, :2].astype(int).tolist()], table[:, 2], table[:, 3]


@pytest.fixture(scope="module")
def links():
    return {tuple(sorted(ends)) for ends in np.loadtxt(DATA, int, delimiter=",").tolist()}


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 2)])
def test_vectors_tell_held_out_links_from_false_ones(run, links, tmp_path, workers, servers):
    short = ["rounds=6", "dim=16", "length=8", "alpha=0.3"]
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, f"output={tmp_path}", *short)
    assert done.status == 0, done.err
    assert done.figure("AUC by vectors") >= 0.8
    assert done.figure("AUC by degrees") <= 0.6  # what popularity alone gives
    assert done.figure("nodes") == 7115
    # the figures are those of the pairs that were written, and these are what they should be
    pairs, labels, scores = pairs_in(tmp_path)
    assert done.figure("AUC by vectors") == pytest.approx(roc_auc_score(labels, scores), abs=6e-5)
    assert len(set(pairs)) == len(pairs)
    np.testing.assert_array_equal([ends in links for ends in pairs], labels == 1)
    training = links - set(pairs)
    assert done.figure("training links") <= len(training)  # the others lead to nodes that have no other link
    assert done.figure("held-out links") == labels.sum() == pytest.approx(0.1 * len(links), rel=0.05)
    degrees = Counter(end for ends in training for end in ends)
    popular = [degrees[a] * degrees[b] for a, b in pairs]
    assert done.figure("AUC by degrees") == pytest.approx(roc_auc_score(labels, popular), abs=0.01)
    nodes, contexts = vectors(tmp_path / "nodes_0"), vectors(tmp_path / "contexts_0")
    expected = [nodes[a] @ contexts[b] + nodes[b] @ contexts[a] for a, b in pairs]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.fixture(scope="module")
def crowds(tmp_path_factory):
    """Two crowds that know each other within, with one link between; ids are far apart."""
    graph = nx.disjoint_union(nx.gnp_random_graph(30, 0.5, seed=1), nx.gnp_random_graph(30, 0.5, seed=2))
    graph.add_edge(0, 59)
    path = tmp_path_factory.mktemp("crowds") / "links.csv"
    path.write_text("".join(f"{a * 10**16},{b * 10**16}\r\n" for a, b in graph.edges))
    return path


def check_crowds(found):
    """Vectors are alike within a crowd."""
    assert sorted(found) == [number * 10**16 for number in range(60)]
    table = np.array([found[key] / np.linalg.norm(found[key]) for key in sorted(found)])
    alike = table @ table.T
    assert alike[:30, :30].mean() > 0.5
    assert alike[30:, 30:].mean() > 0.5
    assert alike[:30, 30:].mean() < 0.1


def test_three_workers_find_the_crowds(run, crowds, tmp_path):
    done = run.mpiexec(3, SCRIPT, *CROWDS, f"input={crowds}", f"output={tmp_path}")
    assert done.status == 0, done.err
    check_crowds(vectors(tmp_path / "nodes_0"))


def test_one_worker_finds_the_crowds_and_the_same_vectors_on_any_servers(run, crowds, tmp_path):
    settings = [*CROWDS, f"input={crowds}"]
    for done in (
        run.python(SCRIPT, *settings, f"output={tmp_path}/one"),
        run.prun(1, 3, SCRIPT, *settings, f"output={tmp_path}/three"),
    ):
        assert done.status == 0, done.err
    check_crowds(vectors(tmp_path / "one/nodes_0"))
    for name in ("nodes_0", "contexts_0"):
        one, three = (vectors(tmp_path / servers / name) for servers in ("one", "three"))
        assert one.keys() == three.keys()
        np.testing.assert_allclose(list(one.values()), [three[key] for key in one], atol=1e-6)


def test_more_workers_than_nodes(run, tmp_path):
    """A ring of five: of the ways to join the ends of what is held out, some are no links."""
    (tmp_path / "links").write_text("1,2\n2,3\n3,4\n4,5\n5,1\n1,1\n2,1\n")
    done = run.mpiexec(6, SCRIPT, f"input={tmp_path}/links", "dim=2", "held_out=0.4", "seed=1")
    assert done.status == 0, done.err
    assert done.figure("nodes") == 5
    assert done.figure("training links") + done.figure("held-out links") <= 5


def test_what_cannot_be_is_told(run, tmp_path):
    for name, lines in {"one": "1,2\n", "none": "\n", "names": "ann,bob\n", "short": "1,2\n3\n"}.items():
        (tmp_path / name).write_text(lines)
    one = f"input={tmp_path}/one"
    cases = [
        ([one], "has 1 links, of which none can be held out"),
        ([f"input={tmp_path}/none"], "has 0 links"),
        ([f"input={tmp_path}/names"], "are not all whole numbers"),
        ([f"input={tmp_path}/short"], "line 2"),
        ([one, "length=1"], "length is 1; allowed: whole numbers from 2 on"),
        ([one, "dim=1"], "dim is 1; allowed: whole numbers from 2 on"),
        ([one, "negatives=0"], "negatives is 0; allowed: whole numbers from 1 on"),
        ([one, "held_out=1"], "held_out is 1; allowed: above 0, below 1"),
    ]
    run.check_told(SCRIPT, cases)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_gradients(program, random):
    nodes, contexts = random.normal(size=(3, 4)), random.normal(size=(3, 6, 4))

    def loss():
        products = np.einsum("nd,nkd->nk", nodes, contexts)
        products[:, 1:] *= -1
        return np.logaddexp(0, -products).sum()

    for values, slopes in zip((nodes, contexts), program.gradients(nodes, contexts), strict=True):
        expected = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            kept = values[place]
            values[place] = kept + 1e-6
            above = loss()
            values[place] = kept - 1e-6
            expected[place] = (above - loss()) / 2e-6
            values[place] = kept
        np.testing.assert_allclose(slopes, expected, atol=1e-7)


def test_undirected(program):
    links = np.array([[3, 1], [1, 3], [2, 2], [0, 4], [1, 3]])
    assert program.undirected(links).tolist() == [[0, 4], [1, 3]]
    assert program.undirected(links[:0]).shape == (0, 2)


def test_split(program, random):
    links = program.undirected(random.integers(300, size=(2000, 2)))
    made = program.split(links, 0.2, random)
    parts = (links, made.training, made.held_out, made.false)
    every, training, held_out, false = ({*map(tuple, part.tolist())} for part in parts)
    assert training | held_out <= every
    assert not training & held_out
    assert not false & every
    ends = {end for pair in training for end in pair}
    assert all(a in ends and b in ends and a < b for a, b in held_out | false)
    assert len(held_out) == pytest.approx(0.2 * len(every), rel=0.2)
    assert len(false) > 0.9 * len(held_out)


def test_walks_go_along_links_and_to_every_neighbour_alike(program, random):
    links = np.array([[0, 1], [0, 2], [0, 3], [3, 4]])
    path = program.walks(program.neighbours(links, 6), np.zeros(6000, int), 4, random)
    assert path.shape == (4, 6000)
    there = {(a, b) for pair in links.tolist() for a, b in (pair, pair[::-1])}
    steps = Counter(zip(path[:-1].ravel().tolist(), path[1:].ravel().tolist()))
    assert steps.keys() == there
    np.testing.assert_allclose([np.mean(path[1] == node) for node in (1, 2, 3)], 1 / 3, atol=0.03)


def test_pairs_within_the_window(program):
    path = np.arange(10).reshape(5, 2)  # two walks: 0 2 4 6 8 and 1 3 5 7 9
    found = Counter(zip(*(part.tolist() for part in program.pairs_within(path, 2))))
    walks = path.T.tolist()
    places = [(a, b) for a in range(5) for b in range(5) if 0 < abs(a - b) <= 2]
    assert found == Counter((walk[a], walk[b]) for walk in walks for a, b in places)
    assert len(program.pairs_within(path, 99)[0]) == 2 * 5 * 4


def test_auc_is_that_of_scikit_learn(program, random):
    true, false = random.integers(5, size=40), random.integers(4, size=30)  # with ties
    expected = roc_auc_score([1] * 40 + [0] * 30, np.concatenate([true, false]))
    assert program.auc(true, false) == pytest.approx(expected)
