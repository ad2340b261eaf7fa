"""What all graph types share: edges are collected as they come, and compressed when somebody asks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from paracel.errors import ConfigError
from paracel.graphs.compressed import Compressed, Positions, Weights
from paracel.graphs.ids import Ids, as_ids, joined, positions_of
from paracel.graphs.outside import library

Vertex: TypeAlias = str | int
#: (v, w) or (v, w, weight).
Edge: TypeAlias = tuple[Any, ...]
#: Tails, heads and weights of many edges.
Edges: TypeAlias = tuple[Ids, Ids, Weights]

_EVERY: Any = object()
_NONE = np.empty(0, np.int64)


class Graph(ABC):
    """A graph whose vertices are text or whole numbers of 64 bits, and whose edges have a weight, 1.0 unless given.

    Where an edge comes again, the last weight counts. Edges may be added at any time; the next question puts them in
    order, all at once. A question about a vertex that is not there raises ConfigError, and so does what is no edge: a
    weight may be infinite, but not NaN, which compares with nothing.
    """

    def __init__(self, edges: Iterable[Edge] | Mapping[Any, Mapping[Any, float]] = ()) -> None:
        """With `edges` (v, w) or (v, w, weight), or with those of a dict `{v: {w: weight}}`."""
        self._tails_of: Ids = _NONE
        self._heads_of: Ids = _NONE
        self._waiting: list[Edge] = []
        self._parts: list[Edges] = []
        self._changed = False
        self._compressed = Compressed.of(_NONE, _NONE, np.empty(0), (0, 0))
        self._transposed: Compressed | None = None
        for edge in _edges_in(edges):
            self.add_edge(*edge)
        self._collect()  # so that what is wrong is told here

    @classmethod
    def from_edges(cls, tails: ArrayLike, heads: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """From arrays of ids, shape (n,), and of weights (None: all 1.0)."""
        made = cls()
        made.add_edges(tails, heads, weights)
        return made

    @classmethod
    def from_dict(cls, edges: Mapping[Any, Mapping[Any, float]]) -> Self:
        """From `{v: {w: weight}}`, as `dump2dict` makes it; a vertex with `{}` stays, where vertices need no edge."""
        return cls(edges)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self.v()} vertices, {self.e()} edges>"

    # --- adding -----------------------------------------------------------------------------------------------------

    def add_edge(self, v: Vertex, w: Vertex, weight: float = 1.0) -> None:
        """Add the edge from `v` to `w`."""
        self._waiting.append((v, w, weight))
        self._changed = True

    def add_edges(self, tails: ArrayLike, heads: ArrayLike, weights: ArrayLike | None = None) -> None:
        """Add many edges: arrays of ids, shape (n,), and of weights (None: all 1.0)."""
        self._collect()
        self._parts.append(self._checked(tails, heads, weights))
        self._changed = True

    def _collect(self) -> None:
        """Make arrays of the edges that came one by one, in their place among the others."""
        if self._waiting:
            self._parts.append(self._checked(*map(list, zip(*self._waiting, strict=True))))
            self._waiting = []

    def _checked(self, tails: ArrayLike, heads: ArrayLike, weights: ArrayLike | None) -> Edges:
        """Edges as arrays; ConfigError for what cannot be one."""
        sources, targets = as_ids(tails), as_ids(heads)
        given = np.ones(len(sources)) if weights is None else _numbers_in(weights)
        if not sources.shape == targets.shape == given.shape:
            raise ConfigError(f"{len(sources)} tails, {len(targets)} heads and weights of shape {given.shape}")
        if np.isnan(given).any():
            at = int(np.isnan(given).argmax())
            edge, weight = (sources[at].item(), targets[at].item()), np.asarray(weights, object)[at]
            raise ConfigError(f"the weight of edge {edge} is {weight!r}; allowed: numbers, infinite ones too, no NaN")
        return sources, targets, given

    def _order(self) -> None:
        if self._changed:
            self._collect()
            tails, heads, weights = zip(self._ordered_edges(), *self._parts, strict=True)
            rows, columns = self._number(joined(tails), joined(heads))
            shape = len(self._tails_of), len(self._heads_of)
            self._compressed = self._compress(rows, columns, np.concatenate(weights), shape)
            self._transposed, self._parts, self._changed = None, [], False

    @abstractmethod
    def _number(self, tails: Ids, heads: Ids) -> tuple[Positions, Positions]:
        """Give numbers to the vertices, those known and those of these edges; the numbers of tails and heads."""

    def _compress(self, rows: Positions, columns: Positions, weights: Weights, shape: tuple[int, int]) -> Compressed:
        return Compressed.of(rows, columns, weights, shape)

    def _ordered_edges(self) -> Edges:
        edges = self._compressed
        return self._tails_of[edges.rows], self._heads_of[edges.columns], edges.weights

    # --- as arrays --------------------------------------------------------------------------------------------------

    @property
    def compressed(self) -> Compressed:
        """The edges by their tails; rows and columns are numbered as the ids are, which rise."""
        self._order()
        return self._compressed

    @property
    def transposed(self) -> Compressed:
        """The edges by their heads."""
        compressed = self.compressed
        if self._transposed is None:
            self._transposed = compressed.transposed()
        return self._transposed

    def edges(self) -> Edges:
        """Tails, heads and weights of all edges, each of shape (e(),)."""
        self._order()
        return self._ordered_edges()

    def to_scipy(self) -> Any:
        """The weights as a scipy CSR array, rows and columns numbered as the ids are; needs scipy."""
        csr_array, edges = library("scipy.sparse", "to_scipy()").csr_array, self.compressed
        return csr_array((edges.weights, edges.columns, edges.starts), shape=(edges.height, edges.width))

    # --- Paracel's questions ----------------------------------------------------------------------------------------

    def v(self) -> int:
        """How many vertices there are; of a graph of two sides, on the left."""
        return self.compressed.height

    def e(self) -> int:
        """How many edges there are."""
        return len(self.compressed.weights)

    def adjacent(self, v: Vertex) -> dict[Any, float]:
        """The vertices that edges of `v` lead to, with their weights."""
        edges = self.compressed
        return row_of(edges, self._position(v, self._tails_of), self._heads_of)

    def traverse(self, function: Callable[[Any, Any, float], object], v: Vertex = _EVERY) -> None:
        """Call `function(v, w, weight)` for each edge, by rising ids; or for those of one vertex."""
        if v is not _EVERY:
            for w, weight in self.adjacent(v).items():
                function(v, w, weight)
            return
        edges = self.compressed
        tails, heads = self._tails_of[edges.rows], self._heads_of[edges.columns]
        for edge in zip(tails.tolist(), heads.tolist(), edges.weights.tolist(), strict=True):
            function(*edge)

    def dump2triples(self) -> list[tuple[Any, Any, float]]:
        """Each edge once, as (v, w, weight)."""
        return list(zip(*(column.tolist() for column in self.edges()), strict=True))

    def dump2dict(self) -> dict[Any, dict[Any, float]]:
        """`{v: {w: weight}}`, of every vertex (on the left, of a graph of two sides)."""
        edges = self.compressed
        return {v: row_of(edges, number, self._heads_of) for number, v in enumerate(self._tails_of.tolist())}

    def _position(self, v: Vertex, ids: Ids) -> int:
        (position,) = positions_of(as_ids([v]), ids).tolist()
        if position < 0:
            raise ConfigError(f"no vertex {v!r} in this graph, which has {_described(ids)}")
        return int(position)


def _edges_in(given: Any) -> Iterator[Edge]:
    """The edges that a graph is made with; ConfigError for what are none."""
    if isinstance(given, Mapping):
        for v, others in given.items():
            if not isinstance(others, Mapping):
                raise ConfigError(f"the edges of {v!r} are {others!r:.80}; allowed: a dict of weights, {{w: weight}}")
            yield from ((v, w, weight) for w, weight in others.items())
    elif isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigError(
            f"edges are {given!r:.80}; allowed: pairs (v, w) or triples (v, w, weight), or a dict "
            "{v: {w: weight}}; paracel_load_as_graph loads a file"
        )
    else:
        for number, edge in enumerate(given):
            if isinstance(edge, str | bytes) or not isinstance(edge, Sized) or len(edge) not in (2, 3):
                raise ConfigError(f"edge {number} is {edge!r:.80}; allowed: (v, w), or (v, w, weight)")
            yield edge  # type: ignore[misc]


def _numbers_in(weights: ArrayLike) -> Weights:
    """Weights as an array of their own, with NaN for what is no number."""
    try:
        return np.array(weights, np.float64)
    except (TypeError, ValueError):
        return np.array([_number(each) for each in np.asarray(weights, object).ravel()])


def _number(given: Any) -> float:
    try:
        return float(given)
    except (TypeError, ValueError):
        return np.nan


def row_of(edges: Compressed, number: int, ids: Ids) -> dict[Any, float]:
    """The ids of the columns of one row, with their weights."""
    here = edges.row(number)
    return dict(zip(ids[edges.columns[here]].tolist(), edges.weights[here].tolist(), strict=True))


def _described(ids: Ids) -> str:
    if not len(ids):
        return "none"
    kind = "text" if ids.dtype.kind == "U" else "whole numbers"
    return f"{len(ids)}, all {kind}, {ids[0].item()!r} to {ids[-1].item()!r}"
