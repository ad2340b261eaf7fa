"""Pregel on 1, 2 and 4 workers against networkx, on real edges, of which each worker brings a share at random."""

import json
import re
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "examples" / "data" / "wiki-Vote.csv"
PAGE = ROOT / "docs" / "graphs.md"


@pytest.fixture(scope="module")
def model():
    return nx.DiGraph(np.loadtxt(DATA, int, delimiter=",").tolist())


@pytest.fixture(scope="module")
def expected(model):
    for v, w in model.edges:
        model[v][w]["distance"] = (v + w) % 5 + 1.0
    same = {v: {w for w in model[v] if len(str(w)) == len(str(v))} for v in model}
    reach = dict.fromkeys(model, 0.0)
    for v, ways in model.in_degree:
        count = sum(v in same[u] for u in model.predecessors(v)) if ways else 0
        for w in model[v]:
            reach[w] += count
    greatest = {}
    condensed = nx.condensation(model)
    for part in nx.topological_sort(condensed):
        members = condensed.nodes[part]["members"]
        most = max([*members, *(greatest[before] for before in condensed.predecessors(part))])
        greatest[part] = most
    source = int(min(map(str, (v for v, degree in model.out_degree if degree))))
    return {
        "reach": reach,
        "pagerank": nx.pagerank(model, weight=None, tol=1e-16, max_iter=1000),
        "hops": nx.single_source_shortest_path_length(model, source),
        "paths": nx.single_source_dijkstra_path_length(model, source, weight="distance"),
        "components": {v: min(part) for part in nx.connected_components(model.to_undirected()) for v in part},
        "greatest": {v: greatest[part] for part in condensed for v in condensed.nodes[part]["members"]},
    }


@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_program_finds_what_networkx_finds(mpirun, n, expected, model, tmp_path):
    out = tmp_path / "found.json"
    assert mpirun(n, "pregel.py", DATA, out).status == 0
    found = {name: ({int(v): value for v, value in values.items()}, steps) for name, (values, steps) in
             json.loads(out.read_text()).items()}  # fmt: skip
    for name, values in expected.items():
        reached = {v: value for v, value in found[name][0].items() if value < np.inf}
        assert set(found[name][0]) == set(model)
        assert reached == pytest.approx(values, abs=1e-12, rel=1e-12), name
    ranks, _ = found["paracel"]
    assert ranks == pytest.approx({v: len(model) * rank for v, rank in expected["pagerank"].items()}, abs=1e-8)
    assert {name: steps for name, (_, steps) in found.items() if name in ("hops", "components", "greatest")} == {
        "hops": 6, "components": 7, "greatest": 8,
    }  # fmt: skip


@pytest.mark.parametrize(("case", "told"), [("clocks", "have committed [1, 0] times"), ("ids", "ids are text on some")])
def test_workers_that_disagree_are_told(mpirun, case, told):
    ended = mpirun(2, "uneven.py", case)
    assert ended.status == 0
    errors = ended.stdout.splitlines()
    assert len(errors) == 2
    assert all(told in error for error in errors)


MINE = {"all": "RuntimeError: in between", "one": "RuntimeError: in between", "initial": "RuntimeError: at the beginn"}
ALONE = {
    "class": "the class Raises; give an object",
    "sides": "a bigraph cannot be spread",
    "ids": "in one graph; make them all of one kind",
}
TOGETHER = {
    "directed": "ConfigError: ConnectedComponents was given a digraph",
    "source": "ConfigError: no vertex 99999 for ShortestPaths",
    "text": "ConfigError: no vertex '1' for ShortestPaths",
    "kinds": "ConfigError: some workers bring a digraph, and others an undirected_graph",
}


@pytest.mark.parametrize("n", [2, 3])
def test_what_one_worker_raises_ends_the_run_in_all_and_the_next_one_works(mpirun, n, tmp_path):
    out = tmp_path / "told.json"
    assert mpirun(n, "pregel.py", "errors", out).status == 0
    told = json.loads(out.read_text())
    for name, error in (MINE | ALONE).items():
        assert error in told[name][-1]
    for name in ("one", "initial", *ALONE):
        for other in told[name][:-1]:
            assert other.startswith(f"ConfigError: worker {n - 1} failed ")
            assert other.endswith(told[name][-1])
    assert len(set(told["all"])) == 1
    for name, error in TOGETHER.items():
        assert all(each.startswith(error) for each in told[name])


def test_openmpi(openmpirun):
    assert openmpirun(2, "uneven.py", "ids").status == 0


def blocks_of(page):
    return re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_code_of_the_page_on_graphs_runs(mpirun, tmp_path):
    """What is printed is what the page says, on one worker; the program's result is that of two workers."""
    page = PAGE.read_text(encoding="utf-8")
    first, second, program, one_by_one = blocks_of(page)
    expected = [
        comment for line in (first + second).splitlines() for comment in re.findall(r"^print\(.*\)  # (.*)", line)
    ]
    assert len(expected) == 6
    script = tmp_path / "page.py"
    script.write_text(first + second)
    assert mpirun(1, script).stdout.splitlines() == expected
    (result,) = re.findall(r"it prints `([^`]*)`", page)
    script.write_text(f"{program}\n{one_by_one}\nExample().solve()\nReached = ReachedOneByOne\nExample().solve()\n")
    assert mpirun(2, script).stdout.splitlines() == [result] * 2
