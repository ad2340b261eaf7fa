"""Pregel with one worker, on a network without sockets: programs, halting, aggregators, runs that fail."""

from typing import ClassVar

import networkx as nx
import numpy as np
import pytest
from support.supersteps import CHAIN, WEIGHTED, Recorder, lone_worker

from paracel import pregel
from paracel.errors import ConfigError
from paracel.graphs import digraph, undirected_graph

EDGES = [(3, 6), (6, 3), (6, 2), (2, 1), (1, 2), (2, 6)]  # like figure 2 of the paper: 3, 6, 2 and 1 all hear of 6


@pytest.fixture
def worker():
    with lone_worker() as worker:
        yield worker


# --- programs of the library ------------------------------------------------------------------------------------------


def test_max_value_of_the_paper(worker):
    found = pregel.run(worker, pregel.MaxValue(), digraph(EDGES))
    assert found.to_dict() == {1: 6.0, 2: 6.0, 3: 6.0, 6: 6.0}
    assert (found.supersteps, found.halted) == (4, True)


def test_max_value_of_given_values(worker):
    graph = digraph([("a", "bb"), ("bb", "ccc"), ("dddd", "ccc")])
    found = pregel.run(worker, pregel.MaxValue(lambda ids: [len(each) for each in ids]), graph)
    assert found.to_dict() == {"a": 1.0, "bb": 2.0, "ccc": 4.0, "dddd": 4.0}
    with pytest.raises(ConfigError, match="values="):
        pregel.run(worker, pregel.MaxValue(), graph, name="other")


def test_max_value_is_exact(worker):
    """Ids are of 64 bits, more than floats tell apart; values of any other dtype may be asked for."""
    most = 2**63 - 1
    found = pregel.run(worker, pregel.MaxValue(), digraph([(most - 1, 5), (most, 6), (-most, -most - 1)]))
    assert found.to_dict() == {most - 1: most - 1, 5: most - 1, most: most, 6: most, -most: -most, -most - 1: -most}
    assert found.values.dtype == np.int64
    for dtype, values in (("int64", [most - 1, most]), ("uint64", np.array([2**64 - 1, 2**64 - 2], np.uint64))):
        program = pregel.MaxValue(lambda ids, values=values: values, dtype)
        assert pregel.run(worker, program, digraph([(1, 2), (2, 1)])).values.tolist() == [max(map(int, values))] * 2


@pytest.mark.parametrize("named", [lambda n: n, str])
def test_connected_components(worker, named):
    model = nx.gnp_random_graph(60, 0.02, seed=3)
    model = nx.relabel_nodes(model, {n: named(n * 7) for n in model})
    found = pregel.run(worker, pregel.ConnectedComponents(), undirected_graph.from_networkx(model)).to_dict()
    together = {}
    for v, component in found.items():
        together.setdefault(component, set()).add(v)
    assert sorted(map(sorted, together.values())) == sorted(map(sorted, nx.connected_components(model)))
    if named is not str:
        assert all(component == min(members) for component, members in together.items())


def test_shortest_paths_with_weights(worker):
    found = pregel.run(worker, pregel.ShortestPaths("s"), digraph(WEIGHTED)).to_dict()
    assert found == {"s": 0.0, "b": 1.0, "a": 3.0, "c": 4.0, "x": np.inf}


def test_shortest_paths_of_a_large_graph(worker):
    model = nx.gnp_random_graph(80, 0.05, seed=1, directed=True)
    for n, (v, w) in enumerate(model.edges):
        model[v][w]["weight"] = 1.0 + n % 7
    found = pregel.run(worker, pregel.ShortestPaths(0), digraph.from_networkx(model)).to_dict()
    lengths = nx.single_source_dijkstra_path_length(model, 0)
    assert {v: length for v, length in found.items() if length < np.inf} == lengths


def ranked(model, damping=0.85):
    return nx.pagerank(model, alpha=damping, tol=1e-16, max_iter=1000)


def test_page_rank_with_pages_that_lead_nowhere(worker):
    model = nx.gnp_random_graph(50, 0.05, seed=2, directed=True)
    assert any(degree == 0 for _, degree in model.out_degree)
    graph, expected = digraph.from_networkx(model), ranked(model)
    found = pregel.run(worker, pregel.PageRank(300), graph)
    assert found.to_dict() == pytest.approx(expected, abs=1e-12)
    assert found.halted
    assert found.supersteps <= 301
    early = pregel.run(worker, pregel.PageRank(300, tolerance=1e-12), graph)
    assert early.to_dict() == pytest.approx(expected, abs=1e-10)
    assert early.supersteps < found.supersteps
    other = pregel.run(worker, pregel.PageRank(300, 0.5), graph)
    assert other.to_dict() == pytest.approx(ranked(model, 0.5), abs=1e-12)


