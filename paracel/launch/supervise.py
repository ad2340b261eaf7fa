"""Runs a planned job: coordinator, servers, workers, and their end. What is run where was decided in the plan.

The order is coordinator, servers, and only when all of them are ready the workers; the end is the reverse,
whatever brings it about: the workers' end, a signal, or the loss of servers without which it cannot go on. Workers that
fail are started anew while the servers live on, if the plan says so.
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
from paracel.errors import ConfigError, LaunchError
from paracel.launch import guard, jobfile, mpi
from paracel.launch.hostfile import Placement
from paracel.launch.plan import Plan
from paracel.launch.relay import Relay
from paracel.launch.servers import Servers, open_log
from paracel.launch.status import described_status
from paracel.membership import WorkerStatus
from paracel.monitor import Progress

READY_SECONDS = 60.0
# each within seconds, and longer than what the one below it grants
_WORKERS_END_SECONDS = guard.GRACE_SECONDS + 3.0
_OUTPUT_END_SECONDS = 2.0
# between looks at the statistics: signals and ended processes are noticed at once
_LOOK_SECONDS = 0.5
_SHORT_LOOK_SECONDS = 0.05
_GOODBYE_SECONDS = 1.0
_FAILED = 1
_OTHER_JOBS = ("PARACEL_", "PMI_", "PMIX_", "OMPI_COMM_WORLD_", "PRTE_", "HYDI_", "MPI_LOCAL")


def run(plan: Plan) -> int:
    """Run the job to its end; its exit status (128 + n if prun itself was ended by signal n).

    LaunchError if it could not be started, or lost servers without which it cannot go on. Only for the main thread.
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
            job.note(f"the job ended with status {described_status(status)} after {time.monotonic() - started:.1f} s")
        return status


class _Interrupted(Exception):
    def __init__(self, signum: int) -> None:
        self.signum = signum
        self.name = signal.Signals(signum).name


