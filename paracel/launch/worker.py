"""What runs in a worker before its script: `python -m paracel.launch.worker [--memory-mb N] SCRIPT ARGUMENTS...`

It sets the memory limit, initialises MPI where an MPI started it, makes output and errors readable although many
workers share one terminal, runs the script as `python SCRIPT` would, and tells the coordinator if the script came
to its end: prun takes a worker that vanished without that for a failure, whatever status MPI gives it.
"""

import argparse
import contextlib
import io
import os
import resource
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from paracel import comm, wire
from paracel.errors import ParacelError
from paracel.messages import Envelope, Goodbye
from paracel.transport import Link

_MEGABYTE = 1 << 20
_LIBRARY = Path(comm.__file__).parent
_GOODBYE_SECONDS = 1.0


def main(arguments: Sequence[str]) -> None:
    """Run the script that `arguments` name; what it raises is raised."""
    parser = argparse.ArgumentParser(prog="paracel.launch.worker", allow_abbrev=False)
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if given.memory_mb is not None:
        limit_memory(given.memory_mb)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # mpiexec passes on what each write brings: whole lines, or pieces of several workers' lines in turn
        sys.stdout.reconfigure(line_buffering=True, write_through=False)
    script = str(Path(given.script).resolve())
    _close_input()
    # mpich leaves the others waiting for a rank that ended before MPI was initialised, so that comes first
    ranks = comm.world()
    sys.excepthook = _Excepthook(script, ranks, given.memory_mb)
    sys.argv[:] = [given.script, *given.arguments]
    sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except BaseException as end:
        if not isinstance(end, SystemExit) or end.code:
            _note_failure()
        else:
            say_goodbye(ranks.rank)
        raise
    say_goodbye(ranks.rank)


def _note_failure() -> None:
    job = sys.modules.get("paracel.launch.job")  # a script that has not imported it has no part in a job
    if job is not None:
        job.note_failure()


def _close_input() -> None:
    """Give the script the end of its input: under either MPI it would wait for ever for a first byte."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)


def say_goodbye(worker: int) -> None:
    """Tell the coordinator of this job that `worker` has ended as it should. Nothing is heard back."""
    with contextlib.closing(Link(os.environ["PARACEL_COORDINATOR"], os.environ.get("PARACEL_KEY", ""))) as link:
        link.send(wire.encode(Envelope(0, 0, 0, Goodbye(worker))))
        link.close(linger=_GOODBYE_SECONDS)


def limit_memory(megabytes: int) -> None:
    """Let this process have at most this much data memory; an allocation beyond it raises MemoryError."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = megabytes * _MEGABYTE
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class _Excepthook:
    """Prints a traceback from the script's first frame on, in one write, so that workers' tracebacks stay apart.

    Of an error that this library raises on purpose its own frames are left out: they would hide what it says.
    """

    def __init__(self, script: str, ranks: comm.Comm, memory_mb: int | None) -> None:
        self._script = script
        self._rank = ranks.rank
        self._name = f"worker {ranks.rank} of {ranks.size} raised:\n" if ranks.size > 1 else ""
        self._memory_mb = memory_mb

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stdout.flush()
        told = traceback.TracebackException(kind, error, self._from_script(trace))
        if isinstance(error, ParacelError):
            _leave_out_own(told)
        text = "".join(told.format())
        sys.stderr.write(self._name + text + self._hint(error))
        sys.stderr.flush()

    def _hint(self, error: BaseException) -> str:
        if self._memory_mb is None or not isinstance(error, MemoryError):
            return ""
        return f"worker {self._rank} may have {self._memory_mb} MB of data memory: --mem_limit {self._memory_mb}\n"

    def _from_script(self, trace: TracebackType | None) -> TracebackType | None:
        first = trace
        while first is not None and first.tb_frame.f_code.co_filename != self._script:
            first = first.tb_next
        return first or trace


def _leave_out_own(told: traceback.TracebackException) -> None:
    frames = [frame for frame in told.stack if not Path(frame.filename).is_relative_to(_LIBRARY)]
    told.stack = traceback.StackSummary.from_list(frames)
    for earlier in (told.__cause__, told.__context__):
        if earlier is not None:
            _leave_out_own(earlier)


if __name__ == "__main__":
    main(sys.argv[1:])
