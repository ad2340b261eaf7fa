"""Logistic regression of two classes by Paracel's four methods. The weights are one vector, `theta`.

Objective: the mean of log(1 + exp(-s * z)) over the samples, plus beta * |theta|^2, where z = theta . (1,
x), and s is +1 for label 1 and -1 for label 0. The penalty is on every weight, the intercept theta[0] too,
as in Paracel.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

import paracel

Vector = NDArray[np.float64]
LIBSVM_LINE = re.compile(r"\s*[-+.\de]+(\s+\d+:[-+.\de]+)*\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows of features, the first of them 1 for the intercept, dense or in CSR; and their labels, 0 or 1."""

    rows: Vector | sp.csr_array
    labels: Vector

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, order: NDArray[np.intp]) -> Iterator["Samples"]:
        """All samples in this order, `size` at a time."""
        rows, labels = self.rows[order], self.labels[order]  # one copy, so that each batch is a plain slice
        for start in range(0, len(labels), size):
            yield Samples(rows[start : start + size], labels[start : start + size])


def probability(theta: Vector, rows: Vector | sp.csr_array) -> Vector:
    """That the label is 1, for each row."""
    return 0.5 * (1.0 + np.tanh(0.5 * (rows @ theta)))  # the logistic function, and it cannot overflow


def log_loss(theta: Vector, samples: Samples) -> Vector:
    """Of each sample; the penalty is not in it."""
    margin = samples.rows @ theta
    return np.logaddexp(0.0, margin) - samples.labels * margin


def gradient(theta: Vector, samples: Samples, beta: float) -> Vector:
    """Of the objective over these samples."""
    error = probability(theta, samples.rows) - samples.labels
    return samples.rows.T @ error / len(samples) + 2.0 * beta * theta


def parse_csv(lines: list[str]) -> tuple[Vector, Vector]:
    """Lines `f1,...,fk,label`: the features, and the last column."""
    table = np.loadtxt(lines, delimiter=",", ndmin=2)
    return table[:, :-1], table[:, -1]


def parse_libsvm(lines: list[str]) -> tuple[sp.csr_array, Vector]:
    """Lines `label index:value ...` with indices from 1: features, as many as the highest index, and labels.

    All numbers of all lines are parsed in one call; no loop touches a feature.
    """
    stored = np.array([line.count(":") for line in lines])
    numbers = parse_numbers(" ".join(lines).replace(":", " "))
    if len(numbers) != len(lines) + 2 * stored.sum():
        wrong = next((line for line in lines if not LIBSVM_LINE.fullmatch(line)), lines[0])
        raise ValueError(f"not a LIBSVM line (label index:value ...): {wrong[:80]!r}")
    row_ends = np.cumsum(1 + 2 * stored)
    label_at = row_ends - (1 + 2 * stored)
    pairs = np.delete(numbers, label_at)
    columns = pairs[0::2].astype(np.intp) - 1
    indptr = np.concatenate(([0], np.cumsum(stored)))
    width = int(columns.max(initial=-1)) + 1
    return sp.csr_array((pairs[1::2], columns, indptr), shape=(len(lines), width)), numbers[label_at]


