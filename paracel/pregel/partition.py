"""A graph spread over workers: each owns the vertices that hash to it, with the edges that begin there.

The exchange is MPI's, of arrays. Values and messages are no matter of this file.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.comm import Comm, ranks_of
from paracel.errors import ConfigError
from paracel.graphs import Graph, digraph, undirected_graph
from paracel.graphs.compressed import Compressed, Positions, rising_order
from paracel.graphs.ids import Ids, hashes_of, numbered
from paracel.pregel.agreement import together


@dataclass(frozen=True, slots=True)
class Partition:
    """One worker's vertices, numbered from `first` on among `count` of all workers, and the edges that begin there.

    `edges` has a row for each of `ids`, which rise; its columns are positions in `targets`, the rising numbers of the
    vertices that edges lead to. `firsts`, shape (workers,), are all workers' first numbers. `directed` says whether it
    was a digraph.
    """

    ids: Ids
    first: int
    count: int
    edges: Compressed
    targets: Positions
    firsts: Positions
    directed: bool

    @property
    def own(self) -> slice:
        """The numbers of the worker's own vertices."""
        return slice(self.first, self.first + len(self.ids))


def partition(comm: Any, graph: Graph) -> Partition:
    """Spread a graph, of which each worker brings any part of the edges. Collective.

    `comm` is mpi4py's communicator, as `paralg.comm`, or None for this process alone. Of an edge that several workers
    bring, the weight of the last worker counts. ConfigError, in all workers, if the graph has two sides, or if those of
    some workers are directed and those of others are not, or have text for ids and those of others numbers.
    """
    with ranks_of(comm) as ranks:
        edges, own_ids = together(ranks, lambda: _parts_of(graph))
        directed = isinstance(graph, digraph)
        if len(set(ranks.allgather_json(directed))) > 1:
            raise ConfigError("some workers bring a digraph, and others an undirected_graph; bring the same in all")
        ids = _alike(ranks, own_ids)
        owners = (hashes_of(ids) % np.uint64(ranks.size)).astype(np.int64)
        asking = _Exchange(ranks, owners)
        own, places = numbered(asking.send(ids))
        counts = np.array(ranks.allgather_json(len(own)))
        firsts = np.cumsum(counts) - counts
        first = int(firsts[ranks.rank])
        numbers = asking.reply(first + places)  # of each of this worker's ids
        sending = _Exchange(ranks, owners[edges.rows])
        tails, heads, weights = map(sending.send, (numbers[edges.rows], numbers[edges.columns], edges.weights))
    targets, columns = numbered(heads)
    kept = Compressed.of(tails - first, columns, weights, (len(own), len(targets)))
    return Partition(own, first, int(counts.sum()), kept, targets, firsts, directed)


def target_ids(comm: Any, spread: Partition) -> Ids:
    """The ids of `targets`. Collective."""
    with ranks_of(comm) as ranks:
        asking = _Exchange(ranks, np.searchsorted(spread.firsts, spread.targets, "right") - 1)
        return asking.reply(spread.ids[asking.send(spread.targets) - spread.first])


def _parts_of(graph: object) -> tuple[Compressed, Ids]:
    if not isinstance(graph, digraph | undirected_graph):
        raise ConfigError(f"a {type(graph).__name__} cannot be spread; allowed: digraph, undirected_graph")
    return graph.compressed, graph.ids


def _alike(ranks: Comm, ids: Ids) -> Ids:
    """The ids in one dtype on all workers."""
    told = ranks.allgather_json([ids.dtype.kind if len(ids) else "", ids.dtype.itemsize // 4])
    kinds = {kind for kind, _ in told} - {""}
    if len(kinds) > 1:
        raise ConfigError("ids are text on some workers and whole numbers on others; make them all of one kind")
    width = max((letters for kind, letters in told if kind == "U"), default=1)
    return ids.astype(f"U{width}" if kinds == {"U"} else np.int64, copy=False)


class _Exchange:
    """Rows of arrays on their way to the workers of `owners`, shape (rows,), and replies on their way back."""

    def __init__(self, ranks: Comm, owners: Positions) -> None:
        self._ranks = ranks
        self._order = rising_order(owners, ranks.size)
        there = np.bincount(owners, minlength=ranks.size)
        self._there: list[int] = there.tolist()
        self._here: list[int] = ranks.alltoallv(there, [1] * ranks.size).tolist()

    def send(self, rows: NDArray[Any]) -> NDArray[Any]:
        """What all send to this worker, by worker and in the order of their rows."""
        return self._ranks.alltoallv(rows[self._order], self._there)

    def reply(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Give a row for each that `send` returned; returns one for each that this worker sent."""
        carried = self._ranks.alltoallv(rows, self._here)
        replies = np.empty_like(carried)
        replies[self._order] = carried
        return replies
