"""Graphs of two sides: every edge leads from the left, as users, to the right, as items."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from paracel.checks import check_count
from paracel.errors import ConfigError
from paracel.graphs.compressed import Positions
from paracel.graphs.edges import Edges, Graph, Vertex, row_of
from paracel.graphs.ids import Ids, as_ids, counted, joined, numbered
from paracel.graphs.outside import check_networkx, coordinates_of, library

#: Vertices on a side of a bigraph_continuous, of which compressed rows take 8 bytes each: 1 GB.
MOST_CONTINUOUS = 1 << 27
_ALLOWED = "allowed: whole numbers from 0, below 2**27, as it has all vertices up to the largest; a bigraph has any ids"


class _TwoSided(Graph):
    def outdegree(self, v: Vertex) -> int:
        """How many edges `v`, on the left, has."""
        return len(self.adjacent(v))

    def indegree(self, w: Vertex) -> int:
        """How many edges `w`, on the right, has."""
        return len(self.reverse_adjacent(w))

    def outdegrees(self) -> Positions:
        """The outdegree of each vertex on the left."""
        return self.compressed.degrees

    def indegrees(self) -> Positions:
        """The indegree of each vertex on the right."""
        return self.transposed.degrees

    def reverse_adjacent(self, w: Vertex) -> dict[Any, float]:
        """The vertices on the left that have an edge to `w`, with its weight."""
        edges = self.transposed
        return row_of(edges, self._position(w, self._heads_of), self._tails_of)

    def avg_degree(self) -> float:
        """Edges for each vertex on the left; 0 without vertices."""
        return self.e() / max(self.v(), 1)


class bigraph(_TwoSided):  # noqa: N801 - Paracel's name
    """A graph of two sides. The same id on both sides means two vertices; sides may have ids of different kinds."""

    def _number(self, tails: Ids, heads: Ids) -> tuple[Positions, Positions]:
        self._tails_of, rows = numbered(joined([tails, self._tails_of]))
        self._heads_of, columns = numbered(joined([heads, self._heads_of]))
        return rows[: len(tails)], columns[: len(heads)]

    @classmethod
    def from_scipy(cls, matrix: Any, left: ArrayLike | None = None, right: ArrayLike | None = None) -> Self:
        """From a scipy sparse matrix; ids name its rows and columns (None: 0, 1, ...). Empty ones are left out."""
        coordinates = coordinates_of(matrix)
        sides = [np.arange(n) if ids is None else as_ids(ids) for n, ids in zip(matrix.shape, (left, right))]
        if matrix.shape != tuple(map(len, sides)):
            raise ConfigError(f"a matrix of shape {matrix.shape} with {len(sides[0])} and {len(sides[1])} ids")
        return cls.from_edges(sides[0][coordinates.row], sides[1][coordinates.col], coordinates.data)

    @property
    def left_ids(self) -> Ids:
        """The vertices on the left, rising, shape (v(),)."""
        self._order()
        return self._tails_of

    @property
    def right_ids(self) -> Ids:
        """The vertices on the right, rising."""
        self._order()
        return self._heads_of

    def left_vertex_set(self) -> set[Any]:
        """The vertices on the left."""
        return set(self.left_ids.tolist())

    def right_vertex_set(self) -> set[Any]:
        """The vertices on the right."""
        return set(self.right_ids.tolist())

    def to_networkx(self) -> Any:
        """A networkx Graph with the attributes `bipartite` (0 on the left, 1 on the right) and `weight`.

        Needs networkx; ConfigError where an id is on both sides, which are the same vertex there.
        """
        made = library("networkx", "to_networkx()").Graph()
        both = self.left_vertex_set() & self.right_vertex_set()
        if both:
            raise ConfigError(f"{len(both)} ids are on both sides, as {min(both)!r}; tell them apart, as 'u1' and 'i1'")
        made.add_nodes_from(self.left_ids.tolist(), bipartite=0)
        made.add_nodes_from(self.right_ids.tolist(), bipartite=1)
        made.add_weighted_edges_from(self.dump2triples())
        return made

    @classmethod
    def from_networkx(cls, graph: Any, weight: str = "weight") -> Self:
        """From a networkx graph whose vertices have the attribute `bipartite`; vertices without edges are left out."""
        check_networkx(graph)
        sides = dict(graph.nodes(data="bipartite"))
        ends = [(v, w, given) if sides[v] == 0 else (w, v, given) for v, w, given in graph.edges(data=weight)]
        wrong = [(v, w) for v, w, _ in ends if (sides[v], sides[w]) != (0, 1)]
        if wrong:
            raise ConfigError(f"edge {wrong[0]} does not lead from a vertex with bipartite=0 to one with bipartite=1")
        return cls((v, w, 1.0 if given is None else given) for v, w, given in ends)


class bigraph_continuous(_TwoSided):  # noqa: N801 - Paracel's name
    """A graph of two sides, whose vertices are 0, 1, ... on each, below 2**27: nothing is looked up.

    Compressed rows take 8 bytes for every vertex up to the largest id of a side, also for those without edges.
    """

    def __init__(self, edges: Any = (), *, left: int = 0, right: int = 0) -> None:
        """There are at least `left` and `right` vertices, and as many more as edges, or the keys of a dict, need."""
        super().__init__(edges)
        for side, count in (("left", left), ("right", right)):
            check_count(side, count, 0)
            if count > MOST_CONTINUOUS:
                raise ConfigError(f"{side}={count} for a bigraph_continuous; {_ALLOWED}")
        if isinstance(edges, Mapping):
            keys, _, _ = self._checked(list(edges), [0] * len(edges), None)
            left = max(left, int(keys.max(initial=-1)) + 1)
        self._tails_of, self._heads_of = counted(left), counted(right)
        self._changed = True

    def add_edge(self, v: Vertex, w: Vertex, weight: float = 1.0) -> None:
        """Add the edge from `v` to `w`."""
        for side, id in (("left", v), ("right", w)):
            if not isinstance(id, int | np.integer) or isinstance(id, bool) or not 0 <= id < MOST_CONTINUOUS:
                raise _not_continuous(side, id)
        super().add_edge(v, w, weight)

    def _checked(self, tails: ArrayLike, heads: ArrayLike, weights: ArrayLike | None) -> Edges:
        edges = super()._checked(tails, heads, weights)
        for side, ids in zip(("left", "right"), edges[:2], strict=True):
            wrong = ids if ids.dtype.kind != "i" else ids[(ids < 0) | (ids >= MOST_CONTINUOUS)]
            if len(wrong):
                raise _not_continuous(side, wrong[0].item())
        return edges

    def _number(self, tails: Ids, heads: Ids) -> tuple[Positions, Positions]:
        self._tails_of = counted(max(len(self._tails_of), int(tails.max(initial=-1)) + 1))
        self._heads_of = counted(max(len(self._heads_of), int(heads.max(initial=-1)) + 1))
        return tails, heads

    def _position(self, v: Vertex, ids: Ids) -> int:
        (position,) = as_ids([v]).tolist()
        if not isinstance(position, int) or not 0 <= position < len(ids):
            raise ConfigError(f"no vertex {v!r} on this side of the graph, which has {len(ids)}, from 0 on")
        return position

    @classmethod
    def from_scipy(cls, matrix: Any) -> Self:
        """From a scipy sparse matrix or array of (left, right)."""
        coordinates = coordinates_of(matrix)
        made = cls(left=matrix.shape[0], right=matrix.shape[1])
        made.add_edges(coordinates.row, coordinates.col, coordinates.data)
        return made


def _not_continuous(side: str, id: object) -> ConfigError:
    return ConfigError(f"id {id!r} on the {side} of a bigraph_continuous; {_ALLOWED}")
