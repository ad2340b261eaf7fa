"""PageRank: how much each page matters, by power iteration over the links between pages.

Each worker owns the pages that hash to it, with the links that lead to them. In each round it pushes what its pages
give to those that they link to, pulls what all pages give, and adds up what its own pages get.
"""

import time

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

import paracel
from paracel import graphs, pregel

Floats = NDArray[np.float64]


class PageRank(paracel.paralg):
    """Ranks the pages of `input`, lines `src,dst`; writes lines `page<TAB>rank` to `pagerank_0` in `output`.

    A round makes of each rank (1 - d) / n + d * (sum + lost / n): `d` is the `damping_factor`, `sum` is over the pages
    that link there, each with its rank divided by the number of its links, and `lost` are the ranks of all pages
    without links. Not `normalised` it is (1 - d) + d * (...), as Paracel has it. All ranks begin as 1 / n. The `top`
    pages are printed.
    """

    def __init__(
        self,
        input: str | list[str],
        output: str = "",
        rounds: int = 100,
        damping_factor: float = 0.85,
        *,
        normalised: bool = True,
        separator: str = ",",
        top: int = 10,
    ) -> None:
        super().__init__(output=output, rounds=rounds, staleness=0)
        if not 0 <= damping_factor < 1:
            raise ValueError(f"damping_factor is {damping_factor}; allowed: from 0, below 1")
        self.input = input
        self.damping_factor = damping_factor
        self.normalised = normalised
        self.separator = separator
        self.top = top

    def solve(self) -> None:
        started = time.perf_counter()
        links = self.paracel_load_as_relations(self.input, self.separator, "smap")
        if not self.comm.allreduce(len(links.first)):
            raise ValueError(f"there is no link in {self.input!r}; lines are src{self.separator}dst")
        # a worker owns the edges of its vertices: turned around, the links that lead to its pages
        pages = pregel.partition(self.comm, graphs.make("digraph", links.second, links.first))
        counts = self.count_links(pages)
        columns = pages.targets[pages.edges.columns]
        sums = csr_array((np.ones(len(columns)), columns, pages.edges.starts), shape=(len(counts), pages.count))
        loaded = time.perf_counter()
        ranks = self.iterate(pages, counts, sums)
        finished = time.perf_counter()
        best = self.best(pages, ranks)
        if self.worker_id == 0:
            print(f"pages: {pages.count}\nrounds: {self.rounds}")
            print(f"seconds to load: {loaded - started:.3f}\nseconds to rank: {finished - loaded:.3f}")
            for page, rank in best:
                print(f"{page} : {rank:.6g}")
        if self.output:
            self.paracel_dump_dict(dict(zip(pages.ids.tolist(), ranks.tolist(), strict=True)), "pagerank_", merge=True)

    def iterate(self, pages: pregel.Partition, links: Floats, sums: csr_array) -> Floats:
        """The ranks of this worker's pages, by `pages.ids`; `sums @ x` adds up x over the links to each of them."""
        n, workers, damping = pages.count, self.worker_size, self.damping_factor
        linking = np.maximum(links, 1)
        base = (1 - damping) / (n if self.normalised else 1)
        # What each page gives along each of its links, and what the pages of each worker lose. Both twice, for even and
        # odd rounds: a worker may push what is for the next round while another one still pulls what is for this one.
        gives = self.table("gives", 2 * n, dtype="float64", updater="assign")
        loses = self.table("loses", 2 * workers, dtype="float64", updater="assign")
        ranks = np.full(len(links), 1 / n)
        for turn in range(self.rounds):
            page, worker = turn % 2 * n, turn % 2 * workers
            gives.push(slice(page + pages.own.start, page + pages.own.stop), ranks / linking)
            loses.push([worker + self.worker_id], ranks[links == 0].sum())
            self.iter_commit()
            lost = loses.pull(slice(worker, worker + workers)).result().sum()  # waits until all have committed
            given = gives.pull(
                slice(page, page + n), staleness=None
            ).result()  # so this need not, nor be kept in a cache
            ranks = base + damping * (sums @ given + lost / n)
        return ranks

    def count_links(self, pages: pregel.Partition) -> Floats:
        """How many links each of this worker's pages has: they are with the workers that own the pages they lead to."""
        links = self.table("links", pages.count, dtype="float64")
        links.push(pages.targets, np.bincount(pages.edges.columns, minlength=len(pages.targets)))
        self.paracel_sync()
        counts: Floats = links.pull(pages.own, staleness=None).result()
        return counts

    def best(self, pages: pregel.Partition, ranks: Floats) -> list[tuple[object, float]]:
        """In worker 0, the `top` pages of all workers with their ranks, the greatest first."""
        mine = np.argsort(-ranks, kind="stable")[: self.top]
        everyone = self.comm.gather(list(zip(pages.ids[mine].tolist(), ranks[mine].tolist(), strict=True)))
        every = [pair for pairs in everyone or [] for pair in pairs]
        return sorted(every, key=lambda pair: (-pair[1], pair[0]))[: self.top]


if __name__ == "__main__":
    paracel.main(PageRank)
