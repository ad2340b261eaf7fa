import io
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from paracel import monitor
from paracel.chains import Place
from paracel.membership import JobStatistics, ServerStatistics, WorkerStatus
from paracel.monitor import Progress, commits, format_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def job(clocks: list[dict[int, int]], workers: dict[int, str], gone: set[int] = frozenset(), operations: int = 0):
    servers = tuple(
        ServerStatistics(n, "ipc://s", "n1", 1, operations=operations, clocks=tuple(sorted(known.items())))
        for n, known in enumerate(clocks)
    )
    status = tuple(WorkerStatus(worker, host, 1, worker in gone) for worker, host in workers.items())
    return JobStatistics(1, servers, (), status)


TWO = {0: "n1", 1: "n1"}


@pytest.mark.parametrize(
    ("statistics", "line"),
    [
        (job([], {}), "75 s | 1,234 operations/s"),
        (job([{}], TWO), "75 s | 2 of 2 workers running | 1,234 operations/s"),
        (job([{0: 0, 1: 0}], TWO, {1}), "75 s | 1 of 2 workers running | 1,234 operations/s"),
        (job([{0: 7, 1: 7}], TWO), "75 s | iterations: 7 | 1,234 operations/s"),
        (
            job([{0: 9, 1: 7}], TWO),
            "75 s | iterations: 7 | slowest: worker 1, 2 behind | 1,234 operations/s",
        ),
        (
            job([{0: 5, 1: 1234}], {0: "n1", 1: "n2"}),
            "75 s | iterations: 5 | slowest: worker 0 on n1, 1,229 behind | 1,234 operations/s",
        ),
        (job([{0: 3, 1: 7}], TWO, {0}), "75 s | iterations: 7 | 1,234 operations/s"),
        (
            job([{0: 0, 1: 4}], TWO),
            "75 s | iterations: 0 | slowest: worker 0, 4 behind | 1,234 operations/s",
        ),
    ],
)
def test_the_line(statistics, line):
    assert format_progress(statistics, 75.4, 1234.4) == line


def test_shards_that_are_copied_are_told():
    places = (Place(1, (0,)), Place(1, (0,), joining=1), Place(1, (0, 1), target=(1, 0)))
    statistics = replace(job([{0: 7, 1: 7}], TWO), shards=places)
    assert format_progress(statistics, 75.4, 0.0) == "75 s | iterations: 7 | 2 shards on their way | 0 operations/s"


def test_a_worker_has_committed_what_every_server_knows_of():
    assert commits(job([{0: 3, 1: 5}, {0: 4, 1: 4}], TWO)) == {0: 3, 1: 4}


def test_nothing_is_written_where_there_is_no_terminal():
    stream = io.StringIO()
    progress = Progress(stream)
    progress.update(job([{0: 1}], TWO))
    with progress.aside():
        pass
    assert not progress.active
    assert stream.getvalue() == ""


def test_nothing_is_written_on_a_terminal_that_cannot_erase(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert not Progress(Terminal()).active


@pytest.fixture
def terminal(monkeypatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal()


def test_the_line_is_redrawn_with_the_rate_since_the_last_time(terminal):
    now = iter([100.0, 102.0, 112.0])
    progress = Progress(terminal, lambda: next(now))
    progress.update(job([{0: 1}], TWO, operations=50))
    progress.update(job([{0: 1}], TWO, operations=1050))
    first, second = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first == "2 s | iterations: 1 | 25 operations/s"
    assert second == "12 s | iterations: 1 | 100 operations/s"
    assert "\n" not in terminal.getvalue()


def test_what_a_lost_server_had_done_is_not_taken_off_the_rate(terminal):
    now = iter([100.0, 102.0, 112.0])
    progress = Progress(terminal, lambda: next(now))
    for operations in (1050, 50):
        progress.update(job([{0: 1}], TWO, operations=operations))
    assert terminal.getvalue().endswith(" | 0 operations/s")


def test_a_line_longer_than_the_terminal_is_cut(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    Progress(terminal).update(job([{0: 1}], TWO))
    assert len(terminal.getvalue().removeprefix("\r\x1b[K")) == 19


def test_other_output_takes_the_lines_place(terminal):
    progress = Progress(terminal)
    progress.update(job([{0: 1}], TWO))
    with progress.aside():
        terminal.write("from a worker\n")
    assert terminal.getvalue().endswith("\r\x1b[Kfrom a worker\n")


def test_the_line_is_taken_away_once(terminal):
    progress = Progress(terminal)
    progress.erase()
    assert terminal.getvalue() == ""
    progress.update(job([{0: 1}], TWO))
    drawn = terminal.getvalue()
    progress.erase()
    progress.erase()
    assert terminal.getvalue() == drawn + "\r\x1b[K"


def test_the_line_waits_while_other_output_is_within_a_line(terminal):
    progress = Progress(terminal)
    for text, drawn in (("half", False), ("whole\n", True)):
        with progress.aside(ends_line=text.endswith("\n")):
            pass
        before = terminal.getvalue()
        progress.update(job([{0: 1}], TWO))
        assert (terminal.getvalue() != before) == drawn


def test_a_terminal_that_went_away_is_left_alone(terminal):
    progress = Progress(terminal)
    progress._stream = SimpleNamespace(write=lambda text: (_ for _ in ()).throw(OSError("gone")))
    progress.update(job([{0: 1}], TWO))
    assert not progress.active


def test_whoever_speaks_does_not_wait_for_output_that_nobody_reads(terminal, monkeypatch):
    monkeypatch.setattr(monitor, "PATIENCE_SECONDS", 0.01)
    progress = Progress(terminal)
    with progress.aside():
        progress.say("said all the same")
        progress.erase()
        progress.update(job([{0: 1}], TWO))
    assert terminal.getvalue() == "said all the same\n"


def test_whoever_speaks_does_not_wait_for_a_terminal_that_nobody_reads(terminal, monkeypatch):
    monkeypatch.setattr(monitor, "PATIENCE_SECONDS", 0.01)
    progress = Progress(terminal)
    read = threading.Event()
    monkeypatch.setattr(terminal, "flush", lambda: read.wait(30.0))
    try:
        progress.update(job([{0: 1}], TWO))
        progress.say("anything")
        progress.erase()
    finally:
        read.set()


def test_what_is_said_takes_the_lines_place(terminal):
    progress = Progress(terminal)
    progress.update(job([{0: 1}], TWO))
    progress.say("prun: hello")
    assert terminal.getvalue().endswith("\r\x1b[Kprun: hello\n")
