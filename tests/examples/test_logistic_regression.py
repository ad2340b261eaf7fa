"""Logistic regression on real data, against scikit-learn's optimum of the same objective and plain numpy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import LogisticRegression

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "examples/logistic_regression"
SCRIPT = f"{FOLDER}/logistic_regression.py"
STRAGGLER = f"{FOLDER}/straggler.py"
BETA = 1e-4


@dataclass(frozen=True)
class Problem:
    """Rows with a leading 1, labels 0 and 1."""

    rows: sp.csr_matrix
    labels: np.ndarray

    def loss(self, theta):
        margin = self.rows @ theta
        return np.mean(np.logaddexp(0, margin) - self.labels * margin)

    def objective(self, theta):
        return self.loss(theta) + BETA * theta @ theta

    def gradient(self, theta):
        error = 1 / (1 + np.exp(-(self.rows @ theta))) - self.labels
        return self.rows.T @ error / len(self.labels) + 2 * BETA * theta

    def probability(self, theta):
        return 1 / (1 + np.exp(-(self.rows @ theta)))

    def best(self):
        """scikit-learn's optimum; its C is 1 / (2 * beta * samples) for this objective."""
        model = LogisticRegression(C=1 / (2 * BETA * len(self.labels)), fit_intercept=False, tol=1e-9, max_iter=3000)
        return model.fit(self.rows, self.labels).coef_[0]


def read(path):
    rows, labels = load_svmlight_file(str(path), n_features=123)
    return Problem(sp.csr_matrix(sp.hstack([np.ones((rows.shape[0], 1)), rows])), labels)


def vector(path):
    return np.array([float(number) for number in path.read_text().split("|")])


@pytest.fixture(scope="module")
def adult():
    return read(ROOT / "examples/data/a9a")


@pytest.fixture(scope="module")
def adult_test():
    return read(ROOT / "examples/data/a9a.t")


@pytest.fixture(scope="module")
def optimum(adult):
    return adult.objective(adult.best())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The first 1500 lines of a9a as LIBSVM (`part`) and as dense CSV (`part.csv`); and without labels."""
    folder = tmp_path_factory.mktemp("small")
    lines = (ROOT / "examples/data/a9a").read_text().splitlines(keepends=True)[:1500]
    (folder / "part").write_text("".join(lines))
    problem = read(folder / "part")
    dense = np.column_stack([problem.rows[:, 1:].toarray(), problem.labels])
    np.savetxt(folder / "part.csv", dense, fmt="%g", delimiter=",")
    np.savetxt(folder / "unlabelled.csv", dense[:, :-1], fmt="%g", delimiter=",")
    (folder / "unlabelled").write_text("".join(line.split(" ", 1)[1] for line in lines))
    return folder


@pytest.mark.parametrize(("workers", "servers"), [(2, 2), (4, 1)])
def test_batch_method_comes_within_one_percent_of_scikit_learns_optimum(run, optimum, workers, servers):
    done = run.prun(workers, servers, "-c", f"{FOLDER}/dgd.json", SCRIPT)
    assert done.status == 0, done.err
    assert optimum - 1e-6 <= done.figure("training objective") <= 1.01 * optimum
    assert done.figure("test accuracy") >= 0.845


@pytest.mark.parametrize("method", ["ipm", "downpour", "agd"])
def test_the_other_methods_reach_the_accuracy(run, optimum, method):
    done = run.prun(2, 2, "-c", f"{FOLDER}/{method}.json", SCRIPT)
    assert done.status == 0, done.err
    assert optimum - 1e-6 <= done.figure("training objective") <= 1.03 * optimum
    assert done.figure("test accuracy") >= 0.845


@pytest.mark.parametrize(("method", "staleness"), [("agd", "0"), ("downpour", "2"), ("agd", "Infinity")])
def test_asynchronous_methods_with_bounded_staleness(run, adult, adult_test, optimum, tmp_path, method, staleness):
    """And the printed figures are those of the written weights."""
    arguments = ["-c", f"{FOLDER}/{method}.json", SCRIPT, f"staleness={staleness}", "rounds=4"]
    done = run.prun(2, 2, *arguments, f"output={tmp_path}/out")
    assert done.status == 0, done.err
    assert optimum - 1e-6 <= done.figure("training objective") <= 1.05 * optimum
    assert done.figure("test accuracy") >= 0.845
    theta = np.zeros(124)
    written = vector(tmp_path / "out/lr_theta_0")
    theta[: len(written)] = written
    assert done.figure("training loss") == pytest.approx(adult.loss(theta), abs=2e-6)
    assert done.figure("training objective") == pytest.approx(adult.objective(theta), abs=2e-6)
    assert done.figure("test loss") == pytest.approx(adult_test.loss(theta), abs=2e-6)
    accuracy = np.mean((adult_test.probability(theta) > 0.5) == adult_test.labels)
    assert done.figure("test accuracy") == pytest.approx(accuracy, abs=6e-5)


@pytest.mark.parametrize(
    ("workers", "name", "unlabelled"),
    [(1, "part", "part"), (2, "part.csv", "part.csv"), (4, "part", "unlabelled.csv"), (2, "part.csv", "unlabelled")],
)
def test_batch_method_is_the_plain_loop_for_any_number_of_workers_and_either_format(
    run, small, tmp_path, workers, name, unlabelled
):
    """Accelerated gradient descent; with the loss of each round, and predictions in the file's order."""
    problem = read(small / "part")
    theta = previous = np.zeros(124)
    losses = []
    for done in range(20):
        ahead = theta + done / (done + 3) * (theta - previous)
        theta, previous = ahead - 0.5 * problem.gradient(ahead), theta
        losses.append(problem.loss(theta))
    out = tmp_path / "out"
    inputs = [f"training_input={small}/{name}", f"predict_input={small}/{unlabelled}", f"output={out}"]
    finished = run.prun(workers, 2, SCRIPT, *inputs, "method=dgd", "rounds=20", "debug=true")
    assert finished.status == 0, finished.err
    written = vector(out / "lr_theta_0")
    np.testing.assert_allclose(written, theta[: len(written)], atol=1e-10)
    assert not theta[len(written) :].any()  # features past the last that occurs have no weight
    np.testing.assert_allclose(np.loadtxt(out / "lr_loss_error_0"), losses, atol=1e-6)
    rows = problem.rows[:, : len(written)]
    lines = "".join((out / f"pred_v_{worker}").read_text() for worker in range(workers)).splitlines()
    if unlabelled.endswith(".csv"):
        features = np.array([[float(value) for value in line.split(":")[0].split(",")] for line in lines])
        np.testing.assert_array_equal(features, rows.toarray())
    chances = [float(line.rpartition(":")[2]) for line in lines]
    np.testing.assert_allclose(chances, 1 / (1 + np.exp(-(rows @ written))), atol=1e-6)


