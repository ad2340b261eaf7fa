"""Graphs with vertices of one kind: directed and undirected."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from paracel.errors import ConfigError
from paracel.graphs.compressed import Compressed, Positions, Weights
from paracel.graphs.edges import Edge, Edges, Graph, Vertex, row_of
from paracel.graphs.ids import Ids, as_ids, joined, numbered
from paracel.graphs.outside import check_networkx, coordinates_of, library


class _OneSided(Graph):
    """Tails and heads are of the same vertices, some of which may have no edge."""

    def __init__(self, edges: Iterable[Edge] | Mapping[Any, Mapping[Any, float]] = ()) -> None:
        """With `edges` (v, w) or (v, w, weight), or with those of a dict `{v: {w: weight}}`, and its vertices."""
        self._lone: list[Ids] = []
        super().__init__(edges)
        if isinstance(edges, Mapping):
            self.add_vertices([v for v, others in edges.items() if not others])

    def add_vertices(self, ids: ArrayLike) -> None:
        """Add vertices, shape (n,), that need not have an edge; nothing happens to those that are there."""
        self._collect()
        self._lone.append(as_ids(ids))
        self._changed = True

    def _number(self, tails: Ids, heads: Ids) -> tuple[Positions, Positions]:
        self._tails_of, numbers = numbered(joined([tails, heads, self._tails_of, *self._lone]))
        self._heads_of = self._tails_of
        self._lone.clear()
        return numbers[: len(tails)], numbers[len(tails) : 2 * len(tails)]

    @classmethod
    def from_scipy(cls, matrix: Any, ids: ArrayLike | None = None) -> Self:
        """From a square scipy sparse matrix or array; `ids`, shape (n,), name its rows (None: 0 to n - 1)."""
        coordinates = coordinates_of(matrix)
        names = np.arange(matrix.shape[0]) if ids is None else as_ids(ids)
        if matrix.shape != (len(names), len(names)):
            raise ConfigError(f"a matrix of shape {matrix.shape} with {len(names)} ids; a graph's matrix is square")
        made = cls.from_edges(names[coordinates.row], names[coordinates.col], coordinates.data)
        made.add_vertices(names)
        return made

    @classmethod
    def from_networkx(cls, graph: Any, weight: str = "weight") -> Self:
        """From a networkx graph; an edge without the attribute `weight` has the weight 1.0."""
        check_networkx(graph)
        directed = graph.to_directed() if cls is digraph else graph
        made = cls((v, w, 1.0 if given is None else given) for v, w, given in directed.edges(data=weight))
        made.add_vertices(list(graph.nodes))
        return made

    @property
    def ids(self) -> Ids:
        """All vertices, rising, shape (v(),)."""
        self._order()
        return self._tails_of

    def vertex_set(self) -> set[Any]:
        """All vertices."""
        return set(self.ids.tolist())

    def selfloops(self) -> int:
        """How many edges lead to where they begin."""
        edges = self.compressed
        return int(np.count_nonzero(edges.rows == edges.columns))

    def _to_networkx(self, made: Any) -> Any:
        made.add_nodes_from(self.ids.tolist())
        made.add_weighted_edges_from(self.dump2triples())
        return made


class digraph(_OneSided):  # noqa: N801 - Paracel's name
    """A directed graph."""

    def outdegree(self, v: Vertex) -> int:
        """How many edges begin at `v`."""
        return len(self.adjacent(v))

    def indegree(self, v: Vertex) -> int:
        """How many edges end at `v`."""
        return len(self.reverse_adjacent(v))

    def outdegrees(self) -> Positions:
        """The outdegree of each of `ids`."""
        return self.compressed.degrees

    def indegrees(self) -> Positions:
        """The indegree of each of `ids`."""
        return self.transposed.degrees

    def reverse_adjacent(self, v: Vertex) -> dict[Any, float]:
        """The vertices from which edges lead to `v`, with their weights."""
        edges = self.transposed
        return row_of(edges, self._position(v, self._heads_of), self._tails_of)

    def avg_degree(self) -> float:
        """Edges for each vertex; 0 without vertices."""
        return self.e() / max(self.v(), 1)

    def reverse(self) -> None:
        """Turn every edge around."""
        self._compressed, self._transposed = self.transposed, self.compressed

    def to_networkx(self) -> Any:
        """A networkx DiGraph with the attribute `weight`; needs networkx."""
        return self._to_networkx(library("networkx", "to_networkx()").DiGraph())


class undirected_graph(_OneSided):  # noqa: N801 - Paracel's name
    """A graph whose edges lead both ways. A self-loop counts once in a degree."""

    def _compress(self, rows: Positions, columns: Positions, weights: Weights, shape: tuple[int, int]) -> Compressed:
        low, high = np.minimum(rows, columns), np.maximum(rows, columns)
        once = Compressed.of(low, high, weights, shape)
        low, high = once.rows, once.columns
        two = low != high
        return Compressed.of(
            np.concatenate((low, high[two])), np.concatenate((high, low[two])),
            np.concatenate((once.weights, once.weights[two])), shape,
        )  # fmt: skip

    def _ordered_edges(self) -> Edges:
        tails, heads, weights = super()._ordered_edges()
        edges = self._compressed
        once = edges.rows <= edges.columns
        return tails[once], heads[once], weights[once]

    def e(self) -> int:
        """How many edges there are; one that leads both ways counts once."""
        edges = self.compressed
        return int(np.count_nonzero(edges.rows <= edges.columns))

    def degree(self, v: Vertex) -> int:
        """How many edges `v` has."""
        return len(self.adjacent(v))

    def degrees(self) -> Positions:
        """The degree of each of `ids`."""
        return self.compressed.degrees

    def max_degree(self) -> int:
        """The largest degree; 0 without vertices."""
        return int(self.degrees().max(initial=0))

    def avg_degree(self) -> float:
        """The mean of `degrees()`, where a self-loop counts once; 0 without vertices."""
        return len(self.compressed.columns) / max(self.v(), 1)

    def to_networkx(self) -> Any:
        """A networkx Graph with the attribute `weight`; needs networkx."""
        return self._to_networkx(library("networkx", "to_networkx()").Graph())
