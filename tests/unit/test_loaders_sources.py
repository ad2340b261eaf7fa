"""Files that are packed, or elsewhere."""

import gzip
import sys

import fsspec
import pytest
import zstandard

from paracel import loaders
from paracel.errors import LoadError
from paracel.loaders import iter_parts, line_number, load_all, load_lines

LINES = [f"line {number} é" for number in range(50_000)]
TEXT = "\ufeff" + "\r\n".join(LINES)


@pytest.fixture
def packed(tmp_path):
    """The same lines plain, and packed in two ways; the second half of the .zst in a frame of its own."""
    data = TEXT.encode()
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "b.gz").write_bytes(gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]))
    (tmp_path / "c.zst").write_bytes(zstandard.compress(data[:1000]) + zstandard.compress(data[1000:]))
    return tmp_path


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_packed_files_have_the_same_lines(packed, parts):
    assert [line for part in iter_parts(packed, parts) for line in part] == LINES * 3
    for name in ("b.gz", "c.zst"):
        got = list(iter_parts(packed / name, parts))
        assert [line for part in got for line in part] == LINES
        assert sum(map(bool, got)) == 1


@pytest.mark.parametrize("block", [7, 100_000])
def test_packed_lines_longer_than_a_block(tmp_path, monkeypatch, block):
    monkeypatch.setattr(loaders, "_BLOCK", block)
    path = tmp_path / "long.gz"
    path.write_bytes(gzip.compress(b"x" * 5000 + b"\r\n\r\n" + b"y" * 300))
    assert load_all(path) == ["x" * 5000, "", "y" * 300]


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
@pytest.mark.parametrize("content", [b"", b"\n"])
def test_packed_files_of_next_to_nothing(tmp_path, name, content):
    pack = gzip.compress if name.endswith("gz") else zstandard.compress
    (tmp_path / name).write_bytes(pack(content))
    assert load_all(tmp_path / name) == [""] * len(content)


@pytest.mark.parametrize(("name", "cut"), [("b.gz", -9), ("b.gz", 200), ("c.zst", -5), ("c.zst", 40)])
def test_a_packed_file_that_is_cut_off_is_an_error(packed, name, cut):
    path = packed / name
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(LoadError, match=rf"{name}' is not a whole \.\w+ file: "):
        load_all(path)


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_file_that_is_not_packed_as_its_name_says(tmp_path, name):
    (tmp_path / name).write_text("plain\n")
    with pytest.raises(LoadError, match=rf"{name}' is not a whole"):
        load_all(tmp_path / name)


@pytest.mark.parametrize(
    ("module", "name", "extra"), [("zstandard", "a.zst", "compress"), ("fsspec.core", "memory://a", "remote")]
)
def test_what_is_not_installed_is_said(tmp_path, monkeypatch, module, name, extra):
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / name
    if "://" not in name:
        path.write_bytes(zstandard.compress(b"a"))
    with pytest.raises(LoadError, match=rf"pip install 'paracel\[{extra}\]'"):
        load_all(name if "://" in name else path)


@pytest.fixture
def bucket(packed):
    files = fsspec.filesystem("memory")
    for path in packed.iterdir():
        files.pipe(f"/bucket/{path.name}", path.read_bytes())
    files.pipe("/bucket/.hidden", b"not me")
    yield files
    files.rm("/bucket", recursive=True)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(
    ("source", "times"),
    [
        ("memory://bucket/a.txt", 1),
        ("memory://bucket", 3),
        ("memory://bucket/*.[gz]*", 2),
        (["memory://bucket/c.zst"], 1),
    ],
)
def test_urls(bucket, source, times, parts):
    assert [line for part in iter_parts(source, parts) for line in part] == LINES * times


def test_a_url_of_this_host_is_the_file(packed):
    assert load_lines(f"file://{packed}/a.txt", 0, 1) == LINES


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("memory://bucket/none", "no such file: 'memory://bucket/none'"),
        ("memory://bucket/*.json", "no such file"),
        ("nowhere://a/b", "'nowhere://a/b' cannot be opened: "),
    ],
)
def test_urls_of_nothing(bucket, source, text):
    with pytest.raises(LoadError, match=text):
        load_all(source)


def test_a_store_that_does_not_tell_sizes_gives_whole_files(bucket, monkeypatch):
    monkeypatch.setattr(type(bucket), "size", lambda _self, _path: None)
    got = list(iter_parts("memory://bucket/a.txt", 3))
    assert sorted(map(len, got)) == [0, 0, len(LINES)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_line_numbers(tmp_path, monkeypatch, ending, name):
    monkeypatch.setattr(loaders, "_BLOCK", 64)
    data = "".join(f"{'x' * number}{ending}" for number in range(40)).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    offset = 0
    for number in range(40):
        assert line_number(str(tmp_path / name), offset, whole=name.endswith("gz")) == number + 1
        offset += number + len(ending)