@pytest.mark.parametrize("method", ["ipm", "downpour", "agd"])
def test_one_worker_gets_the_same_weights_from_either_format(run, small, tmp_path, method):
    """These are two runs: so each run gets the same."""
    weights = []
    for number, name in enumerate(["part", "part.csv"]):
        inputs = [f"training_input={small}/{name}", f"output={tmp_path}/{number}"]
        done = run.python(SCRIPT, *inputs, f"method={method}", "rounds=3", "alpha=0.1")
        assert done.status == 0, done.err
        weights.append(vector(tmp_path / f"{number}/lr_theta_0"))
    np.testing.assert_allclose(weights[1][: len(weights[0])], weights[0], atol=1e-12)


def test_more_workers_than_lines_to_test_and_predict(run, small, tmp_path):
    """Training needs a line for every worker, the rest does not."""
    line = (small / "part").read_text().splitlines()[0]
    one = tmp_path / "one"
    one.write_text(line)
    inputs = [f"training_input={small}/part", f"test_input={one}", f"predict_input={one}"]
    done = run.prun(3, 1, SCRIPT, *inputs, f"output={tmp_path}/out", "rounds=5")
    assert done.status == 0, done.err
    theta = vector(tmp_path / "out/lr_theta_0")
    problem = read(one)
    assert done.figure("test loss") == pytest.approx(problem.loss(np.pad(theta, (0, 124 - len(theta)))), abs=1e-6)
    written = [(tmp_path / f"out/pred_v_{worker}").read_text() for worker in range(3)]
    assert sorted(map(len, written)) == [0, 0, len("0.123456\n")]
    alone = run.prun(3, 1, SCRIPT, f"training_input={one}")
    assert alone.status != 0
    assert "start fewer workers" in alone.err


@pytest.mark.parametrize("method", ["ipm", "downpour", "agd"])
def test_debug_writes_the_loss_of_each_round(run, small, tmp_path, method):
    inputs = [f"training_input={small}/part", f"method={method}", "rounds=4", "alpha=0.1", "debug=true"]
    done = run.prun(2, 2, SCRIPT, *inputs, f"output={tmp_path}/out")
    assert done.status == 0, done.err
    losses = [float(line) for line in (tmp_path / "out/lr_loss_error_0").read_text().split()]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(done.figure("training loss"), rel=0.05)


@pytest.mark.parametrize("staleness", ["0", "3"])
def test_stragglers_end_at_the_loss_of_serial_gradient_descent(run, adult, tmp_path, staleness):
    theta = np.zeros(124)
    for _ in range(30):
        theta = theta - 0.5 * adult.gradient(theta)
    pace = ["rounds=30", "iteration_seconds=0.002", "stall_seconds=0.01"]
    done = run.prun(3, 1, STRAGGLER, *pace, f"staleness={staleness}", f"output={tmp_path}/out")
    assert done.status == 0, done.err
    table = np.loadtxt(tmp_path / "out/trace_0", delimiter="\t")
    assert table[-1, 1] == pytest.approx(adult.loss(theta), rel=0.01)
    assert table[0, 1] > table[-1, 1]
    assert (np.diff(table[:, 0]) >= 0).all()


def test_wrong_configuration_is_told_in_words(run, small):
    part = f"training_input={small}/part"
    cases = [
        ([part, "method=sgd"], "'sgd'", "dgd, ipm, downpour, agd"),
        ([part, "learning_rate=1"], "learning_rate", "alpha"),
        ([part, "method=dgd", "staleness=2"], "dgd is synchronous"),
        ([part, "format=json"], "'json'", "'libsvm'"),
    ]
    run.check_told(SCRIPT, cases)


def test_bad_lines_are_told_in_words(run, tmp_path):
    told = {
        "0 1:1\n1 1:1 2:x\n0 1:1\n": "1 1:1 2:x",
        "0 1:1\n1 1\n": "'1 1'",
        "0.5,1,1\n0.5,zero,0\n": "zero",
        "0.5,1,1\n0.5,0\n": "columns",
        "\n\n": "no line in training_input",
    }
    for number, text in enumerate(told):
        (tmp_path / f"bad{number}").write_text(text)
    run.check_told(
        SCRIPT, [([f"training_input={tmp_path}/bad{number}"], text) for number, text in enumerate(told.values())]
    )
