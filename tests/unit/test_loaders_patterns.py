"""Every pattern in one process: what lines mean, and what is said of those that mean nothing."""

import gzip
import logging
import sys

import numpy as np
import pytest
from sklearn.datasets import load_svmlight_file

from paracel import loaders
from paracel.errors import ConfigError, LoadError
from paracel.loading import load_csv, load_libsvm, load_lines, load_matrix, load_relations, process_grid
from paracel.loading.ids import hashes, numbered, owners


@pytest.fixture
def file(tmp_path):
    def write(text, name="in.txt"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def triples(relations):
    return list(zip(*(column.tolist() for column in relations), strict=True))


@pytest.mark.parametrize(
    ("text", "parser", "settings", "expected"),
    [
        ("1,2\n3,4\n", ",", {}, [(1, 2, 1.0), (3, 4, 1.0)]),
        ("1,2,0.5\r\n\r\n 3 ,\t4 , 1e-3 ", ",", {}, [(1, 2, 0.5), (3, 4, 0.001)]),
        (
            "1,2\n1,3\n1,4:0.5\n1,5|2\n1,6 8\n",
            ",",
            {"mix": True},
            [(1, 2, 1), (1, 3, 1), (1, 4, 0.5), (1, 5, 2), (1, 6, 8)],
        ),
        ("1,2\n1,3,7\n", ",", {}, [(1, 2, 1), (1, 3, 7)]),
        ("u1,item:17\nu2,a|b\nu3,c 4\n", ",", {}, [("u1", "item:17", 1), ("u2", "a|b", 1), ("u3", "c 4", 1)]),
        ("http://a,http://b\na:b,c:d,5\n", ",", {}, [("http://a", "http://b", 1), ("a:b", "c:d", 5)]),
        ("http://a,http://b,x\n", ",", {"columns": (0, 1)}, [("http://a", "http://b", 1)]),
        ("a,x,b:2\n", ",", {"columns": (0, 2), "mix": True}, [("a", "b", 2)]),
        ("a,b:2,4\n", ",", {"columns": (0, 1, 2), "mix": True}, [("a", "b:2", 4)]),
        ("1 2\n", lambda line: np.array(line.split()), {}, [(1, 2, 1)]),
        ("1 2\n", lambda line: np.array(line.split(), int), {}, [(1, 2, 1)]),
        ("1 2\n3\n", lambda line: (each for each in line.split()) if " " in line else iter(()), {}, [(1, 2, 1)]),
        ("1::1193::5::978300760\n", ":", {"columns": (0, 2, 4)}, [(1, 1193, 5)]),
        ("1700000000000000001,-9223372036854775808\n", ",", {}, [(1700000000000000001, -(2**63), 1)]),
        (f"1,{2**63 - 1}\n2,{2**63}\n", ",", {}, [(1, str(2**63 - 1), 1), (2, str(2**63), 1)]),
        ("a b\nb\tc\n  c \t d  \n", "\t ", {}, [("a", "b", 1), ("b", "c", 1), ("c", "d", 1)]),
        ("1,x\n2,3\n", ",", {}, [(1, "x", 1), (2, "3", 1)]),
        ("1,x\n2,3\n", ",", {"same_kind": True}, [("1", "x", 1), ("2", "3", 1)]),
        ("1,4\n2,3\n", ",", {"same_kind": True}, [(1, 4, 1), (2, 3, 1)]),
        ("01,1\n1,1\n", ",", {}, [("01", 1, 1), ("1", 1, 1)]),
        ("1,2,3\n", ",", {"mix": True}, [(1, 2, 1), (1, 3, 1)]),
        ("a,b:0.2,c\nb,c|4\n", ",", {"mix": True}, [("a", "b", 0.2), ("a", "c", 1), ("b", "c", 4)]),
        ("a,b,c\n", ",", {"pattern": "fset"}, [("a", "b", 1), ("a", "c", 1)]),
        ("a,x:y:2\n", ",", {"mix": True}, [("a", "x:y", 2)]),
        ("a:b:c\n", ":", {}, None),
        ("a:b:2\n", ":", {}, [("a", "b", 2)]),
        ("u\tü\t3\t99\n", "\t", {"columns": (0, 1, 2)}, [("u", "ü", 3)]),
        ("5 u 3\n", " ", {"columns": (1, 2)}, [("u", 3, 1)]),
        ("x 2 1\n", " ", {"columns": (2, 0, 1)}, [(1, "x", 2)]),
        ("7-8;3\n", "-;", {"columns": (0, 1, 2)}, None),
        ("7>8;3\n", ">;", {}, [(7, 8, 3)]),
        ("\ufeff1,2\n", ",", {}, [(1, 2, 1)]),
        ("# no\n1,2\n", lambda line: None if line[0] == "#" else line.split(","), {}, [(1, 2, 1)]),
        ("1;2;x\n", lambda line: line.split(";")[:2], {}, [(1, 2, 1)]),
        ("3 4\n", lambda line: [int(each) + 1 for each in line.split()], {}, [(4, 5, 1)]),
        ("a,b c,d\n", lambda line: ["a b", line[:1]], {}, [("a b", "a", 1)]),
        ("", ",", {}, []),
        ("\n \n\t\n", ",", {}, []),
        (",".join(["1", "9" * 18]) + "\n1," + "9" * 19, ",", {}, [(1, "9" * 18, 1), (1, "9" * 19, 1)]),
    ],
)
def test_relations(file, text, parser, settings, expected):
    if expected is None:
        with pytest.raises((LoadError, ConfigError)):
            load_relations(None, file(text), parser, **settings)
        return
    found = load_relations(None, file(text), parser, **settings)
    assert triples(found) == expected
    assert found.skipped == 0


@pytest.mark.parametrize(
    ("load", "text", "number", "expected"),
    [
        (load_relations, "1,2\n\n3\n", 3, "two ids, and a value perhaps; with mix=True, an id and items"),
        (load_relations, "1,2,3,4\n", 1, "two ids"),
        (load_relations, "1,2,x\n", 1, "a number as the value"),
        (
            lambda c, s, **k: load_relations(c, s, mix=True, **k),
            "1,2\n1,2:\n",
            2,
            "a number as the value, as with mix=",
        ),
        (lambda c, s, **k: load_relations(c, s, mix=True, **k), "1,2:0_1\n", 1, "a number as the value, as with mix="),
        (
            lambda c, s, **k: load_relations(c, s, pattern="fset", **k),
            "1,2\n1,2,http://b\n",
            2,
            "a number as the value, as with mix= the item 'http://b' is split at its last ':'; add ':1' to items "
            "that hold such a mark and have no value (fields",
        ),
        (load_relations, "1,\n", 1, "ids of 1 to 255 bytes"),
        (load_relations, f"1,2\n{'x' * 256},1\n", 2, "ids of 1 to 255 bytes"),
        (load_relations, "1,2\r\n1\0,2\r\n", 2, "text without bytes of zero"),
        (lambda c, s, **k: load_relations(c, s, mix=True, **k), "1,2,3\n1\n", 2, "an id and the items"),
        (lambda c, s, **k: load_relations(c, s, columns=(0, 4), **k), "1,2,3,4,5\n1,2,3\n", 2, "at least 5 fields"),
        (lambda c, s, **k: load_matrix(c, s, pattern="linesplit", **k), "1,2\n1,2\n1\n", 3, "2 fields, as in most"),
        (lambda c, s, **k: load_matrix(c, s, pattern="linesplit", **k), "1,2\n3,b\n", 2, "a number in field 2"),
        (lambda c, s, **k: load_matrix(c, s, pattern="linesplit", **k), "1,2\n,3\n", 2, "a number in field 1"),
        (lambda c, s, **k: load_matrix(c, s, pattern="fvec", **k), "a,2,4\nb,x,3\n", 2, "a number in field 2"),
        (lambda c, s, **k: load_matrix(c, s, pattern="fvec", **k), "a,2\n,3\n", 2, "an id of 1 to 255 bytes"),
        (load_libsvm, "1 1:2\n1 1\n", 2, "a label, and pairs index:value"),
        (load_libsvm, "1 1:2\n1 1 2\n", 2, "pairs index:value after the label"),
        (load_libsvm, "1:1:2\n", 1, "pairs index:value after the label"),
        (load_libsvm, "x 1:2\n", 1, "a number as the label"),
        (load_libsvm, "1 0:2\n", 1, "whole numbers from 1 as indices"),
        (load_libsvm, "1 1.5:2\n", 1, "whole numbers from 1 as indices"),
        (load_libsvm, "1 1:2 2:y\n", 1, "numbers as values"),
        (load_csv, "1,2,3\n1,2,z\n", 2, "a number in field 3"),
    ],
)
@pytest.mark.parametrize("name", ["in.txt", "in.gz"])
def test_a_line_that_does_not_parse_is_named_or_skipped(file, caplog, load, text, number, expected, name):
    good = text.split("\n")[0 if number > 1 else 1] + "\n"
    for many in (0, 3000):  # in the first block, and in a later one
        data = (good * many + text).encode()
        path = file(gzip.compress(data) if name.endswith("gz") else data, name)
        with pytest.raises(LoadError) as raised:
            load(None, path)
        assert f"{name}', line {many + number}: " in str(raised.value)
        assert f": expected {expected}" in str(raised.value)
    with caplog.at_level(logging.WARNING):
        assert load(None, file(text), on_error="skip").skipped == 1
    assert [f"line {number}: " in record.getMessage() for record in caplog.records] == [True]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(loaders, "_BLOCK", 4096)


def test_skipped_lines_are_counted_and_the_others_kept(file):
    path = file("1,2\nx\n3,4,5\n6,7,y\n,8\n9,10\n")
    found = load_relations(None, path, on_error="skip")
    assert triples(found) == [(1, 2, 1), (3, 4, 5), (9, 10, 1)]
    assert found.skipped == 3
    rows = load_matrix(None, file("1,2\n3\n4,5\nz,6\n"), pattern="linesplit", on_error="skip")
    assert (rows.matrix.tolist(), rows.row_ids.tolist(), rows.skipped) == ([[1, 2], [4, 5]], [0, 1], 2)


def test_an_id_alone_is_no_row(file):
    with pytest.raises(LoadError, match="line 1: 'a': expected an id and numbers"):
        load_matrix(None, file("a\nb\n"), pattern="fvec")


def test_what_a_parser_raises_is_told_with_the_line(file):
    def parser(line):
        return [line.split()[0], str(int(line.split()[1]))]

    path = file("a 1\n\nb two\n")
    with pytest.raises(LoadError, match=r"line 3: 'b two': expected .* it raised ValueError: invalid literal"):
        load_relations(None, path, parser)
    assert triples(load_relations(None, path, parser, on_error="skip")) == [("a", 1, 1)]
    for given in ("a 1", 5):
        with pytest.raises(LoadError, match=rf"it raised TypeError: it gave {given!r}, where a list of fields is expe"):
            load_relations(None, path, lambda _line, given=given: given)
    with pytest.raises(LoadError, match="it raised ValueError: a field holds a line end"):
        load_relations(None, path, lambda line: [line, "a\nb"])


def test_lines_of_a_communicator(file):
    path = file("a\n\nb\n")
    assert load_lines(None, path) == ["a", "", "b"]
    with pytest.raises(LoadError, match="not UTF-8"):
        load_lines(None, file(b"\xff"))


def test_a_long_line_is_shown_in_part(file):
    with pytest.raises(LoadError) as raised:
        load_relations(None, file("y" * 5000))
    assert "'" + "y" * 100 + "...'" in str(raised.value)
    assert len(str(raised.value)) < 400


def test_a_long_item_is_shown_in_part(file):
    with pytest.raises(LoadError, match=r"the item 'a:üüü+' is split at its last ':'; add") as raised:
        load_relations(None, file(f"1,a:{'ü' * 5000}"), mix=True)
    assert len(str(raised.value)) < 600


def test_bytes_that_are_not_utf8(file):
    with pytest.raises(LoadError, match="is not UTF-8: byte 0xff at offset 2"):
        load_relations(None, file(b"a,\xff\n"))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"pattern": "fmapp"}, "pattern='fmapp'; allowed: linesplit, fvec, fmap, smap, fsmap, fset"),
        ({"parser": ""}, "parser=''; allowed"),
        ({"parser": 5}, "parser=5; allowed"),
        ({"parser": "1"}, "parser='1'; allowed"),
        ({"parser": "\n"}, "allowed"),
        ({"parser": "·"}, "ASCII"),
        ({"on_error": "ignore"}, "on_error='ignore'; allowed: 'raise', 'skip'"),
        ({"schedule": "guided"}, "schedule='guided'; allowed"),
        ({"columns": (1,)}, r"columns=\(1,\); allowed"),
        ({"columns": (0, -1)}, "allowed"),
        ({"pattern": "fsmap", "grid": (2, 3)}, r"a process grid of \(2, 3\) for 1 workers"),
        ({"pattern": "fsmap", "grid": 5}, "a process grid of 5"),
        ({"pattern": "fvec", "mix": True}, "'fvec' takes no mix= or columns="),
        ({"grid": (1, 1)}, "pattern 'fmap' takes no grid=; that is for fsmap"),
        ({"grid": (1, 1), "pattern": "linesplit"}, "pattern 'linesplit' takes no grid="),
        ({"parser": "::"}, r"parser='::' has ':' twice, .* give ':' and columns=\(0, 2, 4\)"),
        ({"columns": 5}, "columns=5; allowed"),
    ],
)
def test_settings_that_cannot_be(file, settings, text):
    with pytest.raises(ConfigError, match=text):
        load_matrix(None, file("1,2\n"), **settings)


