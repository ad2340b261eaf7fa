"""The server process: a node joined to sockets. `python -m paracel.server` reads its settings from standard input.

One line of JSON comes first; after it, standard input stays open for as long as the launcher lives. When it ends,
the server ends at once: so no server outlives its job, however the job dies.
"""

import contextlib
import logging
import os
import resource
import shutil
import socket
import sys
import threading
import time
from itertools import count

from paracel import wire
from paracel.cuts import Cuts
from paracel.errors import CarryError, CheckpointError, ConfigError, LaunchError, ServerLost, WireError
from paracel.functions import Functions, Process
from paracel.messages import COORDINATOR, Envelope, Failure, Heartbeat, Lease, Register, Saved, View
from paracel.node import Node
from paracel.saving import Saver
from paracel.settings import ServerConfig
from paracel.strangers import Strangers
from paracel.transport import Frames, Link, Listener, new_identity

logger = logging.getLogger(__name__)

#: How many messages a server takes from its socket before it answers them.
TURN = 256
REGISTER_SECONDS = 30.0
HEARTBEAT_SECONDS = 0.5
TICK_SECONDS = 0.5
#: A server that has had no connection to the coordinator for so long ends: its launcher cannot end it.
ORPHAN_SECONDS = 60.0
#: A lease is this much shorter than the time after which the coordinator gives a silent server up.
LEASE_SHARE = 0.7


