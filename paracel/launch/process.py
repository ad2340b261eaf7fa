"""One server as a child process. It gets its settings, and its lifeline, through its standard input."""

import contextlib
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import IO

#: Set by MPI launchers; a child that saw them would take itself for a rank.
_MPI_PREFIXES = ("PMI_", "PMIX_", "OMPI_", "PRTE_", "MPI_LOCAL", "MPIR_", "HYDRA_", "HYDI_", "PMI", "MPICH_")


def server_command(python: str = sys.executable) -> list[str]:
    """The command of a server."""
    return [python, "-m", "paracel.server"]


def clean_environment() -> dict[str, str]:
    """This process's environment without what belongs to an MPI rank. BLAS threads would idle in a server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_MPI_PREFIXES)}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


#: The standard inputs of the servers of this process.
_lifelines: "weakref.WeakSet[IO[bytes]]" = weakref.WeakSet()


def _let_go() -> None:
    """In a forked child: servers are to end with their launcher, not with the last of its children."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for lifeline in _lifelines:
        if not lifeline.closed:
            os.dup2(nothing, lifeline.fileno(), inheritable=False)
    os.close(nothing)


os.register_at_fork(after_in_child=_let_go)


class ServerProcess:
    """A running server; ending its standard input ends it."""

    def __init__(
        self,
        server: int,
        command: Sequence[str],
        config: str,
        env: Mapping[str, str] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        self.server = server
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stderr,
            stderr=stderr,
            env=dict(clean_environment() if env is None else env),
            start_new_session=True,  # so that Ctrl-C at the terminal reaches the launcher first
        )
        assert self._process.stdin is not None
        _lifelines.add(self._process.stdin)
        with contextlib.suppress(BrokenPipeError):  # if it ended already, poll() tells how
            self._process.stdin.write(config.encode())
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def stop(self, seconds: float = 3.0) -> None:
        """End it: by closing its standard input, then by SIGTERM, then by SIGKILL. May be called twice."""
        self.close_input()
        if self._ended(seconds):
            return
        self._process.terminate()
        if not self._ended(seconds):
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it at once, whatever it does; of one on another host, its ssh, with which it ends."""
        self.close_input()
        self._process.kill()

    def close_input(self) -> None:
        """End its standard input, which ends it. The word before it says that the launcher lives."""
        stdin = self._process.stdin
        assert stdin is not None
        if stdin.closed:
            return
        for end in (lambda: stdin.write(b"stop\n"), stdin.close):
            with contextlib.suppress(BrokenPipeError):  # it has ended already
                end()

    def _ended(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def stop_all(processes: Sequence[ServerProcess], seconds: float = 3.0) -> None:
    """End many at once."""
    for process in processes:
        process.close_input()
    deadline = time.monotonic() + seconds
    for process in processes:
        process.stop(max(0.1, deadline - time.monotonic()))
