"""Sockets: the only module that knows zmq. It moves frames and knows nothing of what they say.

A server listens on one ROUTER; a client has one DEALER for each server. There are no high-water marks, because a
ROUTER drops messages at its mark without a word: what is in flight is bounded above, in bytes, by the inbox and
the session. A frame larger than WHOLE_BYTES travels ahead of its message in pieces, which the receiver puts
together while the next ones are still being sent; that is several times faster than one large frame.

Across hosts all members of a job share one CURVE key pair. CURVE never sends the public key of a server, so that
a peer without the job's key cannot even say hello.
"""

import contextlib
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Self

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from paracel.errors import LaunchError
from paracel.values import MESSAGE_BYTES

#: Frames up to this size travel whole: as long as malloc can use the receiver's memory again, pieces only cost.
WHOLE_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
SPIN_SECONDS = 0.0003
_SKIP_MOST = 64
_PIECE = struct.Struct("<BIQQ")  # marker, number of the frame, its size, offset of this piece
_MARKER = 0xC1  # the one byte that no msgpack message begins with
_CONNECTED, _DISCONNECTED = zmq.Event.HANDSHAKE_SUCCEEDED, zmq.Event.DISCONNECTED

Frames = list[Any]
Received = tuple[bytes, Frames]


def new_key() -> str:
    """A new secret for one job: a CURVE secret key in Z85."""
    return zmq.curve_keypair()[1].decode()


def new_identity() -> bytes:
    """A name for a client that no other has."""
    return b"c" + secrets.token_bytes(12)


class _Assembly:
    """Frames that come in pieces, for one sender."""

    def __init__(self) -> None:
        self._buffers: dict[int, tuple[Any, int]] = {}
        self._without_room: set[int] = set()

    def add(self, head: bytes, piece: Any) -> None:
        marker, number, size, offset = _PIECE.unpack(head)
        if offset == 0 and marker == _MARKER and size <= MESSAGE_BYTES:
            self._start(number, size)
        buffer, filled = self._buffers.get(number, (None, -1))
        chunk = np.frombuffer(piece, np.uint8)
        if buffer is None or filled != offset or len(buffer) != size or offset + len(chunk) > size:
            self._buffers.pop(number, None)  # a gap: the message is lost, and will be asked after
            return
        buffer[offset : offset + len(chunk)] = chunk
        self._buffers[number] = (buffer, offset + len(chunk))

    def _start(self, number: int, size: int) -> None:
        self._buffers.pop(number, None)
        self._without_room.discard(number)
        try:
            self._buffers[number] = (np.empty(size, np.uint8), 0)
        except MemoryError:  # maybe a stranger's, who announces what nobody has room for
            self._without_room.add(number)

    def complete(self, frames: Frames) -> Frames:
        """The message with its large frames in place, as far as they came whole; None for one without room."""
        buffers, self._buffers = self._buffers, {}
        for number in self._without_room:
            if number < len(frames) and len(frames[number]) == 0:
                frames[number] = None
        self._without_room.clear()
        for number, (buffer, filled) in buffers.items():
            if number < len(frames) and filled == len(buffer) and len(frames[number]) == 0:
                frames[number] = memoryview(buffer)
        return frames


class _Spin:
    """A short wait without sleeping: to be woken takes longer than most replies do.

    While it is in vain, it is tried less and less often. With one core it never is: the peer needs it.
    """

    def __init__(self, look: Callable[[int], object]) -> None:
        self._look = look
        self._cores = len(os.sched_getaffinity(0))
        self._skip = 0
        self._skip_next = 1

    def found(self) -> bool:
        """Whether something came within SPIN_SECONDS; false at once when it is not tried."""
        if self._skip or self._cores == 1:
            self._skip = max(0, self._skip - 1)
            return False
        end = time.perf_counter() + SPIN_SECONDS
        while time.perf_counter() < end:
            if self._look(0):
                self._skip_next = 1
                return True
            os.sched_yield()  # whoever else wants this core goes first
        self._skip = self._skip_next
        self._skip_next = min(2 * self._skip_next, _SKIP_MOST)
        return False


