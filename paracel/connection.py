"""A session joined to sockets: it sends, receives, waits with deadlines, and closes.

The sockets are served whenever it is used; calls from several threads take turns. Only while tasks wait for others to
finish has it a thread of its own, so that they go on although their caller does something else.
"""

import logging
import math
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from paracel import messages as m
from paracel import wire
from paracel.channel import error_of
from paracel.errors import CarryError, ClientClosed, CoordinatorLost, RequestError, WaitTimeout, WireError
from paracel.functions import Functions
from paracel.messages import COORDINATOR, Envelope, Message
from paracel.pending import Pending
from paracel.session import Session
from paracel.times import Stopwatch
from paracel.transport import Link, new_identity, wait_any

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
JOIN_SECONDS = 30.0
#: For how long only servers are listened to, where one reply is awaited: that is the fastest.
QUIET_SECONDS = 0.05
#: How often the sockets are looked at while tasks wait for others, and their client does something else.
HELP_SECONDS = 0.001
#: An update waits for replies while this client has more bytes than this on their way to one server.
CREDIT_BYTES = 128 * 1024 * 1024


_connections: "weakref.WeakSet[Connection]" = weakref.WeakSet()


def _let_go() -> None:
    """In a forked child: locks may be held by threads that are not here, and would keep users from being told."""
    for connection in _connections:
        connection.lock = threading.RLock()


os.register_at_fork(after_in_child=_let_go)


