"""Maximum values against networkx on real edges: in both ways to write the program, with 1, 2 and 4 workers."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/max_vertex_value/max_vertex_value.py"
CONFIG = "examples/max_vertex_value/max_vertex_value.json"
DATA = ROOT / "examples/data/wiki-Vote.csv"


@pytest.fixture(scope="module")
def expected():
    graph = nx.DiGraph(np.loadtxt(DATA, int, delimiter=",").tolist())
    condensed, greatest = nx.condensation(graph), {}
    for part in nx.topological_sort(condensed):
        before = [greatest[other] for other in condensed.predecessors(part)]
        greatest[part] = max([*condensed.nodes[part]["members"], *before])
    return {v: greatest[part] for v, part in condensed.graph["mapping"].items()}


@pytest.mark.parametrize(
    ("workers", "servers", "method"),
    [(1, 1, "vectorised"), (2, 2, "vectorised"), (4, 2, "vectorised"), (2, 1, "per_vertex")],
)
def test_values_equal_those_of_networkx(run, expected, workers, servers, method, tmp_path):
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, f"output={tmp_path}", f"method={method}")
    assert done.status == 0, done.err
    lines = [line.split("\t") for line in (tmp_path / "vertex_val_0").read_text().splitlines()]
    assert {int(v): int(value) for v, value in lines} == expected
    assert len(lines) == len(expected)
    assert done.out.startswith("vertices: 7115\nsupersteps: 8\n8271 : 2297\n")


def test_a_graph_that_hangs_together_knows_one_value_everywhere(run, tmp_path):
    text = tmp_path / "ring.txt"
    text.write_text("".join(f"{n} {(n + 1) % 12}\n" for n in range(12)))
    done = run.mpiexec(2, SCRIPT, f"input={text}", "separator= ")
    assert (done.status, done.out) == (0, "vertices: 12\nsupersteps: 13\n11 : 12\n"), done.err


@pytest.mark.parametrize("method", ["vectorised", "per_vertex"])
def test_ids_that_floats_do_not_tell_apart_are_exact(run, method, tmp_path):
    """More workers than vertices, some of which have none."""
    text, most = tmp_path / "pair.txt", 2**53 + 1
    text.write_text(f"{most - 1},{most}\n{most},{most - 1}\n")
    done = run.mpiexec(4, SCRIPT, f"input={text}", f"method={method}", f"output={tmp_path}")
    assert (done.status, done.out) == (0, f"vertices: 2\nsupersteps: 3\n{most} : 2\n"), done.err
    lines = (tmp_path / "vertex_val_0").read_text().splitlines()
    assert sorted(lines) == [f"{most - 1}\t{most}", f"{most}\t{most}"]


def test_wrong_input_and_method_are_told(run, tmp_path):
    (tmp_path / "texts").write_text("a,b")
    (tmp_path / "short").write_text("1")
    cases = [
        ([f"input={tmp_path}/texts"], "'a'"),
        ([f"input={tmp_path}/short"], "line 1"),
        (["-c", CONFIG, "method=both"], "'vectorised', 'per_vertex'"),
    ]
    run.check_told(SCRIPT, cases)
