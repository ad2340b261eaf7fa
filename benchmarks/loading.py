"""Loading text into arrays, beside pandas and numpy: `python -m benchmarks.loading`.

Two files: 300 MB of CSV, lines of ten floats with six decimals, into a matrix; and a graph of 2,000,000 edges, lines
`from<TAB>to` over 200,000 nodes, into a CSR matrix with the ids of its rows and columns. Every load is a process of its
own on one core (paracel's with two workers: two processes on two), and its time is that of the load alone, after the
imports, from a file in the page cache. Time is processor time, which what else the machine does changes little (of two
workers, the longer one; while it waits for the other, a worker sleeps). The loads take turns, and a ratio is that of
one turn. It prints two tables in Markdown, of medians; `--quick` is a hundredth of the data.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, NODES = 10, 200_000


def write_csv(path: Path, lines: int) -> None:
    """Lines of ten normal numbers."""
    random = np.random.default_rng(0)
    with path.open("w") as out:
        for begin in range(0, lines, 10_000):
            np.savetxt(out, random.normal(size=(min(10_000, lines - begin), COLUMNS)), fmt="%.6f", delimiter=",")


def write_graph(path: Path, edges: int) -> None:
    """Edges between random nodes."""
    with path.open("w") as out:
        np.savetxt(out, np.random.default_rng(0).integers(0, NODES, (edges, 2)), fmt="%d", delimiter="\t")


# --- the loads; each returns its time and a number that all must agree on -------------------------------------------


def csv_paracel(path: str) -> Any:
    """A matrix by `paracel.loading`."""
    from paracel import comm, loading

    ranks = comm.world()

    def load() -> float:
        return float(loading.load_matrix(ranks, path, ",", "linesplit").matrix.sum())

    return _timed(load, ranks)


def csv_pandas(path: str) -> Any:
    """A matrix by pandas."""
    import pandas as pd

    return _timed(lambda: pd.read_csv(path, header=None).to_numpy().sum())


def csv_loadtxt(path: str) -> Any:
    """A matrix by numpy."""
    return _timed(lambda: np.loadtxt(path, delimiter=",").sum())


def graph_paracel(path: str) -> Any:
    """A block in CSR by `paracel.loading`."""
    import scipy.sparse  # noqa: F401

    from paracel import comm, loading

    ranks = comm.world()

    def load() -> float:
        return float(loading.load_matrix(ranks, path, "\t").matrix.sum())

    return _timed(load, ranks)


def graph_pandas(path: str) -> Any:
    """Edges by pandas, numbered by numpy, in CSR by scipy."""
    import pandas as pd

    return _timed(lambda: _csr(pd.read_csv(path, header=None, sep="\t").to_numpy()))


def graph_loadtxt(path: str) -> Any:
    """Edges by numpy, numbered by it, in CSR by scipy."""
    return _timed(lambda: _csr(np.loadtxt(path, dtype=np.int64, delimiter="\t")))


def _csr(edges: Any) -> float:
    import scipy.sparse as sp

    (_, rows), (_, columns) = (np.unique(ids, return_inverse=True) for ids in edges.T)
    return float(sp.coo_array((np.ones(len(rows)), (rows, columns))).tocsr().sum())


def _timed(load: Callable[[], float], ranks: Any = None) -> tuple[float, float] | None:
    """Processor seconds of the slowest rank, and the sum over what all have; None but in rank 0."""
    start = time.process_time()
    total = float(load())
    mine = [time.process_time() - start, total]
    seconds, totals = zip(*([mine] if ranks is None else ranks.allgather_json(mine)))
    return (max(seconds), sum(totals)) if ranks is None or ranks.rank == 0 else None


LOADS = {name: load for name, load in globals().items() if name.startswith(("csv_", "graph_"))}
SHOWN = {"paracel": "paracel", "two": "paracel, 2 workers", "pandas": "pandas.read_csv", "loadtxt": "numpy.loadtxt"}


# --- running them ---------------------------------------------------------------------------------------------------


def run(name: str, path: Path, workers: int) -> tuple[float, float]:
    """Seconds and checksum of one load in processes of its own, each on its core."""
    command = [sys.executable, "-m", "benchmarks.loading", "--load", name, str(path)]
    if workers > 1:
        command = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(workers), *command]
    cores = sorted(os.sched_getaffinity(0))[:workers]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=600,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )  # fmt: skip
    seconds, total = json.loads(done.stdout)
    return seconds, total


def compare(kind: str, path: Path, rounds: int) -> Iterator[str]:
    """The rows of a table; an error if the loads do not agree."""
    calls = {"paracel": (f"{kind}_paracel", 1), "two": (f"{kind}_paracel", 2)}
    calls |= {other: (f"{kind}_{other}", 1) for other in ("pandas", "loadtxt")}
    turns = [{name: run(load, path, workers) for name, (load, workers) in calls.items()} for _ in range(rounds)]
    totals = {name: total for name, (_, total) in turns[0].items()}
    if not np.allclose(list(totals.values()), totals["pandas"]):
        raise AssertionError(f"the loads differ: {totals}")
    megabytes = path.stat().st_size / 1e6
    for name in calls:
        rate = megabytes / statistics.median(turn[name][0] for turn in turns)
        ratios = [_ratio(turns, name, other) for other in ("pandas", "loadtxt")]
        yield f"| {SHOWN[name]} | {rate:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |"


def _ratio(turns: Sequence[dict[str, tuple[float, float]]], name: str, other: str) -> float:
    return statistics.median(turn[other][0] / turn[name][0] for turn in turns)


def main(arguments: Sequence[str]) -> None:
    """Print both tables, or, in a process of its own, do one load."""
    if arguments[:1] == ["--load"]:
        result = LOADS[arguments[1]](arguments[2])
        if result is not None:
            print(json.dumps(result))
        return
    share, rounds = (0.01, 1) if "--quick" in arguments else (1, 3)
    files = {"csv": (write_csv, 3_157_000, "floats as a matrix"), "graph": (write_graph, 2_000_000, "edges as CSR")}
    with tempfile.TemporaryDirectory(prefix="paracel-bench-") as folder:
        for kind, (write, lines, title) in files.items():
            path = Path(folder, kind)
            write(path, int(lines * share))
            print(f"\n| {path.stat().st_size / 1e6:.0f} MB of {title} | MB/s | to pandas | to loadtxt |")
            print("|---|---|---|---|")
            for row in compare(kind, path, rounds):
                print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
