"""Lasso: linear least squares with a penalty on the absolute values of the weights, so that many of them are 0.

Minimises

    mean of (value - theta[0] - theta[1:] . x)^2 / 2  +  lambda * |theta[1:]|_1

over all samples of all workers; the intercept theta[0] has no penalty. By FISTA (Beck and Teboulle, SIAM J. Imaging
Sciences, 2009): a table has the weights, the servers add up the workers' gradients and take the proximal step.
"""

import numpy as np
from numpy.typing import NDArray

import paracel

Floats = NDArray[np.float64]
CURVATURE_ROUNDS = 20
MARGIN = 1.1  # the curvature found is at most the greatest, and after so many rounds not much less


class Lasso(paracel.paralg):
    """Fits the lines `f1,...,fk,value` of `training_input`; then tests and predicts where an input is given.

    `lambda` is the weight of the penalty. It ends when no weight would move by more than `tolerance` times the
    greatest of them, or after `rounds`. Writes `lasso_theta_0`, the numbers of theta joined by `|`, and
    `pred_v_<worker>` to `output`.
    """

    def __init__(
        self,
        training_input: str | list[str],
        test_input: str | list[str] = "",
        predict_input: str | list[str] = "",
        output: str = "",
        *,
        rounds: int = 1000,
        lambda_: float = 0.01,
        tolerance: float = 1e-11,
    ) -> None:
        super().__init__(output=output, rounds=rounds, staleness=0)
        if not 0 <= lambda_ < np.inf:
            raise ValueError(f"lambda is {lambda_}; allowed: from 0")
        self.training_input, self.test_input, self.predict_input = training_input, test_input, predict_input
        self.lambda_ = lambda_
        self.tolerance = tolerance

    def solve(self) -> None:
        features, values = self.load(self.training_input)
        table = np.column_stack([features, values])
        n = self.comm.allreduce(len(table))
        means = self.comm.allreduce(table.sum(axis=0)) / n
        table -= means  # so that the intercept is 0 while the weights are sought
        # Rows that make sums of all workers means: the objective is |rows @ w - targets|^2 / 2 + the penalty.
        table /= n**0.5
        rows, targets = table[:, :-1], table[:, -1]
        weights, rounds = self.find(rows, targets)
        self.theta = np.concatenate([[means[-1] - means[:-1] @ weights], weights])
        squares = self.comm.allreduce(float(((rows @ weights - targets) ** 2).sum()))
        objective = squares / 2 + self.lambda_ * np.abs(weights).sum()
        self.say(f"samples: {n}\nfeatures: {len(weights)}\nrounds: {rounds}\ntraining objective: {objective:.10g}")
        self.say(f"non-zero weights: {np.count_nonzero(weights)}")
        if self.test_input:
            self.test()
        self.dump()

    def find(self, rows: Floats, targets: Floats) -> tuple[Floats, int]:
        """The weights, and after how many rounds; the same in all workers, who pull the same and go on the same way."""
        step = 1 / self.greatest_curvature(rows)
        rule = paracel.optim.proximal(step, l1=self.lambda_)
        table = self.table("weights", rows.shape[1], dtype="float64", updater=rule, apply="commit")
        weights = ahead = table.pull().result()  # zeros, unless it was solved before
        momentum = 1.0
        for done in range(self.rounds):
            # The step is to begin `ahead`, and the servers have `weights`: the way there goes with the gradient.
            way = (weights - ahead) / (step * self.worker_size)
            table.push(slice(None), rows.T @ (rows @ ahead - targets) + way)
            self.iter_commit()
            new = table.pull().result()  # waits until all workers have committed
            if np.abs(new - ahead).max() <= self.tolerance * np.abs(new).max():
                return new, done + 1
            if (ahead - new) @ (new - weights) > 0:  # uphill: begin anew without momentum
                momentum = 1.0  # O'Donoghue and Candès, Foundations of Computational Mathematics, 2015, section 3.2
            faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = new + (momentum - 1) / faster * (new - weights)
            weights, momentum = new, faster
        return weights, self.rounds

    def greatest_curvature(self, rows: Floats) -> float:
        """A little more than the greatest eigenvalue of the sum of the workers' rows' @ rows, by power iteration."""
        vector = np.random.default_rng(0).standard_normal(rows.shape[1])
        for _ in range(CURVATURE_ROUNDS):
            vector = self.comm.allreduce(rows.T @ (rows @ (vector / np.linalg.norm(vector))))
            if not vector.any():
                return 1.0  # all features are constant: any step will do
        return MARGIN * float(np.linalg.norm(vector))

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
        """Output files like Paracel's."""
        if not self.output:
            return
        if self.worker_id == 0:
            self.paracel_dump_vector(self.theta, "lasso_theta_", sep="|")
        if self.predict_input:  # lines of features alone
            features = self.paracel_load_as_matrix(self.predict_input, ",", "linesplit").matrix
            self.check_finite(self.predict_input, features)
            self.paracel_dump_vector(self.predicted(features), "pred_v_")


if __name__ == "__main__":
    paracel.main(Lasso)
