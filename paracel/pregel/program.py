"""What one writes: vertex programs over arrays, and what they see of the vertices. No tables and no workers here."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from paracel.errors import ConfigError
from paracel.graphs.compressed import Positions, runs
from paracel.graphs.ids import Ids
from paracel.pregel.messages import combiner
from paracel.pregel.partition import Partition

Array: TypeAlias = NDArray[Any]
#: Of the worker's vertices, or of their edges: some, by position, or all.
Some: TypeAlias = Positions | slice
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class EdgeMessages:
    """Messages of which each goes along one edge, where those of a vertex are not all the same.

    `values` has one for each edge of `Vertices.per_edge`, or, with `edges`, for each of these positions among them.
    """

    values: ArrayLike
    edges: ArrayLike | None = None


@dataclass(slots=True)
class Vertices:
    """The n active vertices of one worker in one superstep. Arrays are of shape (n,), unless said otherwise.

    `received` says which of them have got messages; `count` is how many vertices the whole graph has; `aggregated`
    has what all workers have given to the aggregators in the superstep before.
    """

    superstep: int
    values: Array
    received: NDArray[np.bool_]
    aggregated: Mapping[str, float]
    spread: Partition
    rows: Some
    target_ids: Ids | None
    given: dict[str, float]
    aggregators: Mapping[str, str]
    halting: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.halting = np.zeros(len(self.received), np.bool_)

    @property
    def ids(self) -> Ids:
        """Their ids."""
        return self.spread.ids[self.rows]

    @property
    def count(self) -> int:
        """How many vertices there are in all."""
        return self.spread.count

    @property
    def out_degrees(self) -> Positions:
        """How many edges each has."""
        return self.spread.edges.degrees[self.rows]

    @property
    def edges(self) -> Some:
        """Where their edges are among those of the worker."""
        return edges_of(self.spread, self.rows)

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of their edges, one vertex's after the other's, as `per_edge` has them."""
        return self.spread.edges.weights[self.edges]

    def per_edge(self, values: ArrayLike) -> Array:
        """A value for each vertex, shape (n,), repeated for each of its edges; what is masked stays masked."""
        array = np.ma.asarray(values) if np.ma.isMaskedArray(values) else np.asarray(values)
        self._check_shape("per_edge", array)
        repeated: Array = array.repeat(self.out_degrees)
        return repeated

    def vote_to_halt(self, where: ArrayLike = True) -> None:
        """Be inactive, all or where this is true, shape (n,), until a message comes."""
        mask = np.asarray(where, np.bool_)
        if mask.ndim:
            self._check_shape("vote_to_halt", mask)
        self.halting |= mask

    def aggregate(self, name: str, values: ArrayLike) -> None:
        """Give a number or an array of them to an aggregator: all see the outcome in the next superstep."""
        if name not in self.aggregators:
            known = ", ".join(self.aggregators) or "none"
            raise ConfigError(f"no aggregator {name!r} in this program; it has: {known}")
        ufunc = combiner(self.aggregators[name]).ufunc
        try:
            numbers = np.ravel(np.asarray(values, np.float64))
        except (TypeError, ValueError):
            raise ConfigError(f"aggregate({name!r}, {values!r:.80}); allowed: a number, or an array of them") from None
        self.given[name] = float(ufunc.reduce(numbers, initial=self.given[name]))

    def _check_shape(self, method: str, given: Array) -> None:
        n = len(self.received)
        if given.shape != (n,):
            raise ConfigError(f"{method} was given shape {given.shape}; allowed: ({n},), one for each active vertex")


class VertexProgram(ABC):
    """A program that every vertex runs in every superstep (Malewicz et al., SIGMOD 2010), here for all at once.

    `combiner` ("sum", "min", "max") makes one of all messages to a vertex, which are of `dtype`: whole numbers or
    floats; those of less than 8 bytes travel as 8. `aggregators` maps names of aggregators to "sum", "min" or "max".
    """

    combiner: ClassVar[str] = "sum"
    dtype: DTypeLike = "float64"
    aggregators: Mapping[str, str] = {}
    #: Whether `Vertices.target_ids`, the ids at the other end of edges, are wanted.
    wants_target_ids: ClassVar[bool] = False
    #: Whether the graph has to be an undirected_graph.
    needs_undirected: ClassVar[bool] = False
    #: Ids of vertices that have to be in the graph.
    needed_ids: Sequence[str | int] = ()

    @abstractmethod
    def initial(self, vertices: Vertices) -> ArrayLike:
        """The values with which vertices begin, shape (n,), or one for all; `vertices.values` are not there yet."""

    @abstractmethod
    def compute(self, vertices: Vertices, messages: Array) -> tuple[ArrayLike, "ArrayLike | EdgeMessages | None"]:
        """New values, and messages, of the active vertices: those that did not vote to halt, or have got a message.

        `messages`, shape (n,), are what has come, combined; the combiner's identity (0, or the greatest or least
        number) where nothing has. Returned is a tuple: the values, shape (n,), and messages, which are None, or one for
        each vertex, which goes along all its edges, shape (n,), where a masked array's masked vertices send nothing; or
        `EdgeMessages`.
        """


def edges_of(spread: Partition, rows: Some) -> Some:
    """Where the edges of vertices are, one vertex's after the other's."""
    if isinstance(rows, slice):
        return ALL
    starts = spread.edges.starts
    return runs(starts[rows], starts[rows + 1] - starts[rows])
