"""However a job ends, it ends whole: signals, dead servers, a killed launcher."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

pytestmark = pytest.mark.launch

# a worker that runs until it is ended, and says so when everything is up
RUN = """
import signal
import paracel
from paracel.comm import world

ranks = world()
ps = paracel.connect(worker=ranks.rank)
ps.write("k", 1)
ranks.barrier()
print("up", flush=True)
signal.pause()
"""


@pytest.fixture(params=["local", "mpi"])
def running(request, prun):
    """A job of two servers and two workers, all up."""
    job = prun.start("-p", "2", "-w", "2", "-m", request.param, "--log-dir", "logs", prun.script("run.py", RUN))
    job.wait_said("up\n", times=2)
    return job


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_job(running, signum):
    running.process.send_signal(signum)
    assert running.wait() == 128 + signum
    assert f"prun: the job is ended, as {signum.name} asked" in running.stderr
    assert "died" not in running.stderr
    assert "Traceback" not in running.stderr


TALK = "import os\nwhile True: os.write(1, b'x' * 65536)"


@pytest.mark.parametrize("stuck", ["stdout", "stderr"])
def test_a_signal_ends_a_job_whose_output_nobody_reads(prun, wait_until, stuck):
    reader, writer = os.pipe()
    capacity = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
    script = prun.script("talk.py", TALK.replace("(1,", "(2,") if stuck == "stderr" else TALK)
    other = {"stdout", "stderr"} - {stuck}
    process = subprocess.Popen(
        [*prun.command, script], cwd=prun.directory, env=prun.surroundings(),
        stdin=subprocess.DEVNULL, start_new_session=True, **{stuck: writer, other.pop(): subprocess.PIPE},
    )  # fmt: skip
    os.close(writer)
    try:
        wait_until(lambda: waiting_in(reader) == capacity, "the pipe is full")
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM
        assert stuck == "stderr" or b"prun: the job is ended, as SIGTERM asked" in err
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def waiting_in(descriptor: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_signals_that_come_again_do_not_disturb_the_end(running):
    for signum in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        running.process.send_signal(signum)
    assert running.wait() == 128 + signal.SIGINT


def test_a_signal_while_the_servers_start_ends_the_job(prun):
    job = prun.start("-v", "-p", "3", "-w", "1", prun.script("run.py", RUN))
    job.wait_said("server 0 on localhost started", stream="stderr")
    job.process.send_signal(signal.SIGTERM)
    assert job.wait() == 128 + signal.SIGTERM


def test_a_killed_prun_leaves_nothing(running):
    running.process.kill()
    assert running.wait() == -signal.SIGKILL
    running.wait_nothing_left()


def test_a_killed_prun_takes_workers_along_that_ignore_sigterm(prun):
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RUN
    job = prun.start("-w", "2", prun.script("stubborn.py", stubborn))
    job.wait_said("up\n", times=2)
    job.process.kill()
    job.wait()
    job.wait_nothing_left()


def test_workers_that_ignore_sigterm_are_ended_all_the_same(prun):
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RUN
    job = prun.start("-w", "2", prun.script("stubborn.py", stubborn))
    job.wait_said("up\n", times=2)
    job.process.terminate()
    assert job.wait() == 128 + signal.SIGTERM


def test_what_a_worker_left_in_the_background_is_ended(prun):
    # it has closed the worker's output: mpiexec waits for one that has not
    script = prun.script("leave.py", "import subprocess\nsubprocess.Popen(['setsid', 'tail', '-f', '/dev/null'], "
                         "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\nprint('left')")  # fmt: skip
    job = prun.run("-w", "2", script)
    assert (job.process.returncode, job.stdout) == (0, "left\nleft\n"), job.stderr


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_killed_mpiexec_takes_its_ranks_along(running):
    (guard,) = running.find("guard.py")
    (mpiexec,) = [pid for pid in running.find("") if parent(pid) == guard]
    os.kill(mpiexec, signal.SIGKILL)
    assert running.wait() == 128 + signal.SIGKILL


def test_a_server_that_dies_ends_the_job_and_is_named(running):
    victim = min(running.find("-m paracel.server"))
    os.kill(victim, signal.SIGKILL)
    assert running.wait() == 1
    (line,) = [line for line in running.stderr.splitlines() if "prun: error: " in line]
    assert f"(process {victim}) ended with status -9 (SIGKILL), and the job with it; its log is " in line
    assert Path(line.rpartition("its log is ")[2]).exists()
    assert "died" not in running.stderr


def test_a_server_that_cannot_start_ends_the_job(prun):
    code = "import paracel.cli, sys; sys.executable = '/bin/false'; paracel.cli.prun()"
    prun.command = [sys.executable, "-c", code]
    prun.environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    job = prun.run(prun.script("run.py", RUN))
    assert job.process.returncode == 1
    assert "server 0 on localhost" in job.stderr
    assert "ended with status 1, and the job with it; what it said is above" in job.stderr


def read_terminal(descriptor: int, until: bytes) -> bytes:
    seen = b""
    while until not in seen:
        ready, _, _ = select.select([descriptor], [], [], 60.0)
        assert ready, f"the terminal shows only {seen!r}"
        seen += os.read(descriptor, 4096)
    return seen


STEPS = """
import signal
import paracel

with paracel.connect(worker=0) as ps:
    for _ in range(7):
        ps.commit()
    print("a line of output", flush=True)
    signal.pause()
"""


def test_a_person_at_a_terminal_sees_one_line_of_progress_and_can_press_ctrl_c(prun):
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*prun.command, prun.script("steps.py", STEPS)], cwd=prun.directory, stdin=slave, stdout=slave, stderr=slave,
        env={**prun.surroundings(), "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so that Ctrl-C is the terminal's
    )  # fmt: skip
    os.close(slave)
    try:
        seen = read_terminal(master, b"iterations: 7 | ")
        assert b"a line of output\r\n" in seen
        assert b"\r\x1b[K" in seen
        os.write(master, b"\x03")
        ended = read_terminal(master, b"prun: the job is ended, as SIGINT asked")
        assert ended.replace(b"^C", b"").count(b"\n") <= 1, "only what prun itself says"
        assert process.wait(60) == 128 + signal.SIGINT
    finally:
        process.kill()
        process.wait()
        os.close(master)
