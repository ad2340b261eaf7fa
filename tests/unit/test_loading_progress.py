"""What is said of a long load: at a terminal, where prun has one, and elsewhere nothing."""

import gzip
import io
from dataclasses import replace

import pytest

from paracel.loading import load_csv, progress
from paracel.loading.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def told_by_prun(monkeypatch):
    monkeypatch.setenv("PARACEL_PROGRESS", "1")


def watched(stream, total=100_000_000, path="some/data.csv"):
    """Five items of 20 MB, one in four seconds."""
    now = iter(range(0, 400, 4))
    progress = Progress(total, stream, lambda: float(next(now)))
    assert list(progress.watch("abcde", lambda _item: (path, 20_000_000))) == list("abcde")
    return stream.getvalue() if stream else ""


def test_a_line_drawn_anew_on_a_terminal():
    lines = [f"\r\x1b[Kloading data.csv: {share} % of 100 MB, 5 MB/s" for share in (20, 40, 60, 80, 100)]
    assert watched(Terminal()) == "".join([*lines, "\r\x1b[K"])
    assert "loading data.csv: 40 MB, 5 MB/s" in watched(Terminal(), 0)


def test_whole_lines_now_and_then_where_prun_has_a_terminal(told_by_prun):
    assert watched(io.StringIO()) == "".join(f"loading data.csv: {share} % of 100 MB, 5 MB/s\n" for share in (40, 80))
    assert watched(io.StringIO(), 0).startswith("loading data.csv: 40 MB, 5 MB/s\n")
    assert f"loading {'n' * 37}...: 40 MB" in watched(io.StringIO(), 0, "n" * 99)


def test_nothing_elsewhere(monkeypatch):
    assert watched(io.StringIO()) == watched(None) == ""
    monkeypatch.setenv("PARACEL_PROGRESS", "")
    assert watched(io.StringIO()) == ""


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_nothing_of_a_short_load(told_by_prun, stream):
    quick = Progress(10, shown := stream(), lambda: 0.0)
    assert list(quick.watch("ab", lambda _item: ("", 5))) == ["a", "b"]
    assert shown.getvalue() == ""


def test_a_terminal_that_goes_away_does_not_end_the_load():
    class Gone(Terminal):
        def write(self, _text):
            raise OSError

    assert watched(Gone()) == ""


@pytest.mark.parametrize(("name", "told"), [("in.csv", "100 % of 4 MB"), ("in.gz", "4 MB")])
def test_of_packed_files_nobody_knows_the_total(told_by_prun, monkeypatch, capsys, tmp_path, name, told):
    monkeypatch.setattr(progress, "_LINES", replace(progress._LINES, long=0.0, pause=0.0))
    data = b"1,2\n" * 1_000_000
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    load_csv(None, tmp_path / name)
    assert f"loading {name}: {told}, " in capsys.readouterr().err.splitlines()[-1]
