import os

import numpy as np
import pytest

from paracel.comm import Comm, SerialComm
from paracel.output import dump_dict, dump_vector


@pytest.fixture
def comm():
    return Comm(SerialComm())


@pytest.fixture
def third():
    """Rank 2 of several: without `merge`, a dump needs nothing else of it."""
    rank = Comm(SerialComm())
    rank.rank = 2
    return rank


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, 2.5, "x"], "1\n2.5\nx\n"),
        ([], ""),
        ([""], "\n"),
        ((None, True, -0.0, float("inf")), "None\nTrue\n-0.0\ninf\n"),
        (iter([0.1]), "0.1\n"),
        (np.array([0.1, 1e300]), "0.1\n1e+300\n"),
        (np.arange(3), "0\n1\n2\n"),
        (np.array([], dtype=float), ""),
        ([np.float64(0.1), np.int64(3), np.bool_(False), np.str_("s")], "0.1\n3\nFalse\ns\n"),
        (np.array([[1, 2], [3, 4]]), "1|2\n3|4\n"),
        ([np.array([0.5, 1.5]), [1, 2]], "0.5|1.5\n1|2\n"),
    ],
)
def test_vectors(comm, tmp_path, values, text):
    dump_vector(comm, values, tmp_path, "v_")
    assert (tmp_path / "v_0").read_text() == text


def test_numbers_read_back_equal(comm, tmp_path):
    doubles = np.random.default_rng(7).standard_normal(200) * 10.0 ** np.arange(-100, 100)
    for values in (doubles, doubles[80:120].astype(np.float32), doubles.tolist(), list(doubles)):
        dump_vector(comm, values, tmp_path, "v_", ",")
        read = [float(number) for number in (tmp_path / "v_0").read_text().split(",")]
        assert read == [float(value) for value in values]


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({}, ""),
        ({"b": 2, "a": 1.5}, "b\t2\na\t1.5\n"),
        ({1001: [0.1, 0.2]}, "1001\t0.1|0.2\n"),
        ({"k": []}, "k\t\n"),
        ({"k": (1, 2)}, "k\t1|2\n"),
        ({np.int64(4): np.array([1.0, 2.0], dtype=np.float32)}, "4\t1.0|2.0\n"),
        ({"k": [("a", 0.5), ("b", np.float64(0.25))]}, "k\ta:0.5|b:0.25\n"),
        ({"k": [[1, 0.5]]}, "k\t1:0.5\n"),
        ({"k": np.array([[1.0, 2.0], [3.0, 4.0]])}, "k\t1.0:2.0|3.0:4.0\n"),
        ({"k": np.array(3)}, "k\t3\n"),
    ],
)
def test_dicts(comm, tmp_path, mapping, text):
    dump_dict(comm, mapping, tmp_path, "d_")
    assert (tmp_path / "d_0").read_text() == text


def test_separators(comm, tmp_path):
    dump_vector(comm, [1, 2], tmp_path, "v_", ",")
    dump_dict(comm, {"a": 1}, tmp_path, "d_", " : ")
    assert (tmp_path / "v_0").read_text() == "1,2\n"
    assert (tmp_path / "d_0").read_text() == "a : 1\n"


def test_any_text_is_written_as_it_is(comm, tmp_path):
    dump_dict(comm, {"é\r😀\ud800": "\\"}, tmp_path, "d_")
    assert (tmp_path / "d_0").read_bytes() == "é\r😀\ud800\t\\\n".encode("utf-8", "surrogatepass")


def test_each_rank_has_its_file_and_merge_is_in_rank_0s(third, comm, tmp_path):
    dump_vector(comm, [2], tmp_path, "v_", merge=True)
    dump_vector(third, [1], tmp_path, "v_")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"v_0": "2\n", "v_2": "1\n"}


@pytest.mark.parametrize("merge", [False, True])
def test_append_adds_and_otherwise_the_file_is_replaced(comm, tmp_path, merge):
    path = tmp_path / "d_0"
    dump_dict(comm, {"a": 1}, tmp_path, "d_", append=True, merge=merge)
    dump_dict(comm, {"b": 2}, tmp_path, "d_", append=True, merge=merge)
    assert path.read_text() == "a\t1\nb\t2\n"
    dump_dict(comm, {"c": 3}, tmp_path, "d_", merge=merge)
    assert path.read_text() == "c\t3\n"


def test_directories_are_made_and_no_output_is_the_working_directory(comm, tmp_path, monkeypatch):
    dump_vector(comm, [1], tmp_path / "new" / "er", "v_")
    assert (tmp_path / "new" / "er" / "v_0").read_text() == "1\n"
    monkeypatch.chdir(tmp_path)
    dump_vector(comm, [1], "", "v_")
    assert (tmp_path / "v_0").read_text() == "1\n"


@pytest.mark.parametrize(
    ("size", "settings", "kept"),
    [
        (2, {}, ["v_0", "v_1", "v_01", "v_x", "v_2_0", "w_2"]),
        (2, {"merge": True}, ["v_0", "v_01", "v_x", "v_2_0", "w_2"]),
        (2, {"append": True}, ["v_0", "v_1", "v_2", "v_13", "v_01", "v_x", "v_2_0", "w_2"]),
    ],
)
def test_files_of_ranks_that_are_no_more_are_removed(comm, tmp_path, monkeypatch, size, settings, kept):
    for name in ["v_1", "v_2", "v_13", "v_01", "v_x", "v_2_0", "w_2"]:
        (tmp_path / name).write_text("old\n")
    monkeypatch.setattr(comm, "size", size)
    dump_vector(comm, [1], tmp_path, "v_", **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_after_a_name_that_ends_with_a_digit_nothing_is_removed(comm, tmp_path):
    dump_vector(comm, [1], tmp_path, "round15")
    dump_vector(comm, [2], tmp_path, "round1")
    assert sorted(os.listdir(tmp_path)) == ["round10", "round150"]


@pytest.mark.parametrize("merge", [False, True])
def test_a_write_that_fails_leaves_what_was_there(comm, tmp_path, monkeypatch, merge):
    dump_vector(comm, ["old"], tmp_path, "v_")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        dump_vector(comm, ["new"], tmp_path, "v_", merge=merge)
    assert [path.name for path in tmp_path.iterdir()] == ["v_0"]
    assert (tmp_path / "v_0").read_text() == "old\n"


def test_what_a_killed_job_left_unfinished_is_not_added_to(comm, tmp_path):
    (tmp_path / ".v_0.part").write_text("half")
    dump_vector(comm, [1], tmp_path, "v_")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"v_0": "1\n"}


@pytest.mark.parametrize("merge", [False, True])
def test_what_cannot_be_written_is_an_error_and_no_file(comm, tmp_path, merge):
    with pytest.raises(TypeError, match="not iterable"):
        dump_vector(comm, 5, tmp_path, "v_", merge=merge)
    assert list(tmp_path.iterdir()) == []
