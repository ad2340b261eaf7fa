"""Files in parts, lines and numbers, against Python's own reading of the whole."""

import gzip
import struct
import tempfile
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracel import loaders
from paracel.errors import LoadError
from paracel.loaders import iter_parts, load_lines
from paracel.loading import load_relations
from paracel.loading.numerals import floats, integers

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


# --- fields and numbers -------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.floats().map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=6).map(str),
    st.from_regex(r"[-+]?[0-9]{0,21}\.?[0-9]{0,21}([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.text("0123456789.-+eE_naif", max_size=8),
)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


@settings(max_examples=300)
@given(texts=st.lists(NUMBERS, min_size=1, max_size=30))
def test_numbers_are_pythons_to_the_last_bit_and_others_are_none(texts):
    data = np.frombuffer("".join(f"{text}," for text in texts).encode(), np.uint8)
    ends = np.flatnonzero(data == ord(",")).astype(np.int32)
    starts = np.concatenate(([0], ends[:-1] + 1)).astype(np.int32)
    values, right = floats(data, starts, ends)
    assert right.tolist() == list(map(is_number, texts))
    for text, value in zip(texts, values.tolist(), strict=True):
        if is_number(text):
            assert struct.pack("d", value) == struct.pack("d", float(text)) or value != value
    numbers, right = integers(data, starts, ends)
    for text, number, is_int in zip(texts, numbers.tolist(), right.tolist(), strict=True):
        assert is_int == (text.lstrip("-").isdecimal() and str(int(text)) == text and -(2**63) <= int(text) < 2**63)
        assert not is_int or number == int(text)


def parsed(line: str, mix: bool) -> list[tuple[str, str, float]] | None:
    """What a line says, decided character by character; None if it says nothing that is allowed."""
    fields = [field.strip(" \t") for field in line.split(",")]
    if len(fields) < 2 or (len(fields) > 3 and not mix):
        return None
    if len(fields) == 3 and not mix:
        items = [(fields[1], fields[2])]
    else:
        items = []
        for field in fields[1:]:
            at = max(field.rfind(mark) for mark in ":| ") if mix else -1
            items.append((field, "1") if at < 0 else (field[:at], field[at + 1 :]))
    if not all(is_number(value) for _, value in items) or not all([fields[0], *(name for name, _ in items)]):
        return None
    return [(fields[0], name, float(value)) for name, value in items]


LINES = st.lists(st.text("ab1:| ,.\té", max_size=9), max_size=12)


@settings(max_examples=300)
@given(lines=LINES, mix=st.booleans(), block=st.integers(1, 40), ending=st.sampled_from(["\n", "\r\n", "\r"]))
def test_relations_are_those_of_a_plain_reader(lines, mix, block, ending):
    said = [parsed(line, mix) for line in lines if line.strip()]
    with tempfile.TemporaryDirectory() as folder, patch.multiple(loaders, _BLOCK=block):
        path = Path(folder, "in")
        path.write_bytes(ending.join(lines).encode())
        found = load_relations(None, path, mix=mix, on_error="skip")
        if None in said:
            number = next(at for at, line in enumerate(lines, 1) if line.strip() and parsed(line, mix) is None)
            with pytest.raises(LoadError, match=rf"', line {number}: "):
                load_relations(None, path, mix=mix)
    got = zip(map(str, found.first.tolist()), map(str, found.second.tolist()), found.values.tolist(), strict=True)
    assert list(got) == [triple for each in said if each for triple in each]
    assert found.skipped == said.count(None)


@given(texts=st.lists(st.text("a\n\r", max_size=20), min_size=1, max_size=5), parts=st.integers(1, 9), packed=st.data())
def test_packed_and_plain_files_together_have_all_lines_in_order(texts, parts, packed):
    with tempfile.TemporaryDirectory() as folder:
        paths, lines = [], []
        for number, text in enumerate(texts):
            plain = Path(folder, f"{number}")
            plain.write_bytes(text.encode())
            lines += python_lines(plain)
            if packed.draw(st.booleans()):
                plain.rename(path := plain.with_suffix(".gz"))
                path.write_bytes(gzip.compress(text.encode()))
            paths.append(path if not plain.exists() else plain)
        assert [line for part in iter_parts(paths, parts) for line in part] == lines