def test_page_rank_as_paracel_has_it(worker):
    """One round by hand, and n times the normalised ranks in the end, in a graph where every page leads somewhere."""
    graph = digraph([(1, 2), (1, 3), (2, 3), (3, 1)])
    once = pregel.run(worker, pregel.PageRank(1, normalised=False), graph).to_dict()
    third = 1 / 3
    assert once == pytest.approx({1: 0.15 + 0.85 * third, 2: 0.15 + 0.85 * third / 2, 3: 0.15 + 0.85 * third * 1.5})
    found = pregel.run(worker, pregel.PageRank(200, normalised=False), graph).to_dict()
    assert found == pytest.approx({v: 3 * rank for v, rank in ranked(graph.to_networkx()).items()}, abs=1e-10)


def test_no_rounds(worker):
    assert pregel.run(worker, pregel.PageRank(0), digraph(EDGES)).to_dict() == dict.fromkeys([1, 2, 3, 6], 0.25)


# --- the rules of supersteps ------------------------------------------------------------------------------------------


def test_halted_vertices_wake_up_by_messages_only(worker):
    def only_one_sends(vertices, messages):
        vertices.vote_to_halt()
        return vertices.values + 1, np.ma.array([5, 6, 7], mask=[False, True, True])

    program = Recorder(only_one_sends)
    found = pregel.run(worker, program, CHAIN)
    assert program.seen == [([1, 2, 3], [0, 0, 0], [False] * 3), ([2, 3], [5, 5], [True, True])]
    assert found.to_dict() == {1: 11, 2: 21, 3: 31}
    assert (found.supersteps, found.halted) == (2, True)


def test_active_vertices_stay_active_until_they_vote(worker):
    program = Recorder(
        lambda vertices, messages: (vertices.values, None),
        lambda vertices, messages: (vertices.values, vertices.vote_to_halt(vertices.ids != 2)),
        lambda vertices, messages: (vertices.values, None),
    )
    pregel.run(worker, program, CHAIN)
    assert [ids for ids, _, _ in program.seen] == [[1, 2, 3], [1, 2, 3], [2], [2]]


def test_a_vertex_that_a_message_woke_up_stays_awake_until_it_votes_again(worker):
    def all_halt(vertices, messages):
        vertices.vote_to_halt()
        return vertices.values, np.ma.array([1, 1, 1], mask=[True, False, True])

    program = Recorder(all_halt, *[lambda vertices, messages: (vertices.values, None)] * 2)
    pregel.run(worker, program, CHAIN)
    assert [ids for ids, _, _ in program.seen] == [[1, 2, 3], [3], [3], [3]]


def test_messages_of_a_superstep_do_not_last(worker):
    """What is sent in a superstep is seen in the next one, and never again, also where rows are used again."""

    def sends(values):
        return lambda vertices, messages: (vertices.values, np.asarray(values))

    program = Recorder(
        sends([1, 2, 3]), lambda v, m: (v.values, None), sends([10, 20, 30]), lambda v, m: (v.values, None)
    )
    pregel.run(worker, program, CHAIN)
    assert [messages for _, messages, _ in program.seen] == [[0, 0, 0], [0, 1, 3], [0, 0, 0], [0, 10, 30], [0, 0, 0]]


def test_messages_along_single_edges(worker):
    def along(values, edges=None):
        return lambda v, m: (v.values, pregel.EdgeMessages(values, edges))

    program = Recorder(
        along([1, 2, 4]), along([8], [1]), along([1, 1, 1], [1, 1, 0]), along(np.ma.array([3, 3, 3], mask=[1, 0, 1]))
    )
    pregel.run(worker, program, CHAIN)  # edges 1-2, 1-3, 2-3
    assert [messages for _, messages, _ in program.seen] == [[0, 0, 0], [0, 1, 6], [0, 0, 8], [0, 1, 2], [0, 0, 3]]


def test_edges_of_some_vertices(worker):
    seen = []

    def some(vertices, messages):
        if vertices.superstep:
            seen.append(
                (vertices.out_degrees.tolist(), vertices.weights.tolist(), vertices.per_edge(vertices.ids).tolist())
            )
        else:
            vertices.vote_to_halt(vertices.ids == 1)
        return vertices.values, None

    graph = digraph([(1, 2, 9.0), (2, 1, 5.0), (2, 3, 6.0), (3, 3, 7.0)])
    pregel.run(worker, Recorder(some, some), graph)
    assert seen == [([2, 1], [5.0, 6.0, 7.0], [2, 2, 3])]


