"""The floor of everything that goes through a socket: two processes, pyzmq, and nothing else.

The same pair of sockets that paracel uses (DEALER to ROUTER over ipc, without high-water marks, with heartbeats)
moves the same bytes. `python -m benchmarks.bare ENDPOINT MODE` is the far process: `echo` sends small messages
back; `transfer` keeps, gives or sends back large frames without copying them.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import zmq

_END = b"end"


def _socket(kind: int) -> zmq.Socket[bytes]:
    made: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    options = {
        zmq.SNDHWM: 0,
        zmq.RCVHWM: 0,
        zmq.LINGER: 0,
        zmq.HEARTBEAT_IVL: 2000,
        zmq.HEARTBEAT_TIMEOUT: 10000,
    }
    for option, value in options.items():
        made.setsockopt(option, value)
    return made


class Bare:
    """This process's end; the far process lives as long as this object is open."""

    def __init__(self, mode: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="paracel-bench-")
        endpoint = f"ipc://{self._folder.name}/bare"
        command = [sys.executable, "-m", "benchmarks.bare", endpoint, mode]
        self._process = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[1])
        self._socket = _socket(zmq.DEALER)
        self._socket.connect(endpoint)
        self.echo(b"ready")

    def echo(self, message: bytes) -> bytes:
        """A small message there and back."""
        self._socket.send(message)
        return self._socket.recv()

    def keep(self, data: Any) -> None:
        """A large frame there, a small answer back."""
        self._socket.send_multipart([b"keep", data], copy=False)
        self._socket.recv()

    def give(self) -> Any:
        """A small message there, the large frame that was kept back."""
        self._socket.send(b"give")
        return self._socket.recv(copy=False)

    def return_(self, data: Any) -> Any:
        """A large frame there and back."""
        self._socket.send_multipart([b"back", data], copy=False)
        return self._socket.recv(copy=False)

    def close(self) -> None:
        """End the far process."""
        self._socket.send(_END)
        self._process.wait(10)
        self._socket.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _echo(router: zmq.Socket[bytes]) -> None:
    while True:
        message = router.recv_multipart()
        if message[1] == _END:
            return
        router.send_multipart(message)


def _transfer(router: zmq.Socket[bytes]) -> None:
    kept: Any = b""
    while True:
        sender, command = router.recv(), router.recv()
        if command == _END:
            return
        if command == b"keep":
            kept = router.recv(copy=False)
            router.send_multipart([sender, b"kept"])
        elif command == b"give":
            router.send_multipart([sender, kept], copy=False)
        elif command == b"back":
            router.send_multipart([sender, router.recv(copy=False)], copy=False)
        else:
            router.send_multipart([sender, command])


_MODES: dict[str, Callable[[zmq.Socket[bytes]], None]] = {"echo": _echo, "transfer": _transfer}


def main() -> None:
    """The far process."""
    endpoint, mode = sys.argv[1:]
    router = _socket(zmq.ROUTER)
    router.bind(endpoint)
    _MODES[mode](router)
    router.close()
    zmq.Context.instance().term()


if __name__ == "__main__":
    main()
