"""What the examples say of bad inputs and settings; and ids that are numbers in one file and texts in another."""

import numpy as np
import pytest

pytestmark = pytest.mark.examples

MF = "examples/matrix_factorization/matrix_factorization.py"
ALS = "examples/als/als.py"
#: Files by name, and what each example says of some arguments; `@name` is the path of a file.
FILES = {
    "empty": "\n",
    "samples": "1,2,3\n2,1,4\n3,5,0\n",
    "nan_samples": "1,2,3\n2,nan,4\n",
    "inf_samples": "1,2,3\n2,1,inf\n",
    "classes": "1,2,0\n2,1,1\n",
    "features": "1,2\ninf,2\n",
    "stars": "1 1 5\n1 2 3\n2 1 4\n2 2 1\n",
    "nan_stars": "1 1 5\n1 2 nan\n",
    "other_stars": "7 1 5\n1 7 3\n",
    "two_fields": "1 1 5\n1 2\n",
    "ratings": "1,1,5\n1,2,3\n2,1,4\n",
    "nan_ratings": "1,1,5\n1,2,nan\n",
    "other_ratings": "7,1,5\n1,7,3\n",
    "factors": "1\t1|2\n2\t2|1\n",
    "inf_factors": "1\t1|2\n2\tinf|1\n",
    "points": "1\t0,0\n2\t4,4\n3\t1,0\n",
    "nan_points": "1\t0,0\n2\tnan,4\n",
    "point_twice": "1\t0,0\n2\t4,4\n1\t4,5\n",
    "nan_centres": "0\t0|nan\n",
    "matrix": "1,2\n3,4\n",
    "nan_matrix": "1,2\n3,nan\n",
    "triples": "1,2,0.5\n1,3,nan\n",
    "items": "1,0,1\n2,inf,1\n",
}
TOLD = {
    "ridge": [
        (["training_input=@nan_samples"], "no finite numbers"),
        (["training_input=@inf_samples"], "no finite numbers"),
        (["training_input=@samples", "test_input=@nan_samples"], "nan_samples' has values that are no finite"),
        (["training_input=@samples", "predict_input=@features", "output=@out"], "features' has values that are no fi"),
        (["training_input=@samples", "rounds=50", "alpha=100"], "alpha is 100, and the objective grew", "lower alpha"),
        (["training_input=@samples", "rounds=5000", "alpha=100"], "lower alpha"),
        (["training_input=@samples", "alpha=-1"], "alpha is -1; allowed: above 0"),
    ],
    "lasso": [
        (["training_input=@nan_samples"], "no finite numbers"),
        (["training_input=@samples", "predict_input=@features", "output=@out"], "no finite numbers"),
        (["training_input=@samples", "lambda=NaN"], "lambda is nan"),
    ],
    "matrix_factorization": [
        (["input=@nan_stars"], "no finite numbers"),
        (["input=@two_fields"], "line 2", "2 fields; allowed: user item rating, or user item date rating"),
        (["input=@stars", "test_input=@nan_stars"], "nan_stars' has ratings that are no finite numbers"),
        (["input=@stars", "test_input=@empty"], "there is no rating in", "empty"),
        (["input=@stars", "test_input=@other_stars"], "of no rating in", "both user and item are in"),
        (["input=@stars", "alpha=10"], "alpha is 10, and the training rmse grew", "lower alpha"),
        (["input=@stars", "alpha=0"], "alpha is 0, beta 0.1; allowed: alpha above 0"),
        (["input=@stars", "limit_s=-1"], "limit_s is -1; allowed: whole numbers from 0 on"),
        (["input=@stars", "limit_s=null"], "limit_s is None; allowed: whole numbers from 0 on"),
    ],
    "als": [
        (["rating_input=@empty", "rounds=1"], "there is no rating in", "lines are user,item,rating"),
        (["rating_input=@nan_ratings", "rounds=1"], "no finite numbers"),
        (["rating_input=@ratings", "factor_input=@inf_factors"], "no finite numbers"),
        (["rating_input=@ratings", "factor_input=@empty"], "there are no factors in"),
        (["rating_input=@ratings", "factor_input=@factors", "validate_input=@empty"], "there is no rating in"),
        (["rating_input=@ratings", "factor_input=@factors", "validate_input=@other_ratings"], "of no rating in"),
        (["rating_input=@ratings", "lambdas=x", "factor_input=@factors", "validate_input=@ratings"], "lambda x;"),
        (["rating_input=@ratings", "lambdas=0", "factor_input=@factors", "validate_input=@ratings"], "lambda 0;"),
        (["rating_input=@ratings", "lambdas=[]", "factor_input=@factors", "validate_input=@ratings"], "lambda [];"),
        (["rating_input=@ratings", "lambdas=0.1", "rounds=1"], "lambdas are compared by validate_input"),
    ],
    "downpour": [
        (["training_input=@nan_samples", "test_input=@classes"], "no finite numbers"),
        (["training_input=@inf_samples", "test_input=@classes"], "no finite numbers"),
        (["training_input=@classes", "test_input=@classes", "hidden=1"], "hidden is 1; allowed: a list of whole"),
        (["training_input=@classes", "test_input=@classes", "hidden=[0.5]"], "hidden is [0.5]; allowed"),
        (["training_input=@classes", "test_input=@classes", "local_alpha=1e38"], "lower alpha or local_alpha"),
        (["training_input=@classes", "test_input=@classes", "alpha=-1"], "alpha is -1; allowed"),
    ],
    "kmeans": [
        (["input=@nan_points", "kclusters=1"], "no finite numbers"),
        (["input=@point_twice", "kclusters=1"], "several lines with the id 1"),
        (["input=@points", "kclusters=1", "centers_input=@nan_centres"], "no finite numbers"),
    ],
    "svd": [
        (["input=@nan_matrix", "k=1"], "no finite numbers"),
        (["input=@triples", "k=1", "pattern=fmap"], "no finite numbers"),
        (["input=@empty", "k=1"], "there is no row in"),
    ],
    "similarity": [
        (["input=@items"], "no finite numbers"),
        (["input=@triples", "format=fsv"], "no finite numbers"),
        (["input=@triples", "format=sfv"], "no finite numbers"),
        (["input=@empty"], "there is no item in"),
    ],
    "pagerank": [(["input=@empty"], "there is no link in", "lines are src,dst")],
    "decision_tree": [
        (["user_fac_input=@factors", "item_fac_input=@factors", "level=30"], "level is 30", "take a lower level"),
        (["user_fac_input=@factors", "item_fac_input=@factors", "level=1000000000"], "take a lower level"),
    ],
}  # fmt: skip