def parse_numbers(text: str) -> Vector:
    """The numbers in the text; none if it is not all numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # older numpy warns of text that it cannot read
            return np.fromstring(text, sep=" ")
    except (DeprecationWarning, ValueError):
        return np.zeros(0)


def fit_width(features: Vector | sp.csr_array, width: int) -> Vector | sp.csr_array:
    """A leading 1, then exactly `width` features. Features that training did not see have no weight."""
    ones = np.ones((features.shape[0], 1))
    if not sp.issparse(features):
        if features.shape[1] < width:
            raise ValueError(f"a line of CSV has {features.shape[1]} features where training has {width}")
        return np.hstack([ones, features[:, :width]])
    rows = features[:, :width]
    rows.resize(features.shape[0], width)
    return sp.csr_array(sp.hstack([ones, rows], format="csr"))


class LogisticRegression(paracel.paralg):
    """Trains on `training_input` in `rounds` passes over it, then tests and predicts where an input is given.

    `method`: `dgd` (batch gradient descent with Nesterov's momentum), `ipm` (each worker trains alone for a
    pass, then the weights are averaged), `downpour` (asynchronous: mini-batch steps on an own copy of the
    weights, sent every `push_every` steps, read again every `read_every`), `agd` (asynchronous: read and
    send at every step). `alpha` is the learning rate and `beta` the penalty's weight; `staleness` bounds
    how old the weights that the asynchronous methods read may be (None: never old).
    """

    def __init__(
        self,
        training_input: str | list[str],
        test_input: str | list[str] = "",
        predict_input: str | list[str] = "",
        output: str = "",
        *,
        method: str = "dgd",
        rounds: int = 100,
        alpha: float = 0.5,
        beta: float = 1e-4,
        debug: bool = False,
        staleness: float | None = None,
        batch_size: int = 100,
        read_every: int = 5,
        push_every: int = 4,
        seed: int = 0,
        format: str = "auto",
    ) -> None:
        super().__init__(output=output, rounds=rounds, staleness=staleness)
        learners = {"dgd": self.dgd, "ipm": self.ipm, "downpour": self.downpour, "agd": self.agd}
        if method not in learners:
            raise ValueError(f"method is {method!r}; allowed: {', '.join(learners)}")
        if method in ("dgd", "ipm") and staleness is not None:
            raise ValueError(f"{method} is synchronous and takes no staleness; downpour and agd do")
        if format not in ("auto", "csv", "libsvm"):
            raise ValueError(f"format is {format!r}; allowed: 'auto', 'csv', 'libsvm'")
        self.training_input, self.test_input, self.predict_input = training_input, test_input, predict_input
        self.learn, self.method, self.format = learners[method], method, format
        self.alpha, self.beta, self.debug = alpha, beta, debug
        self.batch_size, self.read_every, self.push_every = batch_size, read_every, push_every
        self.random = np.random.default_rng([seed, self.worker_id])
        self.losses: list[float] = []

    def solve(self) -> None:
        self.start()
        self.learn()
        self.theta = self.final_theta()
        self.report()
        self.dump()

    def start(self) -> None:
        self.load_training()
        if self.worker_id == 0:
            self.paracel_write("theta", np.zeros(self.width + 1))
        self.paracel_sync()

    def final_theta(self) -> Vector:
        """The same for all workers: what an update answers is the server's own value, at any staleness."""
        self.paracel_sync()
        theta: Vector = self.paracel_bupdate("theta", np.zeros(self.width + 1))
        return theta

    # ---- the four methods

    def dgd(self) -> None:
        """Each round: every worker reads theta, and adds its share of one step of the whole."""
        theta = previous = self.paracel_read("theta")
        for done in range(self.rounds):
            ahead = theta + done / (done + 3) * (theta - previous)
            step = ahead - theta - self.alpha * gradient(ahead, self.training, self.beta)
            previous, theta = theta, self.add_shares(step)

    def ipm(self) -> None:
        """Each round: every worker trains alone over its part; theta becomes the mean of the results."""
        theta = self.paracel_read("theta")
        for done in range(self.rounds):
            start, rate = theta, self.decayed(done)
            for batch in self.shuffled():
                theta = theta - rate * gradient(theta, batch, self.beta)
            theta = self.add_shares(theta - start)

    def add_shares(self, step: Vector) -> Vector:
        """theta after this round: each worker's step is added in proportion to its share of the samples."""
        self.paracel_sync()  # everyone has read the old theta
        self.paracel_bupdate("theta", self.share * step)
        self.paracel_sync()  # everyone's step is in the new one
        self.iter_commit()
        theta: Vector = self.paracel_read("theta")
        self.note_loss(theta)
        return theta

    def downpour(self) -> None:
        self.descend_asynchronously(self.read_every, self.push_every)

    def agd(self) -> None:
        self.descend_asynchronously(1, 1)

    def descend_asynchronously(self, read_every: int, push_every: int) -> None:
        """Steps on an own copy of theta. Nobody waits for anybody, but for what the staleness asks."""
        steps_a_round = -(-len(self.training) // self.batch_size)
        commits_a_round = -(-steps_a_round // push_every)
        self.set_total_iters(self.rounds * commits_a_round)  # workers with fewer samples end sooner
        for done in range(self.rounds):
            unsent, rate = np.zeros(self.width + 1), self.decayed(done)
            for step, batch in enumerate(self.shuffled()):
                if step % read_every == 0:
                    theta = self.paracel_read("theta") + unsent
                change = -rate * gradient(theta, batch, self.beta)
                theta, unsent = theta + change, unsent + change
                if (step + 1) % push_every == 0 or step + 1 == steps_a_round:
                    self.paracel_update("theta", unsent)
                    unsent = np.zeros(self.width + 1)
                    self.iter_commit()
            self.note_loss(theta)

    def decayed(self, done: int) -> float:
        """The learning rate after so many rounds. Mini-batches are noisy: with a constant one the end would be, too."""
        return self.alpha / float(np.sqrt(done + 1))

    def shuffled(self) -> Iterator[Samples]:
        """This worker's samples in mini-batches, in a new order each time."""
        return self.training.batches(self.batch_size, self.random.permutation(len(self.training)))

    def note_loss(self, theta: Vector) -> None:
        """With `debug`, the training loss after each round. It makes the workers wait for each other."""
        if self.debug:
            self.losses.append(self.mean(log_loss(theta, self.training)))

    # ---- reading

    def load_training(self) -> None:
        """This worker's samples; the number of features, the most that any worker saw; its share of all."""
        lines = self.part_of(self.training_input, "training_input")
        if not lines:
            raise ValueError(f"worker {self.worker_id} got no line of training_input: start fewer workers")
        features, labels = self.parse(lines)
        self.paracel_update("features", features.shape[1], updater="max")
        self.paracel_sync()
        self.width = int(self.paracel_read("features"))
        self.training = Samples(fit_width(features, self.width), labels)
        self.total = self.comm.allreduce(len(self.training))
        self.share = len(self.training) / self.total

    def part_of(self, source: str | list[str], key: str) -> list[str]:
        """This worker's part of the lines that are not blank: none, if there are fewer lines than workers."""
        lines = [line for line in self.paracel_load(source) if line.strip()]
        if self.comm.allreduce(len(lines)) == 0:
            raise ValueError(f"there is no line in {key}={source!r}")
        return lines

    def parse(self, lines: list[str]) -> tuple[Vector | sp.csr_array, Vector]:
        """The features and labels in these lines of CSV or LIBSVM."""
        if not lines:
            return np.zeros((0, self.width)), np.zeros(0)
        features, labels = parse_csv(lines) if self.is_csv(lines[0]) else parse_libsvm(lines)
        return features, (labels > 0).astype(np.float64)  # labels are 0 and 1, or -1 and 1

    def is_csv(self, line: str) -> bool:
        return "," in line if self.format == "auto" else self.format == "csv"

    # ---- results

    def mean(self, values: Vector) -> float:
        """Over all samples of all workers."""
        return float(self.comm.allreduce(float(values.sum())) / self.comm.allreduce(len(values)))

    def report(self) -> None:
        loss = self.mean(log_loss(self.theta, self.training))
        self.say(f"{self.method}: {self.total} samples, {self.width} features, {self.rounds} rounds")
        self.say(f"training loss: {loss:.6f}")
        self.say(f"training objective: {loss + self.beta * float(self.theta @ self.theta):.6f}")
        if self.test_input:
            features, labels = self.parse(self.part_of(self.test_input, "test_input"))
            test = Samples(fit_width(features, self.width), labels)
            right = (probability(self.theta, test.rows) > 0.5) == (test.labels > 0.5)
            loss, accuracy = self.mean(log_loss(self.theta, test)), self.mean(right)
            self.say(f"test loss: {loss:.6f}")
            self.say(f"test accuracy: {accuracy:.4f}")

    def say(self, line: str) -> None:
        if self.worker_id == 0:
            print(line)

    def dump(self) -> None:
        """Paracel's output files."""
        if self.output and self.worker_id == 0:
            self.paracel_dump_vector(self.theta, "lr_theta_", sep="|")
            if self.debug:
                self.paracel_dump_vector(self.losses, "lr_loss_error_")
        if self.output and self.predict_input:
            self.paracel_dump_vector(self.predictions(), "pred_v_")

    def predictions(self) -> list[str]:
        """`1,f1,...,fk:probability` for a line of CSV, only the probability for one of LIBSVM, in order.

        Lines of CSV may end with the label or not, lines of LIBSVM may begin with it or not.
        """
        lines = self.part_of(self.predict_input, "predict_input")
        if not lines:
            return []
        if self.is_csv(lines[0]):
            rows = fit_width(np.loadtxt(lines, delimiter=",", ndmin=2), self.width)
            shown = (",".join(f"{value:g}" for value in row) + ":" for row in rows)
        else:
            labelled = [line if ":" not in line.split(maxsplit=1)[0] else f"0 {line}" for line in lines]
            rows = fit_width(parse_libsvm(labelled)[0], self.width)
            shown = ("" for _ in lines)
        return [f"{start}{chance:.6f}" for start, chance in zip(shown, probability(self.theta, rows))]


if __name__ == "__main__":
    paracel.main(LogisticRegression)
