"""Ridge regression against scikit-learn and the normal equations, with 1, 2 and 4 workers."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from paracel.datagen.__main__ import main as datagen

pytestmark = pytest.mark.examples

SCRIPT = "examples/ridge/ridge.py"
CONFIG = "examples/ridge/ridge.json"
BETA = 0.05


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Training, test and predict files; features and values of the first two. They are far from 0."""
    folder = tmp_path_factory.mktemp("ridge")
    tables = {}
    for name, seed in [("training", 1), ("test", 2)]:
        datagen(f"regression -o {folder / name} -n 400 --columns=12 --noise=1 --seed={seed}".split())
        tables[name] = np.round(np.loadtxt(folder / name, delimiter=",") + np.arange(13), 5)
        np.savetxt(folder / name, tables[name], "%.5f", ",")
    np.savetxt(folder / "predict", tables["test"][:, :-1], "%.5f", ",")
    return folder, *((table[:, :-1], table[:, -1]) for table in tables.values())


def theta_in(folder):
    return np.array((folder / "ridge_theta_0").read_text().split("|"), float)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 3)])
def test_equals_scikit_learn(run, data, workers, servers, tmp_path):
    folder, (features, values), (test_features, test_values) = data
    expected = Ridge(alpha=2 * BETA * len(values)).fit(features, values)
    inputs = [f"{name}_input={folder / name}" for name in ("training", "test", "predict")]
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT, *inputs, f"output={tmp_path}", f"beta={BETA}")
    assert done.status == 0, done.err
    theta = theta_in(tmp_path)
    np.testing.assert_allclose(theta, [expected.intercept_, *expected.coef_], rtol=0, atol=1e-10)
    errors = expected.predict(features) - values
    assert done.figure("samples") == 400
    assert done.figure("features") == 12
    objective = (errors**2).mean() / 2 + BETA * (expected.coef_**2).sum()
    assert done.figure("training objective") == pytest.approx(objective, rel=1e-9)
    predicted = expected.predict(test_features)
    assert done.figure("test error") == pytest.approx(((predicted - test_values) ** 2).mean() ** 0.5, rel=1e-9)
    written = np.concatenate([np.loadtxt(tmp_path / f"pred_v_{worker}", ndmin=1) for worker in range(workers)])
    np.testing.assert_allclose(written, predicted, rtol=1e-9)


def test_rounds_of_gradient_descent_come_to_the_same(run, data, tmp_path):
    folder, (features, values), _ = data
    expected = Ridge(alpha=2 * BETA * len(values)).fit(features, values)
    settings = ["rounds=100", "alpha=0.5", f"beta={BETA}", "debug=true", f"output={tmp_path}"]
    done = run.prun(2, 1, "-c", CONFIG, SCRIPT, f"training_input={folder / 'training'}", *settings)
    assert done.status == 0, done.err
    np.testing.assert_allclose(theta_in(tmp_path), [expected.intercept_, *expected.coef_], rtol=0, atol=1e-8)
    objectives = np.loadtxt(tmp_path / "ridge_loss_error_0")
    assert len(objectives) == 100
    assert (np.diff(objectives) < 1e-12).all()
    assert objectives[0] > 2 * objectives[-1]
    assert objectives[-1] == pytest.approx(done.figure("training objective"), rel=1e-9)


def test_without_penalty_columns_may_depend_on_each_other(run, data, tmp_path):
    _, (features, values), _ = data
    table = np.column_stack([features, features[:, 0] + features[:, 1], np.ones(len(values)), values])
    np.savetxt(tmp_path / "training", table, "%.9f", ",")
    assert run.python(SCRIPT, f"training_input={tmp_path / 'training'}", f"output={tmp_path}", "beta=0").status == 0
    theta = theta_in(tmp_path)
    rows = np.column_stack([np.ones(len(values)), features])
    fitted = rows @ np.linalg.lstsq(rows, values)[0]
    np.testing.assert_allclose(theta[0] + table[:, :-1] @ theta[1:], fitted, atol=1e-7)


def test_one_line_and_one_feature_and_more_workers(run, tmp_path):
    (tmp_path / "training").write_text("2,5\n\n")
    done = run.prun(2, 1, SCRIPT, f"training_input={tmp_path / 'training'}", f"output={tmp_path}")
    assert done.status == 0, done.err
    np.testing.assert_allclose(theta_in(tmp_path), [5, 0], atol=1e-12)


def test_what_cannot_be_is_told(run, tmp_path):
    texts = {"good": "1,2,3\n3,4,5\n", "blank": "\n", "narrow": "1\n2\n", "wrong": "1,2\n1,x\n"}
    for name, lines in texts.items():
        (tmp_path / name).write_text(lines)
    training = {name: f"training_input={tmp_path / name}" for name in texts}
    good = [training["good"], f"predict_input={tmp_path}/good", f"output={tmp_path}/out"]
    cases = [
        ([training["good"], "beta=-1"], "beta is -1"),
        ([training["good"], "alpha=100", "rounds=1000"], "alpha is 100"),
        ([training["blank"]], "there is no sample"),
        ([training["narrow"]], "lines are f1,...,fk,value"),
        ([training["wrong"]], "line 2"),
        (good, "lines have 3 features where training has 2"),
    ]
    run.check_told(SCRIPT, cases)
