"""Whole jobs under prun: each method, odd paths, exit statuses, limits, two at once."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paracel.launch.plan import LEAST_MEMORY_MB, LEAST_MEMORY_SERVER_MB

pytestmark = pytest.mark.launch

COUNT = """
import sys
import paracel
from paracel.comm import world

ranks = world()
with paracel.connect(worker=ranks.rank) as ps:
    for _ in range(5):
        ps.bupdate("count", 1)
        ps.commit()
    ranks.barrier()
    print("worker", ranks.rank, "of", ranks.size, "counts", ps.read("count"), sys.argv[1:])
"""


@pytest.mark.parametrize("method", ["local", "mpi"])
@pytest.mark.parametrize(("servers", "workers"), [(1, 1), (2, 3)])
def test_a_job_runs(prun, method, servers, workers):
    job = prun.run(
        "-p", str(servers), "-w", str(workers), "-m", method, prun.script("count.py", COUNT), "a b", "-p", "x=ü"
    )
    assert job.process.returncode == 0, job.stderr
    expected = [f"worker {n} of {workers} counts {5 * workers} ['a b', '-p', 'x=ü']" for n in range(workers)]
    assert sorted(job.stdout.splitlines()) == expected
    assert job.stderr == ""


def test_workers_by_mpi_and_servers_local(prun):
    job = prun.run("-w", "2", "-m", "mpi", "--m_server", "local", prun.script("count.py", COUNT))
    assert job.process.returncode == 0, job.stderr
    assert job.stdout.count("counts 10 []") == 2


def test_spaces_and_unicode_in_every_path(prun, tmp_path):
    prun.directory = tmp_path / "mein Ordner's – ü"
    prun.script("sub dir/zähle.py", COUNT + "\nfrom neighbour import NAME\nprint(NAME)\n")
    prun.script("sub dir/neighbour.py", "NAME = 'beside the script'")
    (prun.directory / "ein cfg.json").write_text("{}")
    job = prun.run("-w", "2", "-c", "ein cfg.json", "--log-dir", "die logs", "sub dir/zähle.py")
    assert job.process.returncode == 0, job.stderr
    assert job.stdout.count("counts 10") == job.stdout.count("beside the script") == 2
    assert {path.name for path in (prun.directory / "die logs").iterdir()} == {"server-0.log", "workers.log"}


def test_the_console_script_does_the_same(prun):
    prun.command = [str(Path(sys.executable).parent / "prun")]
    job = prun.run("-w", "2", prun.script("count.py", COUNT))
    assert job.process.returncode == 0, job.stderr
    assert job.stdout.count("counts 10") == 2


def test_without_an_mpi_one_worker_runs_and_two_are_refused(prun):
    code = "from paracel.launch import mpi; mpi.find_mpiexec = lambda **_: None; from paracel.cli import prun; prun()"
    prun.command = [sys.executable, "-c", code]
    script = prun.script("count.py", COUNT)
    prun.environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    alone = prun.run(script)
    assert (alone.process.returncode, alone.stdout) == (0, "worker 0 of 1 counts 5 []\n"), alone.stderr
    two = prun.run("-w", "2", script)
    assert two.process.returncode == 1
    assert "needs an MPI" in two.stderr


def test_the_script_finds_its_environment(prun):
    (prun.directory / "cfg.json").write_text('{"rounds": 3}')
    names = ("PARACEL_COORDINATOR", "PARACEL_KEY", "PARACEL_CONFIG", "OMP_NUM_THREADS", "MY_OWN")
    script = prun.script("env.py", f"import json, os\nprint(json.dumps([os.environ.get(n) for n in {names}]))")
    prun.environment = {"OMP_NUM_THREADS": "3", "MY_OWN": "kept", "PARACEL_KEY": "of another job"}
    address, key, config, threads, own = json.loads(prun.run("-c", "cfg.json", script).stdout)
    assert address.startswith("ipc://")
    assert (key, config) == (None, str(prun.directory / "cfg.json"))
    assert (threads, own) == ("3", "kept")
    address, key, config, _, _ = json.loads(prun.run("-m", "mpi", script).stdout)
    assert address.startswith("tcp://")
    assert len(key) > 20
    assert key != "of another job"
    assert config is None


def test_the_secret_is_on_no_command_line(prun):
    script = prun.script("key.py", "import os, signal\nprint(os.environ['PARACEL_KEY'])\nprint('up')\nsignal.pause()")
    job = prun.start("-m", "mpi", "-w", "1", "-p", "2", script)
    job.wait_said("up")
    key = job.stdout.splitlines()[0]
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert any(b"key.py" in command for command in commands)
    assert not any(key.encode() in command for command in commands)
    job.process.terminate()


RAISE = """
from paracel.comm import world