@pytest.fixture
def at(tmp_path):
    """Arguments with paths in place of the names of files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return lambda arguments: [argument.replace("@", f"{tmp_path}/") for argument in arguments]


@pytest.mark.parametrize("name", TOLD)
def test_what_is_no_good_is_told(run, at, name):
    run.check_told(f"examples/{name}/{name}.py", [(at(arguments), *texts) for arguments, *texts in TOLD[name]])


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("ridge", ["training_input=@nan_samples"], "no finite numbers"),
        ("kmeans", ["input=@point_twice", "kclusters=1"], "several lines with the id 1"),
    ],
)
def test_what_one_worker_alone_has_ends_all(run, at, name, arguments, told):
    for done in (
        run.prun(2, 1, f"examples/{name}/{name}.py", *at(arguments)),
        run.mpiexec(2, f"examples/{name}/{name}.py", *at(arguments)),
    ):
        assert done.status != 0
        assert told in done.err


def test_settings_that_are_a_list_may_be_one_number(run, at):
    inputs = at(["rating_input=@ratings", "factor_input=@factors", "validate_input=@ratings"])
    done = run.python(ALS, *inputs, "lambdas=0.5")
    assert done.status == 0, done.err
    assert done.figure("lambda") == 0.5
    inputs = at(["training_input=@classes", "test_input=@classes", "rounds=1"])
    done, same = (run.python("examples/downpour/downpour.py", *inputs, f"hidden={hidden}") for hidden in ("8", "[8]"))
    assert done.status == 0, done.err
    assert done.figure("training accuracy") == same.figure("training accuracy")


def test_a_tree_ends_where_no_question_splits(run, at, tmp_path):
    """Two users are apart after one question: the second level is the last, and not the eighteenth."""
    inputs = at(["user_fac_input=@factors", "item_fac_input=@factors", "output=@out", "neutral=4.5"])
    done = run.python("examples/decision_tree/decision_tree.py", *inputs, "level=18")
    assert done.status == 0, done.err
    assert done.figure("rmse after 2 questions") == 0
    assert "3 questions" not in done.out
    assert (tmp_path / "out" / "tree_0").read_text() == "tree_0\t1||\n"


# ---- ratings of three and of four fields


def test_a_rating_is_the_last_of_three_or_four_fields(run, tmp_path):
    random = np.random.default_rng(0)
    rated = [(user, item, random.integers(1, 6)) for user in range(20) for item in range(8)]
    for name, form in {"three": "{} {}\t{}\n", "four": "{} {} 881250949 {}\n"}.items():
        (tmp_path / name).write_text("".join(form.format(*each) for each in rated))
    three, four = (run.python(MF, f"input={tmp_path}/{name}", "k=2", "rounds=3") for name in ("three", "four"))
    assert three.status == four.status == 0, three.err
    assert three.out == four.out
    assert three.figure("training rmse") < 2


# ---- ids that are numbers in one file, and texts in another


@pytest.fixture(scope="module")
def rated():
    """Of 30 users and 12 items, (user, item, rating), and the items' factors."""
    random = np.random.default_rng(1)
    users, items = random.normal(size=(30, 2)), random.normal(size=(12, 2))
    return [(u, i, 3 + users[u] @ items[i]) for u in range(30) for i in range(12) if random.random() < 0.6], items


