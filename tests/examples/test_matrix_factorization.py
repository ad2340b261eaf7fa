"""Matrix factorisation against plain SGD, one rating after the other, on ratings that neither has seen."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "examples/matrix_factorization"
SCRIPT = f"{FOLDER}/matrix_factorization.py"
CONFIG = f"{FOLDER}/matrix_factorization.json"
K, ROUNDS, ALPHA, BETA = 2, 25, 0.02, 0.1
MARGIN = 0.02  # between seeds either one differs by 0.005 (standard deviation)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of the generated files, small."""
    spec = importlib.util.spec_from_file_location("mf_generate", ROOT / FOLDER / "generate.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    folder = tmp_path_factory.mktemp("mf")
    program.write(folder, users=150, items=60, k=K, ratings=4400)
    return folder


@pytest.fixture
def settings(data, tmp_path):
    return [
        *["-c", CONFIG, SCRIPT, f"input={data}/ratings.txt", f"test_input={data}/test.txt"],
        *[f"predict_input={data}/predict.csv", f"output={tmp_path}/out"],
        *[f"k={K}", f"rounds={ROUNDS}", f"alpha={ALPHA}", f"beta={BETA}", "batches=10"],
    ]


def ratings(path):
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(int(user), int(item), float(value)) for user, item, _, value in lines]


@pytest.fixture(scope="module")
def serial(data):
    """The error of the serial program on the ratings for the test."""
    rated, random = ratings(data / "ratings.txt"), np.random.default_rng(0)
    mean = np.mean([value for _, _, value in rated])
    w, h = 0.1 * random.normal(size=(150, K)), 0.1 * random.normal(size=(60, K))
    ubias, ibias = 0.1 * random.normal(size=150), 0.1 * random.normal(size=60)
    for _ in range(ROUNDS):
        for place in random.permutation(len(rated)):
            u, i, value = rated[place]
            error = value - (mean + ubias[u] + ibias[i] + w[u] @ h[i])
            ubias[u] += ALPHA * (2 * error - BETA * ubias[u])
            ibias[i] += ALPHA * (2 * error - BETA * ibias[i])
            w[u], h[i] = (
                w[u] + ALPHA * (2 * error * h[i] - BETA * w[u]),
                h[i] + ALPHA * (2 * error * w[u] - BETA * h[i]),
            )
    test = ratings(data / "test.txt")
    found = np.array([mean + ubias[u] + ibias[i] + w[u] @ h[i] for u, i, _ in test])
    return rmse(np.clip(found, 1, 5), test)


def rmse(found, rated):
    return np.sqrt(np.mean(np.subtract(found, [value for _, _, value in rated]) ** 2))


def table(path):
    """Lines `id<TAB>a|b|...`; each id is there once."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    found = {key: np.array([float(number) for number in numbers.split("|")]) for key, numbers in lines}
    assert len(found) == len(lines)
    return found


def model(folder):
    """A function of user and item that predicts by the files of the model."""
    w, h, ubias, ibias = (table(folder / name) for name in ("W_0", "H_0", "ubias_0", "ibias_0"))
    mean = table(folder / "miu_0")["miu"][0]
    zero, zeros = np.zeros(1), np.zeros(K)

    def predict(user, item):
        bias = ubias.get(user, zero)[0] + ibias.get(item, zero)[0]
        return float(np.clip(mean + bias + w.get(user, zeros) @ h.get(item, zeros), 1, 5))

    return predict


def predictions(folder, workers):
    lines = [line for rank in range(workers) for line in (folder / f"pred_v_{rank}").read_text().splitlines()]
    return {(user, item): float(rating) for user, item, rating in (line.split(",") for line in lines)}


@pytest.mark.parametrize(
    ("workers", "servers", "more"),
    [
        (1, 1, []),
        (2, 2, []),
        (4, 1, []),
        (2, 1, ["limit_s=0", "debug=true"]),
        (2, 1, ["ssp_switch=false"]),
    ],
)
def test_error_is_that_of_a_serial_program(run, data, settings, serial, tmp_path, workers, servers, more):
    done = run.prun(workers, servers, *settings, *more)
    assert done.status == 0, done.err
    assert done.figure("test rmse") <= serial + MARGIN
    out, test = tmp_path / "out", ratings(data / "test.txt")
    predict, found = model(out), predictions(out, workers)
    assert found.keys() == {(str(user), str(item)) for user, item, _ in test}
    for (user, item), rating in found.items():
        assert rating == pytest.approx(predict(user, item), abs=1e-9)
    expected = rmse([predict(str(user), str(item)) for user, item, _ in test], test)
    assert done.figure("test rmse") == pytest.approx(expected, abs=1e-6)
    rated = ratings(data / "ratings.txt")
    miu = table(out / "miu_0")
    assert miu["miu"][0] == pytest.approx(np.mean([value for _, _, value in rated]))
    assert miu["rating_sz"] == len(rated) == done.figure("ratings")
    if "debug=true" in more:
        losses = np.loadtxt(out / "mf_loss_error_train_0")
        assert len(losses) == ROUNDS
        assert losses[-1] < 0.8 * losses[0]


def test_what_is_not_known_and_more_workers_than_users(run, tmp_path):
    """An unknown user leaves the item's bias, an unknown item the user's; of both the mean is left."""
    (tmp_path / "ratings.txt").write_text("ann dune 2005-01-02 5\nann solaris 2005-01-02 2\nbob dune 2005-01-03 4\n")
    (tmp_path / "predict.csv").write_text("ann,dune\neve,solaris\nann,stalker\neve,stalker\n")
    inputs = [f"input={tmp_path}/ratings.txt", f"predict_input={tmp_path}/predict.csv"]
    done = run.mpiexec(4, SCRIPT, *inputs, f"output={tmp_path}/out", f"k={K}", "rounds=3", "batches=2")
    assert done.status == 0, done.err
    w, h, ubias, ibias = (table(tmp_path / "out" / name) for name in ("W_0", "H_0", "ubias_0", "ibias_0"))
    mean = 11 / 3
    assert predictions(tmp_path / "out", 4) == pytest.approx({
        ("ann", "dune"): np.clip(mean + ubias["ann"][0] + ibias["dune"][0] + w["ann"] @ h["dune"], 2, 5),
        ("eve", "solaris"): mean + ibias["solaris"][0],
        ("ann", "stalker"): mean + ubias["ann"][0],
        ("eve", "stalker"): mean,
    })  # fmt: skip


def test_wrong_settings_are_told(run, tmp_path):
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "short.txt").write_text("1 2\n")
    none = f"input={tmp_path}/none.txt"
    cases = [
        ([none, "k=0"], "k is 0"),
        ([none, "batches=0"], "batches 0"),
        ([none, "limit_s=-1"], "-1"),
        ([none], "there is no rating in"),
        ([f"input={tmp_path}/short.txt"], "line 1"),
    ]
    run.check_told(SCRIPT, cases)
