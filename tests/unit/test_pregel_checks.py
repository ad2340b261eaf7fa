"""What Pregel refuses: programs that are none, what they must not return, graphs that they cannot have."""

import numpy as np
import pytest
from support.supersteps import CHAIN, WEIGHTED, Recorder, lone_worker

from paracel import pregel
from paracel.errors import ConfigError, TableError
from paracel.graphs import bigraph, digraph, undirected_graph


@pytest.fixture
def worker():
    with lone_worker() as worker:
        yield worker


def wrong(result, initial=None):
    """A program whose `compute`, and `initial`, return this, or what it makes of the vertices."""

    class Wrong(pregel.VertexProgram):
        dtype = "int64"

        def initial(self, vertices):
            return vertices.ids if initial is None else initial

        def compute(self, vertices, messages):
            return result(vertices) if callable(result) else result

    return Wrong()


def along(*given):
    return lambda v: (v.values, pregel.EdgeMessages(*given))


TUPLE = r"Wrong.compute returned {}.*return a tuple \(values, messages\): values of shape \(3,\)"
VALUES = r"Wrong.compute returned values{}.*of shape \(3,\), one for each active vertex"
MESSAGES = r"Wrong.compute returned messages{}.*return 3, shape \(3,\): one for each {}"
POSITIONS = "Wrong.compute returned EdgeMessages with edges.*whole numbers from 0, below 3"
INITIAL = r"Wrong.initial returned .*return numbers of shape \(3,\), .* or one number for all"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (wrong(None), TUPLE.format("None")),
        (wrong(lambda v: v.values), TUPLE.format("an array of int64")),
        (wrong(lambda v: (v.values, None, None)), TUPLE.format("a tuple of 3")),
        (wrong([[1, 2, 3], None]), TUPLE.format("")),
        (wrong((1, None)), VALUES.format(r" of shape \(\)")),
        (wrong(([1, 2], None)), VALUES.format(r" of shape \(2,\)")),
        (wrong((["a", "b", "c"], None)), VALUES.format(r", \['a', 'b', 'c'\]")),
        (wrong(([1, 2, [3]], None)), VALUES.format("")),
        (wrong(([0.5, 1, 2], None)), "values of float64, and initial had returned int64.*as 0.0"),
        (wrong(lambda v: (v.values, 1)), MESSAGES.format(r" of shape \(\)", "active vertex")),
        (wrong(lambda v: (v.values, [1, 2])), MESSAGES.format("", "active vertex")),
        (wrong(lambda v: (v.values, [1, 2, [3]])), MESSAGES.format("", "active vertex")),
        (wrong(lambda v: (v.values, "abc")), MESSAGES.format(", 'abc'", "active vertex")),
        (wrong(lambda v: (v.values, np.ma.array([1, 2], mask=[0, 1]))), MESSAGES.format("", "active vertex")),
        (wrong(lambda v: (v.values, [0.5, 1, 2])), "messages of float64, and the program's dtype is int64"),
        (wrong(along([1])), MESSAGES.format("", "edge")),
        (wrong(along([1], [0, 1, 2])), MESSAGES.format("", "edge")),
        (wrong(along([1], [3])), POSITIONS),
        (wrong(along([1], [-1])), POSITIONS),
        (wrong(along([1], 0)), POSITIONS),
        (wrong(along([1], [0.0])), POSITIONS),
        (wrong(along([1], [True, False, False])), POSITIONS),
        (wrong(None, "abc"), INITIAL),
        (wrong(None, [1, 2]), INITIAL),
        (wrong(None, [0]), INITIAL),
        (wrong(None, [1, [2], 3]), INITIAL),
        (wrong(None, {}), INITIAL),
        (wrong(lambda v: v.vote_to_halt([True])), r"vote_to_halt was given shape \(1,\); allowed: \(3,\)"),
        (wrong(lambda v: v.per_edge([1, 2])), r"per_edge was given shape \(2,\); allowed: \(3,\)"),
        (Recorder(lambda v, m: v.aggregate("sum", 1)), "no aggregator 'sum'.*total, least, greatest"),
        (Recorder(lambda v, m: v.aggregate("total", "many")), r"aggregate\('total', 'many'\); allowed: a number"),
    ],
)
def test_what_a_program_must_return_is_told(worker, program, told):
    with pytest.raises(ConfigError, match=told):
        pregel.run(worker, program, CHAIN)
    assert worker.tables() == {}


def test_values_of_two_vertices_are_no_pair(worker):
    """What is told does not depend on how many vertices there are."""
    with pytest.raises(ConfigError, match="return a tuple"):
        pregel.run(worker, wrong(lambda v: v.values), digraph([(1, 2)]))


