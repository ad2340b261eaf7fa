"""Whole jobs of the examples under prun, with one and two workers: how long, and where the time goes.

    python -m benchmarks.algorithms [--quick] [NAME ...]

Every job has one server, and one BLAS thread for each worker. It is timed from the start of `prun` to its end, loading
included; jobs with one and two workers take turns, and the ratio is that of one turn. The shares are those that
`statistics()` reports (`prun -v` prints them), of the worker that computed for longest: communication is what calls of
the servers take, and waiting is for other workers only. It prints a table in Markdown, of medians.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARES = re.compile(r"worker \d+ on \S+: ([\d.]+) s: (\d+)% compute, (\d+)% communication, (\d+)% waiting")


@dataclass(frozen=True, slots=True)
class Job:
    """An example with settings that replace those of its configuration, and what makes its data, in folder `{data}`.

    `quick` has other numbers for the `sizes`.
    """

    example: str
    title: str
    settings: str
    makers: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    quick: dict[str, int] = field(default_factory=dict)
    config: str = ""

    def command(self, data: str, sizes: dict[str, int], workers: int) -> list[str]:
        """Its prun."""
        folder = f"examples/{self.example}"
        config = f"{folder}/{self.config or self.example}.json"
        prun = [sys.executable, "prun.py", "-v", "-w", str(workers), "-p", "1", "-c", config]
        return [*prun, f"{folder}/{self.example}.py", *self.settings.format(data=data, **sizes).split()]


DATAGEN = "-m paracel.datagen"
REGRESSION = f"{DATAGEN} regression -o {{data}}/r.csv -n {{n}} --columns {{columns}} --informative 10 --noise 2"
RATINGS = """-c "import sys; sys.path.insert(0, 'examples/matrix_factorization'); from pathlib import Path
import generate; generate.write(Path('{data}'), ratings={n} * 11 // 10)" """
LINKS = """-c "from pathlib import Path; from benchmarks.pagerank import write_links
write_links(Path('{data}', 'links.csv'), {n}, {links})" """
JOBS = [
    Job(
        "logistic_regression",
        "logistic regression, {n:,} x {columns} dense, {rounds} rounds",
        "training_input={data}/lr.csv test_input= rounds={rounds}",
        (f"{DATAGEN} classification -o {{data}}/lr.csv -n {{n}} --columns {{columns}}",),
        {"n": 200_000, "columns": 100, "rounds": 100},
        {"n": 2_000, "columns": 10, "rounds": 5},
        "dgd",
    ),
    *(
        Job(
            "matrix_factorization",
            "matrix factorisation, {n:,} ratings, k = 5, {rounds} rounds of {batches} batches, staleness 3",
            "input={data}/ratings.txt test_input={data}/test.txt predict_input= rounds={rounds} batches={batches}",
            (RATINGS,),
            {"n": n, "rounds": rounds, "batches": batches},
            {"n": 2_000, "rounds": 3, "batches": 2},
        )
        for n, rounds, batches in ((200_000, 30, 20), (2_000_000, 10, 200))
    ),
    Job(
        "kmeans",
        "k-means, {n:,} x 10, k = {k}",
        "input={data}/points.tsv kclusters={k}",
        (f"{DATAGEN} kmeans -o {{data}}/points.tsv -n {{n}} --columns 10 --clusters {{k}} --spread 3",),
        {"n": 100_000, "k": 50},
        {"n": 1_000, "k": 5},
    ),
    Job(
        "pagerank",
        "PageRank, {n:,} pages, {links:,} links, {rounds} rounds",
        "input={data}/links.csv rounds={rounds}",
        (LINKS,),
        {"n": 200_000, "links": 2_000_000, "rounds": 10},
        {"n": 2_000, "links": 20_000, "rounds": 3},
    ),
    Job(
        "ridge",
        "ridge regression, {n:,} x {columns}, exactly",
        "training_input={data}/r.csv",
        (REGRESSION,),
        {"n": 200_000, "columns": 100},
        {"n": 1_000, "columns": 20},
    ),
    Job(
        "lasso",
        "lasso, {n:,} x {columns}",
        "training_input={data}/r.csv lambda=0.1",
        (REGRESSION,),
        {"n": 200_000, "columns": 100},
        {"n": 1_000, "columns": 20},
    ),
    Job(
        "als",
        "ALS, 8 factors of both sides, {rounds} rounds",
        "rating_input={data}/ratings.csv validate_input={data}/validation.csv factor_input= k=8 rounds={rounds} "
        "lambda=1",
        ("examples/als/generate.py {data}",),
        {"rounds": 10},
        {"rounds": 1},
    ),
    Job("svd", "truncated SVD, wiki-Vote, k = 10", "rounds={rounds}", (), {"rounds": 20}, {"rounds": 2}),
    Job(
        "similarity",
        "cosines of all pairs of {n:,} x 80 dense",
        "input={data}/items.csv format=dense sim_bar=null sim_ubar=null simbar=0.2",
        (f"{DATAGEN} similarity -o {{data}}/items.csv -n {{n}} --columns 80 --clusters 10 --spread 20",),
        {"n": 10_000},
        {"n": 200},
    ),
    Job(
        "decision_tree",
        "decision tree, {n:,} users, 6 levels",
        "user_fac_input={data}/users.tsv item_fac_input={data}/items.tsv",
        (
            f"{DATAGEN} als --part users -o {{data}}/users.tsv --users {{n}}",
            f"{DATAGEN} als --part items -o {{data}}/items.tsv",
        ),
        {"n": 5_000},
        {"n": 100},
    ),
    Job("embedding", "DeepWalk, wiki-Vote, {rounds} rounds", "rounds={rounds}", (), {"rounds": 12}, {"rounds": 1}),
    Job(
        "downpour",
        "neural network, digits, {rounds} rounds",
        "training_input={data}/training.csv test_input={data}/test.csv rounds={rounds}",
        ("examples/downpour/prepare.py {data}",),
        {"rounds": 25},
        {"rounds": 2},
    ),
    Job("max_vertex_value", "greatest values, wiki-Vote", ""),
    Job("word_count", "word count, King James", ""),
    Job("sparse_lr", "L1 logistic regression, a9a", "rounds={rounds}", (), {"rounds": 500}, {"rounds": 5}, "a9a"),
    Job(
        "lda",
        "LDA, King James, 20 topics, {rounds} rounds",
        "input={data}/king_james.txt iters={rounds}",
        ("examples/lda/prepare.py {data}",),
        {"rounds": 200},
        {"rounds": 2},
    ),
]


@dataclass(frozen=True, slots=True)
class Run:
    """One job: seconds from start to end, and of the worker that computed for longest its time by part."""

    seconds: float
    compute: float
    communication: float
    waiting: float


def prepare(job: Job, data: str, sizes: dict[str, int]) -> None:
    """Make its data."""
    for maker in job.makers:
        command = f"{sys.executable} {maker.format(data=data, **sizes)}"
        subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True)


