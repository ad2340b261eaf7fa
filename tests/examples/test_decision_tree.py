"""Trees of questions against a serial builder in fractions, one user, item and node at a time."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/decision_tree/decision_tree.py"
CONFIG = "examples/decision_tree/decision_tree.json"
USERS, NEW, ITEMS, K = 70, 20, 12, 3


@pytest.fixture(scope="module")
def factors():
    """Of users, new users and items, by id. Whole 64ths: their sums and products are exact in floats, too."""
    random = np.random.default_rng(5)
    sizes = {"users": USERS, "new": NEW, "items": ITEMS}
    drawn = {name: random.normal(0, 40, (size, K)).round().astype(int).tolist() for name, size in sizes.items()}
    return {name: {i: [Fraction(f, 64) for f in row] for i, row in enumerate(rows)} for name, rows in drawn.items()}


@pytest.fixture
def settings(factors, tmp_path):
    for name, rows in factors.items():
        lines = [f"{i}\t{'|'.join(str(float(f)) for f in row)}\n" for i, row in rows.items()]
        (tmp_path / f"{name}.tsv").write_text("".join(lines))
    inputs = [f"user_fac_input={tmp_path}/users.tsv", f"item_fac_input={tmp_path}/items.tsv"]
    return ["-c", CONFIG, SCRIPT, *inputs, f"output={tmp_path}/out", "neutral=0.125"]


def product(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def answer(user, item, bar):
    above = product(user, item) - Fraction(1, 8)
    return 0 if above >= bar else 1 if above <= -bar else 2


def mean(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def error(rows):
    centre = mean(rows)
    return sum(product(gap, gap) for gap in ([a - b for a, b in zip(row, centre, strict=True)] for row in rows))


class Serial:
    """One tree, level by level: `items` (None: no question) and `averages` of all nodes in order."""

    def __init__(self, users, items, level, bar, number):
        self.all, self.bar, self.answers = items, bar, 3 if bar else 2
        self.items, self.averages = [], [mean(users)]
        nodes = [users]
        for depth in range(level):
            below = []
            for at, members in enumerate(nodes, start=len(self.items)):
                chosen = self.best(members, 0 if depth else number)
                groups = self.groups(members, chosen)
                self.items.append(chosen)
                self.averages += [mean(group) if group else self.averages[at] for group in groups]
                below += groups
            nodes = below

    def best(self, members, place):
        errors = []
        for number in self.all:
            groups = [group for group in self.groups(members, number) if group]
            if len(groups) > 1:
                errors.append((sum(error(group) for group in groups), number))
        return sorted(errors)[place][1] if errors else None

    def groups(self, members, number):
        found = [[] for _ in range(self.answers)]
        for user in members:
            found[0 if number is None else answer(user, self.all[number], self.bar)].append(user)
        return found

    def rmse(self, users, questions):
        squares = 0
        for user in users:
            at = 0
            for _ in range(questions):
                asked = self.items[at]
                at = at * self.answers + 1 + (0 if asked is None else answer(user, self.all[asked], self.bar))
            gap = [a - b for a, b in zip(user, self.averages[at], strict=True)]
            squares += sum(product(gap, item) ** 2 for item in self.all.values())
        return float(squares / (len(users) * len(self.all))) ** 0.5


def written_trees(folder):
    lines = [line.split("\t") for line in (folder / "tree_0").read_text().splitlines()]
    return {name: [int(item) if item else None for item in items.split("|")] for name, items in lines}


def check_averages(folder, number, expected):
    found = np.loadtxt(folder / f"average_user_factor_{number}_0", delimiter="|")
    np.testing.assert_allclose(found, np.array(expected, float), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("workers", "servers", "bar", "level"), [(1, 1, "0", 5), (2, 2, "0", 5), (4, 3, "0", 5), (2, 2, "0.25", 4)]
)
def test_trees_are_those_of_the_serial_builder(run, factors, settings, tmp_path, workers, servers, bar, level):
    """So deep that nodes have a user or two, where many items split alike and some nodes are empty."""
    settings += [f"unknown_bar={bar}", f"level={level}", "tree_start_index=1", "tree_end_index=2"]
    done = run.prun(workers, servers, *settings, f"test_input={tmp_path}/new.tsv")
    assert done.status == 0, done.err
    users, new = list(factors["users"].values()), list(factors["new"].values())
    trees = {n: Serial(users, factors["items"], level, Fraction(bar), n) for n in (1, 2)}
    assert None in trees[1].items
    assert written_trees(tmp_path / "out") == {f"tree_{n}": tree.items for n, tree in trees.items()}
    for n, tree in trees.items():
        check_averages(tmp_path / "out", n, tree.averages)
    for label, asked in (("", users), ("test ", new)):
        for questions in range(level + 1):
            errors = [tree.rmse(asked, questions) for tree in trees.values()]
            found = done.figure(f"{label}rmse after {questions} questions")
            assert found == pytest.approx(np.mean(np.square(errors)) ** 0.5, abs=1e-6)


def test_any_number_of_workers_grows_the_same_to_the_last_bit(run, tmp_path):
    """Also of factors whose sums floats do not have exactly, and with users who do not know."""
    random = np.random.default_rng(1)
    for name, count in (("users", 300), ("items", 40)):
        rows = enumerate(random.normal(size=(count, 4)).tolist())
        (tmp_path / f"{name}.tsv").write_text("".join(f"{i}\t{'|'.join(map(repr, row))}\n" for i, row in rows))
    inputs = [f"user_fac_input={tmp_path}/users.tsv", f"item_fac_input={tmp_path}/items.tsv", "level=5"]
    found = {}
    for workers in (1, 2, 4):
        done = run.prun(workers, workers, SCRIPT, *inputs, "unknown_bar=0.25", f"output={tmp_path}/{workers}")
        assert done.status == 0, done.err
        found[workers] = [path.read_text() for path in sorted((tmp_path / str(workers)).iterdir())]
    assert len(found[1]) == 2
    assert found[1] == found[2] == found[4]


def test_the_default_tree_is_number_0_and_may_be_of_one_factor(run, tmp_path):
    """With names as ids; both items split alike, and the lesser name is asked."""
    (tmp_path / "users.tsv").write_text("ann\t1\nbob\t3\neve\t-5\n")
    (tmp_path / "items.tsv").write_text("solaris\t-2\ndune\t2\n")
    inputs = [f"user_fac_input={tmp_path}/users.tsv", f"item_fac_input={tmp_path}/items.tsv"]
    done = run.mpiexec(2, SCRIPT, *inputs, "level=2", f"output={tmp_path}/out")
    assert done.status == 0, done.err
    assert (tmp_path / "out" / "tree_0").read_text() == "tree_0\tdune||\n"
    averages = [float(line) for line in (tmp_path / "out" / "average_user_factor_0_0").read_text().splitlines()]
    np.testing.assert_allclose(averages, [-1 / 3, 2, -5, 2, 2, -5, -5])
    assert done.figure("rmse after 2 questions") == pytest.approx((8 / 3) ** 0.5, abs=1e-6)


def test_items_that_split_alike_tie_whatever_the_answers_are_called():
    """Of three answers, 0.1 + 0.2 + 0.3 is not 0.2 + 0.3 + 0.1; the lesser item is to be asked."""
    spec = importlib.util.spec_from_file_location("decision_tree", ROOT / SCRIPT)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    one, two, three = (10.0, 1.0), (20.0, 2.0), (30.0, 3.0)  # users, and the sum of their only factor
    rows = np.array([two + three + one, one + two + three])
    _, item, gain, _ = program.best_splits(np.arange(2, dtype=np.uint64), rows, {}, [2, 3], 2)
    assert item.tolist() == [0, 1]
    assert gain[0] == gain[1]


def test_wrong_settings_are_told(run, tmp_path):
    (tmp_path / "users.tsv").write_text("1\t1\n2\t-1\n")
    (tmp_path / "items.tsv").write_text("1\t1\n")
    (tmp_path / "wide.tsv").write_text("1\t1|2\n")
    (tmp_path / "twice.tsv").write_text("7\t1\n7\t2\n")
    (tmp_path / "nan.tsv").write_text("7\tnan\n")
    (tmp_path / "empty.tsv").write_text("\n")
    inputs = [f"user_fac_input={tmp_path}/users.tsv", f"item_fac_input={tmp_path}/items.tsv"]
    cases = [
        (["level=0"], "level is 0"),
        (["unknown_bar=-1"], "unknown_bar -1"),
        (["tree_start_index=2", "tree_end_index=1"], "trees 2 to 1"),
        (["tree_end_index=1"], "1 items split the users; tree_end_index is 1"),
        (["neutral=100"], "0 items split the users"),
        ([f"user_fac_input={tmp_path}/wide.tsv"], "2 factors a line, items 1"),
        ([f"user_fac_input={tmp_path}/twice.tsv"], "several lines with the id 7"),
        ([f"user_fac_input={tmp_path}/nan.tsv"], "no finite numbers"),
        ([f"user_fac_input={tmp_path}/empty.tsv"], "there are no factors in"),
    ]
    run.check_told(SCRIPT, [([*inputs, *arguments], told) for arguments, told in cases])
