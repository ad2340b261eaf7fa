"""Servers that a script or a notebook starts for itself, and the public `connect`."""

import atexit
import logging
import os
import sys
import threading
import time
from typing import Any, Self

from paracel.checks import check_count
from paracel.client import Client
from paracel.coordinator import Coordinator
from paracel.errors import ConfigError, LaunchError, WaitTimeout
from paracel.functions import Process
from paracel.launch.process import ServerProcess, server_command, stop_all
from paracel.membership import JobStatistics
from paracel.settings import Checkpoints, checked_replicas, checked_shards, checked_timeout

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
REMOVE_SECONDS = 600.0
STOP_SECONDS = 3.0
#: How long servers may take to finish the files of a checkpoint when the job ends.
SAVE_SECONDS = 60.0
_POLL_SECONDS = 0.02
_REPORT_SECONDS = 30.0


class Cluster:
    """A coordinator on a thread and servers as child processes of this one.

    `endpoint` None is for one host, `tcp://HOST:*` for several (see Coordinator).
    """

    def __init__(
        self,
        servers: int = 1,
        workers: int = 1,
        *,
        endpoint: str | None = None,
        replicas: int = 1,
        shards: int | None = None,
        heartbeat_timeout: float | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        check_not_on_server("a Cluster was made")
        check_count("servers", servers, 1)
        check_count("workers", workers, 1)
        self._coordinator = Coordinator(
            servers=servers,
            workers=workers,
            endpoint=endpoint,
            heartbeat_timeout=checked_timeout(heartbeat_timeout, replicas),
            replicas=checked_replicas(replicas, servers),
            shards=checked_shards(shards, servers, replicas),
            checkpoints=checkpoints or Checkpoints(),
        )
        self._saves = checkpoints is not None and checkpoints.every > 0
        self._processes: dict[int, ServerProcess] = {}
        self._pid = os.getpid()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="paracel-servers", daemon=True)
        self._bind = None if endpoint is None else endpoint.rpartition(":")[0] + ":*"
        atexit.register(self.close)
        try:
            self._coordinator.start()
            for server in range(servers):
                self._start(server)
            self._watcher.start()
            self._coordinator.wait_ready(START_SECONDS)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """What others pass to `paracel.connect`."""
        return self._coordinator.address

    @property
    def key(self) -> str:
        """The job's secret, empty on one host."""
        return self._coordinator.key

    @property
    def pids(self) -> list[int]:
        """The process ids of the servers."""
        return [process.pid for _, process in sorted(self._processes.items())]

    def _start(self, server: int) -> None:
        config = self._coordinator.server_config(server, bind=self._bind, paths=script_paths())
        self._processes[server] = ServerProcess(server, server_command(), config)

    def add_server(self, timeout: float = START_SECONDS) -> int:
        """Start one more server, which then takes its share of the shards while the job goes on; its number.

        ConfigError if there are as many servers as shards; LaunchError if it ends, or takes longer than `timeout`.
        """
        known = self.statistics()
        if len(known.servers) >= len(known.shards):
            count = f"{len(known.servers)} servers have the job's {len(known.shards)} shards"
            raise ConfigError(f"{count}, so that one more would have none; say shards= where the job is started")
        server = max(self._processes) + 1
        self._coordinator.expect_server(server)
        self._start(server)
        deadline = time.monotonic() + timeout
        while server not in {each.server for each in self.statistics().servers}:
            if (status := self._processes[server].poll()) is not None or time.monotonic() > deadline:
                self._processes[server].stop()
                reason = "it took too long" if status is None else f"it ended with exit code {status}"
                raise LaunchError(f"server {server} did not start: {reason}")
            self._closing.wait(_POLL_SECONDS)
        return server

    def remove_server(self, server: int, timeout: float = REMOVE_SECONDS) -> None:
        """Move all that a server has to the others, while the job goes on, and end it.

        One that is lost meanwhile is gone. ConfigError if there is no such server, or too few would be left;
        WaitTimeout if it takes too long.
        """
        self._coordinator.remove_server(server)
        deadline = time.monotonic() + timeout
        while (known := self.statistics()) and server not in (*known.removed, *dict(known.lost)):
            if time.monotonic() > deadline:
                raise WaitTimeout(f"server {server} still has shards after {timeout:g} s")
            self._closing.wait(_POLL_SECONDS)
        self._processes[server].stop()

    def wait_settled(self, timeout: float = REMOVE_SECONDS) -> None:
        """Wait until every shard has all its copies; WaitTimeout says which has not."""
        deadline = time.monotonic() + timeout
        while not (statistics := self.statistics()).settled:
            if time.monotonic() > deadline:
                raise WaitTimeout(f"not all copies are there after {timeout:g} s: {statistics.shards}")
            self._closing.wait(_POLL_SECONDS)

    def statistics(self) -> JobStatistics:
        """The whole job, as of the last heartbeats."""
        return self._coordinator.statistics()

    def wait_departed(self) -> None:
        """Wait until every worker that joined has left, or died; now and then, log for whom."""
        reported = time.monotonic()
        while here := [worker for worker in self.statistics().workers if not worker.left]:
            if time.monotonic() - reported > _REPORT_SECONDS:
                reported = time.monotonic()
                names = ", ".join(f"worker {known.worker} ({known.host}, pid {known.pid})" for known in here)
                logger.warning("the servers stay until these have left: %s", names)
            self._closing.wait(_POLL_SECONDS)

    def close(self) -> None:
        """End the servers. May be called twice. A forked child cannot: they are its parent's."""
        if os.getpid() != self._pid:
            return
        atexit.unregister(self.close)
        self._closing.set()
        stop_all(list(self._processes.values()), SAVE_SECONDS if self._saves else STOP_SECONDS)
        if self._watcher.is_alive():
            self._watcher.join()
        self._coordinator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _watch(self) -> None:
        """Tell the coordinator of servers that end by themselves."""
        ended: set[int] = set()
        while not self._closing.wait(_POLL_SECONDS):
            for server, process in list(self._processes.items()):
                if server not in ended and (status := process.poll()) is not None:
                    ended.add(server)
                    self._coordinator.server_exited(server, status)