def lines(path, form, rows, text_id):
    """Write these rows; with `text_id`, there is one more, whose ids make all ids of the file texts."""
    extra = [("ann", "dune", 4.0)] if text_id else []
    path.write_text("".join(form.format(*row) for row in [*rows, *extra]))


def dict_of(folder, name):
    found = [line.split("\t") for path in sorted(folder.glob(f"{name}_*")) for line in path.read_text().splitlines()]
    assert len(dict(found)) == len(found)
    return {key: np.array([float(number) for number in numbers.split("|")]) for key, numbers in found}


@pytest.mark.parametrize(("text_in_training", "workers"), [(True, 3), (False, 3), (True, 1)])
def test_ids_of_both_kinds_are_matched_by_matrix_factorization(run, rated, tmp_path, text_in_training, workers):
    training, test, wanted, out = (tmp_path / name for name in ("training", "test", "wanted", "out"))
    lines(training, "{} {} {}\n", rated[0], text_in_training)
    lines(test, "{} {} {}\n", rated[0][::3], not text_in_training)
    lines(wanted, "{0},{1}\n", rated[0][::3], not text_in_training)
    inputs = [f"input={training}", f"test_input={test}", f"predict_input={wanted}", f"output={out}"]
    done = run.prun(workers, 1, MF, *inputs, "k=2", "rounds=40", "alpha=0.02", "batches=2")
    assert done.status == 0, done.err
    w, h, user_bias, item_bias = (dict_of(out, name) for name in ("W", "H", "ubias", "ibias"))
    mean, values = dict_of(out, "miu")["miu"][0], [value for _, _, value in rated[0]]

    def predicted(user, item):
        known = mean + user_bias[user][0] + item_bias[item][0] + w[user] @ h[item] if user in w else mean
        return float(np.clip(known, min(values), max(values)))

    found = [line.split(",") for path in out.glob("pred_v_*") for line in path.read_text().splitlines()]
    expected = {(str(u), str(i)): predicted(str(u), str(i)) for u, i, _ in rated[0][::3]}
    if not text_in_training:
        expected["ann", "dune"] = predicted("ann", "dune")
    assert len(found) == len(expected)
    assert {(user, item): float(rating) for user, item, rating in found} == pytest.approx(expected, abs=1e-9)
    answers = [*rated[0][::3], *([] if text_in_training else [("ann", "dune", 4.0)])]
    errors = [value - expected[str(u), str(i)] for u, i, value in answers]
    assert done.figure("test rmse") == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-6)
    assert done.figure("test rmse") < 0.7 * np.std(values)


@pytest.mark.parametrize(("text_in_training", "workers"), [(True, 3), (False, 3), (True, 1)])
def test_ids_of_both_kinds_are_matched_by_als(run, rated, tmp_path, text_in_training, workers):
    ratings, held_out, factors, out = (tmp_path / name for name in ("ratings", "held_out", "factors", "out"))
    lines(ratings, "{},{},{}\n", rated[0][::2], text_in_training)
    lines(held_out, "{},{},{}\n", rated[0][1::2], not text_in_training)
    h = {str(item): row for item, row in enumerate(rated[1])} | ({"dune": np.ones(2)} if text_in_training else {})
    factors.write_text("".join(f"{item}\t{row[0]}|{row[1]}\n" for item, row in h.items()))
    inputs = [f"rating_input={ratings}", f"factor_input={factors}", f"validate_input={held_out}", f"output={out}"]
    done = run.prun(workers, 1, ALS, *inputs)
    assert done.status == 0, done.err
    w = dict_of(out, "W")
    errors = [value - w[str(u)] @ h[str(i)] for u, i, value in rated[0][1::2] if str(u) in w]
    assert done.figure("validation rmse") == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-6)


def test_als_knows_factors_by_ids_that_are_texts(run, tmp_path):
    """They are texts for one item that nobody rated; both sides are solved from them."""
    (tmp_path / "ratings").write_text("1,1,5\n1,10,3\n2,9,4\n")
    (tmp_path / "numbers").write_text("1\t1|2\n9\t0|1\n10\t2|1\n")
    (tmp_path / "texts").write_text("1\t1|2\n9\t0|1\n10\t2|1\ndune\t1|1\n")
    found = {}
    for name in ("numbers", "texts"):
        inputs = [
            f"rating_input={tmp_path}/ratings",
            f"factor_input={tmp_path}/{name}",
            f"output={tmp_path}/{name}_out",
        ]
        done = run.prun(2, 1, ALS, *inputs, "rounds=3")
        assert done.status == 0, done.err
        found[name] = [dict_of(tmp_path / f"{name}_out", side) for side in ("W", "H")]
    for one, other in zip(found["numbers"], found["texts"], strict=True):
        assert one.keys() == other.keys()
        for key, numbers in one.items():
            np.testing.assert_allclose(other[key], numbers, rtol=1e-9)
