"""Examples are run as a user runs them: in processes of their own, from the repository's root."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 90
# Several tests run side by side, and so do a job's processes: their threads would only be in each other's way.
THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
os.environ.update(THREADS)  # the references are computed here; their libraries are imported after this
MARK = "PARACEL_TEST_RUN"


@dataclass(frozen=True, slots=True)
class Finished:
    status: int
    out: str
    err: str

    def figure(self, name: str) -> float:
        """The number on the line `name: number`."""
        found = [line for line in self.out.splitlines() if line.startswith(f"{name}: ")]
        assert len(found) == 1, f"{name} is printed {len(found)} times in:\n{self.out}\n{self.err}"
        return float(found[0].split(": ")[1])


class Runner:
    """Runs commands with a deadline; knows which of their processes and files are still there."""

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._mark = uuid.uuid4().hex

    def python(self, script: str, *arguments: str) -> Finished:
        return self._run([sys.executable, script, *arguments])

    def check_told(self, script: str, cases: Sequence[tuple[Sequence[str], *tuple[str, ...]]]) -> None:
        """Each case is arguments, with which the script must fail alone, and what its error must tell.

        One process makes all these runs.
        """
        runs = [arguments for arguments, *_ in cases]
        done = self.python("tests/examples/wrong_runs.py", script, json.dumps(runs))
        assert done.status == 0, done.err
        errors = json.loads(done.out.splitlines()[-1])  # the runs print, too
        assert [arguments for arguments, error in zip(runs, errors, strict=True) if error is None] == []
        for (_, *texts), error in zip(cases, errors, strict=True):
            for text in texts:
                assert text in error

    def mpiexec(self, workers: int, script: str, *arguments: str) -> Finished:
        mpiexec = Path(sys.executable).with_name("mpiexec")
        launcher = str(mpiexec) if mpiexec.exists() else "mpiexec"
        return self._run([launcher, "-n", str(workers), sys.executable, script, *arguments])

    def prun(self, workers: int, servers: int, *arguments: str) -> Finished:
        """`prun.py -w workers -p servers`, then the rest of the command line."""
        return self._run([sys.executable, "prun.py", "-w", str(workers), "-p", str(servers), *arguments])

    def _run(self, command: list[str]) -> Finished:
        environment = os.environ | THREADS | {MARK: self._mark, "TMPDIR": str(self._temporary)}
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill_rest()
                out, err = process.communicate()
                pytest.fail(f"not done in {DEADLINE} s: {command}\n{out}\n{err}")
        return Finished(process.returncode, out, err)

    def alive(self) -> dict[int, str]:
        """Processes that one of the commands left, by id."""
        mine = f"{MARK}={self._mark}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # not ours to read, or gone meanwhile
                if entry.name.isdecimal() and mine in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def wait_gone(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.05)

    def kill_rest(self) -> None:
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def run() -> Iterator[Runner]:
    """A runner whose commands must leave no process and no temporary file behind."""
    temporary = Path(tempfile.mkdtemp(prefix="px"))  # short: the path of a socket may have 107 characters
    runner = Runner(temporary)
    try:
        yield runner
        runner.wait_gone(timeout=20)
        assert runner.alive() == {}
        assert [str(path) for path in temporary.rglob("*")] == []
    finally:
        runner.kill_rest()
        shutil.rmtree(temporary, ignore_errors=True)
