"""A server's brain: requests in, replies out. No sockets, no time, no files.

`handle` takes one message; its replies, and those of reads that it releases, come out of `flush`, once for each
turn of the server's loop. Nothing that a reply refers to ever changes.
"""

import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import numpy as np

from paracel import messages as m
from paracel.clock import SspClock
from paracel.errors import CarryError, FunctionError, ParacelError
from paracel.functions import Functions, Kind
from paracel.inbox import Inbox
from paracel.messages import READS, Envelope, Message
from paracel.ring import Ring
from paracel.shard_tables import ShardTables
from paracel.store import Store
from paracel.values import check_tree, copy_value

logger = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A request and who asked it."""

    sender: bytes
    envelope: Envelope

    @property
    def key(self) -> tuple[bytes, int]:
        """What names the request among all."""
        return self.sender, self.envelope.request


class Shard:
    """One server's copy of a shard: entries, tables, clock, and the state of its peers.

    What changes is noted once `watch` was called; `take_changes` gives it to those who have other copies, whose `apply`
    makes the same of it. `pieces` make a new copy, while this one goes on: what changes in between is to be applied
    in its turn.
    """

    def __init__(self, number: int, shards: int, workers: int, functions: Functions) -> None:
        """The shard `number` of `shards`; `functions` are those of the whole process."""
        self.number = number
        self.store = Store()
        self.clock: SspClock[Asked] = SspClock(range(workers))
        self.functions = functions
        self.tables = ShardTables(number, Ring(range(shards)).owners, functions, self.clock)
        self.inbox = Inbox(self.tables.can_run)
        self._parked: dict[tuple[bytes, int], int] = {}
        self._entered: dict[int, int] = {}
        self._wanted: dict[bytes, int] = {}
        self._outbox: list[tuple[bytes, Envelope]] = []
        self._loaded: list[list[str]] | None = None
        self._told_clock: list[Any] = []
        self.requests = self.operations = 0

    def handle(self, sender: bytes, envelope: Envelope) -> None:
        """Take one message of a client."""
        if not envelope.request:
            self._handle_unnumbered(sender, envelope.message)
        elif self.inbox.is_repeated(sender, envelope.request):
            self._handle_repeated(Asked(sender, envelope))
        for ready in self.inbox.take(sender, envelope):
            self._run(Asked(sender, ready))
        self._ask_for_keys(sender)

    def flush(self) -> list[tuple[bytes, Envelope]]:
        """The replies of this turn, in order."""
        out, self._outbox = self._outbox, []
        return out

    # --- copies on other servers ------------------------------------------------------------------------

    def watch(self) -> None:
        """Note from now on what changes."""
        self.store.changed, self.inbox.changed, self._loaded = set(), {}, []
        self._told_clock = self._clock_state()
        self.tables.watch()

    def begin_serving(self, view: int) -> None:
        """Answer from now on, in place of another server. What waits there will be sent again."""
        self.stop_serving()
        self.tables.begin_serving(view)

    def stop_serving(self) -> None:
        """Forget what waits: another server will be asked for it."""
        self._parked.clear()
        self._wanted.clear()
        self._outbox.clear()
        self.clock.drop_parked()
        self.inbox.forget_running()

    def take_changes(self) -> dict[str, Any]:
        """What has changed since this was last called, as plain values; empty for nothing."""
        keys, values, gone = self.store.take_changes()
        loaded, self._loaded = self._loaded, []
        changed = {
            "entries": [keys, values] if keys else None,
            "gone": gone,
            "clock": self._clock_changes(),
            "peers": self.inbox.take_changes(),
            "tables": self.tables.take_changes(),
            "functions": loaded,
        }
        return {name: value for name, value in changed.items() if value}

    def _clock_state(self) -> list[Any]:
        return [*self.clock.state(), dict(self._entered)]

    def _clock_changes(self) -> list[Any] | None:
        """Its state if it has changed since this was last asked for."""
        before, self._told_clock = self._told_clock, self._clock_state()
        return self._told_clock if self._told_clock != before else None

    def apply(self, changes: dict[str, Any]) -> None:
        """Make so what another server's `take_changes` or `pieces` told."""
        for kind, name in changes.get("functions", ()):
            try:
                self.functions.load(kind, name)
            except FunctionError as error:
                logger.warning("a copy of shard %d will be without a function: %s", self.number, error)
        if "clock" in changes:
            *state, self._entered = changes["clock"]
            self.clock.restore(state)
        if "entries" in changes:
            self.store.write(*changes["entries"])
        self.store.remove(changes.get("gone", []))
        self.tables.apply(changes.get("tables", {}))
        for state in changes.get("peers", ()):
            self.inbox.restore(state)

    def pieces(self, most_bytes: int) -> Iterator[dict[str, Any]]:
        """All that there is, in pieces of about so many bytes; changes in between are to be applied in their turn."""
        of_tables = self.tables.pieces(most_bytes)
        yield {
            "functions": self.functions.names(),
            "clock": self._clock_state(),
            "tables": next(of_tables),
        }
        for sender in self.inbox.senders():
            yield {"peers": [self.inbox.state(sender)]}
        for keys, values in self.store.pieces(most_bytes):
            yield {"entries": [keys, values]}
        for rows in of_tables:
            yield {"tables": rows}

    # --- one request ------------------------------------------------------------------------------------

    def _run(self, asked: Asked) -> None:
        message = asked.envelope.message
        minimum = getattr(message, "min_clock", 0)
        if minimum and not self.clock.reached(minimum):
            self._parked[asked.key] = minimum
            waiting = asked.envelope._replace(message=self.tables.spelled_out(message))
            self.clock.park(minimum, Asked(asked.sender, waiting))
            return
        self.requests += 1
        if isinstance(message, m.Enter):
            self._entered[message.worker] = asked.envelope.view
        self.operations += _operations(message)
        self._answer(asked, self._reply_to(message))

    def _reply_to(self, message: Message) -> Message:
        handler = HANDLERS.get(type(message))
        if isinstance(message, m.Failure):  # the server had no room for the request that had this number
            return message
        if handler is None:
            return m.Failure("RequestError", f"a server does not take {type(message).__name__}")
        try:
            return handler(self, message)
        except ParacelError as error:
            return m.Failure(type(error).__name__, str(error))
        except (Exception, SystemExit):  # a user's function may raise anything
            return m.Failure("ServerFunctionError", traceback.format_exc(limit=-8).rstrip())

    def _answer(self, asked: Asked, reply: Message) -> None:
        if self.inbox.answered(asked.sender, asked.envelope, reply):
            self._send(asked.sender, asked.envelope.request, reply)

    def _send(self, receiver: bytes, request: int, reply: Message) -> None:
        self._outbox.append((receiver, Envelope(request, 0, 0, reply, self.number)))

    def _release(self, released: list[Asked]) -> None:
        """The clock may have moved: complete the tables' pushes, and then answer what was parked."""
        self.tables.complete()
        for asked in released:
            self._parked.pop(asked.key, None)
            self._run(asked)

    def _handle_repeated(self, asked: Asked) -> None:
        """Answer a request that has come before: from what is stored, or by reading again.

        A read behind which the sender's later requests have run would now show what they did; it is refused.
        """
        number = asked.envelope.request
        stored = self.inbox.stored(asked.sender, number)
        if stored is not None:
            self._send(asked.sender, number, stored)
        elif self.inbox.is_running(*asked.key):
            return
        elif type(asked.envelope.message) not in READS:
            # it waited for its clock at a server that is gone, unless it is an old copy of one that was answered
            if not self.inbox.was_answered(*asked.key):
                self.inbox.run_again(*asked.key)
                self._run(asked)
        elif number + 1 == self.inbox.expected(asked.sender):
            self._run_again(asked)
        else:
            self._send(asked.sender, number, m.Failure("ReadTooOld", "this read is too old to be repeated"))

    def _run_again(self, asked: Asked) -> None:
        message = asked.envelope.message
        if self.tables.can_run(message):
            self._run(asked)
        else:  # the key list has been forgotten since; the sender will ask once more
            wanted = m.UnknownKeys(asked.envelope.request, getattr(message, "digest", b""))
            self._send(asked.sender, 0, wanted)

    # --- messages without a number ----------------------------------------------------------------------

    def _handle_unnumbered(self, sender: bytes, message: Message) -> None:
        if isinstance(message, m.Probe):
            self._handle_probe(sender, message.request)
        elif isinstance(message, m.KeyList):
            self._learn(sender, message)
        elif isinstance(message, m.Forget):
            self.inbox.forget(sender)
            self._wanted.pop(sender, None)
        elif isinstance(message, m.Leave) and message.view >= self._entered.get(message.worker, 0):
            self._release(self.clock.leave(message.worker))

    def _learn(self, sender: bytes, message: m.KeyList) -> None:
        self.tables.learn(message)
        for ready in self.inbox.resume(sender):
            self._run(Asked(sender, ready))
        self._ask_for_keys(sender)

    def _ask_for_keys(self, sender: bytes, *, again: bool = False) -> bool:
        """Ask for the key list that the sender's next request needs, once unless it is to be asked `again`."""
        wanting = self.inbox.in_want(sender)
        if wanting is None:
            return False
        if again or self._wanted.get(sender) != wanting.request:
            self._wanted[sender] = wanting.request
            self._send(sender, 0, m.UnknownKeys(wanting.request, getattr(wanting.message, "digest", b"")))
        return True

    def _handle_probe(self, sender: bytes, request: int) -> None:
        if self._ask_for_keys(sender, again=True):
            return
        minimum = self._parked.get((sender, request))
        if minimum is not None:
            waiting = m.Waiting(request, minimum, self.clock.value, self.clock.slowest())
            self._send(sender, 0, waiting)
            return
        stored = self.inbox.stored(sender, request)
        if stored is not None:
            self._send(sender, request, stored)
        elif not self.inbox.is_running(sender, request):
            self._send(sender, 0, m.Lost(min(request, self.inbox.expected(sender))))

    # --- handlers -----------------------------------------------------------------------------------------

    def _filter(self, name: str | None) -> Callable[[str, Any], bool] | None:
        return None if name is None else self.functions.filter(name)

    def _read(self, message: m.Read) -> Message:
        values, missing = self.store.read(message.keys)
        return m.Found(values, missing, self.clock.value)

    def _scan(self, message: m.Scan) -> Message:
        keys, values = self.store.select(self._filter(message.key_filter))
        return m.Entries(keys, [] if message.keys_only else values, self.clock.value)

    def _top(self, message: m.Top) -> Message:
        keys, values = self.store.top(message.count, self._filter(message.key_filter))
        return m.Entries(keys, values, self.clock.value)

    def _write(self, message: m.Write) -> Message:
        self.store.write(message.keys, message.values)
        return m.Done(len(message.keys))

    def _update(self, message: m.Update) -> Message:
        function = self.functions.get("updater", message.updater)
        change = (message.keys, message.deltas, message.updater, function)
        values, failures = self.store.update_and_read(*change) if message.reply else ([], self.store.update(*change))
        return m.Updated(values, failures, self.clock.value)

    def _contains(self, message: m.Contains) -> Message:
        return m.Flags(list(map(self.store.entries.__contains__, message.keys)))

    def _remove(self, message: m.Remove) -> Message:
        return m.Flags(self.store.remove(message.keys))

    def _remove_chosen(self, message: m.RemoveChosen) -> Message:
        chosen = self._filter(message.key_filter)
        if chosen is None:
            return m.Done(self.store.clear())
        keys, _ = self.store.select(chosen)
        return m.Done(sum(self.store.remove(keys)))

    def _load(self, message: m.Load) -> Message:
        if message.kind not in get_args(Kind):
            raise FunctionError(f"no kind of function {message.kind!r}")
        self.functions.load(message.kind, message.name)  # type: ignore[arg-type]
        if self._loaded is not None:
            self._loaded.append([message.kind, message.name])
        return m.Done(1)

    def _call(self, message: m.Run) -> Message:
        function = self.functions.get("server_function", message.name)
        value = function(self.store.guarded_entries(), *message.arguments)
        try:
            check_tree(value)
        except CarryError as error:
            raise CarryError(f"the result of {message.name!r} {error}") from None
        return m.Result(copy_value(value))  # it may be part of an entry, and entries change in place

    def _enter(self, message: m.Enter) -> Message:
        return m.Entered(self.clock.enter(message.worker))

    def _commit(self, message: m.Commit) -> Message:
        self._release(self.clock.commit(message.worker, message.clock))
        return m.Done(0)

    def _leave(self, message: m.Leave) -> Message:
        self._release(self.clock.leave(message.worker))
        return m.Done(0)


HANDLERS: dict[type[Message], Callable[[Shard, Any], Message]] = {
    m.Read: Shard._read,
    m.Scan: Shard._scan,
    m.Top: Shard._top,
    m.Write: Shard._write,
    m.Update: Shard._update,
    m.Contains: Shard._contains,
    m.Remove: Shard._remove,
    m.RemoveChosen: Shard._remove_chosen,
    m.Load: Shard._load,
    m.Run: Shard._call,
    m.Enter: Shard._enter,
    m.Commit: Shard._commit,
    m.Leave: Shard._leave,
    m.OpenTable: lambda shard, message: shard.tables.open(message),
    m.DropTable: lambda shard, message: shard.tables.drop(message),
    m.ListTables: lambda shard, message: shard.tables.list(message),
    m.Push: lambda shard, message: shard.tables.push(message),
    m.Pull: lambda shard, message: shard.tables.pull(message),
    m.RunTable: lambda shard, message: shard.tables.run(message),
}


def _operations(message: Message) -> int:
    """How many keys a request is about."""
    keys = getattr(message, "keys", None)  # in what only a server sends, no list
    keys = getattr(message, "selection", None) if keys is None else keys
    return len(keys) if isinstance(keys, list | np.ndarray) and len(keys) else 1
