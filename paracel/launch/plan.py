"""The plan of a job: every command, host and environment, decided before anything starts.

Pure: what was asked (`Options`) and what is true of the machine (`Site`) go in, a frozen `Plan` comes out, and
whatever is wrong with the job is said here. No file, process, socket or clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from paracel.errors import ConfigError, LaunchError
from paracel.launch import mpi, ssh
from paracel.launch.hostfile import Host, Placement, spread
from paracel.launch.network import in_url
from paracel.settings import Checkpoints, checked_replicas, checked_shards, checked_timeout

METHODS = ("local", "mpi")
ON_WORKER_LOSS = ("restart", "stop")
# Measured, before any data: a worker with numpy, ZeroMQ and an MPI needs 125 MB, and 40 MB more for each further
# thread of OpenBLAS; a server needs 95 MB.
LEAST_MEMORY_MB = 192
LEAST_MEMORY_SERVER_MB = 128
# so that OpenBLAS, which starts a thread for each core, takes a quarter of the limit at most
_MEMORY_OF_BLAS_THREAD_MB = 160
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
# twice the time between two heartbeats
LEAST_HEARTBEAT_TIMEOUT = 1

_LOCALHOST = Host("localhost")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for. None means: not said."""

    script: str
    arguments: tuple[str, ...] = ()
    servers: int = 1
    workers: int = 1
    method: str = "local"
    method_servers: str | None = None
    per_host: int | None = None
    per_host_servers: int | None = None
    memory_mb: int | None = None
    memory_servers_mb: int | None = None
    hostfile: str | None = None
    hostfile_servers: str | None = None
    config_file: str | None = None
    log_dir: str | None = None
    heartbeat_timeout: float | None = None
    replicas: int = 1
    shards: int | None = None
    replace: bool = False
    max_restarts: int = 0
    on_worker_loss: str | None = None
    checkpoint_every: int = 0
    checkpoint_dir: str = ""
    checkpoint_keep: int = 3
    restore: str = ""
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """What is true of this machine and of the hosts in the hostfiles.

    `python_path` is the PYTHONPATH under which every process finds paracel (empty: it is installed);
    `here` names the hosts that are this machine, `addresses` gives the IP address of each of the others,
    `address` is the one under which they reach this machine; `variables` names what the environment holds.
    """

    python: str
    directory: str
    config_file: str | None = None
    log_dir: str | None = None
    python_path: str = ""
    mpiexec: mpi.Mpiexec | None = None
    root: bool = False
    hosts: tuple[Host, ...] = ()
    hosts_servers: tuple[Host, ...] = ()
    here: frozenset[str] = frozenset({_LOCALHOST.name})
    addresses: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One server: `bind` is None for a socket in the job's private directory."""

    server: int
    host: str
    bind: str | None
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: str | None


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """All workers, in rank order over `placement`, started by one command; `dialect` is its mpiexec's, if any."""

    placement: tuple[Placement, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: str | None
    dialect: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole job. `endpoint` is None for sockets in a private directory; across TCP all is encrypted.

    `paths` are the directories where the servers look for the modules of the job's functions. `spares` has, for each
    host that servers may be on, what one more of them would be. With `replace`, servers are started in the places of
    lost ones; so often as `max_restarts` says, the workers are started anew when they fail.
    """

    script: str
    endpoint: str | None
    servers: tuple[ServerPlan, ...]
    spares: tuple[ServerPlan, ...]
    workers: WorkerPlan
    paths: tuple[str, ...]
    memory_servers_mb: int | None
    heartbeat_timeout: float
    replicas: int
    shards: int
    replace: bool
    max_restarts: int
    checkpoints: Checkpoints
    verbose: bool

    @property
    def worker_count(self) -> int:
        """How many workers there are, on all hosts."""
        return sum(placement.count for placement in self.workers.placement)

    @property
    def server_hosts(self) -> tuple[str, ...]:
        """The hosts that servers may be on."""
        return tuple(spare.host for spare in self.spares)

    def new_server(self, server: int, host: str) -> ServerPlan:
        """One more server, on one of `server_hosts`."""
        (spare,) = [spare for spare in self.spares if spare.host == host]
        log = None if spare.log is None else str(PurePath(spare.log).with_name(_server_log(server)))
        return replace(spare, server=server, log=log)


def make_plan(options: Options, site: Site) -> Plan:
    """The plan for `options` on `site`. ConfigError for what cannot be asked, LaunchError for what is missing here."""
    _check(options)
    local = options.method == _method_servers(options) == "local"
    endpoint = None if local else f"tcp://{in_url(site.address)}:*"
    return Plan(
        script=options.script,
        endpoint=endpoint,
        servers=_plan_servers(options, site, endpoint),
        spares=tuple(_plan_server(-1, host.name, site, endpoint) for host in _server_hosts(options, site)),
        workers=_plan_workers(options, site, endpoint),
        paths=_paths(options.script, site.directory),
        memory_servers_mb=options.memory_servers_mb,
        heartbeat_timeout=checked_timeout(options.heartbeat_timeout, options.replicas),
        replicas=options.replicas,
        shards=checked_shards(options.shards, options.servers, options.replicas),
        replace=options.replace,
        max_restarts=options.max_restarts,
        checkpoints=_checkpoints(options),
        verbose=options.verbose,
    )


def _paths(script: str, directory: str) -> tuple[str, ...]:
    beside = str(PurePath(directory, script).parent)
    return tuple(dict.fromkeys([beside, directory]))


def _check(options: Options) -> None:
    _check_method("--method", options.method)
    _check_method("--m_server", _method_servers(options))
    for name, value, least in (
        ("--snum", options.servers, 1),
        ("--wnum", options.workers, 1),
        ("--ppn", options.per_host, 1),
        ("--ppn_server", options.per_host_servers, 1),
        ("--mem_limit", options.memory_mb, LEAST_MEMORY_MB),
        ("--mem_limit_server", options.memory_servers_mb, LEAST_MEMORY_SERVER_MB),
        ("--heartbeat-timeout", options.heartbeat_timeout, LEAST_HEARTBEAT_TIMEOUT),
        ("--replicas", options.replicas, 1),
        ("--max-restarts", options.max_restarts, 0),
        ("--checkpoint-every", options.checkpoint_every, 0),
        ("--checkpoint-keep", options.checkpoint_keep, 1),
    ):
        if value is not None and not value >= least:  # nan is not
            raise ConfigError(f"{name} {value} is too small; it must be at least {least}")
    _check_losses(options)
    if options.hostfile and "mpi" not in (options.method, _method_servers(options)):
        raise ConfigError("--hostfile is for --method mpi; method local runs everything on this host")
    if options.hostfile_servers and _method_servers(options) != "mpi":
        raise ConfigError("--hostfile_server is for --m_server mpi; method local runs the servers on this host")


def _check_losses(options: Options) -> None:
    checked_replicas(options.replicas, options.servers)
    if options.replace and options.replicas == 1:
        raise ConfigError("--replace is for --replicas 2 or more: without, what a server had is lost with it")
    wanted = options.on_worker_loss
    if wanted not in (None, *ON_WORKER_LOSS):
        raise ConfigError(f"--on-worker-loss {wanted!r} is not known; there are {' and '.join(ON_WORKER_LOSS)}")
    if wanted and (wanted == "restart") != (options.max_restarts > 0):
        how = "say how often with --max-restarts" if wanted == "restart" else "restart and stop exclude each other"
        raise ConfigError(f"--on-worker-loss {wanted} with --max-restarts {options.max_restarts}: {how}")


def _checkpoints(options: Options) -> Checkpoints:
    every, folder = options.checkpoint_every, options.checkpoint_dir
    if bool(every) != bool(folder):
        raise ConfigError(f"--checkpoint-every {every} with --checkpoint-dir {folder!r}: give both, or none")
    return Checkpoints(every, folder, options.checkpoint_keep, options.restore)


def _check_method(name: str, method: str) -> None:
    if method == "mesos":
        raise ConfigError(f"{name} mesos: Apache Mesos was retired; use {name} mpi with a --hostfile")
    if method not in METHODS:
        raise ConfigError(f"{name} {method!r} is not a method; there are {' and '.join(METHODS)}")


def _method_servers(options: Options) -> str:
    return options.method_servers or options.method


def _plan_servers(options: Options, site: Site, endpoint: str | None) -> tuple[ServerPlan, ...]:
    placement = spread(options.servers, _server_hosts(options, site), options.per_host_servers, "servers")
    return tuple(_plan_server(server, host, site, endpoint) for server, host in enumerate(_each(placement)))


def _server_hosts(options: Options, site: Site) -> tuple[Host, ...]:
    return (site.hosts_servers or (_LOCALHOST,)) if _method_servers(options) == "mpi" else (_LOCALHOST,)


def _each(placement: Iterable[Placement]) -> list[str]:
    return [placed.host for placed in placement for _ in range(placed.count)]


def _plan_server(server: int, host: str, site: Site, endpoint: str | None) -> ServerPlan:
    command: tuple[str, ...] = (site.python, "-m", "paracel.server")
    environment = _python_path(site)
    if host in site.here:
        bind = endpoint
    else:
        bind = f"tcp://{in_url(site.addresses[host])}:*"
        command = ssh.command(host, site.directory, command, environment)
        environment = {}
    return ServerPlan(server, host, bind, command, environment, _log(site, _server_log(server)))


def _server_log(server: int) -> str:
    return f"server-{server}.log"


def _plan_workers(options: Options, site: Site, endpoint: str | None) -> WorkerPlan:
    hosts = (site.hosts or (_LOCALHOST,)) if options.method == "mpi" else (_LOCALHOST,)
    placement = spread(options.workers, hosts, options.per_host, "workers")
    environment = _python_path(site) | _blas_threads(options, site)
    if site.config_file is not None:
        environment["PARACEL_CONFIG"] = site.config_file
    program = ["-m", "paracel.launch.worker", *_memory(options), options.script, *options.arguments]
    if site.mpiexec is None:
        _check_alone(placement, site)
        command: tuple[str, ...] = (site.python, *program)
    else:
        ranks = _ranks(placement, site, [*environment, *_job_variables(endpoint)])
        command = mpi.command(site.mpiexec, ranks, [site.python, "-m", "mpi4py", *program])
        environment |= mpi.environment(site.mpiexec.dialect, root=site.root)
    dialect = site.mpiexec.dialect if site.mpiexec else None
    return WorkerPlan(placement, command, environment, _log(site, "workers.log"), dialect)


def _check_alone(placement: Sequence[Placement], site: Site) -> None:
    if len(placement) > 1 or placement[0].count > 1 or placement[0].host not in site.here:
        raise LaunchError(
            "more than one worker, or a worker on another host, needs an MPI, and there is no mpiexec "
            f"beside {site.python} or on PATH; {mpi.INSTALL}"
        )


def _ranks(placement: tuple[Placement, ...], site: Site, names: Sequence[str]) -> mpi.Ranks:
    if any(":" in placed.host for placed in placement):
        raise ConfigError("an IPv6 address cannot stand in mpiexec's list of hosts; give the workers' host a name")
    here = all(placed.host in site.here for placed in placement)
    if here:
        placement = (Placement(_LOCALHOST.name, sum(placed.count for placed in placement)),)
    return mpi.Ranks(placement, here, mpi.forwarded({*site.variables, *names}))


def _job_variables(endpoint: str | None) -> tuple[str, ...]:
    return ("PARACEL_COORDINATOR",) if endpoint is None else ("PARACEL_COORDINATOR", "PARACEL_KEY")


def _python_path(site: Site) -> dict[str, str]:
    return {"PYTHONPATH": site.python_path} if site.python_path else {}


def _memory(options: Options) -> tuple[str, ...]:
    return () if options.memory_mb is None else ("--memory-mb", str(options.memory_mb))


def _blas_threads(options: Options, site: Site) -> dict[str, str]:
    """Fewer threads for a worker with little memory, unless the user has said how many."""
    if options.memory_mb is None or not set(_BLAS_THREADS).isdisjoint(site.variables):
        return {}
    return {_BLAS_THREADS[0]: str(max(1, options.memory_mb // _MEMORY_OF_BLAS_THREAD_MB))}


def _log(site: Site, name: str) -> str | None:
    return None if site.log_dir is None else str(PurePath(site.log_dir, name))
