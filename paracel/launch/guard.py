"""Runs the workers' command, and sees to it that nothing of it outlives the launcher. It knows nothing of the job.

    python -I -S guard.py DIRECTORY FILE COMMAND...

Its standard input is a pipe from the launcher: at its end, or at SIGTERM, the command gets SIGTERM, and SIGKILL
if that does not help. Whatever the command left running on this host is then killed, the shared memory that an MPI
left is removed, and so are DIRECTORY (the job's private one; "" for none) and FILE (the one that tells where the job
is; "" for none) if the launcher did not live to do it.
The exit status is the command's, 128 + n for signal n.

It is a process of its own because mpiexec needs one beside it: each rank is in a process group of its own, and an
mpiexec that is killed leaves its ranks running. It runs as a file and imports only the standard library, so that
it starts in milliseconds.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

GRACE_SECONDS = 4.0

_PR_SET_CHILD_SUBREAPER = 36
_NOT_FOUND = 127
# shared memory of mpich, UCX and Open MPI; a script may have mapped somebody else's as well
_SEGMENTS = ("/dev/shm/mpich_shm_", "/dev/shm/ucx_shm_", "/dev/shm/sm_segment.", "/dev/shm/vader_segment.")


class Signals:
    """Signals as something to wait for, within `with`: the end of a child, and being asked to stop.

    `received` is the first of SIGINT, SIGTERM and SIGHUP that came, else None. Only for the main thread.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> "Signals":
        before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, before)
        for signum in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._undo.callback(signal.signal, signum, signal.signal(signum, self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, signum: int, _: FrameType | None) -> None:
        if signum != signal.SIGCHLD and self.received is None:
            self.received = signum

    def wait(self, timeout: float | None, other: int | None = None) -> bool:
        """Wait for a signal, or until the descriptor `other` is readable; True if it is."""
        watched = [self._reader] if other is None else [self._reader, other]
        ready, _, _ = select.select(watched, [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        return other in ready


def main(arguments: list[str]) -> int:
    """Run the command to its end and answer its exit status."""
    directory, file, *command = arguments
    _adopt_orphans()
    with Signals() as signals:
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        except OSError as error:
            print(f"prun: cannot start {command[0]}: {error}", file=sys.stderr)
            return _NOT_FOUND
        orphaned = _watch(child, signals)
        segments = _segments(_descendants())
        _end(child, signals)
        segments |= _sweep()
    for segment in segments:
        Path(segment).unlink(missing_ok=True)
    # Open MPI's own directory, which stays if its mpiexec is killed
    shutil.rmtree(Path(tempfile.gettempdir(), f"ompi.{child.pid}"), ignore_errors=True)
    if orphaned:
        _remove(directory, file)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _remove(directory: str, file: str) -> None:
    if directory:
        shutil.rmtree(directory, ignore_errors=True)
    if file:
        with contextlib.suppress(OSError):  # others may be in the same folder
            os.unlink(file)
            os.rmdir(os.path.dirname(file))


def _adopt_orphans() -> None:
    # Linux: descendants whose parent died become children of this process, so that _sweep finds them
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch(child: "subprocess.Popen[bytes]", signals: Signals) -> bool:
    """Wait until the child ends, or must. True if the launcher is gone."""
    lifeline = sys.stdin.fileno()
    while child.poll() is None and signals.received is None:
        if signals.wait(None, lifeline) and not os.read(lifeline, 1):
            return True
    return False


def _end(child: "subprocess.Popen[bytes]", signals: Signals) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    if child.poll() is None:
        child.terminate()
    while child.poll() is None and (left := deadline - time.monotonic()) > 0:
        signals.wait(left)
    child.kill()
    child.wait()


def _sweep() -> set[str]:
    """Kill what is left of the command. Answers the shared memory that it had."""
    segments: set[str] = set()
    while True:
        left = _descendants()
        segments |= _segments(left)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return segments


def _descendants() -> list[int]:
    """The processes below this one, adopted ones too. Empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parent = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = [os.getpid()]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found[1:]


def _segments(pids: list[int]) -> set[str]:
    """The MPI's shared memory that these processes have mapped, where it has a name still."""
    found: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
                *_, path = line.split(maxsplit=5)
                if path.startswith(_SEGMENTS) and not path.endswith("(deleted)"):
                    found.add(path)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