class _Log(logging.Handler):
    """What the coordinator logs, said by prun: its thread does not wait for a stream that nobody reads.

    What has become of servers prun says in its own words.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != membership.losses.name:
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
            replicas=plan.replicas,
            shards=plan.shards,
            checkpoints=plan.checkpoints,
            resumable=plan.max_restarts > 0,
        )
        self._servers = Servers(plan, self._coordinator, self.say, self.note)
        self._coordinator.on_add = self._servers.request
        self._file: Path | str = ""
        self._workers: subprocess.Popen[bytes] | None = None
        self._relays: list[Relay] = []
        self._log: IO[bytes] | None = None

    def run(self) -> int:
        with contextlib.ExitStack() as ends:  # the last goes first, and all are tried
            log = _Log(self.say)
            logging.getLogger("paracel").addHandler(log)
            ends.callback(logging.getLogger("paracel").removeHandler, log)
            ends.callback(self._progress.erase)
            ends.callback(self._servers.end)
            ends.callback(self._coordinator.close)
            ends.callback(self._end_workers)
            self._coordinator.start()
            self.note(f"coordinator at {self._coordinator.address}")
            self._servers.start()
            self._wait_ready()
            self._publish(ends)
            return self._run_workers()

    def say(self, text: str) -> None:
        self._progress.say(f"prun: {text}")

    def note(self, text: str) -> None:
        """Say what only those want to know who asked for it."""
        if self._plan.verbose:
            self.say(text)

    # ---- starting

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self._check_signals()
            self._servers.check_started()
            try:
                self._coordinator.wait_ready(_SHORT_LOOK_SECONDS)
            except LaunchError:
                if time.monotonic() > deadline:
                    raise
            else:
                self.note(f"{_counted(len(self._plan.servers), 'server')} ready")
                return

    def _publish(self, ends: contextlib.ExitStack) -> None:
        """Let paracel-ctl find the job."""
        me = jobfile.JobFile(
            self._coordinator.address, self._coordinator.key, os.getpid(), self._plan.script, time.time()
        )
        try:
            self._file = jobfile.write(me)
        except (OSError, ConfigError) as error:
            self.note(f"paracel-ctl will not find this job: {error}")
        else:
            ends.callback(jobfile.remove, self._file)

    def _start_workers(self) -> None:
        workers = self._plan.workers
        made = {"PARACEL_COORDINATOR": self._coordinator.address, "PARACEL_KEY": self._coordinator.key}
        made["PARACEL_PROGRESS"] = "1" if sys.stderr.isatty() else ""
        made = {name: value for name, value in made.items() if value}
        private = _private_directory(self._coordinator.address)
        command = [sys.executable, "-I", "-S", guard.__file__, private, str(self._file)]
        if workers.log is not None and self._log is None:
            self._log = open_log(workers.log)
        # a session of its own: a Ctrl-C at the terminal comes to prun alone, which ends all in order
        self._workers = subprocess.Popen(
            [*command, *workers.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_worker_environment(), **workers.environment, **made},
            start_new_session=True,
        )
        self._relays = []
        for source, stream in ((self._workers.stdout, sys.stdout), (self._workers.stderr, sys.stderr)):
            assert source is not None
            targets: list[IO[bytes]] = [FileIO(stream.fileno(), "wb", closefd=False)]
            if self._log is not None:
                targets.append(self._log)
            self._relays.append(Relay(source, targets, self._progress))
        self.note(f"{_counted(self._plan.worker_count, 'worker')} started on {_where(workers.placement)}")

    # ---- running

    def _run_workers(self) -> int:
        """Run the workers' command, and again as often as it may fail; the job's exit status."""
        most, restarts = self._plan.max_restarts, 0
        while True:
            self._start_workers()
            status, failure = self._judge(self._wait_workers())
            self._note_times()
            if not failure:
                return status
            if restarts == most:
                self.say(f"the job failed: {failure}{f', after {restarts} of {most} restarts' if most else ''}")
                return status
            restarts += 1
            self.say(f"restart {restarts} of {most}: {failure}; all workers are started anew")
            self._coordinator.restart_workers()

    def _wait_workers(self) -> int:
        """The status that their command ended with."""
        assert self._workers is not None
        while (status := self._workers.poll()) is None:
            if self._signals.wait(_LOOK_SECONDS, self._servers.wake.raw):
                self._servers.wake.clear()
            self._check_signals()
            self._progress.update(self._servers.look())
        for relay in self._relays:
            while not relay.wait_ended(_SHORT_LOOK_SECONDS):  # whoever reads our output may be slow
                self._check_signals()
                self._servers.look()
        assert self._workers.stdin is not None
        self._workers.stdin.close()
        return status

    def _judge(self, status: int) -> tuple[int, str]:
        """The exit status, given that of the workers' command; and what has failed, if anything."""
        self._servers.look()  # a server's loss may be why
        if status == 0 and (lost := self._wait_left()):
            # mpich answers 0 when a rank ends by os._exit(0), and kills the others
            names = ", ".join(f"{worker.worker} ({worker.host}, process {worker.pid})" for worker in lost)
            return _FAILED, f"it ended although these workers had not finished: {names}"
        if not status:
            return status, ""
        killer = mpi.maybe_signal(self._plan.workers.dialect, status)
        hint = f" (one exited with it, or was ended by {killer}: mpich answers the same)" if killer else ""
        return status, f"its workers ended with status {described_status(status)}{hint}"

    def _note_times(self) -> None:
        for worker in self._coordinator.statistics().workers:
            if worker.times.seconds:
                self.note(f"worker {worker.worker} on {worker.host}: {worker.times}")

    def _wait_left(self) -> list[WorkerStatus]:
        """The workers that have not said goodbye, even after a moment for what is still on its way."""
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while True:
            workers = self._coordinator.statistics().workers
            lost = [worker for worker in workers if worker.died or not worker.left]
            if not lost or time.monotonic() > deadline:
                return lost
            self._signals.wait(_SHORT_LOOK_SECONDS)

    def _check_signals(self) -> None:
        if self._signals.received is not None:
            self.note("ending the job")
            self._hush()
            raise _Interrupted(self._signals.received)

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


def _unbuffered(stream: TextIO) -> TextIO:
    """The same stream without its buffer, whose lock a write that nobody reads would hold until Python's end."""
    raw = FileIO(stream.fileno(), "wb", closefd=False)
    return TextIOWrapper(raw, encoding=stream.encoding, errors="backslashreplace", write_through=True)


def _worker_environment() -> dict[str, str]:
    """The user's environment, less what would tie the workers to another job that prun itself is a worker of."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OTHER_JOBS)}


def _private_directory(address: str) -> str:
    return os.path.dirname(address.removeprefix("ipc://")) if address.startswith("ipc://") else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _where(placement: tuple[Placement, ...]) -> str:
    return ", ".join(f"{placed.host} ({placed.count})" for placed in placement)
