"""Programs of the paper: the greatest value, connected components, shortest paths, PageRank."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from paracel.checks import check_count
from paracel.errors import ConfigError
from paracel.graphs.ids import as_ids, hashes_of
from paracel.pregel.program import Array, EdgeMessages, VertexProgram, Vertices


class MaxValue(VertexProgram):
    """The greatest value among a vertex and all from which it can be reached (section 2 of the paper).

    `values` makes the values with which vertices begin, shape (n,), of their ids; None: the ids are the values. They
    are of `dtype`, which is int64 for ids, and float64 for other values unless given. ConfigError, in all workers, for
    whole numbers beyond those that it tells apart, floats if it is of whole numbers, and what is no number.
    """

    combiner = "max"

    def __init__(self, values: Any = None, dtype: DTypeLike | None = None) -> None:
        self.dtype = ("int64" if values is None else "float64") if dtype is None else dtype
        self._values = values

    def initial(self, vertices: Vertices) -> Array:
        """The values given."""
        made = np.asarray(vertices.ids if self._values is None else self._values(vertices.ids))
        if made.dtype.kind not in "biuf":
            raise ConfigError(f"MaxValue and values that are no numbers, {made!r:.80}; give numbers by values=")
        kind = np.dtype(self.dtype)
        if made.size and made.dtype.kind == "f" and kind.kind != "f":
            raise ConfigError(f"MaxValue and values of {made.dtype}; its dtype is {kind}, give dtype='float64'")
        least, most = _whole_numbers(kind)
        if made.size and made.dtype.kind in "iu" and not least <= int(made.min()) <= int(made.max()) <= most:
            raise ConfigError(
                f"MaxValue and values from {made.min()} to {made.max()}; its dtype is {kind}, which has all whole "
                f"numbers from {least} to {most}: give another, as dtype='int64'"
            )
        return made.astype(kind)

    def compute(self, vertices: Vertices, messages: Array) -> tuple[Array, Array]:
        """Tell the others when there is something new."""
        greater = np.maximum(vertices.values, messages)
        news = (greater > vertices.values) | (vertices.superstep == 0)
        vertices.vote_to_halt()
        return greater, np.ma.array(greater, mask=~news)


def _whole_numbers(kind: np.dtype[Any]) -> tuple[int, int]:
    """From where to where a dtype has all whole numbers."""
    if kind.kind == "f":
        most = 2 << np.finfo(kind).nmant
        return -most, most
    return int(np.iinfo(kind).min), int(np.iinfo(kind).max)


class ConnectedComponents(VertexProgram):
    """The component of each vertex of an undirected_graph, named by its least id.

    Where ids are text the name is a number, the least of their hashes (63 bits).
    """

    combiner = "min"
    dtype = "int64"
    needs_undirected = True

    def initial(self, vertices: Vertices) -> Array:
        """Itself."""
        ids = vertices.ids
        return ids if ids.dtype.kind == "i" else (hashes_of(ids) >> np.uint64(1)).astype(np.int64)

    def compute(self, vertices: Vertices, messages: Array) -> tuple[Array, Array]:
        """The least that is heard of."""
        least = np.minimum(vertices.values, messages)
        news = (least < vertices.values) | (vertices.superstep == 0)
        vertices.vote_to_halt()
        return least, np.ma.array(least, mask=~news)


class ShortestPaths(VertexProgram):
    """The least sum of weights, which must not be negative, on a way from `source`; infinite where there is none.

    ConfigError, in all workers, if `source` is not in the graph, or a weight is negative.
    """

    combiner = "min"

    def __init__(self, source: str | int) -> None:
        (self._source,) = self.needed_ids = as_ids([source]).tolist()

    def initial(self, vertices: Vertices) -> ArrayLike:
        """Nothing is reached yet."""
        least = vertices.weights.min(initial=0.0)
        if least < 0:
            raise ConfigError(f"ShortestPaths and an edge of weight {least}; allowed: weights from 0 on")
        return np.inf

    def compute(self, vertices: Vertices, messages: Array) -> tuple[Array, EdgeMessages]:
        """Tell the others about shorter ways."""
        begun = np.where(vertices.ids == self._source, 0.0, np.inf) if vertices.superstep == 0 else messages
        least = np.minimum(vertices.values, begun)
        news = least < vertices.values
        vertices.vote_to_halt()
        return least, EdgeMessages(vertices.per_edge(np.ma.array(least, mask=~news)) + vertices.weights)


class PageRank(VertexProgram):
    """PageRank (Page et al., 1999), by power iteration from 1 / n; weights of edges do not count.

    Each round makes a rank `(1 - d) / n + d * (sum + lost / n)`: `sum` is over the edges that lead there, each of which
    carries its vertex's share; `lost` are the ranks of vertices without edges, as if they had one to every vertex. Not
    `normalised` it is `(1 - d) + d * (...)`, as Paracel has it, which approaches n times as much. It ends after
    `rounds`, or when the ranks of a round differ from those before by no more than `tolerance` in all.
    """

    def __init__(
        self, rounds: int = 100, damping_factor: float = 0.85, *, normalised: bool = True, tolerance: float = 0.0
    ) -> None:
        check_count("rounds", rounds, 0)
        if not 0 <= damping_factor < 1:
            raise ConfigError(f"damping_factor={damping_factor!r}; allowed: from 0, below 1")
        self.aggregators = {"lost": "sum", "change": "sum"}
        self._rounds = rounds
        self._damping = damping_factor
        self._normalised = normalised
        self._tolerance = tolerance

    def initial(self, vertices: Vertices) -> ArrayLike:
        """The same for all."""
        return 1 / vertices.count

    def compute(self, vertices: Vertices, messages: Array) -> tuple[Array, Array | None]:
        """One round."""
        ranks, step = vertices.values, vertices.superstep
        if step > 1 and vertices.aggregated["change"] <= self._tolerance:
            vertices.vote_to_halt()
            return ranks, None
        if step > 0:
            base = (1 - self._damping) / (vertices.count if self._normalised else 1)
            ranks = base + self._damping * (messages + vertices.aggregated["lost"] / vertices.count)
            vertices.aggregate("change", np.abs(ranks - vertices.values))
        if step == self._rounds:
            vertices.vote_to_halt()
            return ranks, None
        degrees = vertices.out_degrees
        vertices.aggregate("lost", ranks[degrees == 0])
        return ranks, ranks / np.maximum(degrees, 1)
