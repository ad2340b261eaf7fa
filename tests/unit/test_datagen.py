"""What `python -m paracel.datagen` writes: the formats, that it is what it says, and that blocks leave no trace."""

import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from paracel.datagen import KINDS, blocks
from paracel.datagen.__main__ import main
from paracel.datagen.pairs import permuted
from paracel.errors import ConfigError

NUMBER = r"-?\d+(\.\d+)?(e-?\d+)?"
NUMBERS = rf"{NUMBER}(,{NUMBER}){{9}}"
FORMATS = {
    ("wc",): r"w\d+( w\d+){9}",
    ("classification",): rf"{NUMBERS},[01]",
    ("regression",): rf"{NUMBERS},{NUMBER}",
    ("pagerank",): r"\d+,\d+",
    ("similarity",): rf"\d+,{NUMBERS}",
    ("similarity", "--format=fsv"): rf"\d+,\d,{NUMBER}",
    ("similarity", "--format=sfv"): rf"\d,\d+,{NUMBER}",
    ("kmeans",): rf"\d+\t{NUMBERS}",
    ("kmeans", "--part=labels"): r"\d+\t\d",
    ("lda",): r"w\d+( w\d+)*",
    ("svd",): NUMBERS,
    ("mf",): r"\d+ \d+ \d{10} [1-5]",
    ("mf", "--part=predict"): r"\d+,\d+",
    ("als",): rf"\d+,\d+,{NUMBER}",
    ("als", "--part=users"): rf"\d+\t{NUMBER}(\|{NUMBER}){{4}}",
    ("als", "--part=items"): rf"\d+\t{NUMBER}(\|{NUMBER}){{4}}",
}
each_format = pytest.mark.parametrize("arguments", FORMATS, ids=" ".join)


@pytest.fixture
def make(tmp_path):
    """The text of the file that some arguments make."""

    def run(*arguments):
        main([*arguments, "-o", str(tmp_path / "made")])
        assert [path.name for path in tmp_path.iterdir()] == ["made"]
        return (tmp_path / "made").read_bytes().decode("ascii")

    return run


def numbers(text):
    return np.array([re.split(r"[\t,| ]", line) for line in text.splitlines()], float)


def settings(kind, *changed, lines=1000, seed=0):
    usual = {option.name: option.default for option in KINDS[kind].options}
    texts = dict(each.removeprefix("--").split("=") for each in changed)
    return SimpleNamespace(**usual | texts, lines=lines, seed=seed)


def test_every_kind_is_looked_at():
    assert {kind for kind, *_ in FORMATS} == set(KINDS)
    assert set(KINDS) == {
        "wc",
        "classification",
        "regression",
        "pagerank",
        "similarity",
        "kmeans",
        "lda",
        "svd",
        "mf",
        "als",
    }


@each_format
def test_as_many_lines_as_asked_for_in_the_format(make, arguments):
    size = [] if arguments[0] != "als" else ["--users=300", "--items=300"]  # of which factors have a line for each
    text = make(*arguments, "-n", "300", *size)
    lines = text.split("\n")
    assert lines.pop() == ""
    assert len(lines) == 300
    assert [line for line in lines if not re.fullmatch(FORMATS[arguments], line)] == []


@each_format
def test_seed_decides_all(make, arguments):
    one, again, other = (make(*arguments, "-n", "50", "--seed", seed) for seed in ("3", "3", "4"))
    assert one == again
    assert one != other


@each_format
def test_lines_do_not_depend_on_the_blocks_or_on_how_many_they_are(arguments):
    kind, *changed = arguments
    whole = "".join(blocks(kind, settings(kind, *changed)))
    for block in (1, 50, 1237):
        parts = list(blocks(kind, settings(kind, *changed), block))
        assert len(parts) > 1
        assert "".join(parts) == whole
    fewer = "".join(blocks(kind, settings(kind, *changed, lines=123)))
    assert whole.startswith(fewer)


def test_a_block_is_drawn_when_it_is_asked_for():
    """So that a file of any size needs the memory of one block."""
    parts = blocks("regression", settings("regression", lines=10**15))
    assert next(parts).count("\n") == (1 << 18) // 11


def test_words_follow_zipf(make):
    counts = Counter(make("wc", "-n", "5000").split())
    assert counts["w0"] / 50_000 == pytest.approx(np.log(2) / np.log(1001), rel=0.05)
    assert counts["w0"] > counts["w1"] > counts["w5"] > counts["w50"] > counts["w500"]
    assert len(counts) == 1000


def test_regression_has_the_asked_number_of_weights(make):
    table = numbers(make("regression", "-n", "2000", "--columns=20", "--informative=4", "--noise=0.5"))
    fitted = LinearRegression().fit(table[:, :-1], table[:, -1])
    assert np.count_nonzero(np.abs(fitted.coef_) > 0.06) == 4
    assert (table[:, -1] - fitted.predict(table[:, :-1])).std() == pytest.approx(0.5, rel=0.1)


def test_labels_are_of_a_logistic_model(make):
    table = numbers(make("classification", "-n", "4000"))
    fitted = LogisticRegression().fit(table[:, :-1], table[:, -1])
    assert 0.75 < fitted.score(table[:, :-1], table[:, -1]) < 0.98
    assert abs(fitted.intercept_[0]) < 0.3


