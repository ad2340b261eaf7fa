"""Graph types: Paracel's questions, arrays, and what comes from and goes to other libraries."""

import sys
import tracemalloc

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from paracel import graphs
from paracel.errors import ConfigError
from paracel.graphs import KINDS, bigraph, bigraph_continuous, digraph, undirected_graph
from paracel.graphs import ids as ids_module
from paracel.graphs.compressed import Compressed, rising_order, runs
from paracel.graphs.ids import as_ids, hashes_of, joined, numbered, positions_of

TRIANGLE = [("a", "b"), ("b", "c", 2.0), ("c", "a", 3.0), ("c", "c", 0.5)]


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ([3, 1], "i"),
        (np.array([3], np.uint8), "i"),
        (["a", "bc"], "U"),
        (np.array(["x"]), "U"),
        ([], "i"),
        ([2**40], "i"),
    ],
)
def test_ids_are_numbers_or_text(given, dtype):
    assert as_ids(given).dtype.kind == dtype
    assert as_ids(given).tolist() == list(given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a", 1], "int, str"),
        ([1.5], r"float64, as 1\.5"),
        ([(0, 1), (2, 3)], r"as \(0, 1\); allowed: one dimension"),
        ([(0, 1), (2,)], "of type tuple"),
        ([True, False], "bool"),
        ([None], "NoneType"),
        ([2**63], "64 bits"),
        ([2**70], "64 bits"),
        (np.array([2**63], np.uint64), "64 bits"),
        ([[1]], "one dimension"),
        ("ab", "one dimension"),
    ],
)
def test_what_is_no_id_is_told(given, told):
    with pytest.raises(ConfigError, match=told):
        as_ids(given)


def test_numbers_and_text_do_not_mix():
    with pytest.raises(ConfigError, match="one kind"):
        joined([as_ids(["a"]), as_ids([1])])
    assert joined([as_ids([]), as_ids(["a"])]).tolist() == ["a"]
    assert joined([]).tolist() == []


@pytest.mark.parametrize(
    "given", [[5, 3, 5, 9], [10**15, -7, 10**15], ["b", "a", "b", "ab"], [-3, -5], [], ["é", "ѐ" * 3, "é"]]
)
def test_numbering_is_that_of_numpy(given):
    ids = as_ids(given)
    distinct, numbers = numbered(ids)
    expected, inverse = np.unique(ids, return_inverse=True)
    assert (distinct.tolist(), numbers.tolist()) == (expected.tolist(), inverse.tolist())


def test_numbering_survives_texts_of_one_hash(monkeypatch):
    monkeypatch.setattr(ids_module, "hashes_of", lambda ids: np.zeros(len(ids), np.uint64))
    distinct, numbers = numbered(as_ids(["b", "a", "b"]))
    assert (distinct.tolist(), numbers.tolist()) == (["a", "b"], [1, 0, 1])


def test_hash_of_a_text_does_not_depend_on_the_array():
    short, long = np.array(["a", "ab"]), np.array(["ab", "a", "a" * 40])
    assert hashes_of(short).tolist() == hashes_of(long)[[1, 0]].tolist()
    assert len(set(hashes_of(as_ids([f"{n}" for n in range(1000)])).tolist())) == 1000


def test_positions():
    distinct = as_ids([2, 4, 8])
    assert positions_of(as_ids([8, 3, 2, 9, 1]), distinct).tolist() == [2, -1, 0, -1, -1]
    assert positions_of(as_ids(["a"]), distinct).tolist() == [-1]
    assert positions_of(as_ids([1]), as_ids([])).tolist() == [-1]


# --- compressed -------------------------------------------------------------------------------------------------------


