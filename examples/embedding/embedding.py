"""DeepWalk (Perozzi, Al-Rfou and Skiena, KDD 2014): a vector for each node of a graph, learned from random walks.

Walks are read as sentences are by skip-gram with negative sampling (Mikolov et al., NIPS 2013). The vectors are in two
sparse tables whose keys are the nodes' ids, with AdaGrad on the servers. Each worker walks from its share of the nodes,
pulls the rows that it met, and pushes their gradients; it waits for nobody.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import rankdata

import paracel

Floats = NDArray[np.float32]
Places = NDArray[np.int64]  # of nodes among all ids, which rise


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Pairs of places, (n, 2): links to learn from, links to test with, and pairs that are no links."""

    training: Places
    held_out: Places
    false: Places


def undirected(links: Places) -> Places:
    """Each link once, from the lower place to the higher one, without loops; rising."""
    ordered: Places = np.unique(np.sort(links, axis=1), axis=0)
    return ordered[np.diff(ordered)[:, 0] > 0]


def split(links: Places, share: float, random: np.random.Generator) -> Split:
    """Hold out this share of the links between nodes that have other links.

    The false pairs are the ends of those links, joined anew: each node is among them about as often as among the true
    ones, so that a popular node alone gives nothing away.
    """
    chosen = random.random(len(links)) < share
    training, held_out = links[~chosen], links[chosen]
    held_out = held_out[np.isin(held_out, training).all(axis=1)]
    joined = np.column_stack([held_out[:, 0], random.permutation(held_out[:, 1])])
    pairs = undirected(joined)
    size = links.max(initial=0) + 1
    return Split(training, held_out, pairs[~np.isin(pairs @ [size, 1], links @ [size, 1])])


def neighbours(links: Places, size: int) -> csr_array:
    """The graph: row i has the neighbours of i."""
    ends = np.concatenate([links, links[:, ::-1]])
    return csr_array((np.ones(len(ends), np.float32), (ends[:, 0], ends[:, 1])), shape=(size, size))


def walks(graph: csr_array, starts: Places, length: int, random: np.random.Generator) -> Places:
    """A walk of `length` nodes from each start, which has a neighbour: (length, len(starts))."""
    path, degrees = [starts], np.diff(graph.indptr)
    for _ in range(length - 1):
        here = path[-1]
        chosen = (random.random(len(here)) * degrees[here]).astype(np.int64)
        path.append(graph.indices[graph.indptr[here] + chosen].astype(np.int64))
    return np.array(path)


def pairs_within(path: Places, window: int) -> tuple[Places, Places]:
    """Every node of every walk with each one that is at most `window` steps before or after it."""
    steps = range(1, min(window, len(path) - 1) + 1)
    before = np.concatenate([path[:-step].ravel() for step in steps])
    after = np.concatenate([path[step:].ravel() for step in steps])
    return np.concatenate([before, after]), np.concatenate([after, before])


def gradients(nodes: Floats, contexts: Floats) -> tuple[Floats, Floats]:
    """Of -log s(v . c_0) - sum over k > 0 of log s(-v . c_k), for each v of `nodes`, (n, dim), and its `contexts`.

    The latter are of shape (n, 1 + negatives, dim), and so is the second result; s is the logistic function.
    """
    error = 0.5 + 0.5 * np.tanh(0.5 * np.einsum("nd,nkd->nk", nodes, contexts))
    error[:, 0] -= 1
    return np.einsum("nk,nkd->nd", error, contexts), error[:, :, None] * nodes[:, None]


def added_up(values: Floats, place: Places, size: int) -> Floats:
    """The sum of the rows of values that have the same place, (size, dim)."""
    count = np.arange(len(place))
    summed: Floats = csr_array((np.ones(len(place), np.float32), (place, count)), shape=(size, len(place))) @ values
    return summed


def auc(true: Floats, false: Floats) -> float:
    """The chance that one of the true scores is above one of the false ones; ties are half (Mann and Whitney)."""
    ranks = rankdata(np.concatenate([true, false]))[: len(true)]
    return float((ranks.mean() - (len(true) + 1) / 2) / len(false))


