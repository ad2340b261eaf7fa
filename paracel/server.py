"""The server process: a shard joined to a socket. `python -m paracel.server` reads its settings from standard input.

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

from paracel import wire
from paracel.errors import CarryError, ConfigError, LaunchError, WireError
from paracel.functions import Functions, Process
from paracel.messages import Envelope, Failure, Heartbeat, Register, View
from paracel.settings import ServerConfig
from paracel.shard import Shard
from paracel.strangers import Strangers
from paracel.transport import Frames, Link, Listener

logger = logging.getLogger(__name__)

#: How many messages a server takes from its socket before it answers them.
TURN = 256
REGISTER_SECONDS = 30.0
HEARTBEAT_SECONDS = 0.5


class Server:
    """Takes what waits in the socket, lets the shard decide, and answers once for each turn."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._listener = Listener(config.bind, config.key)
        self.shard = Shard(config.server, config.workers, Functions())
        self._strangers = Strangers(f"server {config.server}")
        self._turn_began: float | None = None
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
        """Serve for as long as the process lives."""
        self._heart.start()
        while True:
            self.turn()

    def turn(self) -> None:
        """Handle what is in the socket, or else the next message to come; then send all the replies."""
        received = self._listener.receive_all(TURN) or self._listener.wait_received()
        self._turn_began = time.monotonic()
        for sender, frames in received:
            self._take(sender, frames)
        for receiver, reply in self.shard.flush():
            self._listener.send(receiver, self._encode(reply))
        self._turn_began = None

    def close(self) -> None:
        """Close the sockets."""
        self._closing.set()
        if self._heart.is_alive():
            self._heart.join()
        self._listener.close(linger=1.0)

    def _beat(self) -> None:
        """On a thread and a socket of its own: tell the coordinator that the process lives, however long a turn is."""
        with Link(self._config.coordinator, self._config.key) as link:
            while not self._closing.wait(HEARTBEAT_SECONDS):
                began = self._turn_began
                busy = 0 if began is None else int(time.monotonic() - began)
                with contextlib.suppress(MemoryError):  # a limit that the turn has reached; there is a next time
                    link.send(wire.encode(Envelope(0, 0, 0, Heartbeat(self._config.server, busy))))

    def _take(self, sender: bytes, frames: Frames) -> None:
        try:
            try:
                envelope = wire.decode(frames)
            except MemoryError:
                # the request has its turn and is answered, or its client would send it again and again
                envelope = wire.refused(frames, self._no_room("request"))
        except WireError as error:
            self.shard.malformed += 1
            self._listener.send(sender, self._strangers.refuse(sender, str(error)))
        else:
            self.shard.handle(sender, envelope)

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
        return wire.encode(Envelope(reply.request, reply.confirmed, reply.view, refusal))


def _end_with_standard_input(folder: str) -> None:
    """Block until standard input ends, then end the process at once.

    A launcher that lives says so before, by a word. Of one that died the job's private folder goes here.
    """
    if not os.read(0, 4096) and folder:
        shutil.rmtree(folder, ignore_errors=True)
    while os.read(0, 4096):
        pass
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
    lifeline = (_private_folder(config),)
    threading.Thread(target=_end_with_standard_input, args=lifeline, name="standard-input", daemon=True).start()
    server = Server(config)
    try:
        server.register()
        logger.info("ready at %s after %.2f s", server.address, time.monotonic() - started)
        server.run()
    finally:
        server.close()


if __name__ == "__main__":
    main()
