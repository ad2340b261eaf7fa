"""Runs a planned job: coordinator, servers, workers, and their end. What is run where was decided in the plan.

The order is coordinator, servers, and only when all of them are ready the workers; the end is the reverse,
whatever brings it about: the workers' end, a signal, or a server that died.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import IO, TextIO

from paracel import membership
from paracel.coordinator import Coordinator
from paracel.errors import LaunchError
from paracel.launch import guard, mpi
from paracel.launch.hostfile import Placement
from paracel.launch.plan import Plan, ServerPlan
from paracel.launch.process import ServerProcess, clean_environment, stop_all
from paracel.launch.relay import Relay
from paracel.membership import WorkerStatus
from paracel.monitor import Progress

READY_SECONDS = 60.0
# each within seconds, and longer than what the one below it grants
_WORKERS_END_SECONDS = guard.GRACE_SECONDS + 3.0
_OUTPUT_END_SECONDS = 2.0
_SERVERS_END_SECONDS = 3.0
# between looks at the statistics: signals and ended processes are noticed at once
_LOOK_SECONDS = 0.5
_SHORT_LOOK_SECONDS = 0.05
_GOODBYE_SECONDS = 1.0
_SSH_FAILED = 255
_FAILED = 1
_OTHER_JOBS = ("PARACEL_", "PMI_", "PMIX_", "OMPI_COMM_WORLD_", "PRTE_", "HYDI_", "MPI_LOCAL")


def run(plan: Plan) -> int:
    """Run the job to its end; its exit status (128 + n if prun itself was ended by signal n).

    LaunchError if it could not be started, or a server of it died. Only for the main thread.
    """
    started = time.monotonic()
    with guard.Signals() as signals:
        job = _Job(plan, signals)
        status = _FAILED
        try:
            status = job.run()
        except _Interrupted as interrupted:
            job.say(f"the job is ended, as {interrupted.name} asked")
            status = 128 + interrupted.signum
        finally:
            job.note(f"the job ended with status {_status(status)} after {time.monotonic() - started:.1f} s")
        return status


class _Interrupted(Exception):
    def __init__(self, signum: int) -> None:
        self.signum = signum
        self.name = signal.Signals(signum).name


class _Log(logging.Handler):
    """What the coordinator logs, said by prun: its thread does not wait for a stream that nobody reads."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


