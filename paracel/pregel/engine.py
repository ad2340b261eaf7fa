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
from paracel.graphs.compressed import Positions
from paracel.graphs.ids import Ids
from paracel.paralg import paralg
from paracel.pregel.messages import STEP, combiner
from paracel.pregel.partition import Partition, partition, target_ids
from paracel.pregel.program import ALL, Array, EdgeMessages, Some, VertexProgram, Vertices, edges_of
from paracel.table import Table


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
    begin with `name`. ConfigError if the workers have not committed equally often, as at the beginning of `solve()`.
    """
    if max_supersteps is not None:
        check_count("max_supersteps", max_supersteps, 0)
    spread = graph if isinstance(graph, Partition) else partition(algorithm.comm, graph)
    with ranks_of(algorithm.comm) as ranks:
        clocks = ranks.allgather_json(algorithm.clock)
    if min(clocks) != max(clocks):
        raise ConfigError(f"workers have committed {clocks} times, and a run begins when all have as often")
    if not spread.count:
        return Result(spread.ids, np.empty(0), 0, True, {})
    names = target_ids(algorithm.comm, spread) if program.wants_target_ids else None
    worker = _Worker(program, spread, names)
    tables = _Tables(algorithm, name, program, spread)
    step, halted = 0, False
    while step != max_supersteps and not halted:
        worker.superstep(step)
        tables.send(step + 1, worker.outbox, worker.totals())
        algorithm.iter_commit()
        step += 1
        halted = worker.receive(*tables.receive(step))
    tables.drop()
    return worker.result(step, halted)


@dataclass(frozen=True, slots=True)
class _Outbox:
    """Messages combined for each vertex: rising numbers of vertices, and a message for each."""

    to: Positions
    messages: Array


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
        self._silence = _Outbox(np.empty(0, np.int64), np.empty(0, self._dtype))
        self.outbox = self._silence
        begun = np.asarray(program.initial(self._vertices(0, np.empty(0), ALL)))
        self._values = np.broadcast_to(begun, (own, *begun.shape[1:])).copy()

    def superstep(self, step: int) -> None:
        """Compute on the active vertices; what they send is in `outbox`."""
        active = ~self._halted | self._received
        rows = ALL if active.all() else np.flatnonzero(active)
        vertices = self._vertices(step, self._values[rows], rows)
        self.outbox = self._silence
        if active.any():
            values, messages = self._program.compute(vertices, self._messages[rows])
            self._values[rows] = values
            self._halted[rows] = vertices.halting
            if messages is not None:
                self.outbox = self._sent(*self._outgoing(vertices, messages))
        self._given = vertices.given

    def totals(self) -> list[float]:
        """How many vertices are active, how many are sent to, and what aggregators were given."""
        return [float(np.count_nonzero(~self._halted)), len(self.outbox.to), *self._given.values()]

    def receive(self, messages: Array, received: NDArray[np.bool_], totals: Array) -> bool:
        """Take messages and all workers' totals, shape (workers, 2 + aggregators); says whether all is done."""
        identity = self._combiner.identity(self._dtype)
        self._messages, self._received = np.where(received, messages, identity), received
        columns = zip(self._kinds.items(), totals[:, 2:].T, strict=True)
        self._aggregated = {name: float(kind.ufunc.reduce(column)) for (name, kind), column in columns}
        return not totals[:, :2].any()

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
            edges = vertices.edges
            if sent.edges is not None:
                edges = _chosen(edges, np.asarray(sent.edges, np.int64))
            values, mask = np.ma.getdata(sent.values), np.ma.getmask(sent.values)
            if mask is np.ma.nomask:
                return edges, values
            return _chosen(edges, np.flatnonzero(~mask)), values[~mask]
        values, mask = np.ma.getdata(sent), np.ma.getmask(sent)
        rows = vertices.rows
        if mask is not np.ma.nomask:
            values, rows = values[~mask], _chosen(rows, np.flatnonzero(~mask))
        return edges_of(self._spread, rows), np.repeat(values, self._spread.edges.degrees[rows])

    def _sent(self, edges: Some, values: Array) -> _Outbox:
        """Make one message of all that go to one vertex."""
        spread, columns = self._spread, self._spread.edges.columns[edges]
        if columns.shape != values.shape:
            raise ConfigError(f"messages of shape {values.shape} for {len(columns)} edges; return one for each")
        combined = np.full(len(spread.targets), self._combiner.identity(self._dtype), self._dtype)
        self._combiner.ufunc.at(combined, columns, values.astype(self._dtype, casting="same_kind", copy=False))
        if isinstance(edges, slice):  # every target is at the end of an edge
            return _Outbox(spread.targets, combined)
        touched = np.zeros(len(spread.targets), np.bool_)
        touched[columns] = True
        return _Outbox(spread.targets[touched], combined[touched])


class _Tables:
    """The two tables of a run: messages to vertices, and a row of totals for each worker."""

    def __init__(self, algorithm: paralg, name: str, program: VertexProgram, spread: Partition) -> None:
        self._algorithm = algorithm
        self._name = name
        self._program = program
        self._spread = spread
        self._workers = algorithm.worker_size
        if algorithm.worker_id == 0:  # a run that did not end has left messages, which would be taken for this one's
            for left in self._open():
                left.drop()
        algorithm.paracel_sync()
        self._messages, self._totals = self._open()

    def _open(self) -> tuple[Table, Table]:
        program, open_ = self._program, self._algorithm.table
        updater, width = combiner(program.combiner).updater, 2 + len(program.aggregators)
        return (
            open_(f"{self._name}/messages", 2 * self._spread.count, dtype=program.dtype, updater=updater),
            open_(f"{self._name}/totals", 2 * self._workers, width, "float64", updater="assign"),
        )

    def send(self, step: int, outbox: _Outbox, totals: list[float]) -> None:
        """Send what superstep `step` is to receive."""
        steps = np.broadcast_to(self._messages.dtype.type(step), outbox.messages.shape)
        self._messages.push(outbox.to + self._parity(step, self._spread.count), outbox.messages, steps)
        self._totals.push([self._parity(step, self._workers) + self._algorithm.worker_id], [totals])

    def receive(self, step: int) -> tuple[Array, NDArray[np.bool_], Array]:
        """Messages to the own vertices, which of these have got some, and all workers' totals."""
        first, workers = self._parity(step, self._spread.count), self._parity(step, self._workers)
        own = slice(first + self._spread.own.start, first + self._spread.own.stop)
        pulled = self._messages.pull(own, state=[STEP], staleness=0)
        totals = self._totals.pull(slice(workers, workers + self._workers), staleness=0).result()
        messages, steps = pulled.result()
        return messages, steps == step, totals

    def drop(self) -> None:
        """Remove them when all have read what they need."""
        self._algorithm.paracel_sync()
        if self._algorithm.worker_id == 0:
            self._messages.drop()
            self._totals.drop()

    @staticmethod
    def _parity(step: int, size: int) -> int:
        return step % 2 * size


def _chosen(some: Some, positions: Positions) -> Positions:
    return positions if isinstance(some, slice) else some[positions]