def test_sparse_blocks(file):
    matrix, row_ids, col_ids = load_matrix(None, file("b,x,1\na,y,2\nb,x,3\nb,z,0\n"))
    assert matrix.format == "csr"
    assert matrix.toarray().tolist() == [[0, 2, 0], [4, 0, 0]]
    assert (row_ids.tolist(), col_ids.tolist()) == (["a", "b"], ["x", "y", "z"])
    far = load_matrix(None, file("-5,1\n900000000000000000,1\n"), pattern="smap")
    assert far.row_ids.tolist() == [-5, 900000000000000000]
    assert load_matrix(None, file("")).matrix.shape == (0, 0)


def test_dense_blocks(file):
    block = load_matrix(None, file("1001 0.1|0.2|0.3\n17 1|2|3\n"), " |", "fvec")
    assert block.matrix.tolist() == [[1, 2, 3], [0.1, 0.2, 0.3]]
    assert (block.row_ids.tolist(), block.col_ids.tolist()) == ([17, 1001], [0, 1, 2])
    block = load_matrix(None, file("b\t1,2\na\t3,4\n"), "\t,", "fvec")
    assert (block.matrix.tolist(), block.row_ids.tolist()) == ([[3, 4], [1, 2]], ["a", "b"])
    block = load_matrix(None, file("1,2\n\n3,4\n"), pattern="linesplit")
    assert (block.matrix.tolist(), block.row_ids.tolist()) == ([[1, 2], [3, 4]], [0, 1])
    assert load_matrix(None, file(""), pattern="linesplit").matrix.shape == (0, 0)


