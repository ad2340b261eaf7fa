"""The job that this process is a worker of: joined once, shared by all that runs in the process.

Under `prun` the servers are there. Otherwise, alone or under `mpiexec`, rank 0 starts servers for the ranks, and
ends them when all ranks have left.
"""

import atexit
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from paracel.channel import error_of
from paracel.client import Client
from paracel.comm import Comm, aborting, install_abort_hook, world
from paracel.errors import ConfigError, LaunchError, ParacelError, UpdateError
from paracel.launch.embedded import Cluster, check_not_on_server
from paracel.launch.network import address_towards, in_url
from paracel.messages import Failure

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """The ranks, this rank's client, and on rank 0 the servers that it started; whose `solve()` runs."""

    comm: Comm
    client: Client
    cluster: Cluster | None = None
    solving: object = None
    begun: int = 0
    failed: bool = False
    pid: int = field(default_factory=os.getpid)

    def begin_level(self) -> None:
        """Enter the quorum level with all the others: they do so at the same moment, and nobody commits before.

        Workers that were started anew are in it, each where it was; to leave it would let others go on without them.
        """
        if self.client.restarts and not self.begun:
            self.client.wait_acknowledged()
        else:
            self.client.leave()
        self.comm.barrier()
        self.client.enter(self.begun)
        self.begun += 1

    def on_first(self, act: Callable[[], None]) -> None:
        """Let rank 0 do something for all; its error is raised in all."""
        failed: list[str] | None = None
        if self.comm.rank == 0:
            try:
                act()
            except ParacelError as error:
                failed = [type(error).__name__, str(error)]
        failed = self.comm.bcast_json(failed)
        if failed is not None:
            raise error_of(Failure(*failed))

    def close(self) -> None:
        """Leave the job; on rank 0, wait until all have left and end the servers. One that failed gives up.

        An update that failed and that nobody looked at ends the job with status 1, as an exception does. In a
        forked child, nothing: the job is its parent's.
        """
        if os.getpid() != self.pid:
            return
        if self.failed or aborting():
            self.client.abandon()
            return
        try:
            self.client.close()
        except UpdateError as error:
            logger.error("an update had failed when the program ended: %s", error)
            if self.cluster is not None:
                self.cluster.close()
            self.comm.abort(1)
        except ParacelError as error:  # of a lost server the program has heard, if it needed it
            logger.warning("at the end of the program: %s", error)
        if self.cluster is not None:
            self.cluster.wait_departed()
            self.cluster.close()


_job: Job | None = None


def note_failure() -> None:
    """The program ends by an error: the job of this process, if there is one, is not left as after a good end."""
    if _job is not None:
        _job.failed = True


def join(servers: int | None = None) -> Job:
    """This process's job; joined, or started with `servers` servers (None: one), at the first call.

    ConfigError when a later call wants another number. Under `prun` its number counts, and this one does not.
    """
    check_not_on_server("a paralg was made")
    global _job  # noqa: PLW0603 - a process is a worker of one job
    if _job is None or _job.client.closed:
        _job = _join(1 if servers is None else servers)
        atexit.register(_job.close)
    elif servers not in (None, _job.client.server_size) and "PARACEL_COORDINATOR" not in os.environ:
        started = _job.client.server_size
        raise ConfigError(f"servers={servers}: there are {started} already; say it where the first paralg is made")
    return _job


def _join(servers: int) -> Job:
    comm = world()
    install_abort_hook(comm)
    address = os.environ.get("PARACEL_COORDINATOR")
    if address:
        key = os.environ.get("PARACEL_KEY", "")
        return Job(comm, Client(address, key=key, worker=comm.rank, stopwatch=comm.stopwatch))
    cluster, address, key = _start(comm, servers)
    try:
        return Job(comm, Client(address, key=key, worker=comm.rank, stopwatch=comm.stopwatch), cluster)
    except BaseException:
        if cluster is not None:
            cluster.close()
        raise


def _start(comm: Comm, servers: int) -> tuple[Cluster | None, str, str]:
    """Start servers on rank 0; every rank learns their address, or the error."""
    hosts = comm.allgather_json(socket.gethostname())
    if comm.rank:
        told = comm.bcast_json(None)
        if "error" in told:
            raise LaunchError(f"rank 0 could not start the servers: {told['error']}")
        return None, told["address"], told["key"]
    try:
        cluster = _cluster(servers, comm.size, sorted(set(hosts) - {hosts[0]}))
    except BaseException as error:
        comm.bcast_json({"error": str(error)})
        raise
    comm.bcast_json({"address": cluster.address, "key": cluster.key})
    return cluster, cluster.address, cluster.key


def _cluster(servers: int, workers: int, other_hosts: list[str]) -> Cluster:
    if not other_hosts:
        return Cluster(servers, workers)
    mine = address_towards(other_hosts[0])
    return Cluster(servers, workers, endpoint=f"tcp://{in_url(mine)}:*")
