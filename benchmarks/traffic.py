"""What message filters save: bytes of the pushes and pulls of a training, by filter. `python -m benchmarks.traffic`.

Ten mini-batches of 1,000 samples, each with 50 of 1,000,000 features that are drawn from a Zipf distribution, are gone
through five times by AdaGrad (on the server) on logistic regression: pull the weights of the batch's features,
push their gradient. So the key list of a batch comes again in each pass, as it does where data is read in the same
order. Bytes do not depend on the machine. It prints two tables in Markdown; `--quick` is a tenth of the samples.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

import paracel
from paracel.filters import (
    Compressing,
    DropZeros,
    Filter,
    FixedPoint,
    KeyCaching,
    RandomSkip,
    SignificantlyModified,
)

FEATURES, BATCHES, PASSES = 1_000_000, 10, 5
LEARNING_RATE = 0.1

PUSHES: dict[str, list[Filter]] = {
    "none": [],
    "KeyCaching": [KeyCaching()],
    "... and Compressing('zstd')": [KeyCaching(), Compressing("zstd")],
    "KeyCaching, FixedPoint(8)": [KeyCaching(), FixedPoint(8)],
    "... and Compressing('zstd')  ": [KeyCaching(), FixedPoint(8), Compressing("zstd")],
    "KeyCaching, FixedPoint(4), Compressing('zstd')": [KeyCaching(), FixedPoint(4), Compressing("zstd")],
    "KeyCaching, RandomSkip(0.5)": [KeyCaching(), RandomSkip(0.5)],
    "KeyCaching, SignificantlyModified(1e-3)": [KeyCaching(), SignificantlyModified(1e-3)],
    "KeyCaching, DropZeros": [KeyCaching(), DropZeros()],
    "SignificantlyModified(1e-3), KeyCaching, FixedPoint(8), Compressing('zstd')": [
        SignificantlyModified(1e-3), KeyCaching(), FixedPoint(8), Compressing("zstd"),
    ],
}  # fmt: skip
PULLS: dict[str, list[Filter]] = {
    "none": [],
    "KeyCaching": [KeyCaching()],
    "KeyCaching, Compressing('zstd')": [KeyCaching(), Compressing("zstd")],
    "KeyCaching, FixedPoint(8)": [KeyCaching(), FixedPoint(8)],
    "KeyCaching, SignificantlyModified(0.1)": [KeyCaching(), SignificantlyModified(0.1)],
    "KeyCaching, SignificantlyModified(0.1), Compressing('zstd')": [
        KeyCaching(), SignificantlyModified(0.1), Compressing("zstd"),
    ],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples over their own features: keys, rising; a matrix of as many columns; labels, 0 or 1."""

    keys: NDArray[np.uint64]
    rows: sp.csr_array
    labels: NDArray[np.float64]


def make_batches(samples: int) -> list[Batch]:
    """The samples, with labels of planted weights."""
    random = np.random.default_rng(0)
    shares = np.cumsum(1.0 / np.arange(1, FEATURES + 1))
    planted = random.normal(size=FEATURES)
    made = []
    for _ in range(BATCHES):
        features = np.searchsorted(shares, random.random((samples, 50)) * shares[-1])
        keys, columns = np.unique(features, return_inverse=True)
        indptr = np.arange(0, features.size + 1, 50)
        rows = sp.csr_array((np.ones(features.size), columns.reshape(-1), indptr), shape=(samples, len(keys)))
        made.append(Batch(keys.astype(np.uint64), rows, (rows @ planted[keys] > 0).astype(float)))
    return made


def train(batches: list[Batch], push: Sequence[Filter], pull: Sequence[Filter]) -> tuple[int, int, float]:
    """The bytes of pushes, of pulls, and the loss over all samples at the end."""
    with paracel.connect(servers=1) as ps:
        table = ps.table("w", updater=paracel.optim.adagrad(LEARNING_RATE), push_filters=push, pull_filters=pull)
        for _ in range(PASSES):
            for batch in batches:
                weights = table.pull(batch.keys).result()
                error = _probability(batch, weights) - batch.labels
                table.push(batch.keys, batch.rows.T @ error / len(error))
        loss = np.mean([_loss(batch, table.pull(batch.keys, filters=()).result()) for batch in batches])
        sent = {direction: table_bytes(table, direction) for direction in ("push", "pull")}
    return sent["push"], sent["pull"], float(loss)


def table_bytes(table: paracel.Table, direction: str) -> int:
    """What all messages of one direction took: keys and values, as they travelled."""
    return sum(
        each.bytes_out for each in table.statistics().traffic if (each.direction, each.name) == (direction, "all")
    )


def _probability(batch: Batch, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * (batch.rows @ weights.astype(float))))


def _loss(batch: Batch, weights: NDArray[np.float32]) -> float:
    margin = batch.rows @ weights.astype(float)
    return float(np.mean(np.logaddexp(0.0, margin) - batch.labels * margin))


def _rows(batches: list[Batch]) -> Iterator[str]:
    for title, chosen in (("pushes", PUSHES), ("pulls", PULLS)):
        yield f"| filters of {title} | MB | share | loss |"
        yield "|---|---|---|---|"
        whole = 0
        for name, filters in chosen.items():
            pushed, pulled, loss = train(batches, *((filters, ()) if title == "pushes" else ((), filters)))
            used = pushed if title == "pushes" else pulled
            whole = whole or used
            yield f"| {name.strip()} | {used / 1e6:.2f} | {used / whole:.2f} | {loss:.4f} |"
        yield ""


def main() -> None:
    """Train with each list of filters, and print."""
    samples = 100 if "--quick" in sys.argv[1:] else 1000
    for row in _rows(make_batches(samples)):
        print(row, flush=True)


if __name__ == "__main__":
    main()
