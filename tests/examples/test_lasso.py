"""Lasso against scikit-learn's coordinate descent, with 1, 2 and 4 workers."""

import numpy as np
import pytest
from sklearn.linear_model import Lasso

from paracel.datagen.__main__ import main as datagen

pytestmark = pytest.mark.examples

SCRIPT = "examples/lasso/lasso.py"
CONFIG = "examples/lasso/lasso.json"
PENALTY = 0.1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 300 samples, 40 features of which 6 matter, and what is in it. Columns are alike, and far from 0."""
    path = tmp_path_factory.mktemp("lasso") / "training"
    datagen(f"regression -o {path} -n 300 --columns=40 --informative=6 --noise=0.5 --seed=4".split())
    table = np.loadtxt(path, delimiter=",")
    table[:, :-1] += 2 * np.random.default_rng(0).standard_normal((300, 1)) + 3
    table = np.round(table, 5)
    np.savetxt(path, table, "%.5f", ",")
    return path, table[:, :-1], table[:, -1]


def solved(features, values, penalty):
    return Lasso(alpha=penalty, tol=1e-14, max_iter=1_000_000).fit(features, values)


def theta_in(folder):
    return np.array((folder / "lasso_theta_0").read_text().split("|"), float)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 3)])
def test_equals_scikit_learn(run, data, workers, servers, tmp_path):
    path, features, values = data
    np.savetxt(tmp_path / "predict", features[:50], "%.5f", ",")
    expected = solved(features, values, PENALTY)
    inputs = [f"training_input={path}", f"test_input={path}", f"predict_input={tmp_path / 'predict'}"]
    out = tmp_path / "out"
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, *inputs, f"output={out}", f"lambda={PENALTY}")
    assert done.status == 0, done.err
    theta = theta_in(out)
    np.testing.assert_allclose(theta, [expected.intercept_, *expected.coef_], rtol=0, atol=1e-8)
    np.testing.assert_array_equal(theta[1:] != 0, expected.coef_ != 0)
    assert done.figure("non-zero weights") == np.count_nonzero(expected.coef_) < 30
    errors = expected.predict(features) - values
    objective = (errors**2).mean() / 2 + PENALTY * np.abs(expected.coef_).sum()
    assert done.figure("training objective") == pytest.approx(objective, rel=1e-9)
    assert done.figure("test error") == pytest.approx((errors**2).mean() ** 0.5, rel=1e-7)
    assert done.figure("rounds") < 1000
    written = np.concatenate([np.loadtxt(out / f"pred_v_{worker}", ndmin=1) for worker in range(workers)])
    np.testing.assert_allclose(written, expected.predict(features[:50]), atol=1e-6)


@pytest.mark.parametrize("penalty", [0.003, 100.0])
def test_for_any_penalty(run, data, tmp_path, penalty):
    path, features, values = data
    expected = solved(features, values, penalty)
    settings = [f"lambda={penalty}", "rounds=5000", f"output={tmp_path}"]
    assert run.python(SCRIPT, f"training_input={path}", *settings).status == 0
    np.testing.assert_allclose(theta_in(tmp_path), [expected.intercept_, *expected.coef_], rtol=0, atol=1e-6)


def test_constant_features_have_no_weight(run, tmp_path):
    (tmp_path / "training").write_text("2,5\n2,9\n")
    assert run.python(SCRIPT, f"training_input={tmp_path / 'training'}", f"output={tmp_path}").status == 0
    np.testing.assert_array_equal(theta_in(tmp_path), [7, 0])


def test_what_cannot_be_is_told(run, tmp_path):
    (tmp_path / "good").write_text("1,2,3\n")
    (tmp_path / "blank").write_text("\n")
    good = [f"training_input={tmp_path}/good", f"predict_input={tmp_path}/good", f"output={tmp_path}/out", "rounds=1"]
    cases = [
        ([*good, "lambda=-1"], "lambda is -1"),
        ([f"training_input={tmp_path}/blank"], "there is no sample"),
        (good, "lines have 3 features where training has 2"),
    ]
    run.check_told(SCRIPT, cases)


def test_a_wrong_line_of_one_worker_ends_the_job(run, tmp_path):
    (tmp_path / "wrong").write_text("1,2\n1,x\n")
    done = run.prun(2, 1, SCRIPT, f"training_input={tmp_path}/wrong")
    assert done.status != 0
    assert "line 2" in done.err