ranks = world()
if ranks.rank == 1:
    raise ValueError("this is the cause")
ranks.barrier()
"""


def test_a_rank_that_raises_ends_the_job_with_one_readable_traceback(prun):
    job = prun.run("-w", "3", prun.script("raise.py", RAISE))
    assert job.process.returncode == 1
    assert job.stderr.count("Traceback (most recent call last)") == 1
    assert job.stderr.startswith("worker 1 of 3 raised:\nTraceback (most recent call last):\n  File ")
    assert "runpy" not in job.stderr
    assert re.search(r'raise.py", line 6, in <module>\n.*\n(.*\n)?ValueError: this is the cause\n', job.stderr)


def test_a_script_that_does_not_compile_ends_the_job(prun):
    job = prun.run("-w", "2", prun.script("bad.py", "def f(:\n"))
    assert job.process.returncode == 1
    assert "SyntaxError" in job.stderr


def test_a_worker_alone_that_raises(prun):
    job = prun.run(prun.script("raise.py", "raise ValueError('this is the cause')"))
    assert job.process.returncode == 1
    assert job.stderr.count("Traceback") == 1
    assert "raised:" not in job.stderr


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("sys.exit()", 0),
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('a message')", 1),
        ("os._exit(4)", 4),
        ("os._exit(0)", 1),
        ("os.kill(os.getpid(), 9)", 9),
    ],
)
def test_the_exit_status_is_the_jobs(prun, end, status):
    script = prun.script("end.py", f"import os, sys, paracel\nfrom paracel.comm import world\n"
                         f"ps = paracel.connect(worker=world().rank)\nif ps.worker == 1:\n    {end}\n")  # fmt: skip
    job = prun.run("-w", "2", script)
    assert job.process.returncode in ({status, 128 + status} if "kill" in end else {status}), job.stderr
    if end == "os._exit(0)":  # Open MPI itself notices, mpich does not
        assert "it ended although these workers had not finished: " in job.stderr or "improperly" in job.stderr
    assert ("prun: the job failed" in job.stderr) == (status != 0)
    assert ("kill" in end) == ("SIGKILL" in job.stderr)


def test_a_script_that_reads_finds_the_end_of_its_input(prun):
    job = prun.run("-w", "2", prun.script("read.py", "import sys\nprint(repr(sys.stdin.read()))"))
    assert (job.process.returncode, job.stdout) == (0, "''\n''\n"), job.stderr


def test_wrong_use_is_refused_before_anything_starts(prun):
    job = prun.run("-w", "0", prun.script("never.py", "print('ran')"))
    assert job.process.returncode == 2
    assert job.stderr == "prun: error: --wnum 0 is too small; it must be at least 1\n"
    assert job.stdout == ""


def test_the_plan_is_printed_and_nothing_started(prun):
    job = prun.run("--dry-run", "-w", "2", "--log-dir", "logs", prun.script("never.py", "print('ran')"))
    assert job.process.returncode == 0
    assert "workers: 2 on localhost" in job.stdout
    assert "never.py" in job.stdout
    assert "\nran" not in job.stdout
    assert not (prun.directory / "logs").exists()


ALLOCATE = """
import sys
import numpy as np
import paracel
from paracel.comm import world

held = []
try:
    for megabytes in range(0, 2000, 20):
        held.append(np.ones(20 << 17))
except MemoryError:
    print("worker", world().rank, "stopped at", megabytes)
    sys.exit(5)
"""


def test_the_memory_of_workers_is_limited(prun):
    job = prun.run("-w", "2", "--mem_limit", "600", prun.script("allocate.py", ALLOCATE))
    assert job.process.returncode == 5, job.stderr
    assert 100 <= int(job.stdout.split()[-1]) < 600


SOLVE = """
import numpy as np
import paracel

class Solve(paracel.paralg):
    def solve(self):
        x = np.ones((1000, 3))
        self.paracel_sync()
        self.paracel_bupdate("w", x.T @ (x @ np.ones(3)))
        self.paracel_sync()
        print(self.paracel_read("w"))