class _Job:
    def __init__(self, plan: Plan, signals: guard.Signals) -> None:
        self._plan = plan
        self._signals = signals
        self._progress = Progress(_unbuffered(sys.stderr))
        self._coordinator = Coordinator(
            servers=len(plan.servers),
            workers=plan.worker_count,
            endpoint=plan.endpoint,
            heartbeat_timeout=plan.heartbeat_timeout,
        )
        self._servers: dict[int, ServerProcess] = {}
        self._workers: subprocess.Popen[bytes] | None = None
        self._relays: list[Relay] = []
        self._log: IO[bytes] | None = None

    def run(self) -> int:
        with contextlib.ExitStack() as ends:  # the last goes first, and all are tried
            log = _Log(self.say)
            logging.getLogger("paracel").addHandler(log)
            ends.callback(logging.getLogger("paracel").removeHandler, log)
            ends.callback(self._progress.erase)
            ends.callback(self._end_servers)
            ends.callback(self._coordinator.close)
            ends.callback(self._end_workers)
            self._coordinator.start()
            self.note(f"coordinator at {self._coordinator.address}")
            for server in self._plan.servers:
                self._start_server(server)
            self._wait_ready()
            self._start_workers()
            return self._wait_workers()

    def say(self, text: str) -> None:
        self._progress.say(f"prun: {text}")

    def note(self, text: str) -> None:
        """Say what only those want to know who asked for it."""
        if self._plan.verbose:
            self.say(text)

    # ---- starting

    def _start_server(self, server: ServerPlan) -> None:
        config = self._coordinator.server_config(
            server.server,
            bind=server.bind,
            memory_limit_mb=self._plan.memory_servers_mb,
            log_level="INFO" if self._plan.verbose else "WARNING",
            paths=self._plan.paths,
        )
        with contextlib.ExitStack() as files:
            log = None if server.log is None else files.enter_context(_open_log(server.log))
            try:
                process = ServerProcess(server.server, list(server.command), config, _server_environment(server), log)
            except OSError as error:
                raise LaunchError(f"server {server.server} cannot be started: {error}") from error
        self._servers[server.server] = process
        self.note(f"server {server.server} on {server.host} started, process {process.pid}")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self._check()
            try:
                self._coordinator.wait_ready(_SHORT_LOOK_SECONDS)
            except LaunchError:
                if time.monotonic() > deadline:
                    raise
            else:
                self.note(f"{_count(len(self._servers), 'server')} ready")
                return

    def _start_workers(self) -> None:
        workers = self._plan.workers
        made = {"PARACEL_COORDINATOR": self._coordinator.address, "PARACEL_KEY": self._coordinator.key}
        made = {name: value for name, value in made.items() if value}
        command = [sys.executable, "-I", "-S", guard.__file__, _private_directory(self._coordinator.address)]
        if workers.log is not None:
            self._log = _open_log(workers.log)
        # a session of its own: a Ctrl-C at the terminal comes to prun alone, which ends all in order
        self._workers = subprocess.Popen(
            [*command, *workers.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_worker_environment(), **workers.environment, **made},
            start_new_session=True,
        )
        for source, stream in ((self._workers.stdout, sys.stdout), (self._workers.stderr, sys.stderr)):
            assert source is not None
            targets: list[IO[bytes]] = [FileIO(stream.fileno(), "wb", closefd=False)]
            if self._log is not None:
                targets.append(self._log)
            self._relays.append(Relay(source, targets, self._progress))
        self.note(f"{_count(self._plan.worker_count, 'worker')} started on {_where(workers.placement)}")

    # ---- running

    def _wait_workers(self) -> int:
        assert self._workers is not None
        while (status := self._workers.poll()) is None:
            self._signals.wait(_LOOK_SECONDS)
            self._check()
            self._check_silent()
        for relay in self._relays:
            while not relay.wait_ended(_SHORT_LOOK_SECONDS):  # whoever reads our output may be slow
                self._check()
        return self._judge(status)

    def _check_silent(self) -> None:
        statistics = self._coordinator.statistics()
        for server, reason in statistics.lost:
            plan = self._plan.servers[server]
            raise LaunchError(f"server {server} on {plan.host} is lost ({reason}), and the job with it; {_log(plan)}")
        self._progress.update(statistics)

    def _judge(self, status: int) -> int:
        """The job's exit status, given that of the workers' command."""
        if status == 0 and (lost := self._wait_left()):
            # mpich answers 0 when a rank ends by os._exit(0), and kills the others
            names = ", ".join(f"{worker.worker} ({worker.host}, process {worker.pid})" for worker in lost)
            self.say(f"the job failed: it ended although these workers had not finished: {names}")
            return 1
        if status:
            killer = mpi.maybe_signal(self._plan.workers.dialect, status)
            hint = f" (one exited with it, or was ended by {killer}: mpich answers the same)" if killer else ""
            self.say(f"the job failed: its workers ended with status {_status(status)}{hint}")
        return status

    def _wait_left(self) -> list[WorkerStatus]:
        """The workers that have not said goodbye, even after a moment for what is still on its way."""
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while True:
            workers = self._coordinator.statistics().workers
            lost = [worker for worker in workers if worker.died or not worker.left]
            if not lost or time.monotonic() > deadline:
                return lost
            self._signals.wait(_SHORT_LOOK_SECONDS)

    def _check(self) -> None:
        if self._signals.received is not None:
            self.note("ending the job")
            self._hush()
            raise _Interrupted(self._signals.received)
        for server in self._plan.servers:
            process = self._servers.get(server.server)
            if process is not None and (status := process.poll()) is not None:
                raise LaunchError(_obituary(server, process.pid, status))

    # ---- ending

    def _hush(self) -> None:
        """Keep off the terminal how an mpiexec laments over ranks that are ended; a file gets it with all the rest."""
        for relay, stream in zip(self._relays, (sys.stdout, sys.stderr), strict=False):  # none before the workers start
            if stream.isatty():
                relay.hush()

    def _end_workers(self) -> None:
        if self._workers is None:
            return
        if self._workers.poll() is None:  # what the coordinator would warn of from now on is prun's own doing
            logging.getLogger(membership.__name__).setLevel(logging.ERROR)
        assert self._workers.stdin is not None
        self._workers.stdin.close()
        try:
            self._workers.wait(_WORKERS_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._workers.kill()
            self._workers.wait()
        for relay in self._relays:
            relay.wait_ended(_OUTPUT_END_SECONDS)
        if self._log is not None:
            self._log.close()

    def _end_servers(self) -> None:
        stop_all(list(self._servers.values()), _SERVERS_END_SECONDS)


def _unbuffered(stream: TextIO) -> TextIO:
    """The same stream without its buffer, whose lock a write that nobody reads would hold until Python's end."""
    raw = FileIO(stream.fileno(), "wb", closefd=False)
    return TextIOWrapper(raw, encoding=stream.encoding, errors="backslashreplace", write_through=True)


def _server_environment(server: ServerPlan) -> dict[str, str]:
    return {**clean_environment(), **server.environment}


def _worker_environment() -> dict[str, str]:
    """The user's environment, less what would tie the workers to another job that prun itself is a worker of."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OTHER_JOBS)}


def _open_log(path: str) -> IO[bytes]:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return FileIO(path, "wb")
    except OSError as error:
        raise LaunchError(f"log {path!r} cannot be written: {error}") from error


def _private_directory(address: str) -> str:
    return os.path.dirname(address.removeprefix("ipc://")) if address.startswith("ipc://") else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _where(placement: tuple[Placement, ...]) -> str:
    return ", ".join(f"{placed.host} ({placed.count})" for placed in placement)


def _obituary(server: ServerPlan, pid: int, status: int) -> str:
    name = f"server {server.server} on {server.host} (process {pid})"
    hint = ""
    if status == _SSH_FAILED and server.command[0] == "ssh":
        hint = f"; ssh could not run it there, does `ssh -o BatchMode=yes {server.host} true` work?"
    return f"{name} ended with status {_status(status)}, and the job with it{hint}; {_log(server)}"


def _log(server: ServerPlan) -> str:
    return f"its log is {server.log}" if server.log else "what it said is above (--log-dir keeps it)"


def _status(status: int) -> str:
    number = -status if status < 0 else status - 128
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"{status} ({signal.Signals(number).name})"
    return str(status)