def test_compressed_sorts_and_keeps_the_last_weight():
    made = Compressed.of(*map(np.array, ([1, 0, 1, 1], [2, 1, 0, 2], [1.0, 2.0, 3.0, 4.0])), (3, 3))
    assert made.starts.tolist() == [0, 1, 3, 3]
    assert made.columns.tolist() == [1, 0, 2]
    assert made.weights.tolist() == [2.0, 3.0, 4.0]
    turned = made.transposed()
    assert (turned.starts.tolist(), turned.columns.tolist()) == ([0, 1, 2, 3], [1, 0, 1])
    assert turned.transposed().columns.tolist() == made.columns.tolist()


@pytest.mark.parametrize("end", [10, 2**20, 2**61])
def test_rising_order_is_stable(end):
    keys = np.array([3, 1, 3, 0, 1, 9])
    assert rising_order(keys, end).tolist() == np.argsort(keys, kind="stable").tolist()
    assert rising_order(np.sort(keys), end).tolist() == list(range(6))


def test_rows_of_few_edges():
    """Found one by one where most rows have none, and counted off where not."""
    for height in (4, 1000):
        made = Compressed.of(*map(np.array, ([1, 1, 3], [0, 2, 1], [1.0, 2.0, 3.0])), (height, 3))
        assert made.rows.tolist() == [1, 1, 3]
        assert len(made.starts) == height + 1


