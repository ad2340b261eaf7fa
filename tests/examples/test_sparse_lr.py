"""Sparse logistic regression against scikit-learn's optimum of the same objective, and its parts by themselves."""

import importlib
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "examples/sparse_lr"
SCRIPT = f"{FOLDER}/sparse_lr.py"
STRAGGLER = f"{FOLDER}/straggler.py"
SAMPLES, FEATURES, PENALTY = 4000, 1_000_000, 2.0
SMALL = [f"samples={SAMPLES}", f"penalty={PENALTY}", "blocks=20"]


@dataclass(frozen=True)
class Problem:
    """Samples in rows, labels +1 and -1, and scikit-learn's weights for a penalty: its C is 1 / penalty."""

    rows: sp.csr_matrix
    labels: np.ndarray
    penalty: float
    weights: np.ndarray

    def objective(self, weights):
        loss = np.logaddexp(0, -self.labels * (self.rows @ weights)).sum()
        return loss + self.penalty * np.abs(weights).sum()

    @property
    def optimum(self):
        return self.objective(self.weights)


def solved(rows, labels, penalty):
    rows = sp.csr_matrix((rows.data, rows.indices.astype(np.int32), rows.indptr.astype(np.int32)), shape=rows.shape)
    model = LogisticRegression(
        C=1 / penalty, l1_ratio=1, solver="liblinear", fit_intercept=False, tol=1e-6, max_iter=3000
    )
    return Problem(rows, labels, penalty, model.fit(rows, labels).coef_[0])


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("sparse_lr_program", ROOT / SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def generated(program):
    return solved(*program.generate(SAMPLES, FEATURES, 0), PENALTY)


def written(path, width):
    table = np.loadtxt(path, delimiter="\t", ndmin=2)
    weights = np.zeros(width)
    weights[table[:, 0].astype(int)] = table[:, 1]
    return weights


def jaccard(one, other):
    return np.count_nonzero((one != 0) & (other != 0)) / np.count_nonzero((one != 0) | (other != 0))


def check(done, problem, path, *, within, alike):
    """The printed objective is that of the written weights, and near the optimum; the same weights are zero."""
    assert done.status == 0, done.err
    weights = written(path, problem.rows.shape[1])
    assert done.figure("objective") == pytest.approx(problem.objective(weights), rel=1e-6)
    assert problem.optimum * (1 - 1e-6) <= done.figure("objective") <= problem.optimum * (1 + within)
    assert done.figure("non-zero weights") == np.count_nonzero(weights)
    assert jaccard(weights, problem.weights) >= alike


@pytest.mark.parametrize(("workers", "servers", "tau", "coupling"), [(1, 1, 0, 0), (2, 2, 4, 0), (4, 1, 16, 0.1)])
def test_reaches_scikit_learns_optimum_for_any_number_of_workers_and_delay(
    run, generated, tmp_path, workers, servers, tau, coupling
):
    """Of 20 blocks, 16 on their way are most of the weights: steps have to be shorter then."""
    settings = [f"tau={tau}", f"coupling={coupling}", f"output={tmp_path}/out"]
    done = run.prun(workers, servers, SCRIPT, *SMALL, *settings)
    check(done, generated, tmp_path / "out/weights_0", within=1e-4, alike=0.97)


def test_configuration_with_a_million_features(run, program, tmp_path):
    problem = solved(*program.generate(20_000, FEATURES, 0), 4.0)
    done = run.prun(2, 2, "-c", f"{FOLDER}/generated.json", SCRIPT, f"output={tmp_path}/out")
    check(done, problem, tmp_path / "out/weights_0", within=1e-4, alike=0.98)
    assert done.figure("active coordinates") <= 0.02 * done.figure("coordinates")


def test_adult(run, program, tmp_path):
    problem = solved(*program.parse_libsvm((ROOT / "examples/data/a9a").read_text().splitlines()), 30)
    done = run.prun(2, 1, "-c", f"{FOLDER}/a9a.json", SCRIPT, f"output={tmp_path}/out")
    check(done, problem, tmp_path / "out/weights_0", within=1e-3, alike=0.9)


def test_filters_save_traffic_and_the_optimum_stays(run, generated, tmp_path):
    """At tau 0 the rounds do not depend on who was first, and so neither do the bytes."""
    traffic = {}
    for kkt, filters in [("false", "[]"), ("true", "[]"), ("true", '["key_caching","fixed_point","compressing"]')]:
        settings = [f"kkt={kkt}", f"filters={filters}", "tau=0", f"output={tmp_path}/out"]
        done = run.prun(2, 2, SCRIPT, *SMALL, *settings)
        within, alike = (1e-3, 0.95) if "fixed_point" in filters else (1e-4, 0.97)
        check(done, generated, tmp_path / "out/weights_0", within=within, alike=alike)
        traffic[kkt, filters] = [done.figure(f"megabytes {direction}") for direction in ("pushed", "pulled")]
    everything, without_inactive, filtered = traffic.values()
    assert max(without_inactive) < 0.8 * min(everything)
    assert filtered[0] < 0.75 * without_inactive[0]
    assert filtered[1] < 0.1 * without_inactive[1]


def test_stragglers_trace_the_objective(run, generated, tmp_path):
    pace = ["rounds=6", "iteration_seconds=0.001", "stall_seconds=0.005"]
    settings = [f"samples={SAMPLES}", f"penalty={PENALTY}", "blocks=20", "tau=4", f"output={tmp_path}/out"]
    done = run.prun(3, 1, STRAGGLER, *pace, *settings)
    assert done.status == 0, done.err
    seconds, waited, objectives = np.loadtxt(tmp_path / "out/trace_0").T
    assert len(seconds) == done.figure("rounds") == 6
    assert (np.diff(seconds) >= 0).all()
    assert (np.diff(waited) >= 0).all()
    assert (waited <= seconds).all()
    assert objectives[0] > objectives[-1]
    assert objectives[-1] == pytest.approx(generated.optimum, rel=0.01)
    assert done.figure("objective") <= 1.01 * generated.optimum


def test_step_is_the_least_of_the_model_within_the_radius(program):
    """Against every point of a fine grid: g * d + u / 2 * d**2 + |w + d|, for |d| <= radius."""
    random = np.random.default_rng(1)
    weights = np.where(random.random(500) < 0.5, 0.0, random.normal(size=500))
    gradient, curvature, radius = random.normal(size=500) * 2, random.random(500) * 5, random.random(500) * 2 + 0.01
    state = {"active": np.ones(500), "radius": radius.copy()}
    new = program.proximal_step(weights, (gradient, curvature), state)
    assert (np.abs(new - weights) <= radius + 1e-12).all()

    def model(step):
        return gradient * step + curvature / 2 * step**2 + np.abs(weights + step)

    best = np.min([model(share * radius) for share in np.linspace(-1, 1, 2001)], axis=0)
    assert (model(new - weights) <= best + 1e-9).all()
    np.testing.assert_allclose(state["radius"], np.minimum(2 * np.abs(new - weights) + 0.1, 5))


def test_coordinate_is_inactive_if_and_only_if_zero_with_a_small_gradient(program):
    weights, gradient = np.meshgrid([-0.5, 0.0, 1e-4, 2.0], [-3.0, -0.9, -0.51, -0.49, 0.0, 0.49, 0.51, 2.0])
    state = {"active": np.ones(weights.shape), "radius": np.full(weights.shape, 9.0)}
    new = program.proximal_step(weights, (gradient, np.ones(weights.shape)), state)
    inactive = (new == 0) & (np.abs(gradient) <= 1 - program.SLACK)
    np.testing.assert_array_equal(state["active"] == 0, inactive)
    assert inactive.any()


@pytest.mark.parametrize(("blocks", "apart"), [(1, 0), (5, 0), (5, 4), (8, 3), (32, 16)])
def test_blocks_come_once_a_round_in_random_order_and_far_enough_apart(program, blocks, apart):
    order = list(itertools.islice(program.block_order(blocks, apart, np.random.default_rng(3)), 40 * blocks))
    assert order == list(itertools.islice(program.block_order(blocks, apart, np.random.default_rng(3)), 40 * blocks))
    rounds = [order[start : start + blocks] for start in range(0, len(order), blocks)]
    assert all(sorted(each) == list(range(blocks)) for each in rounds)
    last = {}
    for at, block in enumerate(order):
        assert at - last.get(block, -apart - 1) > apart
        last[block] = at
    assert len({tuple(each) for each in rounds}) > 1 or apart >= blocks - 1


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_generated_samples_do_not_depend_on_the_number_of_parts(program, parts):
    rows, labels = program.generate(3500, 5000, 1)
    made = [program.generate(3500, 5000, 1, part, parts) for part in range(parts)]
    assert (sp.vstack([part for part, _ in made]) != rows).nnz == 0
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in made]), labels)
    assert set(np.unique(labels)) == {-1.0, 1.0}
    frequency = np.sort(np.bincount(rows.indices, minlength=5000))[::-1]
    assert frequency[0] > 20 * np.median(frequency)


def test_wrong_configuration_is_told_in_words(run):
    cases = [
        (["blocks=8", "tau=8"], "tau is 8", "0 to 7"),
        (["blocks=0"], "blocks is 0", "from 1 on"),
        (["penalty=0"], "penalty is 0", "above 0"),
        (["coupling=-1"], "coupling is -1", "from 0 on"),
        (["filters=key_caching"], "filters is 'key_caching'", "a list of names"),
        (["samples=0"], "samples is 0", "from 1 on"),
        (["features=0"], "features is 0", "from 1 on"),
        (["samples=10", 'filters=["kkt"]'], "'kkt'", "key_caching, fixed_point, compressing"),
        (["lambda=3"], "lambda", "penalty"),
        (["input=README.md"], "not LIBSVM"),
    ]
    run.check_told(SCRIPT, cases)


def test_fewer_samples_than_workers_can_share_are_told(run):
    done = run.prun(2, 1, SCRIPT, "samples=500")
    assert done.status != 0
    assert "no samples" in done.err
    assert "start fewer workers" in done.err
