"""Whole jobs as a user starts them, and the proof that nothing of them is left."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0
_MARK = "PRUN_TEST_MARK"


def wait_until(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Look again and again until `condition` holds; fails when it has not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


@pytest.fixture(name="wait_until")
def _wait_until():
    return wait_until


def living(mark: str) -> dict[int, str]:
    """The processes that have `mark` in their environment, zombies left out, with their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state != "Z" and command:
                    found[int(entry.name)] = command
        except OSError:
            continue  # it ended while we looked
    return found


@dataclass
class Job:
    """A running prun. Its output goes to files, so that a test can wait for what it says."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path
    mark: str

    @property
    def stdout(self) -> str:
        return self.out.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.err.read_text(errors="replace")

    def wait_said(self, text: str, times: int = 1, stream: str = "stdout") -> None:
        """Wait until the job has written `text` so many times to `stream`."""

        def said() -> bool:
            ended = self.process.poll() is not None
            count = getattr(self, stream).count(text)
            if ended and count < times:
                pytest.fail(f"ended with {self.process.returncode}, no {text!r} in\n{self.stdout}\n{self.stderr}")
            return count >= times

        wait_until(said, f"{text!r} in {self.stdout!r} {self.stderr!r}")

    def wait(self) -> int:
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"prun did not end within {DEADLINE:.0f} s:\n{self.stdout}\n{self.stderr}")

    def find(self, text: str) -> list[int]:
        """The pids of the job's processes with `text` in their command lines."""
        return [pid for pid, command in living(self.mark).items() if text in command]

    def wait_nothing_left(self) -> None:
        wait_until(lambda: not living(self.mark), f"no process left of {living(self.mark)}", 20.0)


@dataclass
class Prun:
    """Starts jobs in `directory`; `temporary` is where they keep what is to be gone when they end."""

    directory: Path
    temporary: Path
    command: list[str] = field(default_factory=lambda: [sys.executable, str(ROOT / "prun.py")])
    environment: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)

    def start(self, *arguments: str, **options) -> Job:
        mark = f"{_MARK}={uuid.uuid4().hex}"
        name, value = mark.split("=")
        environment = {**self.surroundings(), **self.environment, name: value}
        out, err = (self.temporary.parent / f"{len(self.jobs)}.{stream}" for stream in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*self.command, *arguments], cwd=self.directory, env=environment,
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True, **options,
            )  # fmt: skip
        self.jobs.append(Job(process, out, err, mark))
        return self.jobs[-1]

    def surroundings(self) -> dict[str, str]:
        """The environment in which all that jobs keep is in `temporary`."""
        kept = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
        return {**kept, "TMPDIR": str(self.temporary)}

    def control(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run paracel-ctl to its end."""
        command = [sys.executable, "-c", "from paracel.cli import paracel_ctl; paracel_ctl()", *arguments]
        environment = {**self.surroundings(), "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)

    def run(self, *arguments: str) -> Job:
        job = self.start(*arguments)
        job.wait()
        return job

    def script(self, name: str, text: str) -> str:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name


def shared_memory() -> set[str]:
    """The names of shared memory that no living process has mapped: other tests may run beside these."""
    mapped = set()
    for entry in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = entry.read_text(errors="replace").splitlines()
        except OSError:
            continue
        mapped |= {line.split()[-1] for line in lines if "/dev/shm/" in line}
    return {str(path) for path in Path("/dev/shm").iterdir()} - mapped


@pytest.fixture
def prun(tmp_path: Path) -> Iterator[Prun]:
    """Jobs that must leave no process and no file: that is checked after the test, and then enforced."""
    memory = shared_memory()
    # short: the path of a ZeroMQ socket has a limit of about 100 bytes
    base = Path(tempfile.mkdtemp(prefix="prun-"))
    prun = Prun(tmp_path, base / "t")
    prun.temporary.mkdir()
    try:
        yield prun
        for job in prun.jobs:
            job.wait()
            job.wait_nothing_left()
        wait_until(lambda: not os.listdir(prun.temporary), f"{prun.temporary} empty again", 20.0)
        # of another test's job that was ended, it may be there for a moment
        wait_until(lambda: not shared_memory() - memory, "no shared memory left", 20.0)
    finally:
        for job in prun.jobs:
            for pid in living(job.mark):
                os.kill(pid, signal.SIGKILL)
            job.process.wait()
        shutil.rmtree(base, ignore_errors=True)


# Each round adds to every key; in the middle it waits until the test has done what it does.
COUNT = """
import os
import time
import paracel

KEYS = [f"key {number}" for number in range(40)]

class Count(paracel.paralg):
    def solve(self):
        for number in range(60):
            if number == 5:
                print("began", flush=True)
            while number == 40 and not os.path.exists("go on"):
                time.sleep(0.01)
            self.paracel_update_multi({key: 1 for key in KEYS})
            assert min(self.paracel_read_multi(KEYS)) >= self.worker_size * number
            self.iter_commit()
        self.paracel_sync()
        print("counts", set(self.paracel_read_multi(KEYS)), flush=True)

if __name__ == "__main__":
    paracel.main(Count, ["staleness=0"])
"""


@dataclass
class Counting:
    """Jobs whose result shows whether any update was lost, or made twice."""

    prun: Prun

    def start(self, *options: str) -> Job:
        """A job of two workers that have begun, and will not end before `go_on`."""
        patient = ("--heartbeat-timeout", "30")  # so that none is lost but those that the test ends
        job = self.prun.start("-w", "2", *patient, *options, self.prun.script("count.py", COUNT))
        job.wait_said("began", times=2)
        return job

    def go_on(self) -> None:
        (self.prun.directory / "go on").touch()

    def end_well(self, job: Job) -> None:
        """Let the job go on to its end, which must be that of an undisturbed one."""
        self.go_on()
        assert job.wait() == 0, job.stderr
        assert job.stdout.count("counts {120}\n") == 2


@pytest.fixture
def counting(prun: Prun) -> Counting:
    return Counting(prun)
