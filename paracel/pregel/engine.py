"""Runs a vertex program over the parameter server: supersteps, messages by table, halting and aggregators.

A superstep is an iteration of the workers' clock. What is pulled is at least as new as the last commits of all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.checks import check_count
from paracel.comm import ranks_of
from paracel.errors import ConfigError
from paracel.graphs import Graph
from paracel.graphs.ids import Ids
from paracel.paralg import paralg
from paracel.pregel.agreement import raise_in_all, together
from paracel.pregel.checks import begun, check_graph, check_program, computed, messages, positions
from paracel.pregel.messages import combiner
from paracel.pregel.partition import Partition, partition, target_ids
from paracel.pregel.program import ALL, Array, EdgeMessages, Some, VertexProgram, Vertices, edges_of
from paracel.pregel.tables import COUNTS, FAILED, Outbox, RunTables, clear


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended: this worker's vertices, `ids` rising, and their `values`, both of shape (n,).

    `halted` is False if the limit of supersteps ended it; `aggregated` is of the last superstep.
    """

    ids: Ids
    values: Array
    supersteps: int
    halted: bool
    aggregated: Mapping[str, float]

    def to_dict(self) -> dict[Any, Any]:
        """The values of this worker's vertices by id."""
        return dict(zip(self.ids.tolist(), self.values.tolist(), strict=True))


def run(
    algorithm: paralg,
    program: VertexProgram,
    graph: Graph | Partition,
    *,
    max_supersteps: int | None = None,
    name: str = "pregel",
) -> Result:
    """Run a program on a graph until all vertices have halted and no message is on its way. Collective.

    Each worker brings its part of the graph, as `paracel_load_as_graph` loads it, or what `partition` made of that,
    which may serve several runs. The result is of the vertices that the worker owns. The names of the run's tables
    begin with `name`. What the program raises in one worker ends the run in all: the others raise ConfigError. So they
    do if they have not committed equally often, as at the beginning of `solve()`, or if the program cannot have this
    graph.
    """
    if max_supersteps is not None:
        check_count("max_supersteps", max_supersteps, 0)
    with ranks_of(algorithm.comm) as ranks:
        together(ranks, lambda: check_program(program))
        spread = graph if isinstance(graph, Partition) else partition(ranks, graph)
        clocks = ranks.allgather_json(algorithm.clock)
        if min(clocks) != max(clocks):
            raise ConfigError(f"workers have committed {clocks} times, and a run begins when all have as often")
        check_graph(ranks, program, spread)
        if not spread.count:
            return Result(spread.ids, np.empty(0), 0, True, {})
        names = target_ids(ranks, spread) if program.wants_target_ids else None
        worker = together(ranks, lambda: _Worker(program, spread, names))
        together(ranks, lambda: clear(algorithm, name))
    tables = RunTables(algorithm, name, program, spread)
    step, halted = 0, False
    while step != max_supersteps and not halted:
        worker.superstep(step)
        tables.send(step + 1, worker.outbox, worker.totals())
        algorithm.iter_commit()
        step += 1
        arrived, received, totals = tables.receive(step)
        if totals[:, FAILED].any():
            tables.drop()
            with ranks_of(algorithm.comm) as ranks:
                raise_in_all(ranks, worker.error, f"in superstep {step - 1}")
        halted = worker.receive(arrived, received, totals)
    tables.drop()
    return worker.result(step, halted)