def test_links_lead_to_other_pages_some_of_them_much_more_often(make):
    links = numbers(make("pagerank", "-n", "20000", "--nodes=100")).astype(int)
    assert links.min() == 0
    assert links.max() == 99
    assert (links[:, 0] != links[:, 1]).all()
    counts = np.bincount(links[:, 1])
    assert counts[0] > 5 * counts[10] > 5 * counts[90] > 0


def test_labels_match_the_points(make):
    points = numbers(make("kmeans", "-n", "500", "--spread=0.01"))
    labels = numbers(make("kmeans", "-n", "500", "--spread=0.01", "--part=labels"))
    np.testing.assert_array_equal(points[:, 0], labels[:, 0])
    np.testing.assert_array_equal(points[:, 0], np.arange(500))
    spreads = [points[labels[:, 1] == label, 1:].std(axis=0).max() for label in range(10)]
    assert max(spreads) < 0.02
    assert points[:, 1:].std() > 4


def test_matrix_has_the_rank(make):
    values = np.linalg.svd(numbers(make("svd", "-n", "200", "--rank=3", "--noise=0.001")), compute_uv=False)
    assert values[2] > 5
    assert values[3] < 0.05


def test_documents_have_few_topics(make):
    documents = [line.split() for line in make("lda", "-n", "300", "--topics=5", "--beta=0.01").splitlines()]
    assert np.mean([len(words) for words in documents]) == pytest.approx(100, rel=0.02)
    vocabulary = set().union(*documents)
    assert np.mean([len(set(words)) for words in documents]) < len(vocabulary) / 2


def test_ratings_are_the_products_of_the_factors(make):
    users, items = (numbers(make("als", f"--part={part}", "-n", "1"))[:, 1:] for part in ("users", "items"))
    ratings = numbers(make("als", "-n", "400", "--noise=0"))
    user, item = ratings[:, 0].astype(int), ratings[:, 1].astype(int)
    assert (users.shape, items.shape) == ((1000, 5), (500, 5))
    np.testing.assert_allclose(ratings[:, 2], (users[user] * items[item]).sum(axis=1), rtol=1e-4)


def test_pairs_to_predict_are_the_others(make):
    rated = make("mf", "--users=10", "--items=7", "-n", "50").splitlines()
    asked = make("mf", "--users=10", "--items=7", "-n", "20", "--part=predict").splitlines()
    pairs = {tuple(line.split()[:2]) for line in rated} | {tuple(line.split(",")) for line in asked}
    assert len(pairs) == 70


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 64, 1000, 4097])
def test_permutation_has_each_number_once(size):
    keys = np.random.default_rng(size).integers(1 << 62, size=4).astype(np.uint64)
    shuffled = permuted(np.arange(size, dtype=np.uint64), size, keys)
    np.testing.assert_array_equal(np.sort(shuffled), np.arange(size))
    if size >= 1000:
        places = np.arange(size)
        assert abs(np.corrcoef(places, shuffled)[0, 1]) < 0.1
        assert abs(np.corrcoef(shuffled[1:], shuffled[:-1])[0, 1]) < 0.1


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mw"], "invalid choice: 'mw'"),
        (["svd", "-n", "1.5"], "'1.5' is not a whole number from 1 on"),
        (["svd", "-n", "0"], "'0' is not a whole number from 1 on"),
        (["svd", "--noise", "nan"], "'nan' is not a number from 0 on"),
        (["svd", "--noise", "inf"], "'inf' is not a number from 0 on"),
        (["svd", "--users", "3"], "unrecognized arguments: --users"),
        (["pagerank", "--nodes", "1"], "'1' is not a whole number from 2 on"),
        (["similarity", "--format", "csv"], "invalid choice: 'csv'"),
        (["mf", "--users", "2", "--items", "3", "-n", "7"], "7 lines with different pairs, and there are 6: 2 users"),
        (["similarity", "--format=fsv", "--ids", str(1 << 60)], "allowed: below 2**62"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_and_nothing_is_written(tmp_path, capsys, arguments, told):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "-o", str(tmp_path / "made")])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["svd", "-o", str(tmp_path / "no" / "made")])
    assert "cannot write" in capsys.readouterr().err


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path, monkeypatch):
    old = tmp_path / "made"
    old.write_text("old")

    def breaking(_kind, _given):
        yield "new"
        raise KeyboardInterrupt

    monkeypatch.setattr("paracel.datagen.__main__.blocks", breaking)
    with pytest.raises(KeyboardInterrupt):
        main(["svd", "-o", str(old)])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_more_lines_than_pairs_is_an_error_at_the_call():
    with pytest.raises(ConfigError):
        blocks("als", settings("als", lines=500_001))


@pytest.mark.parametrize("kind", KINDS)
def test_help_names_the_format_and_the_settings(capsys, kind):
    with pytest.raises(SystemExit) as ended:
        main([kind, "--help"])
    assert ended.value.code == 0
    helped = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert KINDS[kind].format in helped
    assert [option.name for option in KINDS[kind].options if f"--{option.name}" not in helped] == []
