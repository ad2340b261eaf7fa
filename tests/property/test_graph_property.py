"""Graphs against networkx and against dicts, with edges added in any pieces and questions in between."""

import networkx as nx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paracel.graphs import bigraph, digraph, undirected_graph
from paracel.graphs.ids import as_ids, hashes_of, numbered

NUMBERS = st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1)
# numpy drops zeros at the end of text
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)


def edges_of(ids):
    return st.lists(st.tuples(ids, ids, st.floats(-10, 10)), max_size=30)


EDGES = edges_of(NUMBERS) | edges_of(TEXTS)


def added(kind, edges, cuts):
    """The graph, made of pieces, each added one by one or as arrays; asked now and then."""
    graph = kind()
    for number, begin in enumerate(cuts):
        piece = edges[begin : cuts[number + 1] if number + 1 < len(cuts) else None]
        if number % 2 and piece:
            graph.add_edges(*map(list, zip(*piece, strict=True)))
        else:
            for edge in piece:
                graph.add_edge(*edge)
        if number % 3 == 0:
            graph.e()
    return graph


CUTS = st.lists(st.integers(0, 30), max_size=4).map(lambda cuts: [0, *sorted(cuts)])


@given(EDGES, CUTS)
def test_digraph_is_that_of_networkx(edges, cuts):
    graph, model = added(digraph, edges, cuts), nx.DiGraph()
    model.add_weighted_edges_from(edges)
    assert sorted(graph.dump2triples()) == sorted(model.edges(data="weight"))
    assert graph.vertex_set() == set(model.nodes)
    assert graph.ids.tolist() == sorted(model.nodes)
    assert (graph.e(), graph.selfloops()) == (model.size(), nx.number_of_selfloops(model))
    assert dict(zip(graph.ids.tolist(), graph.outdegrees().tolist())) == dict(model.out_degree)
    assert dict(zip(graph.ids.tolist(), graph.indegrees().tolist())) == dict(model.in_degree)
    for v in model:
        assert graph.adjacent(v) == {w: data["weight"] for w, data in model.adj[v].items()}
        assert graph.reverse_adjacent(v) == {w: data["weight"] for w, data in model.pred[v].items()}
    graph.reverse()
    assert sorted(graph.dump2triples()) == sorted(model.reverse().edges(data="weight"))


@given(EDGES, CUTS)
def test_undirected_graph_is_that_of_networkx(edges, cuts):
    graph, model = added(undirected_graph, edges, cuts), nx.Graph()
    model.add_weighted_edges_from(edges)
    assert (graph.e(), graph.v(), graph.selfloops()) == (model.size(), len(model), nx.number_of_selfloops(model))
    for v in model:
        assert graph.adjacent(v) == {w: data["weight"] for w, data in model.adj[v].items()}
        assert graph.degree(v) == len(model.adj[v])
    assert nx.utils.graphs_equal(graph.to_networkx(), model)


@given(EDGES, CUTS)
def test_bigraph_is_a_dict_of_dicts(edges, cuts):
    graph, model = added(bigraph, edges, cuts), {}
    for v, w, weight in edges:
        model.setdefault(v, {})[w] = weight
    assert graph.dump2dict() == model
    assert graph.right_vertex_set() == {w for _, w, _ in edges}


@given(st.lists(NUMBERS) | st.lists(TEXTS))
def test_numbering_and_hashes(given_ids):
    ids = as_ids(given_ids)
    distinct, numbers = numbered(ids)
    assert distinct.tolist() == sorted(set(given_ids))
    assert distinct[numbers].tolist() == given_ids
    hashes = dict(zip(given_ids, hashes_of(ids).tolist(), strict=True))
    assert {each: int(hashes_of(as_ids([each]))[0]) for each in given_ids} == hashes
    assert len(set(hashes.values())) == len(hashes)
    assert np.array_equal(hashes_of(ids), hashes_of(ids.astype("U40") if ids.dtype.kind == "U" else ids))
