"""Ridge regression: linear least squares with a penalty on the squares of the weights.

Minimises

    mean of (value - theta[0] - theta[1:] . x)^2 / 2  +  beta * |theta[1:]|^2

over all samples of all workers; the intercept theta[0] has no penalty. Either in one step: the servers add up the
products of the columns, which is all there is to know of the samples. Or in rounds of gradient descent, as Paracel.
"""

import numpy as np
from numpy.typing import NDArray

import paracel

Floats = NDArray[np.float64]
MARGIN = 1e-6  # of rounding


class Ridge(paracel.paralg):
    """Fits the lines `f1,...,fk,value` of `training_input`; then tests and predicts where an input is given.

    With `rounds` 0 theta is exact. Otherwise it is what so many rounds of gradient descent with the learning rate
    `alpha` come to. `beta` is the weight of the penalty. Writes `ridge_theta_0`, the numbers of theta joined by `|`,
    and `pred_v_<worker>` to `output`; with `debug` also `ridge_loss_error_0`, the objective after each of the rounds.
    """

    def __init__(
        self,
        training_input: str | list[str],
        test_input: str | list[str] = "",
        predict_input: str | list[str] = "",
        output: str = "",
        *,
        rounds: int = 0,
        alpha: float = 0.1,
        beta: float = 0.01,
        debug: bool = False,
    ) -> None:
        super().__init__(output=output, rounds=rounds, staleness=0)
        if not 0 < alpha < np.inf:
            raise ValueError(f"alpha is {alpha}; allowed: above 0")
        if not 0 <= beta < np.inf:
            raise ValueError(f"beta is {beta}; allowed: from 0")
        self.training_input, self.test_input, self.predict_input = training_input, test_input, predict_input
        self.alpha, self.beta, self.debug = alpha, beta, debug
        self.objectives: list[float] = []

    def solve(self) -> None:
        features, values = self.load(self.training_input)
        n, means = self.count_and_means(np.column_stack([features, values]))
        centred = np.column_stack([features, values]) - means  # so that the intercept is 0, and squares are exact
        rows, targets = centred[:, :-1], centred[:, -1]
        weights = self.descend(rows, targets, n) if self.rounds else self.solve_exactly(centred, n)
        self.theta = np.concatenate([[means[-1] - means[:-1] @ weights], weights])
        objective = self.objective(weights, rows, targets, n)
        self.say(f"samples: {n}\nfeatures: {len(weights)}\ntraining objective: {objective:.10g}")
        if self.test_input:
            self.test()
        self.dump()

    # ---- the two ways

    def solve_exactly(self, centred: Floats, n: int) -> Floats:
        """By the normal equations: (X'X / n + 2 beta) w = X'y / n."""
        products = self.summed("products", centred.T @ centred) / n
        gram, right = products[:-1, :-1], products[:-1, -1]
        weights: Floats = np.linalg.lstsq(gram + 2 * self.beta * np.eye(len(gram)), right)[0]  # beta may be 0
        return weights

    def descend(self, rows: Floats, targets: Floats, n: int) -> Floats:
        """Each round: the servers add up the workers' gradients, and take a step."""
        table = self.table(
            "weights", rows.shape[1], dtype="float64", updater=paracel.optim.sgd(self.alpha), apply="commit"
        )
        weights = table.pull().result()  # zeros, unless it was solved before
        for _ in range(self.rounds):
            penalty = 2 * self.beta * weights / self.worker_size  # all workers push their share of it
            table.push(slice(None), rows.T @ (rows @ weights - targets) / n + penalty)
            self.iter_commit()
            weights = table.pull().result()  # waits until all workers have committed
            if self.debug:
                self.objectives.append(self.objective(weights, rows, targets, n))
            if not np.isfinite(weights).all():
                break
        before, after = (self.objective(each, rows, targets, n) for each in (np.zeros_like(weights), weights))
        if not after <= before * (1 + MARGIN):
            raise ValueError(f"alpha is {self.alpha}, and the objective grew from {before:g} to {after:g}; lower alpha")
        return weights

    def objective(self, weights: Floats, rows: Floats, targets: Floats, n: int) -> float:
        squares = self.comm.allreduce(float(((rows @ weights - targets) ** 2).sum()))
        return squares / (2 * n) + self.beta * float(weights @ weights)

    def summed(self, name: str, part: Floats) -> Floats:
        """The sum of the workers' arrays of shape (n, k), made on the servers, always in the order of the workers."""
        table = self.table(name, *part.shape, dtype="float64", updater="assign", apply="commit")
        table.push(slice(None), part)
        self.iter_commit()
        total: Floats = table.pull().result()
        return total

    # ---- samples and results

    def load(self, source: str | list[str]) -> paracel.loading.Samples:
        samples = self.paracel_load_csv(source)
        if self.comm.allreduce(samples.features.size) == 0:
            raise ValueError(f"there is no sample in {source!r}; lines are f1,...,fk,value")
        self.check_finite(source, samples.features, samples.labels)
        return samples

    def check_finite(self, source: str | list[str], *arrays: Floats) -> None:
        if not all(self.comm.allgather(all(bool(np.isfinite(array).all()) for array in arrays))):
            raise ValueError(f"{source!r} has values that are no finite numbers; take these lines out")

    def count_and_means(self, table: Floats) -> tuple[int, Floats]:
        """How many rows all workers have, and the means of the columns."""
        sums = self.summed("sums", np.stack([table.sum(axis=0), np.full(table.shape[1], float(len(table)))]))
        return int(sums[1, 0]), sums[0] / sums[1]

    def test(self) -> None:
        features, values = self.load(self.test_input)
        errors = self.predicted(features) - values
        squares, n = self.comm.allreduce(float((errors**2).sum())), self.comm.allreduce(len(errors))
        self.say(f"test error: {(squares / n) ** 0.5:.10g}")

    def predicted(self, features: Floats) -> Floats:
        if features.shape[1] != len(self.theta) - 1:
            raise ValueError(f"lines have {features.shape[1]} features where training has {len(self.theta) - 1}")
        return self.theta[0] + features @ self.theta[1:]

    def say(self, line: str) -> None:
        if self.worker_id == 0:
            print(line)

    def dump(self) -> None:
        """Paracel's output files."""
        if not self.output:
            return
        if self.worker_id == 0:
            self.paracel_dump_vector(self.theta, "ridge_theta_", sep="|")
            if self.objectives:
                self.paracel_dump_vector(self.objectives, "ridge_loss_error_")
        if self.predict_input:  # lines of features alone
            features = self.paracel_load_as_matrix(self.predict_input, ",", "linesplit").matrix
            self.check_finite(self.predict_input, features)
            self.paracel_dump_vector(self.predicted(features), "pred_v_")


if __name__ == "__main__":
    paracel.main(Ridge)
