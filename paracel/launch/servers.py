"""The servers of a running job under prun: starting them, and what becomes of those that end, or are to come or go.

All but `request` is for prun's main thread, which calls `look` whenever something may have happened.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO

from paracel.coordinator import Coordinator
from paracel.errors import ConfigError, LaunchError
from paracel.launch.embedded import SAVE_SECONDS, STOP_SECONDS
from paracel.launch.plan import Plan, ServerPlan
from paracel.launch.process import ServerProcess, clean_environment, stop_all
from paracel.launch.status import described_status
from paracel.membership import JobStatistics
from paracel.transport import Signal

#: How many servers a job has started in the places of lost ones, and after what pauses: twice as long each time.
MOST_REPLACEMENTS = 10
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_SSH_FAILED = 255

Say = Callable[[str], None]


@dataclass(slots=True)
class _Replacement:
    """A server that is to be started in the place of `lost`: on the first of the hosts on which it can be."""

    lost: int
    hosts: deque[str]
    due: float


class Servers:
    """The server processes of one job."""

    def __init__(self, plan: Plan, coordinator: Coordinator, say: Say, note: Say) -> None:
        #: Is set when `look` has something to do.
        self.wake = Signal()
        self._plan = plan
        self._coordinator = coordinator
        self._say, self._note = say, note
        self._plans: dict[int, ServerPlan] = {}
        self._processes: dict[int, ServerProcess] = {}
        self._ended: set[int] = set()
        self._ready: set[int] = set()
        self._cut_off: dict[int, float] = {}
        self._mourned: set[int] = set()
        self._asked_to_go: set[int] = set()
        self._requested: deque[tuple[int, str]] = deque()
        self._replacing: dict[int, _Replacement] = {}
        self._due: list[_Replacement] = []
        self._replaced = 0
        self._repairing = False

    def start(self) -> None:
        """Start those of the plan."""
        for server in self._plan.servers:
            self._start(server)

    def check_started(self) -> None:
        """While the job starts: LaunchError if one has ended."""
        for server, process in self._processes.items():
            if (status := process.poll()) is not None:
                raise LaunchError(_obituary(self._plans[server], process.pid, status))

    def request(self, count: int, host: str | None) -> list[int]:
        """Have more servers started, on any thread; their numbers. ConfigError."""
        hosts = self._plan.server_hosts
        if host is not None and host not in hosts:
            raise ConfigError(f"{host!r} is not one of the job's hosts for servers: {', '.join(hosts)}")
        numbers = self._coordinator.new_servers(count)
        used = dict.fromkeys(hosts, 0)
        for plan in list(self._plans.values()):
            used[plan.host] += 1
        for number in numbers:
            chosen = min(hosts, key=used.__getitem__) if host is None else host
            used[chosen] += 1
            self._requested.append((number, chosen))
        self.wake.set()
        return numbers

    def look(self) -> JobStatistics:
        """Note who has ended, and start and stop servers. LaunchError when the job cannot go on."""
        for server, process in self._processes.items():
            if server not in self._ended and (status := process.poll()) is not None:
                if self._may_live(server, status):
                    continue
                self._ended.add(server)
                self._coordinator.server_exited(server, status)
        statistics = self._coordinator.statistics()
        self._ready.update(statistics.registered)
        for server, reason in statistics.lost:
            if server not in self._mourned:
                self._mourned.add(server)
                self._lose(server, reason, statistics)
        for server in statistics.removed:
            self._let_go(server)
        self._start_requested()
        self._tell_repaired(statistics)
        return statistics

    def end(self) -> None:
        """End them all."""
        stop_all(list(self._processes.values()), SAVE_SECONDS if self._plan.checkpoints.every else STOP_SECONDS)
        self.wake.close()

    def _may_live(self, server: int, status: int) -> bool:
        """Whether only its ssh has ended, perhaps: then its lease is to run out before another is in its place."""
        if status != _SSH_FAILED or self._plans[server].command[0] != "ssh" or server not in self._ready:
            return False
        since = self._cut_off.setdefault(server, time.monotonic())
        return self._plan.replicas > 1 and time.monotonic() - since < self._plan.heartbeat_timeout

    # --- starting ---------------------------------------------------------------------------------------------

    def _start(self, server: ServerPlan) -> None:
        config = self._coordinator.server_config(
            server.server,
            bind=server.bind,
            memory_limit_mb=self._plan.memory_servers_mb,
            log_level="INFO" if self._plan.verbose else "WARNING",
            paths=self._plan.paths,
        )
        environment = {**clean_environment(), **server.environment}
        with contextlib.ExitStack() as files:
            log = None if server.log is None else files.enter_context(open_log(server.log))
            try:
                process = ServerProcess(server.server, list(server.command), config, environment, log)
            except OSError as error:
                raise LaunchError(f"server {server.server} cannot be started: {error}") from error
        self._plans[server.server] = server
        self._processes[server.server] = process
        self._note(f"server {server.server} on {server.host} started, process {process.pid}")

    def _start_requested(self) -> None:
        while self._requested:
            self._start(self._plan.new_server(*self._requested.popleft()))
        now = time.monotonic()
        for replacement in [each for each in self._due if each.due <= now]:
            self._due.remove(replacement)
            self._replace(replacement)

    def _replace(self, replacement: _Replacement) -> None:
        host = replacement.hosts[0]
        try:
            (number,) = self._coordinator.new_servers(1)
        except ConfigError:  # others have been added since
            return
        self._replacing[number] = replacement
        self._say(f"server {number} is started on {host} in the place of server {replacement.lost}")
        self._start(self._plan.new_server(number, host))

    # --- losses -----------------------------------------------------------------------------------------------

    def _lose(self, server: int, reason: str, statistics: JobStatistics) -> None:
        process, plan = self._processes[server], self._plans[server]
        if server in self._asked_to_go:
            self._say(f"server {server} on {plan.host} has gone")
            return
        if any(statistics.shards[shard].primary == server for shard in statistics.broken):
            self._give_up(server, reason)
        if process.poll() is None:
            process.kill()  # it may be stopped, or cut off
        if server in self._ready:
            self._repairing = self._plan.replicas > 1
            then = "its shards go on on others, being copied anew" if self._repairing else "it had nothing"
            self._say(f"server {server} on {plan.host} is lost ({reason}); {then}")
            if self._plan.replace:
                hosts = self._plan.server_hosts
                first = hosts.index(plan.host)
                self._plan_replacement(_Replacement(server, deque(hosts[first:] + hosts[:first]), 0.0))
        else:
            self._say(f"server {server} on {plan.host} did not start ({reason}){_hint(plan, process)}; {_log(plan)}")
            if (replacement := self._replacing.pop(server, None)) is not None:
                replacement.hosts.rotate(-1)
                self._plan_replacement(replacement)

    def _give_up(self, server: int, reason: str) -> None:
        process, plan = self._processes[server], self._plans[server]
        last = " (it had the last copy of a shard)" if self._plan.replicas > 1 else ""
        if (status := process.poll()) is not None:
            raise LaunchError(_obituary(plan, process.pid, status, last))
        raise LaunchError(f"server {server} on {plan.host} is lost ({reason}), and the job with it{last}; {_log(plan)}")

    def _plan_replacement(self, replacement: _Replacement) -> None:
        if self._replaced == MOST_REPLACEMENTS:
            self._say(f"none is started in the place of server {replacement.lost}: {self._replaced} have been")
            return
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self._replaced) if self._replaced else 0.0
        self._replaced += 1
        replacement.due = time.monotonic() + pause
        self._due.append(replacement)

    def _let_go(self, server: int) -> None:
        """A server was asked to go, and has nothing any more: end it."""
        if server not in self._asked_to_go:
            self._asked_to_go.add(server)
            self._processes[server].close_input()

    def _tell_repaired(self, statistics: JobStatistics) -> None:
        copies = self._plan.replicas
        if self._repairing and statistics.settled and all(len(place.chain) >= copies for place in statistics.shards):
            self._repairing = False
            self._say(f"all shards have {copies} copies again")


def open_log(path: str) -> IO[bytes]:
    """A log that is written anew, in a directory that is made if it is not there. LaunchError."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return FileIO(path, "wb")
    except OSError as error:
        raise LaunchError(f"log {path!r} cannot be written: {error}") from error


def _obituary(server: ServerPlan, pid: int, status: int, last: str = "") -> str:
    name = f"server {server.server} on {server.host} (process {pid})"
    ended = f"ended with status {described_status(status)}, and the job with it{last}"
    return f"{name} {ended}{_ssh_hint(server, status)}; {_log(server)}"


def _hint(server: ServerPlan, process: ServerProcess) -> str:
    return _ssh_hint(server, process.poll())


def _ssh_hint(server: ServerPlan, status: int | None) -> str:
    if status != _SSH_FAILED or server.command[0] != "ssh":
        return ""
    return f"; ssh could not run it there, does `ssh -o BatchMode=yes {server.host} true` work?"


def _log(server: ServerPlan) -> str:
    return f"its log is {server.log}" if server.log else "what it said is above (--log-dir keeps it)"
