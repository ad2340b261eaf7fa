"""PageRank: how much each page matters, by power iteration over the links between pages.

Each worker owns the pages that hash to it, with the links that lead to them. In each round it pushes what its pages
give to those that they link to, pulls what all pages give, and adds up what its own pages get.
"""

import time

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

import paracel
from paracel import pregel

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
        links = self.paracel_load_as_graph(self.input, self.separator)
        links.reverse()  # a worker owns the edges of its vertices: so these are the links that lead to its pages
        pages = pregel.partition(self.comm, links)
        loaded = time.perf_counter()
        ranks = self.iterate(pages)
        finished = time.perf_counter()
        best = self.best(pages, ranks)
        if self.worker_id == 0:
            print(f"pages: {pages.count}\nrounds: {self.rounds}")
            print(f"seconds to load: {loaded - started:.2f}\nseconds to rank: {finished - loaded:.2f}")
            for page, rank in best:
                print(f"{page} : {rank:.6g}")
        if self.output:
            self.paracel_dump_dict(dict(zip(pages.ids.tolist(), ranks.tolist(), strict=True)), "pagerank_", merge=True)

    def iterate(self, pages: pregel.Partition) -> Floats:
        """The ranks of this worker's pages, in the order of `pages.ids`."""
        n, workers, damping = pages.count, self.worker_size, self.damping_factor
        links = self.count_links(pages)
        linking = np.maximum(links, 1)
        base = (1 - damping) / (n if self.normalised else 1)
        columns = pages.targets[pages.edges.columns]
        sums = csr_array((np.ones(len(columns)), columns, pages.edges.starts), shape=(len(links), n))
        # what each page gives along each of its links, and what the pages of each worker lose; twice, for even and odd
        # rounds: a worker may push what is for the next round while another one still pulls what is for this one
        size = n + workers
        gives = self.table("gives", 2 * size, dtype="float64", updater="assign")
        ranks = np.full(len(links), 1 / n)
        for turn in range(self.rounds):
            begin = turn % 2 * size
            gives.push(slice(begin + pages.own.start, begin + pages.own.stop), ranks / linking)
            gives.push([begin + n + self.worker_id], ranks[links == 0].sum())
            self.iter_commit()
            given = gives.pull(slice(begin, begin + size)).result()
            ranks = base + damping * (sums @ given[:n] + given[n:].sum() / n)
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
