"""Graphs in Paracel's vocabulary over arrays: `digraph`, `undirected_graph`, `bigraph`, `bigraph_continuous`.

Of one process; nothing here knows workers or servers. `paracel.pregel` computes on graphs that are spread over workers.
"""

import numpy as np
from numpy.typing import ArrayLike

from paracel.errors import ConfigError
from paracel.graphs.bipartite import bigraph, bigraph_continuous
from paracel.graphs.compressed import Compressed
from paracel.graphs.edges import Graph
from paracel.graphs.ids import as_ids
from paracel.graphs.plain import digraph, undirected_graph

#: The graph types by their names.
KINDS: dict[str, type[Graph]] = {
    kind.__name__: kind for kind in (digraph, undirected_graph, bigraph, bigraph_continuous)
}


def make(kind: str, tails: ArrayLike, heads: ArrayLike, weights: ArrayLike | None = None) -> Graph:
    """The graph of this kind of `KINDS` with these edges: arrays of shape (n,). ConfigError for any other kind.

    Of a digraph or an undirected_graph, ids become text if those of one end are text.
    """
    if kind not in KINDS:
        raise ConfigError(f"no kind of graph {kind!r}; there are: {', '.join(KINDS)}")
    made = KINDS[kind]()
    first, second = as_ids(tails), as_ids(heads)
    if isinstance(made, digraph | undirected_graph) and {first.dtype.kind, second.dtype.kind} == {"i", "U"}:
        first, second = first.astype(np.str_), second.astype(np.str_)
    made.add_edges(first, second, weights)
    return made


__all__ = ["KINDS", "Compressed", "Graph", "bigraph", "bigraph_continuous", "digraph", "make", "undirected_graph"]
