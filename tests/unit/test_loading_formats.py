"""What is passed over in text: headers and comments; what is said of quotes; the tokens of LIBSVM."""

import gzip

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from paracel import loaders
from paracel.errors import ConfigError, LoadError
from paracel.loaders import lines_before
from paracel.loading import load_csv, load_libsvm, load_matrix, load_relations


@pytest.fixture(params=["in.txt", "in.gz"])
def file(tmp_path, request):
    def write(text):
        path = tmp_path / request.param
        data = text.encode()
        path.write_bytes(gzip.compress(data) if request.param.endswith("gz") else data)
        return path

    return write


@pytest.fixture(autouse=True, params=[16, 1 << 20])
def blocks(monkeypatch, request):
    monkeypatch.setattr(loaders, "_BLOCK", request.param)


def pairs(relations):
    return list(zip(relations.first.tolist(), relations.second.tolist(), strict=True))


@pytest.mark.parametrize("parser", [",", lambda line: line.split(",")])
@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("user,item\n1,2\n3,4\n", {"skip_header": 1}, [(1, 2), (3, 4)]),
        ("user,item\n1,2\n3,4\n", {}, [("user", "item"), ("1", "2"), ("3", "4")]),
        ("\ufeff# a, b\r\n  \t#,\r\n1,2\r\n#\r\n3,4 ", {"comment": "#"}, [(1, 2), (3, 4)]),
        ("# a, b\n1,2#\n", {"comment": "#"}, [(1, "2#")]),
        ("#a,b\n1,2\n", {}, [("#a", "b"), ("1", "2")]),
        ("é//,x\n//é,y\n", {"comment": "//"}, [("é//", "x")]),
        ("user,item\n# no,data\n1,2\n", {"comment": "#", "skip_header": 1}, [(1, 2)]),
        (".*,x\nab,y\n", {"comment": ".*"}, [("ab", "y")]),
        ("1,2\n3,4", {"skip_header": 2}, []),
        ("1,2\n3,4", {"skip_header": 9}, []),
        ("\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n1,2\n3,4\n", {"skip_header": 20}, [(3, 4)]),
    ],
)
def test_headers_and_comments(file, parser, text, settings, expected):
    assert pairs(load_relations(None, file(text), parser, **settings)) == expected


def test_lines_keep_their_numbers(file):
    path = file("a,b,c\n# one\n1,2,3\n# two\n1,x,3\n")
    for load in (load_csv, lambda *args, **settings: load_matrix(*args, pattern="linesplit", **settings)):
        with pytest.raises(LoadError, match="line 5: '1,x,3': expected a number in field 2"):
            load(None, path, skip_header=1, comment="#")
        assert load(None, path, skip_header=1, comment="#", on_error="skip").skipped == 1


def test_how_many_lines_are_before(tmp_path):
    path = tmp_path / "in"
    path.write_bytes(b"ab\r\ncd\re\n\nf")
    assert [lines_before(str(path), offset, 9) for offset in range(12)] == [0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    assert lines_before(str(path), 11, 2) == 2


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"skip_header": -1}, "skip_header=-1; allowed: a number of lines"),
        ({"skip_header": True}, "skip_header=True; allowed"),
        ({"comment": " #"}, "comment=' #'; allowed: what comments begin with"),
        ({"comment": None}, "comment=None; allowed"),
        ({"comment": "a\nb"}, "allowed"),
        ({"columns": (0, -1)}, r"columns=\(0, -1\); allowed: the numbers, from 0, of the fields that are the features"),
        ({"columns": ()}, "allowed"),
        ({"columns": 1}, "columns=1; allowed"),
        ({"columns": {0, 1}}, "columns={0, 1}; allowed"),
        ({"label": "x"}, "label='x'; allowed: the number of the field that is the label"),
        ({"label": 0.0}, "label=0.0; allowed"),
        ({"label": None}, "label=None; allowed"),
    ],
)
def test_settings_that_cannot_be(file, settings, text):
    with pytest.raises(ConfigError, match=text):
        load_csv(None, file("1,2\n"), **settings)


@pytest.mark.parametrize("width", ["3", -1, 2.0, True])
def test_widths_that_cannot_be(file, width):
    with pytest.raises(ConfigError, match=f"width={width!r}; allowed: how many features there are"):
        load_libsvm(None, file("1 1:2\n"), width=width)


