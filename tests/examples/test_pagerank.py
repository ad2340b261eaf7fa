"""PageRank against networkx on real links, with 1, 2 and 4 workers, and Paracel's form of it."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/pagerank/pagerank.py"
CONFIG = "examples/pagerank/pagerank.json"
DATA = ROOT / "examples/data/wiki-Vote.csv"


def written(folder):
    assert [path.name for path in folder.iterdir()] == ["pagerank_0"]
    lines = [line.split("\t") for line in (folder / "pagerank_0").read_text().splitlines()]
    found = {page: float(rank) for page, rank in lines}
    assert len(found) == len(lines)
    return found


@pytest.fixture(scope="module")
def links():
    return nx.DiGraph(np.loadtxt(DATA, str, delimiter=",").tolist())


@pytest.fixture(scope="module")
def expected(links):
    return nx.pagerank(links, tol=1e-16, max_iter=1000)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 3)])
def test_ranks_equal_those_of_networkx(run, links, expected, workers, servers, tmp_path):
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, f"output={tmp_path}")
    assert done.status == 0, done.err
    assert written(tmp_path) == pytest.approx(expected, abs=1e-8, rel=1e-8)
    assert done.figure("pages") == len(links) == 7115
    best = sorted(expected, key=expected.get, reverse=True)[:10]
    assert [line.split(" : ")[0] for line in done.out.splitlines() if " : " in line] == best


def test_form_of_paracel(run, links, expected, tmp_path):
    done = run.mpiexec(2, SCRIPT, "-c", CONFIG, f"output={tmp_path}", "normalised=false", "rounds=150")
    assert done.status == 0, done.err
    assert written(tmp_path) == pytest.approx({v: len(links) * r for v, r in expected.items()}, abs=1e-7)


def test_one_round_by_hand_of_a_page_that_leads_nowhere(run, tmp_path):
    text, out = tmp_path / "links.txt", tmp_path / "out"
    text.write_bytes(b"a\tb\r\n\na\tc\nb\tc")
    settings = [f"input={text}", f"output={out}", "separator=\t", "rounds=1", "damping_factor=0.5"]
    assert run.python(SCRIPT, *settings).status == 0
    third = 1 / 3
    lost = third / 3
    ranks = {"a": lost, "b": third / 2 + lost, "c": third / 2 + third + lost}
    assert written(out) == pytest.approx({v: 0.5 / 3 + 0.5 * rank for v, rank in ranks.items()})


def test_wrong_settings_are_told(run, tmp_path):
    text = tmp_path / "links.txt"
    text.write_text("1,2\n3\n")
    cases = [(["-c", CONFIG, "damping_factor=1"], "damping_factor is 1"), ([f"input={text}"], "line 2")]
    run.check_told(SCRIPT, cases)