class Unfit(pregel.VertexProgram):
    def __init__(self, **settings):
        vars(self).update(settings)

    def initial(self, vertices):
        return 0

    def compute(self, vertices, messages):
        raise AssertionError


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (Recorder, r"the class Recorder; give an object of it: Recorder\(\.\.\.\)"),
        ("pagerank", "the program is 'pagerank'; allowed: a VertexProgram"),
        (Unfit(dtype="text"), "Unfit.dtype='text'; allowed"),
        (Unfit(dtype=bool), "Unfit.dtype=.*bool.*; allowed"),
        (Unfit(dtype="bool"), "Unfit.dtype='bool'; allowed: whole numbers and floats, as 'float64'"),
        (Unfit(combiner="mean"), "no combiner 'mean'"),
        (Unfit(aggregators={"lost": "mean"}), "no combiner 'mean'"),
    ],
)
def test_what_is_no_program_is_told(worker, program, told):
    with pytest.raises(ConfigError, match=told):
        pregel.run(worker, program, CHAIN)


def test_components_of_a_directed_graph_are_refused(worker):
    for graph in (CHAIN, pregel.partition(worker.comm, CHAIN)):
        with pytest.raises(ConfigError, match=r'ConnectedComponents was given a digraph.*kind="undirected_graph"'):
            pregel.run(worker, pregel.ConnectedComponents(), graph)
    spread = pregel.partition(worker.comm, undirected_graph([(2, 1)]))
    assert pregel.run(worker, pregel.ConnectedComponents(), spread).to_dict() == {1: 1, 2: 1}


@pytest.mark.parametrize(
    ("source", "graph", "told"),
    [
        (99999, CHAIN, "no vertex 99999 for ShortestPaths in this graph.* 3 vertices, which are whole numbers"),
        ("1", CHAIN, "no vertex '1' for ShortestPaths in this graph.* whole numbers"),
        (1, digraph(WEIGHTED), "no vertex 1 for ShortestPaths in this graph.* text"),
        (1, digraph(), "no vertex 1 .* 0 vertices"),
        (1, digraph([(1, 2, -0.5)]), "weight -0.5; allowed: weights from 0 on"),
    ],
)
def test_shortest_paths_that_cannot_be(worker, source, graph, told):
    with pytest.raises(ConfigError, match=told):
        pregel.run(worker, pregel.ShortestPaths(source), graph)


def test_arguments_of_programs(worker):
    with pytest.raises(ConfigError, match=r"1\.5; allowed: whole numbers"):
        pregel.ShortestPaths(1.5)
    with pytest.raises(ConfigError, match="damping_factor=1"):
        pregel.PageRank(damping_factor=1)
    for values, dtype, told in (
        ([0, 2**53 + 1], None, "values from 0 to 9007199254740993; its dtype is float64"),
        ([-(2**53) - 1, 0], None, "from -9007199254740992 to 9007199254740992: give another, as dtype='int64'"),
        (np.array([0, 2**63], np.uint64), "int64", "values from 0 to 9223372036854775808; its dtype is int64"),
        ([-1, 0], "uint8", "from 0 to 255"),
        ([0.5, 1], "int64", "values of float64; its dtype is int64, give dtype='float64'"),
        (["a", "b"], None, "no numbers.*values="),
    ):
        with pytest.raises(ConfigError, match=told):
            pregel.run(worker, pregel.MaxValue(lambda ids, values=values: values, dtype), digraph([(1, 2)]))


def test_graphs_that_cannot_be_spread(worker):
    for graph, name in ((bigraph(), "bigraph"), ([(1, 2)], "list")):
        with pytest.raises(ConfigError, match=f"a {name} cannot be spread; allowed: digraph, undirected_graph"):
            pregel.run(worker, Recorder(), graph)


def test_a_table_of_somebody_else_stays(worker):
    worker.table("used/messages", 5)
    with pytest.raises(TableError, match="size=5"):
        pregel.run(worker, Recorder(), CHAIN, name="used")
    assert list(worker.tables()) == ["used/messages"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"begin": "a"}, "initial_value returned 'a'; allowed: numbers"),
        ({"value": None}, "compute_vertex set vertex.value = None; allowed: numbers"),
        ({"message": [1]}, r"compute_vertex sent \[1\]; allowed: numbers"),
        ({"to": 1}, "no edge to 1"),
    ],
)
def test_what_one_vertex_must_give_is_told(worker, given, told):
    with pytest.raises(ConfigError, match=told):
        pregel.run(worker, Stranger(**given), CHAIN)


class Stranger(pregel.PerVertexProgram):
    def __init__(self, begin=0, value=0, message=0, to=3):
        self.given = begin, value, message, to

    def initial_value(self, id):
        return self.given[0]

    def compute_vertex(self, vertex, message):
        _, vertex.value, message, to = self.given
        if vertex.edges:
            vertex.send(to, message)