def run(job: Job, data: str, sizes: dict[str, int], workers: int) -> Run:
    """Run it once."""
    command = job.command(data, sizes, workers)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{job.example} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    workers_times = [[float(each) for each in found.groups()] for found in SHARES.finditer(done.stderr)]
    total, *shares = max(workers_times, key=lambda times: times[0] * times[1])
    return Run(seconds, *(total * share / 100 for share in shares))


def compare(job: Job, rounds: int, *, quick: bool) -> list[str]:
    """The rows of its table."""
    sizes = job.quick if quick else job.sizes
    with tempfile.TemporaryDirectory(prefix="paracel-bench-") as data:
        prepare(job, data, sizes)
        turns = [[run(job, data, sizes, workers) for workers in (1, 2)] for _ in range(rounds)]
    gain = statistics.median(one.seconds / two.seconds for one, two in turns)
    title = job.title.format(**sizes)
    return [_row(title, 1, [one for one, _ in turns], 1.0), _row(title, 2, [two for _, two in turns], gain)]


def _row(title: str, workers: int, runs: list[Run], gain: float) -> str:
    def median(of: Callable[[Run], float]) -> float:
        return statistics.median(map(of, runs))

    parts = [median(lambda each, part=part: getattr(each, part)) for part in ("compute", "communication", "waiting")]
    times = " | ".join(f"{seconds:.2f}" for seconds in [median(lambda each: each.seconds), *parts])
    return f"| {title} | {workers} | {times} | {gain:.2f} |"


def main() -> None:
    """Print the table."""
    names = [job.example for job in JOBS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.algorithms", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs")
    parser.add_argument("--rounds", type=int, default=0, help="how often each job is run (default: 5; 1 if quick)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"no job {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    print("| job | workers | seconds | compute | communication | waiting | to 1 worker |")
    print("|---|---|---|---|---|---|---|")
    for job in JOBS:
        if job.example in (given.names or names):
            for row in compare(job, given.rounds or (1 if given.quick else 5), quick=given.quick):
                print(row, flush=True)


if __name__ == "__main__":
    main()
