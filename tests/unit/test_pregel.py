"""Pregel with one worker, on a network without sockets: programs, halting, combiners, aggregators, errors."""

from typing import ClassVar

import networkx as nx
import numpy as np
import pytest
from support.cluster import FakeNetwork

import paracel
from paracel import pregel
from paracel.comm import Comm, SerialComm
from paracel.errors import ConfigError, TableError
from paracel.graphs import bigraph, digraph, undirected_graph
from paracel.launch import job
from paracel.pregel.messages import COMBINERS, STEP, combiner
from paracel.pregel.tables import Outbox, RunTables

EDGES = [(3, 6), (6, 3), (6, 2), (2, 1), (1, 2), (2, 6)]  # like figure 2 of the paper: 3, 6, 2 and 1 all hear of 6
WEIGHTED = [("s", "a", 4.0), ("s", "b", 1.0), ("b", "a", 2.0), ("a", "c", 1.0), ("x", "s", 1.0)]


class Program(paracel.paralg):
    def solve(self):
        """Nothing: what is tested is called from outside."""


@pytest.fixture
def worker(monkeypatch):
    network = FakeNetwork(2, 1)
    monkeypatch.delenv("PARACEL_COORDINATOR", raising=False)
    with network.clients():
        monkeypatch.setattr(job, "_job", job.Job(Comm(SerialComm()), network.client(0)))
        yield Program()


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


class Recorder(pregel.VertexProgram):
    """Notes in each superstep who is active and what has come; does as `steps` says."""

    combiner = "sum"
    dtype = "int64"
    aggregators: ClassVar = {"total": "sum", "least": "min", "greatest": "max"}

    def __init__(self, *steps):
        self.steps = steps
        self.seen = []

    def initial(self, vertices):
        return vertices.ids * 10

    def compute(self, vertices, messages):
        self.seen.append((vertices.ids.tolist(), messages.tolist(), vertices.received.tolist()))
        if vertices.superstep < len(self.steps):
            return self.steps[vertices.superstep](vertices, messages)
        vertices.vote_to_halt()
        return vertices.values, None


CHAIN = digraph([(1, 2), (2, 3), (1, 3)])


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


# --- what cannot be ---------------------------------------------------------------------------------------------------


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
    for most in (2**53 + 1, -(2**53) - 1):
        with pytest.raises(ConfigError, match="beyond 2"):
            pregel.run(worker, pregel.MaxValue(), digraph([(1, most)]))


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


def test_combiners():
    with pytest.raises(ConfigError, match="no combiner 'mean'; there are: sum, min, max"):
        combiner("mean")
    assert [combiner(name).identity("int8") for name in COMBINERS] == [0, 127, -128]
    assert [combiner(name).identity("f4") for name in COMBINERS] == [0, np.inf, -np.inf]


@pytest.mark.parametrize(("name", "combined"), [("sum", [5.0, 3.0]), ("min", [2.0, 3.0]), ("max", [3.0, 3.0])])
def test_server_replaces_what_is_older_and_combines_what_is_not(name, combined):
    rows, state = np.array([2.0, 2.0]), {STEP: np.array([7.0, 6.0])}
    made = COMBINERS[name].updater(rows, (np.array([3.0, 3.0]), np.array([7.0, 7.0])), state)
    assert made.tolist() == combined
    assert state[STEP].tolist() == [7.0, 7.0]


# --- two workers, of which one is ahead -------------------------------------------------------------------------------


class Stand:
    """What the tables of a run need of a program: one of two workers, without MPI."""

    worker_size = 2

    def __init__(self, client, worker_id):
        self.worker_id = worker_id
        self.table, self.commit = client.table, client.commit

    def paracel_sync(self):
        """They are made one after the other."""


def test_a_faster_worker_does_not_disturb_what_a_slower_one_has_yet_to_read():
    network = FakeNetwork(2, 2)
    with network.clients():
        spread = pregel.partition(None, CHAIN)
        workers = [Stand(network.client(n), n) for n in range(2)]
        fast, slow = (RunTables(worker, "run", Recorder(), spread) for worker in workers)

        def send(worker, tables, step, vertex, message):
            tables.send(step, Outbox(np.array([vertex]), np.array([message])), [0, step, worker.worker_id, 0, 0, 0])
            worker.commit()

        def received(tables, step):
            messages, there, totals = tables.receive(step)
            return np.where(there, messages, 0).tolist(), totals[:, 1:3].tolist()

        for worker, tables in zip(workers, (fast, slow), strict=True):
            send(worker, tables, 1, 0, 5)
        assert received(fast, 1) == ([10, 0, 0], [[1, 0], [1, 1]])
        send(workers[0], fast, 2, 0, 100)
        assert received(slow, 1) == ([10, 0, 0], [[1, 0], [1, 1]])
        send(workers[1], slow, 2, 1, 7)
        for tables in (fast, slow):
            assert received(tables, 2) == ([100, 7, 0], [[2, 0], [2, 1]])
        send(workers[1], slow, 3, 2, 1)
        send(workers[0], fast, 3, 2, 1)
        assert received(slow, 3) == ([0, 0, 2], [[3, 0], [3, 1]])


class Ready:
    """A table whose pulls are there at once."""

    def pull(self, *_keys, **_settings):
        return self

    def result(self):
        return np.zeros(3), np.zeros(3)


@pytest.mark.parametrize("other", ["_messages", "_totals"])
def test_nothing_is_read_before_all_have_committed(other):
    """Neither messages nor totals, each of which may be on servers that the other is not on."""
    network = FakeNetwork(1, 2)
    with network.clients():
        clients = [network.client(n) for n in range(2)]
        spread = pregel.partition(None, CHAIN)
        tables = RunTables(Stand(clients[0], 0), "run", Recorder(), spread)
        setattr(tables, other, Ready())
        clients[0].commit()
        with pytest.raises(AssertionError, match="waits for ever"):
            tables.receive(1)
        clients[1].commit()
        tables.receive(1)