def check_not_on_server(what: str) -> None:
    """Raise ConfigError in a server: it imports the scripts of functions, and must not start jobs of its own."""
    if Process.is_server:
        raise ConfigError(
            f"{what} while a server imported this file; put the main part of the script under "
            "if __name__ == '__main__':"
        )


def script_paths() -> list[str]:
    """Where servers look for modules that the job's functions are in: beside the script, and here."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    beside = [os.path.dirname(os.path.abspath(main))] if main else []
    return list(dict.fromkeys([*beside, os.getcwd()]))


def connect(
    address: str | None = None,
    *,
    servers: int | None = None,
    worker: int | None = None,
    workers: int = 1,
    staleness: float | None = None,
    key: str | None = None,
    timeout: float | None = None,
    replicas: int = 1,
    shards: int | None = None,
    heartbeat_timeout: float | None = None,
) -> Client:
    """Connect to a parameter server.

    With `servers=n` (or outside any job) it starts n servers as child processes, which end when the client is
    closed; the client is then worker 0 of `workers`. Inside a job of `prun` it joins the job's servers. With an
    `address` (`Client.address` of another client) it joins that job; `key` is the job's secret, if it has one.
    `worker`, `staleness` and `timeout` are those of `Client`; the others are for servers that it starts. With
    `replicas=k` nothing that was acknowledged is lost with k - 1 of them. `shards` is into how many parts all keys are
    divided, which is how many servers there may come to be (None: as many as servers, or four times as many with
    replicas). A server that gives no sign of life for `heartbeat_timeout` seconds is lost (None: 3 with replicas, else
    30).
    """
    check_not_on_server("connect() was called")
    options: dict[str, Any] = {"staleness": staleness, "timeout": timeout}
    if address is None and servers is None:
        address = os.environ.get("PARACEL_COORDINATOR")
        key = os.environ.get("PARACEL_KEY") if key is None else key
    if address is not None:
        if servers is not None:
            raise ConfigError(f"connect({address!r}, servers={servers}): give an address, or servers to start")
        return Client(address, key=key or "", worker=worker, **options)
    cluster = Cluster(
        1 if servers is None else servers,
        workers,
        replicas=replicas,
        shards=shards,
        heartbeat_timeout=heartbeat_timeout,
    )
    try:
        return Client(cluster.address, key=cluster.key, worker=worker or 0, on_close=cluster.close, **options)
    except BaseException:
        cluster.close()
        raise