def test_runs():
    assert runs(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert runs(np.array([], int), np.array([], int)).tolist() == []


# --- digraph ----------------------------------------------------------------------------------------------------------


def test_digraph_answers():
    graph = digraph(TRIANGLE)
    assert (graph.v(), graph.e(), graph.selfloops(), graph.avg_degree()) == (3, 4, 1, 4 / 3)
    assert graph.adjacent("c") == {"a": 3.0, "c": 0.5}
    assert graph.reverse_adjacent("c") == {"b": 2.0, "c": 0.5}
    assert (graph.outdegree("c"), graph.indegree("c"), graph.outdegree("a")) == (2, 2, 1)
    assert graph.ids.tolist() == ["a", "b", "c"]
    assert (graph.outdegrees().tolist(), graph.indegrees().tolist()) == ([1, 1, 2], [1, 1, 2])
    assert graph.vertex_set() == {"a", "b", "c"}
    assert repr(graph) == "<digraph, 3 vertices, 4 edges>"


def test_traverse_in_order():
    graph, seen = digraph([(2, 1), (1, 3, 0.5), (1, 2)]), []
    graph.traverse(lambda *edge: seen.append(edge))
    assert seen == [(1, 2, 1.0), (1, 3, 0.5), (2, 1, 1.0)] == graph.dump2triples()
    seen.clear()
    graph.traverse(lambda *edge: seen.append(edge), 1)
    assert seen == [(1, 2, 1.0), (1, 3, 0.5)]


def test_reverse_turns_edges_around_and_they_can_be_added_to():
    graph = digraph(TRIANGLE)
    graph.reverse()
    assert graph.adjacent("c") == {"b": 2.0, "c": 0.5}
    graph.add_edge("c", "z", 7)
    assert graph.adjacent("c") == {"b": 2.0, "c": 0.5, "z": 7.0}
    graph.reverse()
    assert graph.adjacent("z") == {"c": 7.0}


def test_edges_are_added_in_turn_and_the_last_weight_counts():
    graph = digraph()
    graph.add_edge(1, 2, 1.0)
    graph.add_edges([1, 3], [2, 1], [2.0, 5.0])
    assert graph.adjacent(1) == {2: 2.0}
    graph.add_edge(1, 2, 3.0)
    graph.add_edges([4], [4])
    assert graph.dump2dict() == {1: {2: 3.0}, 2: {}, 3: {1: 5.0}, 4: {4: 1.0}}
    assert graph.e() == 3


def test_edges_are_copied():
    weights = np.ones(1)
    graph = digraph.from_edges([1], [2], weights)
    weights[0] = 9
    assert graph.adjacent(1) == {2: 1.0}


def test_vertices_without_edges():
    graph = digraph([(1, 2)])
    graph.add_vertices([7, 1])
    assert (graph.v(), graph.e(), graph.adjacent(7)) == (3, 1, {})
    graph.add_edge(9, 9)
    assert graph.vertex_set() == {1, 2, 7, 9}


def test_an_empty_graph():
    for kind in KINDS.values():
        assert (kind().v(), kind().e(), kind().dump2triples(), kind().dump2dict()) == (0, 0, [], {})
        assert (kind().to_scipy().shape, kind().avg_degree()) == ((0, 0), 0.0)


def test_dumps_make_the_same_graph_again():
    graph = digraph(TRIANGLE)
    assert digraph(graph.dump2triples()).dump2dict() == graph.dump2dict()
    assert digraph.from_dict(graph.dump2dict()).dump2triples() == graph.dump2triples()
    assert digraph.from_edges(*graph.edges()).dump2triples() == graph.dump2triples()


def test_dumps_keep_vertices_without_edges():
    for kind in (digraph, undirected_graph):
        graph = kind([("a", "b", 2.0), ("b", "b")])
        graph.add_vertices(["z", "a"])
        again = kind.from_dict(graph.dump2dict())
        assert again.dump2dict() == graph.dump2dict()
        assert again.vertex_set() == {"a", "b", "z"}
    assert digraph.from_dict({3: {}, 7: {}}).ids.tolist() == [3, 7]
    counted = bigraph_continuous([(0, 1)], left=5)
    assert bigraph_continuous.from_dict(counted.dump2dict()).dump2dict() == counted.dump2dict()
    with pytest.raises(ConfigError, match=r"1\.5"):
        digraph.from_dict({1.5: {}})
    with pytest.raises(ConfigError, match="id -1 on the left"):
        bigraph_continuous.from_dict({-1: {}})


@pytest.mark.parametrize(
    "ask", [lambda g: g.adjacent("x"), lambda g: g.outdegree(1), lambda g: g.reverse_adjacent("d")]
)
def test_a_vertex_that_is_not_there_is_told(ask):
    with pytest.raises(ConfigError, match=r"no vertex .* 3, all text, 'a' to 'c'"):
        ask(digraph(TRIANGLE))
    with pytest.raises(ConfigError, match="which has none"):
        ask(digraph())


def test_wrong_edges_are_told():
    with pytest.raises(ConfigError, match="2 tails, 1 heads"):
        digraph.from_edges([1, 2], [1])
    with pytest.raises(ConfigError, match="weights of shape"):
        digraph.from_edges([1, 2], [1, 2], [1.0])
    mixed = digraph([(1, 2)])
    mixed.add_edges(["a"], ["b"])
    with pytest.raises(ConfigError, match="one kind"):
        mixed.v()


NAN = float("nan")


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ([(1, 2), (1,)], r"edge 1 is \(1,\); allowed: \(v, w\), or \(v, w, weight\)"),
        ([(1, 2, 3.0, 4)], r"edge 0 is \(1, 2, 3.0, 4\); allowed"),
        (["ab"], "edge 0 is 'ab'; allowed"),
        ([1, 2], "edge 0 is 1; allowed"),
        ("edges.txt", r"edges are 'edges.txt'; allowed: .* paracel_load_as_graph loads a file"),
        (7, r"edges are 7; allowed: pairs \(v, w\) or triples"),
        ({"a": ["b", "c"]}, r"the edges of 'a' are \['b', 'c'\]; allowed: a dict of weights, {w: weight}"),
        ([(1, 2), (1, 2, "x")], r"weight of edge \(1, 2\) is 'x'; allowed: numbers"),
        ([("a", "b", None)], r"weight of edge \('a', 'b'\) is None; allowed"),
        ([(1, 2), (3, 4, NAN)], r"weight of edge \(3, 4\) is nan; allowed: .* no NaN"),
        ([((0, 1), (0, 2))], r"ids of shape \(1, 2\), as \(0, 1\); allowed"),
    ],
)
@pytest.mark.parametrize("kind", [digraph, bigraph])
def test_what_is_no_edge_is_told_when_a_graph_is_made(kind, edges, told):
    with pytest.raises(ConfigError, match=told):
        kind(edges)


