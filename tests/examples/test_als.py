"""Alternating least squares against plain numpy, one row at a time: one side with the other given, and both in turn."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/als/als.py"
CONFIG = "examples/als/als.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of the generated files, small."""
    spec = importlib.util.spec_from_file_location("als_generate", ROOT / "examples/als/generate.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    folder = tmp_path_factory.mktemp("als")
    program.write(folder, users=120, items=50, k=3, share=0.4)
    return folder


@pytest.fixture
def settings(data, tmp_path):
    return [
        *["-c", CONFIG, SCRIPT, f"output={tmp_path}/out", f"rating_input={data}/ratings.csv"],
        *[f"factor_input={data}/factors.txt", f"validate_input={data}/validation.csv"],
    ]


def ratings(path):
    return [(int(u), int(i), float(r)) for u, i, r in (line.split(",") for line in path.read_text().splitlines())]


def factors(*paths):
    lines = [line.split("\t") for path in paths for line in path.read_text().splitlines()]
    found = {row: np.array([float(number) for number in numbers.split("|")]) for row, numbers in lines}
    assert len(found) == len(lines)
    return {int(row) if row.isdecimal() else row: numbers for row, numbers in found.items()}


def written(folder, name, workers):
    return factors(*(folder / "out" / f"{name}{worker}" for worker in range(workers)))


def ridge(rated, others, penalty):
    """The factors of the first ids of (row, column, rating), from those of the second."""
    solved = {}
    for row in {row for row, _, _ in rated}:
        seen = np.array([others[column] for each, column, _ in rated if each == row])
        values = np.array([value for each, _, value in rated if each == row])
        solved[row] = np.linalg.solve(seen.T @ seen + penalty * np.eye(seen.shape[1]), seen.T @ values)
    return solved


def turned(rated):
    return [(column, row, value) for row, column, value in rated]


def rmse(rated, rows, columns):
    known = [(value - rows[row] @ columns[column]) for row, column, value in rated if row in rows and column in columns]
    return np.sqrt(np.mean(np.square(known)))


def check(found, expected):
    assert found.keys() == expected.keys()
    for row, numbers in expected.items():
        np.testing.assert_allclose(found[row], numbers, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 3)])
def test_users_with_given_items_and_the_best_lambda(run, data, settings, tmp_path, workers, servers):
    done = run.prun(workers, servers, *settings, "lambdas=[3, 0.05, 100]")
    assert done.status == 0, done.err
    rated, held_out, items = ratings(data / "ratings.csv"), ratings(data / "validation.csv"), data / "factors.txt"
    items = factors(items)
    users = {penalty: ridge(rated, items, penalty) for penalty in (3, 0.05, 100)}
    for penalty, solved in users.items():
        assert done.figure(f"training rmse with lambda {penalty}") == pytest.approx(
            rmse(rated, solved, items), abs=1e-6
        )
        error = rmse(held_out, solved, items)
        assert done.figure(f"validation rmse with lambda {penalty}") == pytest.approx(error, abs=1e-6)
    best = min(users, key=lambda penalty: rmse(held_out, users[penalty], items))
    assert done.figure("lambda") == best
    check(written(tmp_path, "W_", workers), users[best])


@pytest.mark.parametrize("workers", [1, 4])
def test_both_in_turn_from_given_factors(run, data, settings, tmp_path, workers):
    done = run.prun(workers, 1, *settings, "rounds=3", "lambda=0.5")
    assert done.status == 0, done.err
    rated, items = ratings(data / "ratings.csv"), factors(data / "factors.txt")
    for _ in range(3):
        users = ridge(rated, items, 0.5)
        items = ridge(turned(rated), users, 0.5)
    check(written(tmp_path, "W_", workers), users)
    check(written(tmp_path, "H_", workers), items)
    assert done.figure("training rmse") == pytest.approx(rmse(rated, users, items), abs=1e-6)


def test_both_in_turn_from_random_factors(run, data, settings, tmp_path):
    """Whatever the number of workers the same; the items are what the users make them; and it learns."""
    found = {}
    for workers in (1, 2):
        done = run.prun(workers, 2, *settings, "factor_input=", "rounds=12", "k=3", "lambda=0.2")
        assert done.status == 0, done.err
        found[workers] = [written(tmp_path, name, workers) for name in ("W_", "H_")]
    check(found[2][0], found[1][0])
    check(found[2][1], found[1][1])
    users, items = found[2]
    rated = ratings(data / "ratings.csv")
    check(items, ridge(turned(rated), users, 0.2))
    assert done.figure("training rmse") < 0.25  # the noise is 0.2, and the ratings' deviation 1.7


def test_items_with_given_users_one_number_each_and_a_rating_twice(run, tmp_path):
    """Twice the same pair are two ratings, not their sum."""
    (tmp_path / "ratings.csv").write_text("ann,dune,4\nann,dune,2\nbob,dune,3\nbob,solaris,0\n")
    (tmp_path / "users.txt").write_text("bob\t2\nann\t1\neve\t7\n")
    inputs = [f"rating_input={tmp_path}/ratings.csv", f"factor_input={tmp_path}/users.txt"]
    done = run.mpiexec(2, SCRIPT, *inputs, "pattern=smap", "lambda=1", f"output={tmp_path}/out")
    assert done.status == 0, done.err
    found = written(tmp_path, "H_", 2)
    check(found, {"dune": np.array([(4 + 2 + 6) / (1 + 1 + 4 + 1)]), "solaris": np.array([0.0])})


def test_wrong_settings_are_told(run, tmp_path):
    (tmp_path / "ratings.csv").write_text("7,1,4\n7,2,3\n")
    (tmp_path / "few.txt").write_text("1\t1|2\n")
    (tmp_path / "twice.txt").write_text("1\t1|2\n2\t1|2\n1\t3|4\n")
    rated = f"rating_input={tmp_path}/ratings.csv"
    cases = [
        ([rated], "give factor_input"),
        ([rated, "factor_input=x", "pattern=fset"], "pattern is 'fset'"),
        ([rated, "factor_input=x", "lambda=0"], "lambda 0"),
        ([rated, "factor_input=x", "lambdas=[1]"], "lambdas are compared by validate_input"),
        ([rated, f"factor_input={tmp_path}/few.txt"], "2 is rated, and has no factors"),
        ([rated, f"factor_input={tmp_path}/twice.txt"], "several lines with the id 1"),
    ]
    run.check_told(SCRIPT, cases)
