"""The coordinator: the membership joined to sockets, on a thread of its own beside the launcher or rank 0."""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Self

from paracel import wire
from paracel.checkpointing import absolute, chosen
from paracel.errors import ConfigError, LaunchError, WireError
from paracel.membership import JobStatistics, Membership
from paracel.messages import Control, Controlled, Envelope, Failure, Message, Saved, Statistics
from paracel.saves import Saves
from paracel.settings import Checkpoints, ServerConfig
from paracel.strangers import Strangers
from paracel.transport import Frames, Link, Listener, Signal, new_identity, new_key, wait_any

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
NO_CHECKPOINTS = Checkpoints()
_SOCKET_PATH_MAX = 90  # of 107 bytes that the kernel allows


class Coordinator:
    """Knows who is in the job, and tells those who ask.

    `endpoint` None makes `ipc://` sockets in a private directory, for one host; `tcp://HOST:*` binds a free port on
    an address of this host and makes the job's key. A server without a heartbeat for `heartbeat_timeout` seconds
    is lost.
    """

    def __init__(
        self,
        *,
        servers: int,
        workers: int,
        endpoint: str | None = None,
        heartbeat_timeout: float = 30.0,
        replicas: int = 1,
        shards: int | None = None,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
        resumable: bool = False,
    ) -> None:
        """Where the workers are started anew if they fail, the job is `resumable`."""
        #: Has servers started, so many on a host (None: any); their numbers. ConfigError. Called on a thread.
        self.on_add: Callable[[int, str | None], list[int]] = _add_nothing
        self._heartbeat_timeout = heartbeat_timeout
        self._membership = Membership(servers, workers, heartbeat_timeout, replicas, shards, resumable=resumable)
        self._checkpoints, self._token = checkpoints, secrets.token_hex(4)
        self._restore = chosen(checkpoints.restore) if checkpoints.restore else ""
        self._folder_of_checkpoints = absolute(checkpoints.folder) if checkpoints.every else ""
        saves = (self._membership.assignment.count, self._folder_of_checkpoints, checkpoints.keep, self._token)
        self._saves = Saves(*saves) if checkpoints.every else None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._folder = private_folder() if endpoint is None else ""
        self.key = "" if endpoint is None else new_key()
        self._listener = Listener(endpoint or f"ipc://{self._folder}/coordinator", self.key)
        self.address = self._listener.address
        self._links: dict[int, Link] = {}
        self._strangers = Strangers("the coordinator")
        self._signal, self._news = Signal(), Signal()
        self._closing = False
        self._published = 0
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="paracel-coordinator", daemon=True)

    def server_config(
        self,
        server: int,
        *,
        bind: str | None = None,
        memory_limit_mb: int | None = None,
        log_level: str = "WARNING",
        paths: Sequence[str] = (),
    ) -> str:
        """The line for a server's standard input. `bind` None is a socket in the private directory; `paths` go
        before its `sys.path`."""
        if bind is None and not self._folder:
            raise LaunchError("a server of a job over several hosts needs an address to bind")
        return ServerConfig(
            server=server,
            workers=self._membership.workers,
            coordinator=self.address,
            bind=bind or f"ipc://{self._folder}/server-{server}",
            key=self.key,
            memory_limit_mb=memory_limit_mb,
            log_level=log_level,
            paths=tuple(paths),
            heartbeat_timeout=self._heartbeat_timeout,
            checkpoint_every=self._checkpoints.every,
            checkpoint_dir=self._folder_of_checkpoints,
            checkpoint_token=self._token,
            restore=self._restore,
        ).to_json()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def wait_ready(self, timeout: float) -> None:
        """Wait until all servers have registered; LaunchError names those that did not."""
        with self._changed:
            self._changed.wait_for(lambda: self._membership.ready, timeout)
            if self._membership.lost:
                server, reason = next(iter(self._membership.lost.items()))
                raise LaunchError(f"server {server} did not start: {reason}")
            if not self._membership.ready:
                missing = ", ".join(map(str, self._membership.missing))
                raise LaunchError(f"not ready after {timeout:.0f} s: server {missing}")

    def server_exited(self, server: int, status: int) -> None:
        """Told by the launcher when a server's process has ended."""
        ended = f"it was ended by signal {-status}" if status < 0 else f"it ended with exit code {status}"
        with self._changed:
            if not self._closing:
                self._membership.server_exited(server, ended)
            self._changed.notify_all()
        self._news.set()

    def expect_server(self, server: int) -> None:
        """Let a new server register, which takes its share of the shards then."""
        with self._lock:
            self._membership.expect(server)

    def new_servers(self, count: int) -> list[int]:
        """Let so many new servers register; their numbers. ConfigError if there would be too many."""
        with self._lock:
            return self._membership.new_servers(count)

    def restart_workers(self) -> None:
        """All workers that there were are gone, and are started anew."""
        with self._lock:
            self._membership.start_anew()

    def remove_server(self, server: int) -> None:
        """Move all that a server has to the others; then it is among the statistics' `removed`. ConfigError."""
        with self._lock:
            self._membership.remove(server)
        self._news.set()

    def statistics(self) -> JobStatistics:
        """The whole job, as the servers last described it."""
        with self._lock:
            return self._membership.statistics()

    def close(self) -> None:
        """Stop answering, and remove the private directory. May be called twice. In a forked child, nothing."""
        if self._closing or os.getpid() != self._pid:
            return
        with self._lock:
            self._closing = True
        self._signal.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._saves is not None:
            self._saves.close()
        self._listener.close()
        self._signal.close()
        self._news.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._closing:
                self._turn(max(0.0, due - time.monotonic()))
                if time.monotonic() >= due:
                    self._beat()
                    due = time.monotonic() + BEAT_SECONDS
        finally:
            for link in self._links.values():
                link.close()

    def _turn(self, seconds: float) -> None:
        ready = wait_any([self._listener, self._signal, self._news, *self._links.values()], seconds)
        if self._news in ready:
            self._news.clear()
        if self._listener in ready:
            while (received := self._listener.receive()) is not None:
                self._take(*received)
        for server, link in self._links.items():
            if link in ready:
                self._hear(server, link)
        self._publish()

    def _take(self, sender: bytes, frames: Frames) -> None:
        try:
            message = wire.decode(frames).message
        except WireError as error:
            self._listener.send(sender, self._strangers.refuse(sender, str(error)))
            return
        if isinstance(message, Saved):
            if self._saves is not None:
                self._saves.take(message)
            self._listener.send(sender, frames)  # the server ends only when it knows that this is known
            return
        if isinstance(message, Control):
            self._listener.send(sender, wire.encode(Envelope(0, 0, 0, self._controlled(message))))
            return
        with self._changed:
            try:
                answers = list(self._membership.handle(sender, message, _alive))
            except Exception as error:  # whatever a message may hold, this thread goes on
                logger.exception("%s cannot be handled", type(message).__name__)
                answers = [(sender, Failure("RequestError", f"{type(error).__name__}: {error}"))]
            self._changed.notify_all()
        for receiver, answer in answers:
            self._listener.send(receiver, wire.encode(Envelope(0, 0, 0, answer)))

    def _controlled(self, message: Control) -> Message:
        try:
            match message.command, message.arguments:
                case "status", []:
                    statistics = self.statistics()
                    return Controlled({**asdict(statistics), "settled": statistics.settled})
                case "add", [int(count), None | str() as host] if count >= 1:
                    return Controlled(self.on_add(count, host))
                case "remove", [int(), *_] as servers if all(type(server) is int for server in servers):
                    with self._lock:
                        self._membership.remove_all(servers)
                    return Controlled(servers)
        except ConfigError as error:
            return Failure("ConfigError", str(error))
        return Failure("RequestError", f"a coordinator does not take {message.command!r} {message.arguments}")

    def _publish(self) -> None:
        """Tell all servers of a new view, and the clients too if it is about servers."""
        with self._lock:
            membership = self._membership
            news, membership.news = membership.news, False
            if membership.number == self._published:
                return
            self._published = membership.number
            view, clients = membership.view(), membership.clients
        frames = wire.encode(Envelope(0, 0, 0, view))
        self._connect(view.servers)
        for link in self._links.values():
            link.send(frames)
        for client in clients if news else ():
            self._listener.send(client, frames)

    def _hear(self, server: int, link: Link) -> None:
        while (frames := link.receive()) is not None:
            with contextlib.suppress(WireError):  # then it counts as silent
                message = wire.decode(frames).message
                if isinstance(message, Statistics):
                    with self._lock:
                        self._membership.heard(server, message)

    def _beat(self) -> None:
        with self._lock:
            messages = self._membership.tick(time.monotonic(), _alive)
            addresses = self._membership.addresses
        self._connect(addresses)
        for link in self._links.values():
            for message in messages:
                link.send(wire.encode(Envelope(0, 0, 0, message)))
        self._publish()

    def _connect(self, addresses: Mapping[int, str]) -> None:
        for server in set(self._links) - set(addresses):
            self._links.pop(server).close()
        for server, address in addresses.items():
            self._linked(server, address)

    def _linked(self, server: int, address: str) -> bool:
        """Whether there is a link to the server; one to which there can be none is lost."""
        if server not in self._links:
            try:
                self._links[server] = Link(address, self.key, new_identity())
            except (LaunchError, ValueError) as error:  # what no address is may not even be text
                with self._changed:
                    self._membership.server_exited(server, str(error))
                    self._changed.notify_all()
        return server in self._links


def _add_nothing(_count: int, _host: str | None) -> list[int]:
    raise ConfigError("the servers of this job are its script's own, which can start more (Cluster.add_server)")


def _alive(host: str, pid: int) -> bool:
    """Whether a process lives. Of another host nothing is known, and its MPI watches over it."""
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the number came in a message, and may be anything
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def private_folder() -> str:
    """A new directory that only this user can enter, with a path short enough for a socket."""
    folder = tempfile.mkdtemp(prefix="paracel-")
    if len(folder) <= _SOCKET_PATH_MAX:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="paracel-", dir="/tmp")
