"""The tables of a run: what goes from one superstep to the next. What is in it, programs and the engine know."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paracel.graphs.compressed import Positions
from paracel.paralg import paralg
from paracel.pregel.messages import COMBINERS, STEP, combiner, stored
from paracel.pregel.partition import Partition
from paracel.pregel.program import Array, VertexProgram
from paracel.table import Table

#: A worker's totals begin with so many counts, whose order is that of `FAILED`, active vertices, and vertices sent to.
COUNTS = 3
FAILED = 0


@dataclass(frozen=True, slots=True)
class Outbox:
    """Messages combined for each vertex: rising numbers of vertices, and a message for each."""

    to: Positions
    messages: Array


class RunTables:
    """The two tables of a run: messages to vertices, and a row of totals for each worker."""

    def __init__(self, algorithm: paralg, name: str, program: VertexProgram, spread: Partition) -> None:
        self._algorithm = algorithm
        self._name = name
        self._program = program
        self._spread = spread
        self._workers = algorithm.worker_size
        self._messages, self._totals = self._open()

    def _open(self) -> tuple[Table, Table]:
        program, open_ = self._program, self._algorithm.table
        updater, width = combiner(program.combiner).updater, COUNTS + len(program.aggregators)
        return (
            open_(f"{self._name}/messages", 2 * self._spread.count, dtype=stored(program.dtype), updater=updater),
            open_(f"{self._name}/totals", 2 * self._workers, width, "float64", updater="assign"),
        )

    def send(self, step: int, outbox: Outbox, totals: list[float]) -> None:
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
        return messages.astype(self._program.dtype, copy=False), steps == step, totals

    def drop(self) -> None:
        """Remove them when all have read what they need."""
        self._algorithm.paracel_sync()
        if self._algorithm.worker_id == 0:
            self._messages.drop()
            self._totals.drop()

    @staticmethod
    def _parity(step: int, size: int) -> int:
        return step % 2 * size


def clear(algorithm: paralg, name: str) -> None:
    """Let worker 0 drop what a run that was cut off has left, whose messages would be taken for the next one's.

    Tables of that name which are no run's stay, so that opening them fails.
    """
    known = algorithm.tables() if algorithm.worker_id == 0 else {}
    left = known.get(f"{name}/messages")
    ours = [f"{each.updater.__module__}:{each.updater.__name__}" for each in COMBINERS.values()]
    if left is None or left.settings["updater"][1] not in ours:
        return
    for each in (f"{name}/totals", f"{name}/messages"):
        if each in known:
            of = known[each].settings
            kind, detail = of["updater"]
            updater = detail if kind == "function" else kind
            algorithm.table(each, of["size"], of["dim"], of["dtype"], updater=updater).drop()