class Embedding(paracel.paralg):
    """Vectors of `dim` numbers for the nodes of `input`, lines `a,b` of whole numbers; a link has no direction here.

    `rounds` walks of `length` nodes from each node, `batch` walks at a time; a node is to predict those at most
    `window` steps away, and to tell each from `negatives` others. The servers' learning rate is `alpha`. A share of the
    links is `held_out`: it prints how well the vectors tell these from false ones. Writes lines `id<TAB>f1|f2|...` to
    `nodes_0` and `contexts_0` in `output`, and to `pairs_0` lines `a,b,1,score` for links held out, `a,b,0,score` for
    false ones.
    """

    def __init__(
        self,
        input: str | list[str],
        output: str = "",
        rounds: int = 12,
        alpha: float = 0.2,
        *,
        dim: int = 32,
        length: int = 6,
        window: int = 3,
        negatives: int = 5,
        batch: int = 400,
        held_out: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(output=output, rounds=rounds)
        counts = {"dim": dim, "length": length, "window": window, "negatives": negatives, "batch": batch}
        for name, value in counts.items():
            least = (
                2 if name in ("dim", "length") else 1
            )  # with one, rows would be single numbers, and walks single nodes
            if value < least:
                raise ValueError(f"{name} is {value}; allowed: whole numbers from {least} on")
        if not 0 < held_out < 1:
            raise ValueError(f"held_out is {held_out}; allowed: above 0, below 1")
        self.input, self.alpha, self.held_out, self.seed = input, alpha, held_out, seed
        self.dim, self.length, self.window, self.negatives, self.batch = dim, length, window, negatives, batch
        self.random = np.random.default_rng([seed, self.worker_id])

    def solve(self) -> None:
        self.load()
        adagrad = paracel.optim.adagrad(self.alpha)
        init = ("uniform", 0.5 / self.dim)
        self.nodes = self.table("nodes", dim=self.dim, init=init, seed=self.seed, updater=adagrad)
        self.contexts = self.table("contexts", dim=self.dim, updater=adagrad)
        self.paracel_sync()
        started = time.perf_counter()
        for _ in range(self.rounds):
            self.walk_from_all()
        self.paracel_sync()
        if self.worker_id == 0:
            self.report(time.perf_counter() - started)

    def load(self) -> None:
        """The ids of all workers' links, and the same graph and the same split in each worker."""
        mine = self.paracel_load_as_relations(self.input, ",", "fmap")
        if len(mine.first) and mine.first.dtype.kind + mine.second.dtype.kind != "ii":
            raise ValueError(f"ids in {self.input!r} are not all whole numbers, which the keys of tables are")
        ends = np.column_stack([mine.first, mine.second]).astype(np.int64)
        self.ids, places = np.unique(np.concatenate(self.comm.allgather(ends)), return_inverse=True)
        links = undirected(places.reshape(-1, 2))
        self.split = split(links, self.held_out, np.random.default_rng(self.seed))
        if not (len(self.split.held_out) and len(self.split.false)):
            raise ValueError(f"{self.input!r} has {len(links)} links, of which none can be held out; give more")
        self.graph = neighbours(self.split.training, len(self.ids))
        self.degrees = np.diff(self.graph.indptr)
        self.noise = np.cumsum(self.degrees**0.75)  # Mikolov's distribution of negatives, not normalised

    def walk_from_all(self) -> None:
        """A walk from each of this worker's nodes."""
        linked = np.flatnonzero(self.degrees)[self.worker_id :: self.worker_size]
        starts = self.random.permutation(linked)
        for begin in range(0, len(starts), self.batch):
            self.learn_from(walks(self.graph, starts[begin : begin + self.batch], self.length, self.random))

    def learn_from(self, path: Places) -> None:
        """One step for all nodes and contexts in these walks."""
        centres, others = pairs_within(path, self.window)
        drawn = np.searchsorted(self.noise, self.noise[-1] * self.random.random((len(others), self.negatives)), "right")
        node, node_at = np.unique(centres, return_inverse=True)
        context, context_at = np.unique(np.column_stack([others, drawn]), return_inverse=True)
        pulls = self.nodes.pull(self.ids[node]), self.contexts.pull(self.ids[context])
        nodes, contexts = (pull.result() for pull in pulls)
        context_at = context_at.reshape(len(others), -1)
        node_slopes, slopes = gradients(nodes[node_at], contexts[context_at])
        self.nodes.push(self.ids[node], added_up(node_slopes, node_at, len(node)))
        context_slopes = added_up(slopes.reshape(-1, self.dim), context_at.ravel(), len(context))
        self.contexts.push(self.ids[context], context_slopes)

    # ---- results

    def report(self, seconds: float) -> None:
        pulls = self.nodes.pull(self.ids), self.contexts.pull(self.ids)
        nodes, contexts = (pull.result() for pull in pulls)

        def scores(pairs: Places) -> Floats:
            """How much either node predicts the other."""
            a, b = pairs.T
            found: Floats = (nodes[a] * contexts[b] + nodes[b] * contexts[a]).sum(axis=1)
            return found

        true, false = scores(self.split.held_out), scores(self.split.false)
        popular = [self.degrees[pairs].astype(float).prod(axis=1) for pairs in (self.split.held_out, self.split.false)]
        print(f"nodes: {len(self.ids)}\ntraining links: {len(self.split.training)}\nheld-out links: {len(true)}")
        print(f"AUC by degrees: {auc(*popular):.4f}\nAUC by vectors: {auc(true, false):.4f}")
        print(f"seconds to train: {seconds:.3f}")
        if self.output:
            self.dump(nodes, contexts, true, false)

    def dump(self, nodes: Floats, contexts: Floats, true: Floats, false: Floats) -> None:
        ids = self.ids.tolist()
        self.paracel_dump_dict(dict(zip(ids, nodes.tolist(), strict=True)), "nodes_")
        self.paracel_dump_dict(dict(zip(ids, contexts.tolist(), strict=True)), "contexts_")
        lines = [
            f"{a},{b},{label},{score}"
            for label, pairs, found in ((1, self.split.held_out, true), (0, self.split.false, false))
            for (a, b), score in zip(self.ids[pairs].tolist(), found.tolist(), strict=True)
        ]
        self.paracel_dump_vector(lines, "pairs_")


if __name__ == "__main__":
    paracel.main(Embedding)