def test_of_a_line_with_a_quote_it_is_said_that_quotes_have_no_meaning(file):
    path = file('1,"a, b",3\n')
    hint = r"\(fields are separated by ','\); quotes have no meaning here: .* that calls csv.reader"
    with pytest.raises(LoadError, match=f"line 1: .* expected two ids.* {hint}"):
        load_relations(None, path)
    with pytest.raises(LoadError, match=r"it raised ZeroDivisionError: [a-z ]*$"):
        load_relations(None, path, lambda _line: 1 // 0)
    with pytest.raises(LoadError, match=r"',''?.$"):
        load_csv(None, file("1,a\n"))


def test_columns_of_csv(file):
    path = file("ann,1,2,0\nbob,3,4,1,more\n")
    features, labels = load_csv(None, path, columns=(2, 1, 3))
    assert (features.tolist(), labels.tolist()) == ([[2, 1], [4, 3]], [0, 1])
    features, labels = load_csv(None, path, columns=(3, 1), label=0)
    assert (features.tolist(), labels.tolist()) == ([[1], [3]], [0, 1])
    with pytest.raises(LoadError, match=r"line 1: .* expected at least 5 fields"):
        load_csv(None, path, columns=(1, 4))
    with pytest.raises(LoadError, match=r"line 1: .* expected a number in field 1 "):
        load_csv(None, path, columns=(3, 0))
    assert load_csv(None, path, columns=(1, 4), on_error="skip").skipped == 2
    with pytest.raises(ConfigError, match="label=2, where lines have 2 fields"):
        load_csv(None, path, columns=(1, 2), label=2)


@pytest.mark.parametrize("zero_based", [True, False])
def test_libsvm_as_scikit_learn_writes_it(tmp_path, zero_based):
    matrix = np.random.default_rng(0).normal(size=(20, 5)).round(1)
    matrix[matrix < 0] = 0
    matrix[:, 4] = 1
    path = tmp_path / "in.svm"
    dump_svmlight_file(matrix, np.arange(20), str(path), zero_based=zero_based, comment="made, with: numbers 1:2")
    features, labels = load_libsvm(None, path, zero_based=zero_based)
    want, targets = load_svmlight_file(str(path), zero_based=zero_based)
    assert features.toarray().tolist() == want.toarray().tolist() == matrix.tolist()
    assert labels.tolist() == targets.tolist()


def test_libsvm(file):
    path = file("1 1:2 # good: 1:2\n#1 7:1\n  # 2\n2 3:1#\n")
    assert load_libsvm(None, path).features.toarray().tolist() == [[2, 0, 0], [0, 0, 1]]
    assert load_libsvm(None, path, zero_based=True).features.toarray().tolist() == [[0, 2, 0, 0], [0, 0, 0, 1]]
    assert load_libsvm(None, path, skip_header=1, comment="#").labels.tolist() == [2]
    with pytest.raises(LoadError, match="there is a feature 3, and width=3, with indices from 0"):
        load_libsvm(None, path, width=3, zero_based=True)
    assert load_libsvm(None, path, width=4, zero_based=True).features.shape == (2, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 1:2\n1 0:2 1:x # no\n", "line 2: '1 0:2 1:x # no': expected whole .* from 1 .* give zero_based=True for"),
        ("1 qid:3 1:2\n", "line 1: .* expected no qid:, as there are no queries"),
        ("1 a:3 1:2\n", "line 1: .* expected whole numbers from 1 as indices .fields"),
        ("1 -1:3\n", "expected whole numbers from 1 as indices .fields"),
    ],
)
def test_tokens_of_libsvm_that_are_not_taken(file, text, expected):
    with pytest.raises(LoadError, match=expected):
        load_libsvm(None, file(text))


def test_the_highest_index(file):
    top = 2**63 - 1
    assert load_libsvm(None, file(f"1 {top - 1}:1\n"), zero_based=True).features.shape == (1, top)
    assert load_libsvm(None, file(f"1 {top - 1}:1\n"), width=np.int64(top)).features.shape == (1, top)
    for least, zero_based in enumerate((True, False)):
        with pytest.raises(LoadError, match=f"expected whole numbers from {least} as indices"):
            load_libsvm(None, file(f"1 {top}:1\n"), zero_based=zero_based)


def test_a_negative_index_is_none(file):
    with pytest.raises(LoadError, match="expected whole numbers from 0 as indices"):
        load_libsvm(None, file("1 -1:3\n"), zero_based=True)
