"""Programs under mpiexec, under a deadline, from which no process is left."""

import fcntl
import os
import signal
import subprocess
import sys
import time
import tomllib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import paracel.comm

PROGRAMS = Path(__file__).parent / "programs"
PROJECT = Path(paracel.comm.__file__).parents[1]
DEADLINE = 60.0
# Set for each run, to find its processes by, whatever group or session they moved to.
MARK = "PARACEL_TEST_RUN"
# Four ranks on a machine of two processors, and a container's root, are fine for a test.
OPENMPI_OPTIONS = ("--allow-run-as-root", "--oversubscribe", "--bind-to", "none")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    status: int
    stdout: str
    stderr: str


MpiRun = Callable[..., Ended]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.mpi)


@pytest.fixture(scope="session")
def mpirun() -> MpiRun:
    """`mpirun(n, script, *args)`: run a script (of `programs/`, or a path) with `n` ranks under mpich."""
    return _runner(Path(sys.executable))


@pytest.fixture(scope="session")
def openmpirun(request: pytest.FixtureRequest) -> MpiRun:
    """As `mpirun`, under Open MPI, in the Python of $PARACEL_TEST_OPENMPI or one made for it and kept."""
    given = os.environ.get("PARACEL_TEST_OPENMPI")
    python = Path(given) if given else _openmpi_python(request.config.cache.mkdir("openmpi"))
    return _runner(python, OPENMPI_OPTIONS)


def _runner(python: Path, options: tuple[str, ...] = ()) -> MpiRun:
    mpiexec = python.parent / "mpiexec"
    if not mpiexec.exists():
        pytest.fail(f"no mpiexec beside {python}; install the extra mpich (or openmpi) of this project there")

    def run(n: int, script: str | Path, *args: str | Path, deadline: float = DEADLINE, module: str = "") -> Ended:
        """With `module`, the script is run by that one."""
        by = ("-m", module) if module else ()
        command = [mpiexec, *options, "-n", str(n), python, *by, PROGRAMS / script, *args]
        return _run([str(word) for word in command], deadline)

    return run


def _run(command: list[str], deadline: float) -> Ended:
    mark = f"{MARK}={uuid.uuid4()}"
    environ = _environment() | dict([mark.split("=")])
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _end_marked(mark)
        stdout, stderr = process.communicate()
        pytest.fail(f"{command} did not end in {deadline} s\n{_shown(stdout, stderr)}")
    left = _end_marked(mark, patience=10.0)
    print(_shown(stdout, stderr))
    assert not left, f"{command} left processes behind: {left}"
    return Ended(process.returncode, stdout, stderr)


def _environment() -> dict[str, str]:
    """Ours, without what an outer mpiexec set or changes how Python prints; it finds the tested package."""
    changing = ("PMI_", "PMIX_", "OMPI_", "MPI_", "SLURM_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(changing)}
    return kept | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}


def _end_marked(mark: str, patience: float = 0.0) -> list[str]:
    """Wait for the processes that carry `mark` to end; kill those that do not, and name them."""
    deadline = time.monotonic() + patience
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return list(found.values())


def _marked(mark: str) -> dict[int, str]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # A zombie's environment is empty, so it counts as ended.
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def _shown(stdout: str, stderr: str) -> str:
    return f"--- stdout\n{stdout}\n--- stderr\n{stderr}"


def _openmpi_python(folder: Path) -> Path:
    """A Python with Open MPI and what the project needs, made once and again when the needs change."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"]["openmpi"]]
    python, stamp = folder / "venv" / "bin" / "python", folder / "needs"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be making it
        if stamp.exists() and stamp.read_text().split("\n") == needs:
            return python
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / "venv"], check=True, timeout=90)
        install = [python, "-m", "pip", "install", "--quiet", "--timeout", "10", "--retries", "1", *needs]
        done = subprocess.run(install, env=_environment(), capture_output=True, text=True, timeout=90, check=False)
        if done.returncode:
            # Only a machine without a package index comes here; mpich's tests have run all the same.
            print(done.stderr)
            pytest.skip(f"Open MPI cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
        stamp.write_text("\n".join(needs))
    return python
