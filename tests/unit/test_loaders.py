import os
from pathlib import Path

import pytest

from paracel import loaders
from paracel.errors import ConfigError, LoadError
from paracel.loaders import expand, iter_parts, load_all, load_lines


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.txt", "a.txt", "c.csv"):
        Path(name).write_text(f"{name}\n")
    Path("sub.txt").mkdir()
    Path("sub.txt/d.txt").write_text("d\n")
    Path(".hidden").write_text("not me\n")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a.txt", ["a.txt"]),
        (Path("a.txt"), ["a.txt"]),
        (["c.csv", Path("a.txt")], ["c.csv", "a.txt"]),
        ("*.txt", ["a.txt", "b.txt"]),
        (Path("*.txt"), ["a.txt", "b.txt"]),
        ("**/*.txt", ["a.txt", "b.txt", "sub.txt/d.txt"]),
        (["b.txt", "*.txt", "?.*"], ["b.txt", "a.txt", "c.csv"]),
        (("a.txt", "a.txt"), ["a.txt"]),
        (iter(["a.txt"]), ["a.txt"]),
        ("sub.txt", ["sub.txt/d.txt"]),
        (".", ["./a.txt", "./b.txt", "./c.csv"]),
        (["b.txt", "sub.txt/"], ["b.txt", "sub.txt/d.txt"]),
        (["./b.txt", "b.txt", ".//b.txt", "sub.txt/../b.txt"], ["./b.txt"]),
        (["*.txt", "sub.txt//d.txt", "sub.txt", "./*"], ["a.txt", "b.txt", "sub.txt//d.txt", "./c.csv"]),
    ],
)
def test_expand(folder, source, found):
    assert expand(source) == found


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("nothing.txt", r"no such file: 'nothing.txt' \(looked for in '/"),
        ("", "no such file: ''"),
        (["a.txt", "nope"], "no such file: 'nope'"),
        ("*.json", r"no file matches '\*.json' \(looked for in '/"),
        ("sub.tx?", r"no file matches 'sub.tx\?'"),
        ([], r"input is \[\], which names no file"),
        (5, "input is 5; give a path, a glob, or a list of them"),
        (["a.txt", None], "None is not a path"),
    ],
)
def test_expand_says_what_was_given(folder, source, text):
    with pytest.raises(LoadError, match=text):
        expand(source)


def test_a_link_to_a_file_is_that_file(folder):
    Path("link").symlink_to("a.txt")
    Path("up").symlink_to(".", target_is_directory=True)
    assert expand(["link", "a.txt", "up/a.txt", folder / "a.txt", "up/b.txt"]) == ["link", "up/b.txt"]


def test_a_file_whose_name_is_a_glob_is_that_file(folder):
    Path("[ab].txt").write_text("me\n")
    assert expand("[ab].txt") == ["[ab].txt"]
    assert load_all("[ab].txt") == ["me"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\n", ["one"]),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"\r\n\r\n", ["", ""]),
        (b"\r\r\n\n", ["", "", ""]),
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"one\rtwo\r", ["one", "two"]),
        (b"\xef\xbb\xbfone\n", ["one"]),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbf\xef\xbb\xbf\n\xef\xbb\xbf", ["\ufeff", "\ufeff"]),
        ("a\x0bb\x0c\x1c\x85\u2028c\n".encode(), ["a\x0bb\x0c\x1c\x85\u2028c"]),
        (b"a\0b\n", ["a\0b"]),
    ],
)
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_lines_are_pythons(tmp_path, content, lines, parts):
    path = tmp_path / "text"
    path.write_bytes(content)
    assert [line for part in range(parts) for line in load_lines(path, part, parts)] == lines
    assert [line for part in iter_parts(path, parts) for line in part] == lines


