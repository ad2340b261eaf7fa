"""The guard alone, with plain commands in place of mpiexec."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paracel.launch import guard

SECONDS = 30.0


@pytest.fixture
def start():
    """Start a guard over a command; it is gone when the test ends."""
    started = []

    def start(*command: str, directory: str = "", file: str = "") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, directory, file, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 128 + 9), ("kill -TERM $$", 128 + 15)]
)
def test_the_status_is_the_commands(start, command, status):
    assert start("sh", "-c", command).wait(SECONDS) == status


def test_a_command_that_is_not_there(start):
    process = start("/nowhere/mpiexec")
    assert process.wait(SECONDS) == 127
    assert process.stderr.read().startswith("prun: cannot start /nowhere/mpiexec: ")


def test_the_command_reads_nothing_from_the_lifeline(start):
    process = start("cat")
    assert process.wait(SECONDS) == 0


# a parent that ignores SIGTERM, a child in a session of its own, and a grandchild; they tell their pids
FAMILY = "trap '' TERM; echo $$; setsid tail -f /dev/null & echo $!; (tail -f /dev/null & echo $!; wait) & wait"


@pytest.fixture
def family(start):
    process = start("sh", "-c", FAMILY)
    return process, [int(process.stdout.readline()) for _ in range(3)]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_all_ends_when_the_lifeline_does(family):
    process, pids = family
    process.stdin.close()
    process.wait(SECONDS)
    assert all(is_gone(pid) for pid in pids)


def test_all_ends_when_the_guard_is_told(family):
    process, pids = family
    process.terminate()
    process.wait(SECONDS)
    assert all(is_gone(pid) for pid in pids)


def test_what_outlives_a_killed_command_ends(family):
    process, pids = family
    os.kill(pids[0], signal.SIGKILL)
    assert process.wait(SECONDS) == 128 + signal.SIGKILL
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize(("how", "removed"), [("lifeline", True), ("itself", False)])
def test_the_private_directory_goes_if_and_only_if_the_launcher_is_gone(start, tmp_path, how, removed):
    private = tmp_path / "private"
    private.mkdir()
    (private / "socket").touch()
    process = start("sh", "-c", "echo up; [ $0 = itself ] || exec tail -f /dev/null", how, directory=str(private))
    process.stdout.readline()
    if how == "lifeline":
        process.stdin.close()
    process.wait(SECONDS)
    assert private.exists() == (not removed)


MAP = """
import mmap, signal, sys

with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0):
    print("up", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize(("name", "removed"), [("sm_segment.prun-test", True), ("prun-test", False)])
def test_an_mpis_shared_memory_is_removed_and_no_other(start, name, removed):
    path = Path(f"/dev/shm/{name}.{os.getpid()}")
    path.write_bytes(b"x" * 4096)
    try:
        process = start(sys.executable, "-c", MAP, str(path))
        assert process.stdout.readline() == "up\n"
        process.stdin.close()
        process.wait(SECONDS)
        assert path.exists() == (not removed)
    finally:
        path.unlink(missing_ok=True)


def test_signals_are_noted_and_the_handlers_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with guard.Signals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        signals.wait(SECONDS)
        os.kill(os.getpid(), signal.SIGINT)
        signals.wait(SECONDS)
        assert signals.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_end_of_a_child_is_noted_and_is_no_request_to_stop():
    with guard.Signals() as signals:
        with subprocess.Popen(["true"]) as child:
            while child.poll() is None:
                signals.wait(SECONDS)
        assert signals.received is None


def test_another_descriptor_is_watched_too():
    reader, writer = os.pipe()
    with guard.Signals() as signals:
        assert not signals.wait(0, reader)
        os.write(writer, b"x")
        assert signals.wait(SECONDS, reader)
    os.close(reader)
    os.close(writer)