if __name__ == "__main__":
    paracel.main(Solve)
"""


def test_the_least_memory_is_enough_to_compute(prun):
    limits = ("--mem_limit", str(LEAST_MEMORY_MB), "--mem_limit_server", str(LEAST_MEMORY_SERVER_MB))
    job = prun.run("-w", "2", *limits, prun.script("solve.py", SOLVE))
    assert (job.process.returncode, job.stdout) == (0, "[6000. 6000. 6000.]\n" * 2), job.stderr


FILL = """
import numpy as np
import paracel

with paracel.connect(worker=0) as ps:
    for megabytes in range(0, 2000, 20):
        ps.write(str(megabytes), np.ones(20 << 17))
print("all written")
"""


def test_the_memory_of_servers_is_limited(prun):
    job = prun.run("--mem_limit_server", "400", prun.script("fill.py", FILL))
    assert job.process.returncode == 1
    assert "there is no room for this request in the memory of server 0, which is limited to 400 MB" in job.stderr
    assert "all written" not in job.stdout


def test_two_jobs_at_once_do_not_meet(prun):
    script = prun.script("count.py", COUNT)
    jobs = [prun.start("-p", "2", "-w", "2", "-m", method, script, name) for method, name in
            (("local", "a"), ("mpi", "b"), ("local", "c"))]  # fmt: skip
    for job, name in zip(jobs, "abc"):
        assert job.wait() == 0, job.stderr
        assert job.stdout.count(f"counts 10 ['{name}']") == 2


LINES = """
from paracel.comm import world

ranks = world()
ranks.barrier()
for line in range(400):
    print(f"worker {ranks.rank} line {line}", "x" * 50)
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_of_several_workers_stay_whole(prun, unbuffered):
    prun.environment = {"PYTHONUNBUFFERED": unbuffered}
    job = prun.run("-w", "3", "--log-dir", "logs", prun.script("lines.py", LINES))
    expected = sorted(f"worker {rank} line {line} {'x' * 50}" for rank in range(3) for line in range(400))
    assert sorted(job.stdout.splitlines()) == expected
    assert (prun.directory / "logs" / "workers.log").read_text() == job.stdout


# more than a pipe holds, less than two and what is on its way between them
MANY = "for line in range(20_000):\n    print(line)\n"


def children(pid: int) -> str:
    """The command lines of the processes whose parent is `pid`."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return " ".join(Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in pids)


def start_to_pipe(prun) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*prun.command, prun.script("many.py", MANY)], cwd=prun.directory, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=prun.surroundings(),
    )  # fmt: skip


def test_a_slow_reader_gets_all_of_the_output(prun, wait_until):
    # whatever time the end of a job that was ended grants its output, a job that came to its end takes all it needs
    code = (
        "from paracel.launch import supervise; supervise._OUTPUT_END_SECONDS = 0; from paracel.cli import prun; prun()"
    )
    prun.command = [sys.executable, "-c", code]
    with start_to_pipe(prun) as process:
        assert process.stdout.readline() == "0\n"
        wait_until(lambda: "many.py" not in children(process.pid), "the workers' end")
        assert process.stdout.read().splitlines() == [str(line) for line in range(1, 20_000)]
        assert process.wait(60) == 0


def test_a_reader_that_goes_away_does_not_fail_the_job(prun):
    with start_to_pipe(prun) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_verbose_tells_the_steps(prun):
    job = prun.run("-v", "-p", "2", prun.script("count.py", COUNT))
    steps = [
        "coordinator at",
        "server 0 on localhost started",
        "2 servers ready",
        "1 worker started on localhost (1)",
        "worker 0 on ",
        "% compute, ",
        "the job ended with status 0 after ",
    ]
    assert [step for step in steps if step in job.stderr] == steps


def test_a_worker_that_ends_without_closing_its_client_is_not_waited_for(prun):
    script = """
import paracel
from paracel.comm import world

rank = world().rank
ps = paracel.connect(worker=rank, staleness=0)
if rank == 1:
    ps.write("k", 7)
    ps.commit()
    print("read", ps.read("k"))
    ps.close()
"""
    job = prun.run("-w", "2", prun.script("unclosed.py", script))
    assert (job.process.returncode, job.stdout) == (0, "read 7\n"), job.stderr