class Server:
    """Takes what waits in the socket, lets the node decide, and answers once for each turn.

    All that is for it comes through its one listener; what it has to tell other servers goes through links to theirs.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._listener = Listener(config.bind, config.key, patience=TICK_SECONDS)
        patience = config.heartbeat_timeout / TICK_SECONDS
        fill_bytes = int(config.repair_mb_per_second * 1e6 * TICK_SECONDS)
        self.node = Node(config.server, config.workers, Functions(), patience, fill_bytes)
        cuts = (config.checkpoint_every, config.checkpoint_dir, config.checkpoint_token)
        self.node.save_at(lambda: Cuts(*cuts))
        self.node.restore_from(config.restore)
        self._saver = Saver(self._tell_saved)
        self._strangers = Strangers(f"server {config.server}")
        self._links: dict[int, Link] = {}
        self._ticked = time.monotonic()
        self._turn_began: float | None = None
        self._leased_until = 0.0
        self._closing = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return self._listener.address

    def register(self) -> None:
        """Tell the coordinator that this server is ready, and wait until it knows."""
        me = Register(self._config.server, self.address, socket.gethostname(), os.getpid())
        with Link(self._config.coordinator, self._config.key) as link:
            link.send(wire.encode(Envelope(0, 0, 0, me)))
            if not link.wait(REGISTER_SECONDS):
                where = self._config.coordinator
                raise LaunchError(f"no answer from the coordinator at {where} in {REGISTER_SECONDS:.0f} s")
            answer = wire.decode(link.receive() or [b""]).message
            if isinstance(answer, Failure):
                raise LaunchError(answer.text)
            if not isinstance(answer, View):
                raise LaunchError(f"the coordinator answered {type(answer).__name__}")

    def run(self) -> None:
        """Serve for as long as the process lives, or until this server is given up: then ServerLost."""
        self._heart.start()
        while True:
            self.turn()

    def turn(self) -> None:
        """Handle what is in the socket, or else the next message to come; then send all the replies."""
        received = self._listener.receive_all(TURN) or self._listener.wait_received()
        self._turn_began = now = time.monotonic()
        for sender, frames in received:
            self._take(sender, frames)
        if now - self._ticked >= TICK_SECONDS:
            self._ticked = now
            self.node.tick()
        self._save()
        for receiver, reply in self.node.flush(leased=time.monotonic() < self._leased_until):
            self._send(receiver, reply)
        self._turn_began = None

    def close(self) -> None:
        """Close the sockets."""
        self._closing.set()
        if self._heart.is_alive():
            self._heart.join()
        for link in self._links.values():
            link.close()
        self._listener.close(linger=1.0)

    def _save(self) -> None:
        """Begin to write what is to be saved; a shard of which the last file is not finished waits."""
        while begun := [each for each in self.node.take_saves() if self._saver.start(*each)]:
            for shard, save in begun:
                shard.begun(save)

    def finish_saving(self) -> None:
        """Wait until all that is being written is, and told. On any thread."""
        self._saver.finish()

    def _tell_saved(self, saved: Saved, cut: bool) -> None:
        """On a thread: tell the coordinator of what it completes, and the listener, where all for this server comes.

        The coordinator answers, so that this server does not end with what it has to say.
        """
        frames = wire.encode(Envelope(0, 0, 0, saved))
        if cut:
            with Link(self._config.coordinator, self._config.key) as link:
                link.send(frames)
                link.wait(REGISTER_SECONDS)
        with Link(self.address, self._config.key) as link:
            link.send(frames)
            link.close(linger=1.0)

    def _send(self, receiver: bytes | int, envelope: Envelope) -> None:
        if isinstance(receiver, bytes):
            self._listener.send(receiver, self._encode(envelope))
        elif (link := self._link_to(receiver)) is not None:
            link.send(wire.encode(envelope))

    def _link_to(self, server: int) -> Link | None:
        """The link to another server, or to the coordinator; None if there is no such server."""
        addresses = {} if self.node.view is None else self.node.view.servers
        for gone in self._links.keys() - addresses.keys() - {COORDINATOR}:
            self._links.pop(gone).close()
        address = self._config.coordinator if server == COORDINATOR else addresses.get(server)
        if server not in self._links and address is not None:
            self._links[server] = Link(address, self._config.key, new_identity())
        return self._links.get(server)

    def _beat(self) -> None:
        """On a thread and a socket of its own: tell the coordinator that the process lives, however long a turn is.

        Each answer is a lease: for so long after the heartbeat was sent, the coordinator will not give this server up.
        """
        beats: dict[int, float] = {}
        pause = min(HEARTBEAT_SECONDS, self._config.heartbeat_timeout / 6)
        with Link(self._config.coordinator, self._config.key, watched=True) as link:
            apart = 0
            for number in count():
                began, beats[number] = self._turn_began, time.monotonic()
                busy = 0 if began is None else int(time.monotonic() - began)
                with contextlib.suppress(MemoryError):  # a limit that the turn has reached; there is a next time
                    link.send(wire.encode(Envelope(0, 0, 0, Heartbeat(self._config.server, busy, number))))
                    link.wait(pause)
                    self._extend_lease(link, beats)
                if self._closing.wait(pause):
                    return
                apart = 0 if link.connected else apart + 1
                if apart * pause > ORPHAN_SECONDS:
                    logger.error("no connection to the coordinator for %.0f s: the job is over", ORPHAN_SECONDS)
                    os._exit(1)

    def _extend_lease(self, link: Link, beats: dict[int, float]) -> None:
        while (frames := link.receive()) is not None:
            with contextlib.suppress(WireError):
                answer = wire.decode(frames).message
                if isinstance(answer, Lease) and answer.number in beats:
                    self._leased_until = beats[answer.number] + LEASE_SHARE * self._config.heartbeat_timeout
                    for older in [number for number in beats if number <= answer.number]:
                        del beats[older]
                elif isinstance(answer, View) and self._config.server in answer.lost:
                    # nobody else tells it: it is in no view any more
                    logger.error("server %d was given up: %s", self._config.server, answer.lost[self._config.server])
                    os._exit(1)

    def _take(self, sender: bytes, frames: Frames) -> None:
        try:
            try:
                envelope = wire.decode(frames)
            except MemoryError:
                # the request has its turn and is answered, or its client would send it again and again
                envelope = wire.refused(frames, self._no_room("request"))
            self.node.handle(sender, envelope)
        except WireError as error:
            self.node.malformed += 1
            self._listener.send(sender, self._strangers.refuse(sender, str(error)))

    def _no_room(self, what: str) -> str:
        limit = self._config.memory_limit_mb
        limited = f", which is limited to {limit} MB" if limit else ""
        return f"there is no room for this {what} in the memory of server {self._config.server}{limited}"

    def _encode(self, reply: Envelope) -> Frames:
        try:
            return wire.encode(reply)
        except CarryError as error:
            refusal = Failure("CarryError", str(error))
        except MemoryError:
            refusal = Failure("RequestError", self._no_room("reply"))
        return wire.encode(reply._replace(message=refusal))


def _end_with_standard_input(folder: str, server: Server) -> None:
    """Block until standard input ends, then end the process at once.

    A launcher that lives says so before, by a word: then files of checkpoints are finished. Of one that died the job's
    private folder goes here.
    """
    told = os.read(0, 4096)
    if not told and folder:
        shutil.rmtree(folder, ignore_errors=True)
    while os.read(0, 4096):
        pass
    if told:
        server.finish_saving()
    os._exit(0)


def _private_folder(config: ServerConfig) -> str:
    """The folder of the sockets of a job on one host."""
    kind, _, path = config.coordinator.partition("://")
    return os.path.dirname(path) if kind == "ipc" and config.bind.startswith("ipc://") else ""


def _read_config() -> ServerConfig:
    """Read one line without buffering beyond it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise ConfigError("standard input ended before a server's settings came")
        line += byte
    return ServerConfig.from_json(line.decode())


def main() -> None:
    """The process: settings, limits, then serve."""
    Process.is_server = True
    config = _read_config()
    started = time.monotonic()
    logging.basicConfig(level=config.log_level, format=f"paracel server {config.server}: %(levelname)s: %(message)s")
    sys.path[:0] = [path for path in config.paths if path not in sys.path]
    if config.memory_limit_mb:
        limit = config.memory_limit_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    server = Server(config)
    lifeline = (_private_folder(config), server)
    threading.Thread(target=_end_with_standard_input, args=lifeline, name="standard-input", daemon=True).start()
    try:
        server.register()
        logger.info("ready at %s after %.2f s", server.address, time.monotonic() - started)
        server.run()
    except (ServerLost, CheckpointError) as error:
        logger.error("%s", error)
        sys.exit(1)
    finally:
        server.close()


if __name__ == "__main__":
    main()