def test_a_line_is_in_the_part_of_its_first_byte(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"aa\nbbb\nc\n")  # cut in two at byte 4, inside the second line
    assert load_lines(path, 0, 2) == ["aa", "bbb"]
    assert load_lines(path, 1, 2) == ["c"]
    path.write_bytes(b"aa\nbb\n")  # cut at byte 3, where the second line starts
    assert load_lines(path, 0, 2) == ["aa"]
    assert load_lines(path, 1, 2) == ["bb"]
    path.write_bytes(b"a\r\nb\n")  # byte 2, the cut, is inside the \r\n
    assert load_lines(path, 0, 2) == ["a"]
    assert load_lines(path, 1, 2) == ["b"]


def test_files_do_not_run_into_each_other(tmp_path):
    for name, content in {"1": "a\nb", "2": "", "3": "\n", "4": "\ufeffc"}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    for parts in range(1, 15):
        assert [line for part in iter_parts(tmp_path / "?", parts) for line in part] == ["a", "b", "", "c"]


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n", b""])
def test_lines_longer_than_a_block(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(loaders, "_BLOCK", 64)
    monkeypatch.setattr(loaders, "_PEEK", 16)
    path = tmp_path / "text"
    path.write_bytes(b"x" * 1000 + ending + b"y" * 500 + ending)
    want = ["x" * 1000, "y" * 500] if ending else ["x" * 1000 + "y" * 500]
    assert [line for part in iter_parts(path, 9) for line in part] == want


def test_each_byte_is_read_about_once(tmp_path, monkeypatch):
    read = []
    real = loaders._read

    def counted(file, size, path):
        data = real(file, size, path)
        read.append(len(data))
        return data

    monkeypatch.setattr(loaders, "_read", counted)
    path = tmp_path / "text"
    path.write_bytes(b"a line of text\n" * 200_000)
    assert sum(map(len, iter_parts(path, 10))) == 200_000
    assert sum(read) <= 1.2 * path.stat().st_size


@pytest.mark.parametrize(
    ("content", "offset", "byte"),
    [(b"good\nba\xffd\n", 7, "ff"), (b"\xef\xbb\xbfa\n\xe4\n", 5, "e4"), (b"\xff\xfea\0", 0, "ff")],
)
def test_bytes_that_are_not_utf8_are_named(tmp_path, content, offset, byte):
    path = tmp_path / "latin.txt"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=rf"latin.txt' is not UTF-8: byte 0x{byte} at offset {offset} \("):
        load_all(path)


def test_the_offset_counts_from_the_start_of_the_file(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"ok\n" * 100 + b"\xff\n")
    assert load_lines(path, 0, 2) == ["ok"] * 51
    with pytest.raises(LoadError, match="at offset 300"):
        load_lines(path, 1, 2)


@pytest.mark.parametrize(("part", "parts"), [(2, 2), (-1, 2), (0, 0)])
def test_parts_that_do_not_exist(tmp_path, part, parts):
    with pytest.raises(ConfigError, match=f"part {part} of {parts} does not exist"):
        load_lines(tmp_path, part, parts)


def test_what_cannot_be_read_in_parts(tmp_path):
    with pytest.raises(LoadError, match=r"is a directory without files; for those below it give /.*/\*\*"):
        load_all(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadError, match="is not a regular file"):
        load_all(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(LoadError, match=r"cannot read '.*dangling': No such file"):
        load_all(tmp_path / "dang*")


def test_wrong_paths_are_found_before_the_first_part(tmp_path):
    with pytest.raises(LoadError, match="no such file"):
        iter_parts(tmp_path / "none", 3)


def test_a_file_that_becomes_shorter_is_an_error(tmp_path):
    path = tmp_path / "log"
    path.write_text("line\n" * 100)
    parts = iter_parts(path, 2)
    next(parts)
    os.truncate(path, 300)
    with pytest.raises(LoadError, match="log' became shorter"):
        next(parts)


def test_a_file_that_goes_away_is_an_error(tmp_path):
    path = tmp_path / "log"
    path.write_text("line\n")
    parts = iter_parts(path, 1)
    path.unlink()
    with pytest.raises(LoadError, match=r"cannot read '.*log': No such file"):
        next(parts)
