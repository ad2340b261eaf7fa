"""L1-regularised logistic regression by delayed block proximal gradient, on a table of weights.

Minimises

    sum over samples of log(1 + exp(-y * x.w))  +  penalty * |w|_1        (y is +1 or -1; there is no intercept)

as the Parameter Server does (Li et al., OSDI 2014, algorithm 3; the step is NIPS 2014's, in the metric of a
diagonal). The features are cut into blocks. In each iteration all workers take the same block, and each one
pushes the gradient of its samples and a diagonal curvature; the servers add them up, and take one proximal
step when all workers have committed. A worker goes on to the next block before it has seen the step: it waits
only for steps that are more than `tau` iterations old.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

import paracel
from paracel.filters import Compressing, FixedPoint, KeyCaching

Vector = NDArray[np.float64]
FILTERS = {  # each push is a new gradient, so that what rounding takes from one is not owed to the next
    "key_caching": KeyCaching(),
    "fixed_point": FixedPoint(16, error_feedback=False),
    "compressing": Compressing(),
}
SLACK = 0.5  # the KKT filter lets a zero weight alone if its gradient is below (1 - SLACK) * penalty
LARGEST_RADIUS = 5.0
WINDOW = 4  # rounds: with steps on their way, one round alone may look as if all stood still
CHUNK = 1000  # generated samples that share a random stream: a worker makes whole chunks


# ---- on the servers


@paracel.updater(inputs=2, state={"active": 1.0, "radius": 1.0})
def proximal_step(weights: Vector, sums: tuple[Vector, Vector], state: dict[str, Vector]) -> Vector:
    """One step for each coordinate: the least of the quadratic model plus |w|_1, within the trust region.

    `sums` are the workers' gradients and curvatures, in units of the penalty. A coordinate is inactive if its
    weight is 0 and its gradient so small that it stays 0 (the KKT filter); the workers then leave it out.
    """
    gradient, curvature = sums[0], sums[1] + 1e-10
    target = weights - gradient / curvature
    target = np.sign(target) * np.maximum(np.abs(target) - 1 / curvature, 0)
    step = np.clip(target - weights, -state["radius"], state["radius"])
    state["radius"][:] = np.minimum(2 * np.abs(step) + 0.1, LARGEST_RADIUS)
    state["active"][:] = (weights + step != 0) | (np.abs(gradient) > 1 - SLACK)
    return weights + step


@paracel.server_function
def l1_norm(keys: NDArray[np.uint64], weights: Vector, state: dict[str, Vector]) -> float:
    """Of the weights that a server has."""
    return float(np.abs(weights).sum(dtype=np.float64))


# ---- samples


def parse_libsvm(lines: list[str]) -> tuple[sp.csr_array, Vector]:
    """Lines `label index:value ...`, indices from 1: the features, and the labels as +1 and -1."""
    stored = np.array([line.count(":") for line in lines], np.int64)
    try:
        numbers = np.array(" ".join(lines).replace(":", " ").split(), np.float64)
    except ValueError as error:
        raise ValueError(f"the input is not LIBSVM (each line: label index:value ...): {error}") from error
    if len(numbers) != len(lines) + 2 * stored.sum():
        raise ValueError("the input is not LIBSVM: a line is not label index:value ...")
    label_at = np.cumsum(1 + 2 * stored) - (1 + 2 * stored)
    columns, values = np.delete(numbers, label_at).reshape(-1, 2).T.copy()
    indptr = np.concatenate(([0], np.cumsum(stored)))
    features = sp.csr_array((values, columns.astype(np.int64) - 1, indptr))
    return features, np.where(numbers[label_at] > 0, 1.0, -1.0)


def power_law(uniform: Vector, features: int, exponent: float) -> NDArray[np.int64]:
    """Ranks from 0, the probability of rank r about r ** -exponent, made from uniform numbers in [0, 1)."""
    rest = 1 - exponent
    top = np.log1p(features) if rest == 0 else (features + 1) ** rest - 1
    ranks = np.exp(uniform * top) if rest == 0 else (1 + uniform * top) ** (1 / rest)
    return np.minimum(ranks.astype(np.int64), features) - 1


def generate(samples: int, features: int, seed: int, part: int = 0, parts: int = 1) -> tuple[sp.csr_array, Vector]:
    """Part of a set of sparse samples: 40 features set to 1 in each, few of them frequent and most of them rare.

    The labels are drawn from a logistic model with some 650 weights. The set depends on the seed alone, not on
    the number of parts.
    """
    shared = np.random.default_rng(seed)
    identity = shared.permutation(features)  # of a rank: frequent features are not neighbours
    weights = np.zeros(features)
    planted = np.unique(power_law(shared.random(1000), max(1, features // 20), 1.0))
    weights[identity[planted]] = shared.normal(size=len(planted))
    chunks = range(-(-samples // CHUNK) * part // parts, -(-samples // CHUNK) * (part + 1) // parts)
    made = [generate_chunk(min(CHUNK, samples - c * CHUNK), identity, weights, [seed, c]) for c in chunks]
    if not made:
        return sp.csr_array((0, features)), np.zeros(0)
    return sp.csr_array(sp.vstack([rows for rows, _ in made])), np.concatenate([labels for _, labels in made])


def generate_chunk(
    samples: int, identity: NDArray[np.int64], weights: Vector, seed: list[int]
) -> tuple[sp.csr_array, Vector]:
    random = np.random.default_rng(seed)
    columns = identity[power_law(random.random((samples, 40)), len(identity), 0.75)]
    rows = np.repeat(np.arange(samples), 40)
    features = sp.csr_array((np.ones(rows.size), (rows, columns.ravel())), shape=(samples, len(identity)))
    features.data[:] = 1.0  # a feature that was drawn twice is in the sample once
    chance = 0.5 + 0.5 * np.tanh(0.5 * (features @ weights))
    return features, np.where(random.random(samples) < chance, 1.0, -1.0)


@dataclass(slots=True)
class Block:
    """What a worker has of a block of features: those that occur in its samples, and all that it knows of them."""

    keys: NDArray[np.uint64]
    columns: sp.csc_array  # of the worker's samples
    weights: Vector  # as last pulled; the margins are those of these weights
    active: NDArray[np.bool_]


def cut(features: sp.csr_array, width: int, blocks: int) -> list[Block]:
    """Blocks are equal ranges of the keys 0..width-1, the same at every worker."""
    keys = np.unique(features.indices)
    columns = sp.csc_array(features[:, keys])
    ends = np.searchsorted(keys, np.arange(blocks + 1) * width // blocks)
    return [
        Block(keys[b:e].astype(np.uint64), columns[:, b:e], np.zeros(e - b), np.ones(e - b, bool))
        for b, e in pairwise(ends)
    ]


def block_order(blocks: int, apart: int, random: np.random.Generator) -> Iterator[int]:
    """Every block once a round, in random order, but none again within `apart` iterations. Needs blocks > apart."""
    recent: deque[int] = deque(maxlen=apart)
    while True:
        rest = random.permutation(blocks).tolist()
        while rest:
            block = next(number for number in rest if number not in recent)
            rest.remove(block)
            recent.append(block)
            yield block


# ---- a worker


class SparseLR(paracel.paralg):
    """Trains on `input`, a LIBSVM file, or if that is empty on `samples` generated ones with `features` features.

    `tau` bounds the delay, in iterations. A step is divided by 1 + `coupling` for each step that is on its way:
    NIPS 2014's rate, 1 / (L_var + tau * L_cov), with L_cov / L_var = coupling and the delay there is instead of the
    largest. It ends when the objective differs by less than a `tolerance` of it over some rounds, the last one over all
    coordinates.
    """

    def __init__(
        self,
        input: str | list[str] = "",
        output: str = "",
        *,
        penalty: float = 4.0,
        blocks: int = 64,
        tau: int = 4,
        coupling: float = 0.0,
        rounds: int = 200,
        tolerance: float = 1e-5,
        kkt: bool = True,
        filters: tuple[str, ...] | list[str] = ("key_caching",),
        samples: int = 20_000,
        features: int = 1_000_000,
        seed: int = 0,
    ) -> None:
        super().__init__(output=output, rounds=rounds)
        for name, value, fits, allowed in (
            ("penalty", penalty, penalty > 0, "numbers above 0"),
            ("blocks", blocks, blocks >= 1, "whole numbers from 1 on"),
            ("tau", tau, 0 <= tau < blocks, f"0 to {blocks - 1}, less than there are blocks ({blocks})"),
            ("coupling", coupling, coupling >= 0, "numbers from 0 on"),
            ("samples", samples, samples >= 1, "whole numbers from 1 on"),
            ("features", features, features >= 1, "whole numbers from 1 on"),
            ("filters", filters, isinstance(filters, list | tuple), 'a list of names, as in ["key_caching"]'),
        ):
            if not fits:
                raise ValueError(f"{name} is {value!r}; allowed: {allowed}")
        unknown = [name for name in filters if name not in FILTERS]
        if unknown:
            raise ValueError(f"filters has {unknown[0]!r}; allowed: {', '.join(FILTERS)}")
        self.input, self.samples, self.features, self.seed = input, samples, features, seed
        self.penalty, self.block_count, self.tau, self.coupling = penalty, blocks, tau, coupling
        self.tolerance, self.kkt, self.filters = tolerance, kkt, list(filters)
        self.pending: deque[tuple[Block, NDArray[np.intp], sp.csc_array, paracel.Task]] = deque()
        self.finished = 0  # rounds
        self.waited = 0.0  # seconds in which this worker had nothing to do

    def solve(self) -> None:
        self.load()
        self.weights = self.table(
            "weights",
            updater=proximal_step,
            apply="commit",
            push_filters=[FILTERS[name] for name in self.filters],
            pull_filters=[FILTERS[name] for name in self.filters if name != "fixed_point"],
        )
        self.progress = self.table("progress", dtype="float64")
        self.paracel_sync()
        self.began = time.perf_counter()
        self.descend()
        self.take_steps(0)
        self.report()

    def load(self) -> None:
        """This worker's samples, cut into blocks of features."""
        if self.input:
            features, self.labels = parse_libsvm(self.paracel_load(self.input))
            self.features = max(self.comm.allgather(features.shape[1]))
        else:
            features, self.labels = generate(self.samples, self.features, self.seed, self.worker_id, self.worker_size)
        if not len(self.labels):
            raise ValueError(f"worker {self.worker_id} got no samples: start fewer workers")
        self.samples = self.comm.allreduce(len(self.labels))
        self.blocks = cut(features, self.features, self.block_count)
        self.margins = np.zeros(len(self.labels))

    def descend(self) -> None:
        """Rounds over the blocks. When the objective stands still, one over all coordinates has to confirm it."""
        order = block_order(self.block_count, self.tau, np.random.default_rng(self.seed))
        whole = [True]  # for each round, whether inactive coordinates were in it
        for done in range(self.rounds):
            for _ in range(self.block_count):
                self.iterate(self.blocks[next(order)], whole[-1])
            self.finished = done + 1
            self.note_objective(done)
            stalled = self.has_stalled(done)
            if stalled and whole[-2]:
                return
            whole.append(not self.kkt or (stalled and not whole[-1]))

    def iterate(self, block: Block, whole: bool) -> None:
        """One iteration of algorithm 3. Every worker chooses the same coordinates: the block's last step was taken
        by all of them, more than `tau` iterations ago."""
        self.take_steps(self.tau)
        chosen = np.arange(len(block.keys)) if whole else np.flatnonzero(block.active)
        columns = block.columns if whole else block.columns[:, chosen]
        if len(chosen):
            self.weights.push(block.keys[chosen], *self.model(columns))
        self.iter_commit()
        if len(chosen):
            pull = self.weights.pull(block.keys[chosen], state=("active",), staleness=0)  # what this iteration makes
            self.pending.append((block, chosen, columns, pull))

    def model(self, columns: sp.csc_array) -> tuple[Vector, Vector]:
        """Gradient and diagonal curvature of this worker's loss in these coordinates, in units of the penalty."""
        wrong = 0.5 - 0.5 * np.tanh(0.5 * self.labels * self.margins)  # the chance of the other label
        gradient = columns.T @ (-self.labels * wrong)
        curvature = columns.power(2).T @ (wrong * (1 - wrong))
        caution = 1 + self.coupling * len(self.pending)
        return gradient / self.penalty, curvature * caution / self.penalty

    def take_steps(self, delay: int) -> None:
        """Take in the steps that have arrived, and wait until at most `delay` are on their way."""
        while self.pending and (len(self.pending) > delay or self.pending[0][-1].done()):
            block, chosen, columns, pull = self.pending.popleft()
            began = time.perf_counter()
            weights, active = pull.result()
            self.waited += time.perf_counter() - began
            self.margins += columns @ (weights - block.weights[chosen])
            block.weights[chosen] = weights
            block.active[chosen] = active > 0

    # ---- progress

    def loss(self) -> float:
        """Of this worker's samples."""
        return float(np.logaddexp(0, -self.labels * self.margins).sum())

    def note_objective(self, done: int) -> None:
        """Add this worker's share of the objective after so many rounds."""
        share = self.loss()
        if self.worker_id == 0:
            share += self.penalty * self.weights.run(l1_norm, merge=sum).result()
        self.progress.push([done], [share])

    def has_stalled(self, done: int) -> bool:
        """Whether the rounds before this one changed little. All their shares have long been there: nobody waits."""
        if done < WINDOW:
            return False
        recent = self.progress.pull(np.arange(done - WINDOW, done), staleness=self.tau).result()
        return bool(np.ptp(recent) <= self.tolerance * recent[-1])

    def report(self) -> None:
        seconds = time.perf_counter() - self.began
        self.paracel_sync()
        loss = self.comm.allreduce(self.loss())
        waited = self.comm.allreduce(self.waited) / self.worker_size
        pushed, pulled = (self.comm.allreduce(self.traffic(direction)) for direction in ("push", "pull"))
        if self.worker_id:
            return
        keys, weights, active = self.weights.pull(state=("active",)).result()
        print(f"{self.samples} samples, {self.features} features, penalty {self.penalty:g}, tau {self.tau}")
        print(f"objective: {loss + self.penalty * np.abs(weights).sum(dtype=np.float64):.6f}")
        print(f"non-zero weights: {np.count_nonzero(weights)}")
        print(f"active coordinates: {np.count_nonzero(active)}")
        print(f"coordinates: {len(keys)}")
        print(f"rounds: {self.finished}")
        print(f"seconds: {seconds:.2f}")
        print(f"idle: {waited / seconds:.3f}")
        print(f"megabytes pushed: {pushed / 1e6:.3f}")
        print(f"megabytes pulled: {pulled / 1e6:.3f}")
        if self.output:
            chosen = weights != 0
            self.paracel_dump_dict(dict(zip(keys[chosen], weights[chosen])), "weights_")

    def traffic(self, direction: str) -> int:
        """The bytes of keys and values that this worker sent or got for the weights."""
        counted = self.weights.statistics().traffic
        return sum(each.bytes_out for each in counted if each.direction == direction and each.name == "all")


if __name__ == "__main__":
    paracel.main(SparseLR)
