"""PageRank of 200,000 pages with 2,000,000 links, 10 rounds: examples/pagerank under prun beside scipy in one process.

Links lead to pages, and come from pages, by a power law. Times are of the rounds alone, as the jobs themselves print
them; loading, which in a job includes the exchange between the workers and putting the links in order, is a figure of
its own, beside `numpy.loadtxt` and making scipy's matrix. `python -m benchmarks.pagerank [--quick]`.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.table import Figure, render
from benchmarks.timing import against

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples" / "pagerank" / "pagerank.py"
DAMPING, ROUNDS = 0.85, 10
#: Of the page at place x of n, the density goes with (x / n) ** (1 / SKEW - 1).
SKEW = 3
#: Seconds to load and to rank.
Times = tuple[float, float]


def measure(quick: bool) -> Iterator[Figure]:
    """One and two workers, taking turns with scipy."""
    pages, links, rounds = (2_000, 20_000, 1) if quick else (200_000, 2_000_000, 5)
    with tempfile.TemporaryDirectory(prefix="paracel-bench-") as folder:
        text = Path(folder, "links.csv")
        write_links(text, pages, links)
        works: list[Callable[[], Times]] = [lambda: serial(text), *(job(text, workers) for workers in (1, 2))]
        turns = [[work() for work in works] for _ in range(rounds)]
    floor, *jobs = [by_part(times) for times in zip(*turns, strict=True)]
    topic = f"PageRank, {pages:,} pages, {links:,} links, {ROUNDS} rounds"
    rivals = {"1 worker, against scipy": (jobs[0], floor), "2 workers, against scipy": (jobs[1], floor)}
    rivals["2 workers, against one"] = (jobs[1], jobs[0])
    for name, (own, other) in rivals.items():
        for part, times in own.items():
            pair = against(times, other[part])
            yield Figure(topic, f"{part}, {name}", pair.seconds, "s", pair.floor, pair.ratio, None)


def by_part(times: Sequence[Times]) -> dict[str, list[float]]:
    """The seconds of each turn: loading, rounds, and both together."""
    loading, rounds = zip(*times, strict=True)
    return {"loading": list(loading), "rounds": list(rounds), "both": list(map(sum, times))}


def write_links(path: Path, pages: int, links: int) -> None:
    """Lines `src,dst`, seeded; a link may come twice."""
    rng = np.random.default_rng(0)
    names = rng.permutation(pages)
    ends = names[(pages * rng.random((links, 2)) ** SKEW).astype(np.int64)]
    path.write_text("".join(f"{source},{target}\n" for source, target in ends.tolist()))


def serial(path: Path) -> Times:
    """Power iteration by scipy in this process."""
    started = perf_counter()
    sources, targets = np.loadtxt(path, np.int64, delimiter=",").T
    names, numbers = np.unique(np.concatenate((sources, targets)), return_inverse=True)
    tails, heads = np.split(numbers, 2)
    sums = sp.csr_array((np.ones(len(tails)), (heads, tails)), shape=(len(names),) * 2)
    sums.sum_duplicates()
    sums.data[:] = 1
    loaded = perf_counter()
    power_iteration(sums)
    return loaded - started, perf_counter() - loaded


def power_iteration(sums: sp.csr_array) -> NDArray[np.float64]:
    """The ranks after all rounds; `sums @ x` adds up x over the links to each page."""
    count = sums.shape[0]
    links = sums.sum(axis=0)
    ranks = np.full(count, 1 / count)
    for _ in range(ROUNDS):
        lost = ranks[links == 0].sum() / count
        ranks = (1 - DAMPING) / count + DAMPING * (sums @ (ranks / np.maximum(links, 1)) + lost)
    return ranks


def job(path: Path, workers: int) -> Callable[[], Times]:
    """The example with so many workers and one server."""
    settings = [f"input={path}", f"rounds={ROUNDS}", f"damping_factor={DAMPING}"]
    command = [sys.executable, str(ROOT / "prun.py"), "-w", str(workers), "-p", "1", str(SCRIPT), *settings]

    def run() -> Times:
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=600)
        return tuple(float(re.search(rf"seconds to {what}: ([\d.]+)", done.stdout)[1]) for what in ("load", "rank"))

    return run


if __name__ == "__main__":
    print(render(list(measure("--quick" in sys.argv))))
