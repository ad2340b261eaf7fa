"""Sparse logistic regression with workers that stall at random: what a bounded delay gains, and what it costs.

Each worker, in a tenth of its iterations, loses three times an iteration's time. Most of an iteration and all of a
stall are sleeps, so that a machine with few cores shows what many machines would; the stalls are the same in every
run. `figures.py` runs this for several values of tau and draws the result.
"""

import time
from typing import Any

import numpy as np
from sparse_lr import SparseLR

import paracel


class Straggler(SparseLR):
    """`rounds` rounds on the generated samples, and the objective over time, as worker 0 saw it.

    `iteration_seconds` is the least time that a worker computes; `stall_seconds` is lost on top with probability
    `stall_chance`.
    """

    def __init__(
        self,
        *,
        output: str = "",
        tau: int = 0,
        blocks: int = 64,
        coupling: float = 0.0,
        rounds: int = 8,
        samples: int = 20_000,
        features: int = 1_000_000,
        penalty: float = 4.0,
        seed: int = 0,
        iteration_seconds: float = 0.03,
        stall_seconds: float = 0.1,
        stall_chance: float = 0.1,
    ) -> None:
        super().__init__(
            output=output,
            tau=tau,
            blocks=blocks,
            coupling=coupling,
            rounds=rounds,
            samples=samples,
            features=features,
            penalty=penalty,
            seed=seed,
            tolerance=0,
        )
        self.iteration_seconds, self.stall_seconds, self.stall_chance = iteration_seconds, stall_seconds, stall_chance
        self.random = np.random.default_rng([seed, self.worker_id])
        self.trace: list[tuple[float, float]] = []  # seconds, and how many of them idle, after each round

    def model(self, columns: Any) -> Any:
        began = time.perf_counter()
        sums = super().model(columns)
        stall = self.stall_seconds if self.random.random() < self.stall_chance else 0.0
        time.sleep(max(0.0, self.iteration_seconds - (time.perf_counter() - began)) + stall)
        return sums

    def note_objective(self, done: int) -> None:
        self.trace.append((time.perf_counter() - self.began, self.waited))
        super().note_objective(done)

    def report(self) -> None:
        super().report()
        if self.output and self.worker_id == 0:
            objectives = self.progress.pull(np.arange(self.rounds)).result()
            lines = (
                f"{seconds:.4f}\t{waited:.4f}\t{objective:.6f}"
                for (seconds, waited), objective in zip(self.trace, objectives)
            )
            self.paracel_dump_vector(lines, "trace_")


if __name__ == "__main__":
    paracel.main(Straggler)
