"""The coordinator's brain: who is in the job. No sockets, no time of its own, no processes.

A view is numbered, and every change makes the next number. Servers register; clients join and get the view, once
all servers are there. A server that ended, or that stayed silent for too long, is lost; a worker that died is
taken out of the quorum. Where the shards are is in `Assignment`.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from paracel import messages as m
from paracel.assignment import Assignment
from paracel.chains import Place
from paracel.errors import ConfigError
from paracel.messages import Message
from paracel.times import Times

logger = logging.getLogger(__name__)
#: What has become of servers.
losses = logging.getLogger(f"{__name__}.losses")

#: How often a server is named that does not come to the end of its turn.
BUSY_SECONDS = 30

Alive = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """A server as the coordinator last heard of it; `clocks` maps workers to their commits."""

    server: int
    address: str
    host: str
    pid: int
    requests: int = 0
    operations: int = 0
    keys: int = 0
    parked: int = 0
    clock: int = 0
    clocks: tuple[tuple[int, int], ...] = ()
    filled: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker that has joined. One that `died` is counted as having left, but did not say goodbye.

    `times` says where its time went, once it has said goodbye.
    """

    worker: int
    host: str
    pid: int
    left: bool = False
    died: bool = False
    times: Times = field(default_factory=Times)


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """The whole job at one moment.

    `shards` has the place of each; `broken` those that were lost with all their copies. `removed` are servers that
    were asked to go and have nothing any more; `registered` all that ever were there, also those that are lost.
    """

    view: int
    servers: tuple[ServerStatistics, ...]
    lost: tuple[tuple[int, str], ...]
    workers: tuple[WorkerStatus, ...]
    shards: tuple[Place, ...] = ()
    broken: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    replicas: int = 1
    registered: tuple[int, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether every shard has all its copies, and none is on its way."""
        return not any(place.joining >= 0 or place.target for place in self.shards) and all(
            len(place.chain) >= min(self.replicas, len(self.servers) - len(self.removed)) for place in self.shards
        )


class Membership:
    """The state of one job."""

    def __init__(
        self,
        servers: int,
        workers: int,
        heartbeat_timeout: float,
        replicas: int = 1,
        shards: int | None = None,
        *,
        resumable: bool = False,
    ) -> None:
        """In a job that is `resumable`, the workers are started anew if they fail."""
        self.attempt = int(resumable)
        self.expected = servers
        self.workers = workers
        self.assignment = Assignment(shards or servers, replicas)
        #: Whether all should be told of the view, and not only those that ask.
        self.news = False
        self._timeout = heartbeat_timeout
        self._number = 0
        self._servers: dict[int, ServerStatistics] = {}
        self._lost: dict[int, str] = {}
        self._leaving: set[int] = set()
        self._joined: dict[int, WorkerStatus] = {}
        self._clients: dict[int, bytes] = {}
        self._everyone: set[bytes] = set()
        self._awaited: set[int] = set()
        self._silence: dict[int, float] = {}
        self._named_busy: dict[int, int] = {}
        self._early: list[bytes] = []
        self._ticked: float | None = None

    @property
    def number(self) -> int:
        """The number of the view."""
        return self._number

    @property
    def ready(self) -> bool:
        """Whether of every server it is known where it is, or that it is gone."""
        return len(self._servers.keys() | self._lost.keys()) >= self.expected

    @property
    def missing(self) -> list[int]:
        """The servers that have not registered."""
        return [server for server in range(self.expected) if server not in self._servers]

    @property
    def lost(self) -> dict[int, str]:
        """The servers that are gone, and why."""
        return dict(self._lost)

    @property
    def addresses(self) -> dict[int, str]:
        """The live servers."""
        return {n: known.address for n, known in self._servers.items() if n not in self._lost}

    @property
    def clients(self) -> list[bytes]:
        """All that joined and did not say goodbye."""
        return list(self._everyone)

    @property
    def removed(self) -> list[int]:
        """The servers that were asked to go, and have nothing any more."""
        return [server for server in self._leaving if server in self.addresses and not self.assignment.has(server)]

    def view(self) -> m.View:
        """The membership as it is now."""
        hosts = {worker: f"{status.host}, pid {status.pid}" for worker, status in self._joined.items()}
        shards = [place.to_wire() for place in self.assignment.places]
        return m.View(self._number, self.addresses, dict(self._lost), self.workers, hosts, shards, self.attempt)

    def statistics(self) -> JobStatistics:
        """What is known of everyone."""
        servers = tuple(known for n, known in sorted(self._servers.items()) if n not in self._lost)
        workers = tuple(status for _, status in sorted(self._joined.items()))
        assignment = self.assignment
        return JobStatistics(
            self._number, servers, tuple(sorted(self._lost.items())), workers, tuple(assignment.places),
            tuple(assignment.broken(self._lost)), tuple(self.removed), assignment.replicas, tuple(self._servers),
        )  # fmt: skip

    def handle(self, sender: bytes, message: Message, alive: Alive) -> Iterator[tuple[bytes, Message]]:
        """Take a message; yields the answers with their receivers."""
        if isinstance(message, m.Register):
            yield sender, self._register(message)
            if self.ready:
                self._assign()
                early, self._early = self._early, []
                yield from ((waiting, self.view()) for waiting in early)
        elif isinstance(message, m.Heartbeat):
            yield sender, self._note_life(message)
        elif isinstance(message, m.Join | m.GetView):
            refusal = self._join(sender, message, alive) if isinstance(message, m.Join) else None
            if refusal:
                yield sender, refusal
            elif self.ready:
                yield sender, self.view()
            else:
                self._early.append(sender)
        elif not self._note(sender, message):
            yield sender, m.Failure("RequestError", f"a coordinator does not take {type(message).__name__}")

    def _note(self, sender: bytes, message: Message) -> bool:
        """Take what has no answer; False if this is nothing for a coordinator."""
        assignment = self.assignment
        if isinstance(message, m.Goodbye):
            self._everyone.discard(sender)
            self._part(message.worker)
            self._note_times(message)
        elif isinstance(message, m.Filled):
            self._moved(assignment.filled(message, self._number + 1))
        elif isinstance(message, m.Drained):
            self._moved(assignment.drained(message, self._number + 1))
        elif isinstance(message, m.Behind):
            self._moved(assignment.behind(message, self._number + 1))
        else:
            return False
        return True

    def _note_life(self, message: m.Heartbeat) -> Message:
        server, busy = message.server, message.busy
        if server not in self._servers:
            return m.Failure("RequestError", f"there is no server {server}")
        if server in self._lost:
            return self.view()
        self._silence.pop(server, None)
        named = min(busy, self._named_busy.get(server, 0))
        if busy - named >= BUSY_SECONDS:
            known, named = self._servers[server], busy
            logger.warning(
                "server %d (%s, pid %d) has been busy for %d s with what it was sent, and answers nobody meanwhile",
                server, known.host, known.pid, busy,
            )  # fmt: skip
        self._named_busy[server] = named
        return m.Lease(message.number)

    def heard(self, server: int, statistics: m.Statistics) -> None:
        """A server's answer to the question for its statistics."""
        self._silence.pop(server, None)
        known = self._servers[server]
        self._servers[server] = ServerStatistics(
            server, known.address, known.host, known.pid,
            statistics.requests, statistics.operations, statistics.keys, statistics.parked,
            statistics.clock, tuple(sorted(statistics.clocks.items())), tuple(sorted(statistics.filled.items())),
        )  # fmt: skip

    def server_exited(self, server: int, reason: str) -> None:
        """A server's process has ended."""
        if server in self._lost:
            return
        goes = server in self._leaving and not self.assignment.has(server)
        self._lost[server] = "it was removed" if goes else reason
        self._number += 1
        self.news = True
        self.assignment.lose(server, self._number)
        if goes:
            losses.info("server %d has gone, as it was asked to", server)
        elif self.assignment.broken(self._lost):
            losses.error("server %d is gone: %s", server, reason)
        else:
            losses.warning("server %d is gone: %s; its shards go on on others, and are copied anew", server, reason)
        self._assign()

    def expect(self, server: int) -> None:
        """Let a new server register."""
        self._awaited.add(server)

    def new_servers(self, count: int) -> list[int]:
        """The numbers of servers that may register now. ConfigError if there would be more than shards."""
        gone = self._lost.keys() | self._leaving
        coming = len((self._servers.keys() | self._awaited) - gone)
        shards = self.assignment.count
        if coming + count > shards:
            raise ConfigError(
                f"{coming} servers and {count} more are too many for the job's {shards} shards, of which each has one; "
                f"begin a job that is to grow so far with --shards {coming + count}"
            )
        first = 1 + max((*range(self.expected), *self._servers, *self._lost, *self._awaited), default=-1)
        self._awaited.update(range(first, first + count))
        return list(range(first, first + count))

    def start_anew(self) -> None:
        """The workers are started anew: those that there were are gone, and others come in their places."""
        self.attempt += 1
        self._number += 1
        self._everyone -= set(self._clients.values())
        self._clients.clear()
        self._joined.clear()

    def remove_all(self, servers: list[int]) -> None:
        """Remove several; ConfigError, and nothing is removed, if not all can go."""
        staying = self.addresses.keys() - self._leaving
        for server in servers:
            if server not in staying:
                raise ConfigError(f"server {server!r} is not one of the servers {', '.join(map(str, sorted(staying)))}")
        left, replicas = len(staying - set(servers)), self.assignment.replicas
        if left < replicas:
            raise ConfigError(f"{left} of {len(staying)} servers would be left, and {replicas} are needed at least")
        for server in dict.fromkeys(servers):
            self.remove(server)

    def remove(self, server: int) -> None:
        """Move all that a server has to the others; then it is among `removed`. ConfigError if it cannot go."""
        staying = self.addresses.keys() - self._leaving - {server}
        if server not in self.addresses or server in self._leaving:
            known = ", ".join(map(str, sorted(self.addresses.keys() - self._leaving)))
            raise ConfigError(f"server {server} is not one of the servers {known}")
        if len(staying) < self.assignment.replicas:
            raise ConfigError(f"{len(staying)} servers would be left for {self.assignment.replicas} replicas")
        self._leaving.add(server)
        self._assign()

    def _assign(self) -> None:
        """Plan anew where the shards should be, once all servers are there, and begin with what is to be done."""
        if self.ready:
            self._number += 1
            self.news = True
            staying = set(self.addresses) - self._leaving
            if len(staying) < self.assignment.replicas:  # others were lost since: nobody can go now
                staying = set(self.addresses)
            self.assignment.plan(staying, self._lost, self._number)

    def _moved(self, changed: bool) -> None:
        if changed:
            self._number += 1
            self.news = True

    def tick(self, now: float, alive: Alive) -> list[Message]:
        """To be called about twice a second: what to send to every server.

        Silence counts only while the coordinator itself was awake, so that a job that was stopped as a whole and
        goes on is not torn down.
        """
        step = min(now - self._ticked, 1.0) if self._ticked is not None else 0.0
        self._ticked = now
        for server in self.addresses:
            # it begins with the first tick without a sign of life: a lease that was given since is over before it ends
            self._silence[server] = self._silence[server] + step if server in self._silence else 0.0
            if self._silence[server] > self._timeout:
                self.server_exited(server, f"no heartbeat for {self._timeout:.0f} s")
        # the view again: when it was new, it may have been lost with a connection
        return [self.view(), m.GetStatistics(), *self._bury(alive)]

    def _register(self, message: m.Register) -> Message:
        known = self._servers.get(message.server)
        if not 0 <= message.server < self.expected and message.server not in self._awaited:
            return m.Failure("LaunchError", f"server {message.server} is not one of {self.expected}")
        if known and known.pid != message.pid:
            return m.Failure("LaunchError", f"server {message.server} is registered already, pid {known.pid}")
        self._servers[message.server] = ServerStatistics(message.server, message.address, message.host, message.pid)
        self._number += 1
        return self.view()

    def _join(self, sender: bytes, message: m.Join, alive: Alive) -> m.Failure | None:
        if message.worker < 0:
            self._everyone.add(sender)
            return None
        if message.worker >= self.workers:
            return m.Failure(
                "ConfigError",
                f"worker {message.worker} is not one of the job's {self.workers} workers; whoever starts the servers "
                f"says how many there are: connect(servers=..., workers={message.worker + 1}), or prun -w",
            )
        known = self._joined.get(message.worker)
        same = self._clients.get(message.worker) == sender
        if known and not known.left and not same and alive(known.host, known.pid):
            return _taken(known, message)
        self._clients[message.worker] = sender
        self._everyone.add(sender)
        self._joined[message.worker] = WorkerStatus(message.worker, message.host, message.pid)
        self._number += 1
        return None

    def _part(self, worker: int, *, died: bool = False) -> None:
        known = self._joined.get(worker)
        if known:
            self._joined[worker] = replace(known, left=True, died=died)

    def _note_times(self, message: m.Goodbye) -> None:
        known = self._joined.get(message.worker)
        if known and message.seconds:
            times = Times(message.seconds, message.communication, message.waiting)
            self._joined[message.worker] = replace(known, times=times)

    def _bury(self, alive: Alive) -> list[Message]:
        """Take workers out of the quorum that died, or ended without leaving it.

        They are taken out with every heartbeat: a `Leave` may be lost, or overtaken by what the worker had sent.
        """
        for status in [s for s in self._joined.values() if not s.left and not alive(s.host, s.pid)]:
            then = "" if self.attempt else "; nobody waits for it"
            logger.warning("worker %d (%s, pid %d) died%s", status.worker, status.host, status.pid, then)
            self._part(status.worker, died=True)
        gone = [status for status in self._joined.values() if status.left]
        # those that are started anew begin where the dead were: until then, nothing goes on without them
        return [m.Leave(status.worker, self._number) for status in gone if not (status.died and self.attempt)]


def _taken(known: WorkerStatus, message: m.Join) -> m.Failure:
    who = f"{known.host}, pid {known.pid}"
    if (known.host, known.pid) == (message.host, message.pid):
        text = f"worker {known.worker} is another client of this process ({who}); close that one first"
    else:
        text = f"worker {known.worker} is {who}, already"
    return m.Failure("ConfigError", text)