def test_wrong_weights_in_arrays_are_told():
    for weights, told in (([1, NAN], "nan"), (["1", "x"], "'x'"), ([1, None], "None")):
        with pytest.raises(ConfigError, match=rf"weight of edge \('b', 'c'\) is {told}"):
            digraph.from_edges(["a", "b"], ["b", "c"], weights)
    assert digraph.from_edges([1], [2], [np.inf]).adjacent(1) == {2: np.inf}


def test_a_wrong_edge_that_was_added_is_told_at_every_question():
    graph = digraph([(1, 2)])
    graph.add_edge(2, 3, "x")
    for _ in range(2):
        with pytest.raises(ConfigError, match="is 'x'"):
            graph.e()


# --- undirected -------------------------------------------------------------------------------------------------------


def test_undirected_graph_answers():
    graph = undirected_graph([(1, 2), (2, 1, 5.0), (3, 2), (3, 3)])
    assert (graph.v(), graph.e(), graph.selfloops(), graph.avg_degree(), graph.max_degree()) == (3, 3, 1, 5 / 3, 2)
    assert graph.adjacent(2) == {1: 5.0, 3: 1.0}
    assert (graph.degree(3), graph.degrees().tolist()) == (2, [1, 2, 2])
    assert graph.avg_degree() == graph.degrees().mean()
    assert graph.dump2triples() == [(1, 2, 5.0), (2, 3, 1.0), (3, 3, 1.0)]
    assert graph.dump2dict() == {1: {2: 5.0}, 2: {1: 5.0, 3: 1.0}, 3: {2: 1.0, 3: 1.0}}


def test_undirected_graph_grows():
    graph = undirected_graph([(1, 2, 7.0)])
    assert graph.e() == 1
    graph.add_edge(2, 1, 8.0)
    graph.add_edge(5, 1)
    assert graph.dump2dict() == {1: {2: 8.0, 5: 1.0}, 2: {1: 8.0}, 5: {1: 1.0}}
    assert undirected_graph.from_dict(graph.dump2dict()).dump2triples() == graph.dump2triples()


# --- two sides --------------------------------------------------------------------------------------------------------


def test_bigraph_answers():
    graph = bigraph([("u", 1, 4.0), ("v", 1), ("v", 3, 2.0)])
    assert (graph.v(), graph.e(), graph.avg_degree()) == (2, 3, 1.5)
    assert (graph.left_vertex_set(), graph.right_vertex_set()) == ({"u", "v"}, {1, 3})
    assert (graph.adjacent("v"), graph.reverse_adjacent(1)) == ({1: 1.0, 3: 2.0}, {"u": 4.0, "v": 1.0})
    assert (graph.outdegree("u"), graph.indegree(1)) == (1, 2)
    assert (graph.outdegrees().tolist(), graph.indegrees().tolist()) == ([1, 2], [2, 1])
    assert graph.dump2dict() == {"u": {1: 4.0}, "v": {1: 1.0, 3: 2.0}}
    graph.add_edge("w", 1)
    assert graph.left_ids.tolist() == ["u", "v", "w"]
    assert graph.right_ids.tolist() == [1, 3]


def test_bigraph_continuous_answers():
    graph = bigraph_continuous([(0, 1, 3.0), (3, 6), (0, 4, 2.0)])
    assert (graph.v(), graph.e(), graph.outdegree(0), graph.indegree(4), graph.adjacent(1)) == (4, 3, 2, 1, {})
    assert bigraph_continuous(left=5, right=2).to_scipy().shape == (5, 2)
    assert bigraph_continuous([(7, 0)], left=5, right=2).to_scipy().shape == (8, 2)
    assert (graph.reverse_adjacent(4), graph.dump2triples()) == ({0: 2.0}, [(0, 1, 3.0), (0, 4, 2.0), (3, 6, 1.0)])
    with pytest.raises(ConfigError, match="left=-1"):
        bigraph_continuous(left=-1)
    for ask in (lambda: graph.adjacent(4), lambda: graph.reverse_adjacent("a"), lambda: graph.adjacent(-1)):
        with pytest.raises(ConfigError, match=r"no vertex .* on this side of the graph, which has [47], from 0 on"):
            ask()