class Connection:
    """One client's sockets to the coordinator and to every server, and its session."""

    def __init__(
        self,
        address: str,
        key: str,
        worker: int | None,
        staleness: float | None,
        timeout: float | None,
        *,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.address = address
        self.stopwatch = stopwatch or Stopwatch()
        self.lock = threading.RLock()
        _connections.add(self)
        self.closed = False
        self._timeout = timeout
        self._pid = os.getpid()
        self._ticked = time.monotonic()
        self._helper = threading.Thread()  # one that is not alive
        self._coordinator = Link(address, key, new_identity(), watched=True)
        self._links: dict[int, Link] = {}
        try:
            view = self._join(-1 if worker is None else worker)
            self._key = key
            self._identity = new_identity()
            self.session = Session(view, worker, staleness, Functions())
            for server in view.servers:
                self._link_to(server)
        except BaseException:
            self._close_sockets()
            raise

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process that connected."""
        return os.getpid() != self._pid

    def close(self) -> None:
        """Say goodbye and close, without waiting for anything. May be called twice."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            for server in list(self._links):
                self._send(server, Envelope(0, 0, 0, m.Forget()))
            worker, times = self.session.worker, self.stopwatch.times()
            goodbye = m.Goodbye(-1 if worker is None else worker, times.seconds, times.communication, times.waiting)
            self._send(COORDINATOR, Envelope(0, 0, 0, goodbye))
            self._close_sockets()

    def abandon(self) -> None:
        """Close without a word, as a process does that dies. May be called twice."""
        with self.lock:
            if not self.closed:
                self.closed = True
                self._close_sockets()

    def _close_sockets(self) -> None:
        for link in (*self._links.values(), self._coordinator):
            link.close(linger=1.0)

    def _join(self, worker: int) -> m.View:
        me = m.Join(worker, socket.gethostname(), os.getpid())
        self._coordinator.send(wire.encode(Envelope(0, 0, 0, me)))
        limit = JOIN_SECONDS if self._timeout is None else self._timeout
        if not self._coordinator.wait(limit):
            raise CoordinatorLost(f"no answer from the coordinator at {self.address} in {limit:g} s")
        answer = wire.decode(self._coordinator.receive() or [b""]).message
        if isinstance(answer, m.Failure):
            raise error_of(answer)
        if not isinstance(answer, m.View):
            raise RequestError(f"{self.address} answered {type(answer).__name__}; is it a coordinator?")
        return answer

    def run(self, start: Callable[[], Pending]) -> Any:
        """Ask, wait, and return the outcome."""
        with self.lock, self.stopwatch.communicating:
            pending = self.start(start)
            if not pending.done:
                self._serve(pending, None)
            return pending.result()

    def start(self, start: Callable[[], Pending]) -> Pending:
        """Ask, and send what is to be sent."""
        self.check_usable()
        with self.stopwatch.communicating:
            pending = start()
            self._send_outbox()
        if self.session.held and not self._helper.is_alive():
            self._helper = threading.Thread(target=self._go_on, name="paracel-held-tasks", daemon=True)
            self._helper.start()
        return pending

    def _go_on(self) -> None:
        """On a thread of its own, while tasks wait for others: serve the sockets when nobody else does."""
        while True:
            with self.lock:
                if self.closed or self.forked or not self.session.held:
                    self._helper = threading.Thread()
                    return
                self.advance()
            time.sleep(HELP_SECONDS)

    def check_usable(self) -> None:
        """Raise ClientClosed when it is closed, or was inherited by a forked child."""
        if self.closed:
            raise ClientClosed("this client is closed")
        if self.forked:
            raise ClientClosed("this client belongs to the process that was forked; connect anew in the child")

    def wait(self, pending: Pending, timeout: float | None = None) -> None:
        """Serve the sockets until the outcome is there; WaitTimeout after `timeout` seconds."""
        if pending.done:
            return
        with self.lock, self.stopwatch.communicating:
            self.check_usable()
            self._serve(pending, timeout)

    def _serve(self, pending: Pending, timeout: float | None) -> None:
        self.session.flush()
        self._send_outbox()
        limit = self._timeout if timeout is None else timeout
        deadline = math.inf if limit is None else time.monotonic() + limit
        while not pending.done:
            left = deadline - time.monotonic()
            self._receive(max(0.0, min(TICK_SECONDS, left)))
            if left <= 0 and not pending.done:
                raise WaitTimeout(f"no reply from {self._describe()} in {limit:g} s")

    def look(self) -> None:
        """Send everything that waits, and take the replies that are here, without blocking."""
        with self.lock, self.stopwatch.communicating:
            self.check_usable()
            self.session.flush()
            self.advance()

    def advance(self) -> None:
        """Send what is to be sent, and take the replies that are here, without blocking."""
        self._send_outbox()
        for link in self._awaited():
            self._drain(link)
        self._tick()

    def respect_credit(self) -> None:
        """Wait while too many bytes are on their way to one server."""
        deadline = math.inf if self._timeout is None else time.monotonic() + self._timeout
        if not self._in_debt():
            return
        with self.stopwatch.communicating:
            self._pay_back(deadline)

    def _pay_back(self, deadline: float) -> None:
        while self._in_debt():
            if time.monotonic() > deadline:
                raise WaitTimeout(f"no reply from {self._describe()} in {self._timeout:g} s")
            self._receive(TICK_SECONDS)

    def _in_debt(self) -> bool:
        session = self.session
        return session.held_bytes > CREDIT_BYTES or any(c.bytes > CREDIT_BYTES for c in session.channels.values())

    def _awaited(self) -> list[Link]:
        """The links on which a reply may come."""
        channels = self.session.channels.values()
        servers = dict.fromkeys(channel.server for channel in channels if channel.outstanding)
        return [link for server in servers if (link := self._links.get(server)) is not None]

    def _receive(self, seconds: float) -> None:
        """Wait for a message and take all that is here. News from the coordinator may come while servers are silent."""
        links = self._awaited()
        if any(channel.parked for channel in self.session.channels.values()):
            with self.stopwatch.waiting:
                ready = self._wait(links, seconds)
        else:
            ready = self._wait(links, seconds)
        for link in ready:
            self._drain(link)
        self._tick()

    def _wait(self, links: list[Link], seconds: float) -> list[Link]:
        if len(links) == 1 and links[0].wait(min(seconds, QUIET_SECONDS)):
            return links
        return wait_any([*links, self._coordinator], seconds)

    def _tick(self) -> None:
        """About once a second, ask after what is awaited."""
        now = time.monotonic()
        if now - self._ticked >= TICK_SECONDS:
            self._ticked = now
            self._drain(self._coordinator)
            self.session.tick(now, connected=self._coordinator.connected)
        self._send_outbox()

    def _drain(self, link: Link) -> None:
        """Take what is here. After the last awaited reply there is nothing to look for."""
        now = time.monotonic()
        channels = self.session.channels.values()
        while (frames := link.receive()) is not None:
            try:
                envelope = wire.decode(frames)
            except WireError as error:
                logger.warning("a server sent what is %s", error)
            else:
                self.session.receive(envelope, now)
            if link is not self._coordinator and not any(channel.outstanding for channel in channels):
                return

    def _send_outbox(self) -> None:
        outbox = self.session.outbox
        while outbox:
            self._send(*outbox.popleft())

    def _send(self, server: int, envelope: Envelope) -> None:
        link = self._coordinator if server == COORDINATOR else self._link_to(server)
        if link is None:
            return
        try:
            frames = wire.encode(envelope)
        except (CarryError, MemoryError) as error:
            frames = wire.encode(self.session.give_up(envelope.shard, envelope.request, error))
        link.send(frames)

    def _link_to(self, server: int) -> Link | None:
        """The link to a server of the view; those to servers that are gone are closed."""
        addresses = self.session.view.servers
        if server not in self._links and server in addresses:
            for gone in self._links.keys() - addresses.keys():
                self._links.pop(gone).close()
            self._links[server] = Link(addresses[server], self._key, self._identity)
        return self._links.get(server)

    def _describe(self) -> str:
        """Who has not answered, and what was asked."""
        channels = [channel for channel in self.session.channels.values() if channel.outstanding]
        asked = [_asked(next(iter(channel.outstanding.values())).message) for channel in channels]
        waits = [f"server {c.server} ({c.address}), asked to {what}" for c, what in zip(channels, asked, strict=True)]
        return "; ".join(waits) or "anyone"


def _asked(message: Message) -> str:
    keys = getattr(message, "keys", None)
    more = f" and {len(keys) - 1} more keys" if keys and len(keys) > 1 else ""
    return type(message).__name__.lower() + (f" {keys[0]!r}{more}" if keys else "")
