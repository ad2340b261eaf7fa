"""Runs `lda.py` under prun with 1 and 2 workers, and scikit-learn's online LDA; draws the perplexity over time.

Not a part of the job: it only starts jobs and reads what they wrote. It needs scikit-learn and matplotlib.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import prepare
import scipy.sparse as sp
from lda import Documents, Unseen, held_out
from numpy.typing import NDArray
from sklearn.decomposition import LatentDirichletAllocation

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ALPHA = BETA = 0.1
TOPICS, HELD_OUT, SWEEPS, PASSES, REPEATS = 20, 0.1, 200, 40, 3
TARGETS = (850.0, 800.0, 780.0)

Trace = NDArray[np.float64]  # rows of seconds, perplexity


def run(workers: int, seed: int, directory: Path) -> Trace:
    """One job's perplexities over time."""
    output = directory / f"{workers}-{seed}"
    command = [sys.executable, "prun.py", "-w", str(workers), "-p", "1", "-c", str(HERE / "lda.json")]
    settings = {"input": directory / "king_james.txt", "output": output, "seed": seed, "iters": SWEEPS}
    settings |= {"k_topics": TOPICS, "alpha": ALPHA, "beta": BETA, "heldout": HELD_OUT, "report_every": 4}
    arguments = [f"{name}={value}" for name, value in settings.items()]
    subprocess.run([*command, str(HERE / "lda.py"), *arguments], cwd=ROOT, check=True, timeout=300, capture_output=True)
    return np.loadtxt(output / "lda_perplexity_0", delimiter="\t")


def scikit_learn(texts: list[list[str]]) -> Trace:
    """The same for online LDA: the same documents, held-out words, priors and measure, after every pass."""
    out = held_out(len(texts), HELD_OUT)
    training = [text for text, is_out in zip(texts, out) if not is_out]
    number = {word: place for place, word in enumerate(sorted(set().union(*training)))}
    unseen = Unseen.of([text for text, is_out in zip(texts, out) if is_out], number)
    matrix = as_matrix(Documents.of(training, number), len(number))
    learner = LatentDirichletAllocation(
        TOPICS, doc_topic_prior=ALPHA, topic_word_prior=BETA, total_samples=len(training), random_state=0
    )
    seconds, trace = 0.0, []
    for _ in range(PASSES):
        began = time.perf_counter()
        learner.partial_fit(matrix)  # in batches of 128
        seconds += time.perf_counter() - began
        shares = np.ascontiguousarray((learner.components_ / learner.components_.sum(axis=1, keepdims=True)).T)
        trace.append((seconds, np.exp(-unseen.log_likelihood(shares, ALPHA) / len(unseen.hidden.words))))
    return np.array(trace)


def as_matrix(documents: Documents, words: int) -> sp.csr_array:
    """How often each document has each word; the documents in random order, for the batches."""
    ones = np.ones(len(documents.words))
    shape = (len(documents), words)
    matrix = sp.csr_array((ones, documents.words.copy(), documents.starts.copy()), shape)
    matrix.sum_duplicates()
    return matrix[np.random.default_rng(0).permutation(len(documents))]


def seconds_to(target: float, trace: Trace) -> float:
    """When the perplexity first was at most `target`, between two measurements on the line between them."""
    below = np.flatnonzero(trace[:, 1] <= target)
    if not len(below):
        return np.inf
    last = below[0]
    if last == 0:
        return float(trace[0, 0])
    (t0, p0), (t1, p1) = trace[last - 1], trace[last]
    return float(t0 + (t1 - t0) * (p0 - target) / (p0 - p1))


def row(name: str, traces: list[Trace]) -> str:
    """A line of the README's table: medians over the runs."""
    reached = [np.median([seconds_to(target, trace) for trace in traces]) for target in TARGETS]
    cells = [f"{seconds:.2f}" if np.isfinite(seconds) else "" for seconds in reached]
    final = np.median([trace[-1, 1] for trace in traces])
    total = np.median([trace[-1, 0] for trace in traces])
    return f"| {name} | {' | '.join(cells)} | {total:.2f} | {final:.1f} |"


def draw(traces: dict[str, list[Trace]], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=80)
    for color, (name, runs) in enumerate(traces.items()):
        for number, trace in enumerate(runs):
            axes.plot(*trace.T, color=f"C{color}", alpha=0.7, linewidth=1.2, label=None if number else name)
    axes.set(xlabel="seconds of learning", ylabel="held-out perplexity", xscale="log", ylim=(740, 1200))
    axes.legend()
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    texts = prepare.king_james()
    with tempfile.TemporaryDirectory() as directory:
        prepare.write(Path(directory) / "king_james.txt", texts)
        traces = {
            "1 worker": [run(1, seed, Path(directory)) for seed in range(REPEATS)],
            "2 workers": [run(2, seed, Path(directory)) for seed in range(REPEATS)],
            "scikit-learn, online": [scikit_learn(texts)],
        }
    print(f"| | {' | '.join(f'seconds to {target:.0f}' for target in TARGETS)} | seconds in all | last perplexity |")
    print("|---|" + "---|" * (len(TARGETS) + 2))
    for name, runs in traces.items():
        print(row(name, runs))
    draw(traces, HERE / "perplexity.png")


if __name__ == "__main__":
    main()