def test_edges_of_a_bigraph_continuous_are_copied():
    graph = bigraph_continuous([(0, 1)])
    for ends in graph.edges()[:2]:
        ends[:] = 7
    assert graph.dump2triples() == [(0, 1, 1.0)]


def test_memory_of_a_bigraph_continuous():
    """Eight bytes for each vertex of a side whose rows are asked for; what would take more than 1 GB is refused."""
    last = 2**20
    tracemalloc.start()
    graph = bigraph_continuous([(last, 2**26), (5, 0)])
    assert (graph.v(), graph.e(), graph.adjacent(last)) == (last + 1, 2, {2**26: 1.0})
    assert graph.dump2triples() == [(5, 0, 1.0), (last, 2**26, 1.0)]
    for wanted in ({"left": 2**27 + 1}, {"right": 2**40}, {"edges": [(2**27, 0)]}):
        with pytest.raises(ConfigError, match=r"below 2\*\*27.*; a bigraph has any ids"):
            bigraph_continuous(**wanted)
    with pytest.raises(ConfigError, match="left=1073741824"):
        bigraph_continuous.from_scipy(sp.coo_array(([1.0], ([2**29], [0])), shape=(2**30, 1)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 9 * last


@pytest.mark.parametrize(
    ("edge", "told"),
    [
        ((-1, 0), "id -1 on the left"),
        (("a", 0), "id 'a' on the left"),
        ((True, 0), "True"),
        ((0, 2**27), "id 134217728 on the right"),
        ((0, 1.5), "1.5"),
    ],
)
def test_ids_of_a_bigraph_continuous_are_checked_at_once(edge, told):
    with pytest.raises(ConfigError, match=told):
        bigraph_continuous([(0, 1), edge])
    with pytest.raises(ConfigError, match=told):
        bigraph_continuous().add_edge(*edge)
    with pytest.raises(ConfigError, match="bool" if edge[0] is True else told):
        graphs.make("bigraph_continuous", *([end] for end in edge))
    with pytest.raises(ConfigError, match=r"id -5 on the right .* allowed: whole numbers from 0"):
        bigraph_continuous.from_edges([0, 1, 2], [0, -5, -7])


# --- other libraries --------------------------------------------------------------------------------------------------


def test_scipy_and_back():
    matrix = sp.csr_array(np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 4.0]]))
    for kind in (digraph, bigraph_continuous):
        np.testing.assert_array_equal(kind.from_scipy(matrix).to_scipy().toarray(), matrix.toarray())
    named = digraph.from_scipy(matrix, ["a", "b", "c"])
    assert named.dump2dict() == {"a": {"b": 2.0}, "b": {}, "c": {"a": 1.0, "c": 4.0}}
    sides = bigraph.from_scipy(matrix, left=["u", "v", "w"])
    assert sides.dump2dict() == {"u": {1: 2.0}, "w": {0: 1.0, 2: 4.0}}
    with pytest.raises(ConfigError, match="square"):
        digraph.from_scipy(sp.csr_array((2, 3)))
    with pytest.raises(ConfigError, match="3 and 1 ids"):
        bigraph.from_scipy(matrix, right=[1])