class _Socket:
    """What both kinds of socket share."""

    def __init__(self, kind: int, key: str) -> None:
        self._socket: zmq.Socket[bytes] = _context().socket(kind)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._spin = _Spin(self._poller.poll)
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            self._socket.setsockopt(option, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES)  # of one frame; who sends more is disconnected
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, 1)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10000)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if key:
            self._socket.curve_secretkey = key.encode()
            self._socket.curve_publickey = zmq.curve_public(key.encode())

    @property
    def raw(self) -> Any:
        """What a poller waits for."""
        return self._socket

    def wait(self, seconds: float) -> bool:
        """Wait until something can be received."""
        return (seconds > 0 and self._spin.found()) or bool(self._poller.poll(max(0, int(seconds * 1000))))

    def close(self, linger: float = 0.0) -> None:
        """Close; what is still being sent gets `linger` seconds in the background."""
        self._socket.close(linger=int(linger * 1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _receive_frames(self, flags: int = zmq.NOBLOCK) -> Frames:
        """The first frame as bytes, the others as views of what zmq received."""
        receive = self._socket.recv
        frame = receive(flags, False)
        frames: Frames = [frame.bytes]
        while frame.more:
            frame = receive(zmq.NOBLOCK, False)
            frames.append(frame.buffer)
        return frames

    def _send(self, to: Sequence[bytes], frames: Sequence[Any]) -> None:
        send = self._socket.send
        header, *arrays = frames
        if not arrays:
            for address in to:
                send(address, zmq.SNDMORE)
            send(header)
            return
        whole = [self._shortened(to, number, frame) for number, frame in enumerate(arrays, 1)]
        for address in to:
            send(address, zmq.SNDMORE)
        send(header, zmq.SNDMORE)
        for left, frame in zip(range(len(whole) - 1, -1, -1), whole):
            send(frame, zmq.SNDMORE if left else 0, False)

    def _shortened(self, to: Sequence[bytes], number: int, frame: Any) -> Any:
        """The frame, or nothing in its place when it was sent ahead in pieces."""
        size = len(frame)
        if size <= WHOLE_BYTES:
            return frame
        view = memoryview(frame)
        send = self._socket.send
        for offset in range(0, size, PIECE_BYTES):
            for address in to:
                send(address, zmq.SNDMORE)
            send(_PIECE.pack(_MARKER, number, size, offset), zmq.SNDMORE)
            send(view[offset : offset + PIECE_BYTES], 0, False)
        return b""


class Listener(_Socket):
    """A server's socket."""

    def __init__(self, endpoint: str, key: str = "", patience: float = -1.0) -> None:
        """`wait_received` waits for at most `patience` seconds; for ever if it is negative."""
        super().__init__(zmq.ROUTER, key)
        self._socket.setsockopt(zmq.RCVTIMEO, max(-1, int(1000 * patience)))
        if key:
            self._socket.curve_server = True
        # a client whose connection broke comes back under its old name before this end has noticed
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._assemblies: dict[bytes, _Assembly] = {}
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise LaunchError(f"cannot listen on {endpoint}: {error}") from error
        self.address = self._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()  # type: ignore[union-attr]

    def receive_all(self, most: int) -> list[Received]:
        """The whole messages that are here, at most so many."""
        return list(islice(iter(self.receive, None), most))

    def wait_received(self) -> list[Received]:
        """Wait until something comes: a message, or nothing when that was a part of one, or time was up."""
        received = self.receive(zmq.NOBLOCK if self._spin.found() else 0)
        return [] if received is None else [received]

    def receive(self, flags: int = zmq.NOBLOCK) -> Received | None:
        """The next whole message that is here, with its sender; None if there is none."""
        try:
            while True:
                sender = self._socket.recv(flags)
                flags = zmq.NOBLOCK
                frames = self._receive_frames()
                if _is_piece(frames):
                    self._assemblies.setdefault(sender, _Assembly()).add(*frames)
                    continue
                assembly = self._assemblies.pop(sender, None) if self._assemblies else None
                return sender, assembly.complete(frames) if assembly else frames
        except zmq.Again:
            return None

    def send(self, receiver: bytes, frames: Sequence[Any]) -> None:
        """Send to a peer; one that is gone gets nothing."""
        self._send([receiver], frames)


class Link(_Socket):
    """A client's socket to one server. One that is `watched` knows whether it is connected."""

    def __init__(self, address: str, key: str = "", identity: bytes = b"", *, watched: bool = False) -> None:
        super().__init__(zmq.DEALER, key)
        self._connected = False
        self._events: Any = self._socket.get_monitor_socket(_CONNECTED | _DISCONNECTED) if watched else None
        if identity:
            self._socket.setsockopt(zmq.ROUTING_ID, identity)
        if key:
            self._socket.curve_serverkey = zmq.curve_public(key.encode())
        self._assembly = _Assembly()
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise LaunchError(f"{address!r} is not an address to connect to: {error}") from error

    @property
    def connected(self) -> bool:
        """Whether the other process can be reached, though its Python may be busy. Only of a watched link.

        ZeroMQ's own threads find out: at once when the process ends, and after HEARTBEAT_TIMEOUT when it is stopped
        or its host is gone.
        """
        while self._events.poll(0):
            self._connected = recv_monitor_message(self._events)["event"] == _CONNECTED
        return self._connected

    def close(self, linger: float = 0.0) -> None:
        """Close; what is still being sent gets `linger` seconds in the background."""
        if self._events is not None and not self._events.closed:
            self._socket.disable_monitor()
            self._events.close(linger=0)
        super().close(linger)

    def receive(self) -> Frames | None:
        """The next whole message that is here; None if there is none."""
        try:
            while True:
                frames = self._receive_frames()
                if not _is_piece(frames):
                    return self._assembly.complete(frames)
                self._assembly.add(*frames)
        except zmq.Again:
            return None

    def send(self, frames: Sequence[Any]) -> None:
        """Send a message."""
        self._send((), frames)


class Signal:
    """Wakes a thread that waits in `wait_any`."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    @property
    def raw(self) -> int:
        """What a poller waits for."""
        return self._read

    def set(self) -> None:
        """Wake it, now or when it next waits, until it is cleared."""
        with contextlib.suppress(BlockingIOError):  # it is set often enough
            os.write(self._write, b"!")

    def clear(self) -> None:
        """Be as before `set`."""
        os.read(self._read, 65536)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read)
        os.close(self._write)


def wait_any(sockets: Iterable[Any], seconds: float) -> list[Any]:
    """Wait until one of the sockets can be received from, or a signal is set; those that are ready."""
    poller = zmq.Poller()
    by_raw = {}
    for socket in sockets:
        poller.register(socket.raw, zmq.POLLIN)
        by_raw[socket.raw] = socket
    return [by_raw[raw] for raw, _ in poller.poll(max(0, int(seconds * 1000)))]


def _is_piece(frames: Frames) -> bool:
    return len(frames) == 2 and len(frames[0]) == _PIECE.size and frames[0][0] == _MARKER


_contexts: dict[int, zmq.Context[Any]] = {}


def _context() -> zmq.Context[Any]:
    """One context a process; a forked child gets its own."""
    pid = os.getpid()
    if pid not in _contexts:
        _contexts.clear()
        _contexts[pid] = zmq.Context()
        _contexts[pid].setsockopt(zmq.MAX_SOCKETS, 65536)
    return _contexts[pid]
