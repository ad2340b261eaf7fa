"""Gradient descent with workers that stall at random: what a job waits for, with one staleness or another.

Each worker, in a quarter of its iterations, loses five times an iteration's time. Most of an iteration and
all of a stall are sleeps, so that a machine with few cores shows what many machines would; the stalls are
the same in every run. `straggler_figure.py` runs this for several values of staleness and draws the result.
"""

import time

from logistic_regression import LogisticRegression, Vector, gradient, log_loss

import paracel


class Straggler(LogisticRegression):
    """`rounds` steps of batch gradient descent, each worker at its own pace within `staleness`.

    `iteration_seconds` is the least time of an iteration; `stall_seconds` is lost on top with probability
    `stall_chance`.
    """

    def __init__(
        self,
        *,
        training_input: str = "examples/data/a9a",
        output: str = "",
        rounds: int = 100,
        staleness: float | None = 0,
        alpha: float = 0.5,
        beta: float = 1e-4,
        iteration_seconds: float = 0.02,
        stall_seconds: float = 0.1,
        stall_chance: float = 0.25,
        seed: int = 0,
    ) -> None:
        super().__init__(
            training_input,
            output=output,
            method="agd",
            rounds=rounds,
            alpha=alpha,
            beta=beta,
            staleness=staleness,
            seed=seed,
        )
        self.iteration_seconds, self.stall_seconds, self.stall_chance = (
            iteration_seconds,
            stall_seconds,
            stall_chance,
        )

    def solve(self) -> None:
        self.start()
        began = time.perf_counter()
        trace = self.descend()
        theta = self.final_theta()  # behind a barrier: the job ends with its last worker
        trace.append((time.perf_counter(), theta))
        self.report_trace([(seconds - began, theta) for seconds, theta in trace])

    def descend(self) -> list[tuple[float, Vector]]:
        """The steps; when each began, and with which weights."""
        trace = []
        self.set_total_iters(self.rounds)
        for chance in self.random.random(self.rounds):
            theta = self.paracel_read("theta")
            began = time.perf_counter()
            trace.append((began, theta))
            self.paracel_update("theta", -self.alpha * self.share * gradient(theta, self.training, self.beta))
            stall = self.stall_seconds if chance < self.stall_chance else 0.0
            worked = time.perf_counter() - began
            time.sleep(max(0.0, self.iteration_seconds - worked) + stall)
            self.iter_commit()
        return trace

    def report_trace(self, trace: list[tuple[float, Vector]]) -> None:
        """Worker 0's weights over time, with their loss on the samples of all workers."""
        trace = self.comm.bcast(trace)
        losses = {seconds: self.mean(log_loss(theta, self.training)) for seconds, theta in trace}
        seconds, loss = list(losses.items())[-1]
        self.say(f"staleness {self.staleness}: {seconds:.2f} s, training loss {loss:.6f}")
        if self.output and self.worker_id == 0:
            self.paracel_dump_dict({f"{seconds:.4f}": loss for seconds, loss in losses.items()}, "trace_")


if __name__ == "__main__":
    paracel.main(Straggler)
