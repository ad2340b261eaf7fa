"""Vertex programs written for one vertex at a time: easy to write, and slow, as Python is called for each vertex."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from paracel.errors import ConfigError
from paracel.pregel.program import Array, EdgeMessages, VertexProgram, Vertices


class Vertex:
    """One active vertex in one superstep. `value` may be set; `edges` are pairs (id, weight)."""

    def __init__(self, id: Any, value: Any, edges: Sequence[tuple[Any, float]], vertices: Vertices) -> None:
        self._vertices = vertices
        self._places: dict[Any, int] | None = None
        self.id = id
        self.value = value
        self.edges = edges
        self.halted = False
        #: (position in `edges`, message).
        self.sent: list[tuple[int, Any]] = []

    @property
    def superstep(self) -> int:
        """The number of this superstep, from 0."""
        return self._vertices.superstep

    @property
    def count(self) -> int:
        """How many vertices the whole graph has."""
        return self._vertices.count

    @property
    def aggregated(self) -> Mapping[str, float]:
        """What all vertices gave to the aggregators in the superstep before."""
        return self._vertices.aggregated

    def aggregate(self, name: str, value: float) -> None:
        """Give a number to an aggregator."""
        self._vertices.aggregate(name, value)

    def send(self, to: Any, message: Any) -> None:
        """Send a message along the edge to a vertex; ConfigError if there is none."""
        if self._places is None:
            self._places = {target: place for place, (target, _) in enumerate(self.edges)}
        if to not in self._places:
            raise ConfigError(f"vertex {self.id!r} has no edge to {to!r}, and messages go along edges")
        self.sent.append((self._places[to], message))

    def send_to_all(self, message: Any) -> None:
        """Send a message along every edge."""
        self.sent += [(place, message) for place in range(len(self.edges))]

    def vote_to_halt(self) -> None:
        """Be inactive until a message comes."""
        self.halted = True


class PerVertexProgram(VertexProgram):
    """A vertex program as in Pregel's paper: `compute_vertex` is called for each active vertex."""

    wants_target_ids = True

    @abstractmethod
    def initial_value(self, id: Any) -> Any:
        """The number with which a vertex begins."""

    @abstractmethod
    def compute_vertex(self, vertex: Vertex, message: Any) -> None:
        """Look at the combined message (None: nothing has come), set the value, send, and perhaps vote to halt."""

    def initial(self, vertices: Vertices) -> Array:
        """`initial_value` of each; of none, nothing of the dtype of messages."""
        if not len(vertices.ids):
            return np.empty(0, self.dtype)
        return _numbers([self.initial_value(id) for id in vertices.ids.tolist()], "initial_value returned")

    def compute(self, vertices: Vertices, messages: Array) -> tuple[Array, EdgeMessages]:
        """`compute_vertex` of each."""
        assert vertices.target_ids is not None
        targets = vertices.target_ids[vertices.spread.edges.columns[vertices.edges]].tolist()
        edges = list(zip(targets, vertices.weights.tolist(), strict=True))
        ends = np.cumsum(vertices.out_degrees).tolist()
        arrived = [got if there else None for got, there in zip(messages.tolist(), vertices.received.tolist())]
        seen: list[Vertex] = []
        sent: list[tuple[int, Any]] = []
        begin = 0
        for id, value, message, end in zip(vertices.ids.tolist(), vertices.values.tolist(), arrived, ends):
            vertex = Vertex(id, value, edges[begin:end], vertices)
            self.compute_vertex(vertex, message)
            seen.append(vertex)
            sent += [(begin + place, each) for place, each in vertex.sent]
            begin = end
        vertices.vote_to_halt([vertex.halted for vertex in seen])
        along = _numbers([each for _, each in sent], "compute_vertex sent")
        values = _numbers([vertex.value for vertex in seen], "compute_vertex set vertex.value =")
        return values, EdgeMessages(along, [place for place, _ in sent])


def _numbers(given: list[Any], what: str) -> Array:
    """What vertices gave as an array; ConfigError tells `what` it was of the first that gave no number."""
    for each in given:
        if not isinstance(each, Number | np.bool_):
            raise ConfigError(f"{what} {each!r:.80}; allowed: numbers")
    return np.array(given)
