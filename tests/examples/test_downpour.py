"""A network trained by Downpour SGD on digits, with 1, 2 and 4 workers, tested on those that it has not seen."""

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "examples/downpour"
SCRIPT = f"{FOLDER}/downpour.py"
CONFIG = f"{FOLDER}/downpour.json"


def module(name):
    spec = importlib.util.spec_from_file_location(f"downpour_{name}", ROOT / FOLDER / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def program():
    return module("downpour")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The folder of the files that `prepare.py` writes."""
    folder = tmp_path_factory.mktemp("digits")
    module("prepare").write(folder)
    return folder


@pytest.fixture
def settings(digits, tmp_path):
    inputs = [f"{name}_input={digits}/{name}.csv" for name in ("training", "test")]
    return ["-c", CONFIG, SCRIPT, *inputs, f"output={tmp_path}/out"]


def layer(path):
    """Lines `input<TAB>w1|w2|...`, in order."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert [number for number, _ in lines] == [str(place) for place in range(len(lines))]
    return np.array([numbers.split("|") for _, numbers in lines], float)


def predictions(folder, workers):
    return [int(line) for rank in range(workers) for line in (folder / f"pred_v_{rank}").read_text().splitlines()]


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 2)])
def test_accuracy_on_digits_that_it_has_not_seen(run, digits, settings, tmp_path, workers, servers):
    done = run.prun(workers, servers, *settings)
    assert done.status == 0, done.err
    assert done.figure("samples") == 1437
    assert done.figure("training accuracy") >= 0.99
    assert done.figure("test accuracy") >= 0.97
    # and the printed figure is that of the layers that were written
    table = np.loadtxt(digits / "test.csv", delimiter=",")
    first, last = (layer(tmp_path / f"out/layer_{number}_0") for number in (0, 1))
    assert first.shape == (65, 128)
    assert last.shape == (129, 10)
    logits = np.maximum(table[:, :-1] / 16 @ first[:-1] + first[-1], 0) @ last[:-1] + last[-1]
    found = predictions(tmp_path / "out", workers)
    np.testing.assert_array_equal(found, logits.argmax(axis=1))
    assert done.figure("test accuracy") == pytest.approx(np.mean(found == table[:, -1]), abs=1e-4)


def test_one_worker_is_the_serial_program(run, program, digits, settings, tmp_path):
    """AdaGrad on accrued gradients, and what a pull brings: as one process does it."""
    more = ["hidden=[5]", "rounds=1", "batch=40", "fetch=3", "push=2", "alpha=0.2", "local_alpha=0.05", "seed=4"]
    done = run.prun(1, 2, *settings, "rounds=0", "hidden=[5]", "seed=4")
    assert done.status == 0, done.err
    servers = [layer(tmp_path / f"out/layer_{number}_0").astype(np.float32) for number in (0, 1)]
    done = run.prun(1, 2, *settings, *more)
    assert done.status == 0, done.err

    table = np.loadtxt(digits / "training.csv", delimiter=",", dtype=np.float32)
    features, labels = table[:, :-1] / 16, table[:, -1].astype(int)
    squares, accrued = [np.full_like(one, 0.1) for one in servers], [np.zeros_like(one) for one in servers]
    replica = servers
    batches = np.array_split(np.random.default_rng([4, 0]).permutation(len(labels)), -(-len(labels) // 40))
    for step, chosen in enumerate(batches, start=1):
        slopes = program.gradients(replica, features[chosen], labels[chosen])
        start = servers if step % 3 == 1 else replica
        replica = [one - 0.05 * slope for one, slope in zip(start, slopes)]
        accrued = [total + slope for total, slope in zip(accrued, slopes)]
        if step % 2 == 0 or step == len(batches):
            squares = [total + slope**2 for total, slope in zip(squares, accrued)]
            servers = [
                one - 0.2 * slope / np.sqrt(total + 1e-7) for one, slope, total in zip(servers, accrued, squares)
            ]
            accrued = [np.zeros_like(one) for one in servers]
    assert len(batches) == 36
    for number in (0, 1):
        np.testing.assert_allclose(layer(tmp_path / f"out/layer_{number}_0"), servers[number], atol=1e-4)


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_gradients_are_those_of_the_mean_cross_entropy(program, hidden):
    random = np.random.default_rng(0)
    widths = [3, *hidden, 4]
    layers = [random.normal(size=(inputs + 1, units)) for inputs, units in pairwise(widths)]
    features, labels = random.normal(size=(7, 3)), random.integers(4, size=7)

    def loss():
        return -np.log(program.chances(program.outputs(layers, features)[-1])[np.arange(7), labels]).mean()

    for one, slopes in zip(layers, program.gradients(layers, features, labels), strict=True):
        expected = np.zeros_like(one)
        for place in np.ndindex(one.shape):
            kept = one[place]
            one[place] = kept + 1e-6
            above = loss()
            one[place] = kept - 1e-6
            expected[place] = (above - loss()) / 2e-6
            one[place] = kept
        np.testing.assert_allclose(slopes, expected, atol=1e-8)


def test_more_workers_than_samples_and_deeper(run, tmp_path):
    (tmp_path / "data").write_text("0,1,0\n1,0,1\n")
    inputs = [f"training_input={tmp_path}/data", f"test_input={tmp_path}/data", f"output={tmp_path}/out"]
    done = run.mpiexec(3, SCRIPT, *inputs, "hidden=[8,8]", "rounds=40")
    assert done.status == 0, done.err
    assert done.figure("test accuracy") == 1
    assert predictions(tmp_path / "out", 3) == [0, 1]


def test_one_feature_and_one_class(run, tmp_path):
    (tmp_path / "data").write_text("1,0\n2,0\n")
    done = run.python(SCRIPT, f"training_input={tmp_path}/data", f"test_input={tmp_path}/data", "hidden=[]")
    assert done.status == 0, done.err
    assert done.figure("test accuracy") == 1


def test_what_cannot_be_is_told(run, tmp_path):
    lines = {"good": "1,2,0", "narrow": "1,0", "half": "1,2,0.5", "below": "1,2,-1", "blank": ""}
    for name, line in lines.items():
        (tmp_path / name).write_text(f"{line}\n")
    cases = [
        ("good", "narrow", [], "has 1 features; needed: 2"),
        ("half", "good", [], "has the label 0.5; allowed: whole numbers from 0 on"),
        ("good", "below", [], "has the label -1"),
        ("good", "blank", [], "there is no sample in"),
        ("good", "good", ["push=0"], "push is 0; allowed: whole numbers from 1 on"),
        ("good", "good", ["hidden=[4,1]"], "hidden is [4, 1]; allowed: a list of whole numbers from 2 on"),
        ("good", "good", ["scale=0"], "scale is 0"),
    ]
    inputs = [
        [f"training_input={tmp_path}/{training}", f"test_input={tmp_path}/{test}"] for training, test, *_ in cases
    ]
    run.check_told(SCRIPT, [([*given, *more], told) for given, (_, _, more, told) in zip(inputs, cases)])