def test_aggregators(worker):
    seen = []

    def give(vertices, messages):
        seen.append(dict(vertices.aggregated))
        vertices.aggregate("total", vertices.values)
        vertices.aggregate("total", 0.5)
        vertices.aggregate("least", vertices.values)
        vertices.aggregate("greatest", vertices.values)
        return vertices.values, None

    found = pregel.run(worker, Recorder(give, give), CHAIN)
    assert seen == [
        {"total": 0.0, "least": np.inf, "greatest": -np.inf},
        {"total": 60.5, "least": 10.0, "greatest": 30.0},
    ]
    assert found.aggregated == {"total": 0.0, "least": np.inf, "greatest": -np.inf}  # nothing in the last superstep


def test_a_limit_of_supersteps(worker):
    found = pregel.run(worker, pregel.PageRank(50), digraph(EDGES), max_supersteps=3)
    assert (found.supersteps, found.halted) == (3, False)
    begun = pregel.run(worker, pregel.MaxValue(), digraph(EDGES), max_supersteps=0)
    assert begun.to_dict() == {1: 1.0, 2: 2.0, 3: 3.0, 6: 6.0}
    with pytest.raises(ConfigError, match="max_supersteps=-1"):
        pregel.run(worker, pregel.MaxValue(), digraph(EDGES), max_supersteps=-1)


def test_a_partition_serves_many_runs_and_no_table_is_left(worker):
    spread = pregel.partition(worker.comm, digraph(EDGES))
    for _ in range(3):
        assert set(pregel.run(worker, pregel.MaxValue(), spread).values) == {6.0}
    assert worker.tables() == {}


def fail(vertices, messages):
    raise ZeroDivisionError("in the program")


class Other(Recorder):
    combiner = "max"
    dtype = "float64"
    aggregators: ClassVar = {}


def test_a_run_that_failed_leaves_no_tables(worker):
    with pytest.raises(ZeroDivisionError, match="in the program"):
        pregel.run(worker, Recorder(lambda v, m: (v.values, None), fail), CHAIN)
    assert worker.tables() == {}
    assert pregel.run(worker, pregel.MaxValue(), CHAIN).to_dict() == {1: 1.0, 2: 2.0, 3: 3.0}


@pytest.mark.parametrize("next_one", [Recorder, Other])
def test_what_a_run_that_was_cut_off_left_is_not_taken_for_messages(worker, next_one):
    def cut_off(vertices, messages):
        raise KeyboardInterrupt

    def send(vertices, messages):
        return vertices.values, np.array([100, 100, 100])

    with pytest.raises(KeyboardInterrupt):
        pregel.run(worker, Recorder(send, cut_off), CHAIN)
    assert len(worker.tables()) == 2
    program = next_one(lambda v, m: (v.values, None))
    pregel.run(worker, program, CHAIN)
    assert [received for _, _, received in program.seen] == [[False] * 3] * 2
    assert worker.tables() == {}


def test_a_graph_without_vertices(worker):
    found = pregel.run(worker, pregel.PageRank(), digraph())
    assert (found.to_dict(), found.supersteps, found.halted) == ({}, 0, True)


def test_vertices_without_edges_take_part(worker):
    graph = digraph([(1, 2)])
    graph.add_vertices([8, 9])
    assert pregel.run(worker, pregel.MaxValue(), graph).to_dict() == {1: 1.0, 2: 2.0, 8: 8.0, 9: 9.0}


# --- one vertex at a time ---------------------------------------------------------------------------------------------


class Paths(pregel.PerVertexProgram):
    """Shortest paths from "s", as in section 5.2 of the paper."""

    combiner = "min"
    aggregators: ClassVar = {"reached": "sum"}

    def initial_value(self, id):
        return np.inf

    def compute_vertex(self, vertex, message):
        least = 0.0 if vertex.superstep == 0 and vertex.id == "s" else message
        if least is not None and least < vertex.value:
            vertex.value = least
            vertex.aggregate("reached", 1)
            for target, weight in vertex.edges:
                vertex.send(target, least + weight)
        vertex.vote_to_halt()


def test_program_of_one_vertex(worker):
    found = pregel.run(worker, Paths(), digraph(WEIGHTED))
    expected = pregel.run(worker, pregel.ShortestPaths("s"), digraph(WEIGHTED))
    assert found.to_dict() == expected.to_dict()
    assert found.supersteps == expected.supersteps


class Gossip(pregel.PerVertexProgram):
    def __init__(self):
        self.seen = []

    def initial_value(self, id):
        return 0.0

    def compute_vertex(self, vertex, message):
        self.seen.append((vertex.superstep, vertex.id, message, vertex.count, dict(vertex.aggregated)))
        if vertex.superstep == 0:
            vertex.send_to_all(1)
            if vertex.id == 1:
                vertex.send(3, 10)
        vertex.value = message or 0
        vertex.vote_to_halt()


def test_messages_of_one_vertex(worker):
    program = Gossip()
    assert pregel.run(worker, program, CHAIN).to_dict() == {1: 0, 2: 1, 3: 12}
    assert program.seen[3:] == [(1, 2, 1.0, 3, {}), (1, 3, 12.0, 3, {})]