def test_scipy_is_asked_for_only_where_it_is_needed(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    path = file("1,2\n")
    assert load_matrix(None, path, pattern="linesplit").matrix.tolist() == [[1, 2]]
    with pytest.raises(LoadError, match=r"pip install 'paracel\[matrix\]'"):
        load_matrix(None, path)


def test_csv(file):
    features, labels = load_csv(None, file("1,2,0\n3,4,1\n"))
    assert (features.tolist(), labels.tolist()) == ([[1, 2], [3, 4]], [0, 1])
    features, labels = load_csv(None, file("1,2,0\n3,4,1\n"), label=0)
    assert (features.tolist(), labels.tolist()) == ([[2, 0], [4, 1]], [1, 3])
    with pytest.raises(ConfigError, match="label=3, where lines have 3 fields; allowed: -3 to 2"):
        load_csv(None, file("1,2,0\n"), label=3)


def test_libsvm_is_as_scikit_learn_has_it():
    path = "examples/data/a9a.t"
    features, labels = load_libsvm(None, path)
    want, targets = load_svmlight_file(path)
    assert features.shape == want.shape
    assert abs(features - want).sum() == 0
    assert labels.tolist() == targets.tolist()


def test_libsvm(file):
    path = file("+1 3:0.5 1:2 3:1\n-1\n\n 0 \t2:1 \n")
    features, labels = load_libsvm(None, path)
    assert (features.toarray().tolist(), labels.tolist()) == ([[2, 0, 1.5], [0, 0, 0], [0, 1, 0]], [1, -1, 0])
    assert load_libsvm(None, path, width=5).features.shape == (3, 5)
    with pytest.raises(LoadError, match="there is a feature 3, and width=2"):
        load_libsvm(None, path, width=2)
    assert load_libsvm(None, file("")).features.shape == (0, 0)


# --- ids --------------------------------------------------------------------------------------------------------


def test_hashes_do_not_depend_on_the_width_of_the_array():
    names = np.array([b"a", b"12345678", b"123456789", b"\xc3\xbc" * 12])
    one_by_one = [int(hashes(np.array([name]))[0]) for name in names]
    assert hashes(names).tolist() == one_by_one == hashes(names.astype("S255")).tolist()
    assert len(set(one_by_one)) == 4
    # The same everywhere and always: rows must not move between versions.
    assert one_by_one[0] == 5718913436695043505
    assert hashes(np.array([1, -1])).tolist() == [10451216379200822465, 16490336266968443936]


@pytest.mark.parametrize("grid", [(1, 1), (4, 1), (1, 4), (2, 3)])
def test_owners_are_spread_evenly(grid):
    random = np.random.default_rng(1)
    first, second = random.integers(0, 10**6, (2, 60_000))
    owner = owners(first, second, grid)
    counts = np.bincount(owner, minlength=grid[0] * grid[1])
    assert np.abs(counts / counts.mean() - 1).max() < 0.05
    rows = owners(first, np.zeros_like(second), (grid[0], 1))
    assert (owner // grid[1] == rows).all()


@pytest.mark.parametrize("ids", [[3, 1, 3], [10**15, -4], [b"b", b"a", b"b"], []])
def test_numbered(ids):
    array = np.array(ids, np.int64 if not ids else None)
    distinct, numbers = numbered(array)
    assert distinct.tolist() == sorted(set(ids))
    assert distinct[numbers].tolist() == ids


@pytest.mark.parametrize(
    ("layout", "size", "grid"),
    [("fmap", 6, (6, 1)), ("smap", 6, (1, 6)), ("fsmap", 6, (3, 2)), ("fsmap", 16, (4, 4)), ("fsmap", 7, (7, 1)),
     ("linesplit", 2, (2, 1)), ("fvec", 2, (2, 1)), ("fset", 2, (2, 1)), ((2, 3), 6, (2, 3))],
)  # fmt: skip
def test_process_grids(layout, size, grid):
    assert process_grid(layout, size) == grid