@pytest.mark.parametrize("made", ["tocoo", "tocsr", "tocsc"])
@pytest.mark.parametrize("kind", [digraph, bigraph, bigraph_continuous])
def test_entries_of_scipy_that_come_twice_are_added(kind, made):
    given = sp.coo_array(([1.0, 2.0, 4.0], ([0, 1, 0], [1, 0, 1])), shape=(2, 2))
    if made != "tocoo":  # which add them up when they are made of others
        rows, columns = ([0, 2, 3], [1, 1, 0]) if made == "tocsr" else ([0, 1, 3], [1, 0, 0])
        weights = [1.0, 4.0, 2.0] if made == "tocsr" else [2.0, 1.0, 4.0]
        given = (sp.csr_array if made == "tocsr" else sp.csc_array)((weights, columns, rows), shape=(2, 2))
    assert kind.from_scipy(given).dump2dict() == {0: {1: 5.0}, 1: {0: 2.0}}
    assert given.nnz == 3


def test_networkx_and_back():
    given = nx.gnp_random_graph(30, 0.2, seed=1, directed=True)
    given.add_edge(3, 3, weight=2.5)
    given.add_node(99)
    graph = digraph.from_networkx(given)
    made = graph.to_networkx()
    assert set(made.nodes) == set(given.nodes)
    assert {(v, w): d["weight"] for v, w, d in made.edges(data=True)} == {
        (v, w): d.get("weight", 1.0) for v, w, d in given.edges(data=True)
    }
    assert nx.utils.graphs_equal(undirected_graph.from_networkx(made.to_undirected()).to_networkx().to_directed(),
                                 digraph.from_networkx(made.to_undirected()).to_networkx())  # fmt: skip


def test_networkx_of_two_sides():
    graph = bigraph([("u", "i", 2.0), ("v", "i"), ("v", "j")])
    made = graph.to_networkx()
    assert nx.is_bipartite(made)
    assert dict(made.nodes(data="bipartite")) == {"u": 0, "v": 0, "i": 1, "j": 1}
    assert bigraph.from_networkx(made).dump2triples() == graph.dump2triples()
    with pytest.raises(ConfigError, match="both sides"):
        bigraph([(1, 1)]).to_networkx()
    with pytest.raises(ConfigError, match="bipartite=0"):
        bigraph.from_networkx(nx.path_graph(2))


def test_nodes_of_networkx_that_cannot_be_vertices_are_told():
    with pytest.raises(ConfigError, match=r"node \(0, 0\) is of type tuple; nodes must be whole numbers, or all text"):
        digraph.from_networkx(nx.grid_2d_graph(2, 2))
    with pytest.raises(ConfigError, match=r"node 0\.5 is of type float"):
        bigraph.from_networkx(nx.Graph([(0.5, 1)]))
    with pytest.raises(ConfigError, match="takes a networkx graph, not list"):
        undirected_graph.from_networkx([(1, 2)])


@pytest.mark.parametrize("kind", KINDS.values())
def test_what_is_no_sparse_matrix_is_told(kind):
    with pytest.raises(ConfigError, match=r"sparse matrix or array, not ndarray; scipy\.sparse\.coo_array"):
        kind.from_scipy(np.eye(2))


@pytest.mark.parametrize("kind", KINDS.values())
def test_a_library_that_is_not_there_is_told(monkeypatch, kind):
    for module in ("networkx", "scipy.sparse"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"to_scipy\(\) needs scipy: pip install 'paracel\[matrix\]'"):
        kind().to_scipy()
    if kind is not bigraph_continuous:
        with pytest.raises(ConfigError, match=r"to_networkx\(\) needs networkx: pip install networkx"):
            kind().to_networkx()


# --- by kind ----------------------------------------------------------------------------------------------------------


def test_graphs_of_arrays_by_kind():
    for kind in KINDS:
        made = graphs.make(kind, [1, 2], [2, 3], [1.0, 2.0])
        assert (type(made), made.e()) == (KINDS[kind], 2)
    assert graphs.make("digraph", [1], ["x"]).vertex_set() == {"1", "x"}
    assert graphs.make("bigraph", [1], ["x"]).left_vertex_set() == {1}
    with pytest.raises(ConfigError, match="'graph'; there are: digraph, undirected_graph, bigraph, bigraph_continuous"):
        graphs.make("graph", [1], [2])
