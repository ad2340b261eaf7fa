"""Parts of files against Python's own reading of the whole: the same lines, each in its own part."""

import tempfile
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracel import loaders
from paracel.errors import LoadError
from paracel.loaders import iter_parts, load_lines

TEXTS = st.one_of(
    st.text(st.sampled_from("a\n\r\r\n\u2028\x0b\x85\ufeffé😀"), max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
)
CONTENTS = st.one_of(TEXTS.map(str.encode), TEXTS.map(lambda text: b"\xef\xbb\xbf" + text.encode()))
SMALL = st.integers(1, 9)


def python_lines(path: Path) -> list[str]:
    with open(path, newline=None, encoding="utf-8-sig") as file:
        lines = file.read().split("\n")
    return lines[:-1] if not lines[-1] else lines


def line_starts(content: bytes) -> list[int]:
    """Where lines start, decided byte by byte."""
    ends = [
        at + 1
        for at, byte in enumerate(content)
        if byte == 0x0A or (byte == 0x0D and content[at + 1 : at + 2] != b"\n")
    ]
    empty = content in (b"", b"\xef\xbb\xbf")
    return [] if empty else [start for start in [0, *ends] if start < len(content)]


@settings(max_examples=300)
@given(contents=st.lists(CONTENTS, min_size=1, max_size=4), parts=st.integers(1, 20), block=SMALL, peek=SMALL)
def test_all_parts_are_all_lines_and_each_is_where_its_first_byte_is(contents, parts, block, peek):
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(number)) for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        with patch.multiple(loaders, _BLOCK=block, _PEEK=peek):
            got = list(iter_parts(paths, parts))
            assert [load_lines(paths, part, parts) for part in range(parts)] == got
        assert [line for part in got for line in part] == [line for path in paths for line in python_lines(path)]

    starts, before = [], 0
    for content in contents:
        starts += [before + start for start in line_starts(content)]
        before += len(content)
    cuts = [before * part // parts for part in range(parts + 1)]
    begun = [sum(cuts[part] <= start < cuts[part + 1] for start in starts) for part in range(parts)]
    assert [len(part) for part in got] == begun


@pytest.mark.parametrize("block", [1, 2, 3])
def test_every_short_text_of_line_ends(tmp_path, monkeypatch, block):
    monkeypatch.setattr(loaders, "_BLOCK", block)
    monkeypatch.setattr(loaders, "_PEEK", block)
    path = tmp_path / "text"
    for content in (bytes(text) for length in range(6) for text in product(b"a\r\n", repeat=length)):
        path.write_bytes(content)
        for parts in (1, 2, 3):
            assert [line for part in iter_parts(path, parts) for line in part] == python_lines(path), content


@given(content=st.binary(max_size=60), parts=st.integers(1, 5), block=SMALL)
def test_an_error_if_and_only_if_python_finds_one_and_at_the_same_byte(content, parts, block):
    with tempfile.TemporaryDirectory() as folder, patch.multiple(loaders, _BLOCK=block):
        path = Path(folder, "bytes")
        path.write_bytes(content)
        try:
            content.decode()
        except UnicodeDecodeError as error:
            with pytest.raises(LoadError, match=f"at offset {error.start} "):
                list(iter_parts(path, parts))
        else:
            assert [line for part in iter_parts(path, parts) for line in part] == python_lines(path)