class _Worker:
    """One worker's vertices: who is active, what they compute and send. Talks to nobody."""

    def __init__(self, program: VertexProgram, spread: Partition, names: Ids | None) -> None:
        self._program = program
        self._spread = spread
        self._names = names
        self._combiner = combiner(program.combiner)
        self._dtype = np.dtype(program.dtype)
        self._kinds = {name: combiner(kind) for name, kind in program.aggregators.items()}
        own = len(spread.ids)
        self._halted = np.zeros(own, np.bool_)
        self._aggregated = self._given = {name: float(kind.identity("f8")) for name, kind in self._kinds.items()}
        self._nothing = dict(self._given)
        self._messages = np.full(own, self._combiner.identity(self._dtype), self._dtype)
        self._received = np.zeros(own, np.bool_)
        self._silence = Outbox(np.empty(0, np.int64), np.empty(0, self._dtype))
        self.outbox = self._silence
        self._values = begun(program, program.initial(self._vertices(0, np.empty(0), ALL)), own)
        self.error: Exception | None = None

    def superstep(self, step: int) -> None:
        """Compute on the active vertices; what they send is in `outbox`. If the program raises, that is in `error`."""
        self.outbox = self._silence
        try:
            self._compute(step)
        except Exception as error:
            self.error = error

    def _compute(self, step: int) -> None:
        active = ~self._halted | self._received
        rows = ALL if active.all() else np.flatnonzero(active)
        vertices = self._vertices(step, self._values[rows], rows)
        if active.any():
            returned = self._program.compute(vertices, self._messages[rows])
            self._values[rows], sent = computed(self._program, returned, self._values[rows])
            self._halted[rows] = vertices.halting
            if sent is not None:
                self.outbox = self._sent(*self._outgoing(vertices, sent))
        self._given = vertices.given

    def totals(self) -> list[float]:
        """Whether it failed, how many vertices are active and are sent to, and what aggregators were given."""
        active = float(np.count_nonzero(~self._halted))
        return [self.error is not None, active, len(self.outbox.to), *self._given.values()]

    def receive(self, messages: Array, received: NDArray[np.bool_], totals: Array) -> bool:
        """Take messages and all workers' totals, shape (workers, COUNTS + aggregators); says whether all is done."""
        identity = self._combiner.identity(self._dtype)
        self._messages, self._received = np.where(received, messages, identity), received
        columns = zip(self._kinds.items(), totals[:, COUNTS:].T, strict=True)
        self._aggregated = {name: float(kind.ufunc.reduce(column)) for (name, kind), column in columns}
        return not totals[:, :COUNTS].any()

    def result(self, supersteps: int, halted: bool) -> Result:
        """The values as they are."""
        return Result(self._spread.ids, self._values, supersteps, halted, self._aggregated)

    def _vertices(self, step: int, values: Array, rows: Some) -> Vertices:
        return Vertices(
            step, values, self._received[rows], self._aggregated, self._spread, rows, self._names,
            dict(self._nothing),
            self._program.aggregators,
        )  # fmt: skip

    def _outgoing(self, vertices: Vertices, sent: Any) -> tuple[Some, Array]:
        """The edges along which something goes, and what."""
        if isinstance(sent, EdgeMessages):
            edges, count = vertices.edges, int(vertices.out_degrees.sum())
            if sent.edges is not None:
                where = positions(self._program, sent.edges, count)
                edges, count = _among(edges, where), len(where)
            chosen, values = messages(self._program, sent.values, count, "edge")
            return _among(edges, chosen), values
        chosen, values = messages(self._program, sent, len(vertices.received), "active vertex")
        rows = _among(vertices.rows, chosen)
        return edges_of(self._spread, rows), np.repeat(values, self._spread.edges.degrees[rows])

    def _sent(self, edges: Some, values: Array) -> Outbox:
        """Make one message of all that go to one vertex."""
        spread, columns = self._spread, self._spread.edges.columns[edges]
        combined = np.full(len(spread.targets), self._combiner.identity(self._dtype), self._dtype)
        self._combiner.ufunc.at(combined, columns, values)
        if isinstance(edges, slice):  # every target is at the end of an edge
            return Outbox(spread.targets, combined)
        touched = np.zeros(len(spread.targets), np.bool_)
        touched[columns] = True
        return Outbox(spread.targets[touched], combined[touched])


def _among(some: Some, chosen: Some) -> Some:
    """Of some, the chosen ones."""
    if isinstance(chosen, slice):
        return some
    return chosen if isinstance(some, slice) else some[chosen]
