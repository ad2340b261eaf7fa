"""What answers for a shard: requests in, replies out. No sockets, no time.

`handle` takes one message; its replies, and those of reads that it releases, come out of `flush`, once for each
turn of the server's loop. Nothing that a reply refers to ever changes.
"""

import logging
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import numpy as np

from paracel import messages as m
from paracel.cuts import Cuts, SaveAs, stem_in
from paracel.errors import CarryError, FunctionError, ParacelError, RequestError
from paracel.functions import Functions, Kind
from paracel.messages import READS, Envelope, Message
from paracel.shard_state import ShardState
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


class Shard(ShardState):
    """One server's copy of a shard, and what is asked of it while this server answers for it."""

    def __init__(self, number: int, shards: int, workers: int, functions: Functions) -> None:
        """The shard `number` of `shards`; `functions` are those of the whole process."""
        super().__init__(number, shards, workers, functions)
        #: Files that are to be written of it as it is at the end of the turn.
        self.saves: list[SaveAs] = []
        self.requests = self.operations = 0
        #: What there is to say of the whole server.
        self.statistics: Callable[[], Message] = lambda: m.Failure("RequestError", "a shard is not a server")
        self._parked: dict[tuple[bytes, int], int] = {}
        self._wanted: dict[bytes, int] = {}
        self._outbox: list[tuple[bytes, Envelope]] = []
        self._saving: dict[str, list[Asked]] = {}
        self._cuts = Cuts()
        self._view = 0

    def handle(self, sender: bytes, envelope: Envelope) -> None:
        """Take one message of a client."""
        if self._attempts.get(sender, self.clock.attempt) < self.clock.attempt:
            self._send(sender, envelope.request, m.Failure("RequestError", "the workers were started anew, without it"))
            return
        if envelope.request and self.inbox.is_repeated(sender, envelope.request):
            self._handle_repeated(Asked(sender, envelope))
        for ready in self.inbox.take(sender, envelope):
            self._run(Asked(sender, ready))
        if not envelope.request:
            self._handle_unnumbered(sender, envelope.message)
        self._ask_for_keys(sender)

    def flush(self) -> list[tuple[bytes, Envelope]]:
        """The replies of this turn, in order."""
        out, self._outbox = self._outbox, []
        return out

    # --- as the one that answers --------------------------------------------------------------------------

    def begin_serving(self, view: int) -> None:
        """Answer from now on, in place of another server. What waits there will be sent again."""
        self.stop_serving()
        self._view = view
        self.tables.begin_serving(view)
        self._cuts.begin(self.clock)

    def stop_serving(self) -> None:
        """Forget what waits: another server will be asked for it."""
        self.unwatch()
        for waiting in (self._parked, self._wanted, self._outbox, self.saves, self._saving):
            waiting.clear()
        self.clock.drop_parked()
        self.inbox.forget_running()

    # --- one request ------------------------------------------------------------------------------------

    def _run(self, asked: Asked) -> None:
        message = asked.envelope.message
        minimum = getattr(message, "min_clock", 0)
        if minimum and not self.clock.reached(minimum):
            self._parked[asked.key] = minimum
            waiting = asked.envelope._replace(message=self.tables.spelled_out(message))
            self.clock.park(minimum, Asked(asked.sender, waiting))
            self._send(asked.sender, 0, m.Parked(asked.envelope.request))
            return
        self.requests += 1
        if isinstance(message, m.Enter):
            self._note_entry(asked.sender, message, asked.envelope.view)
        self.operations += _operations(message)
        if isinstance(message, m.Save):
            self._saving.setdefault(message.name, []).append(asked)
            self.saves.append(SaveAs(message.folder, message.name))
            return
        self._answer(asked, self._reply_to(message))
        if isinstance(message, m.Commit | m.Enter) and self._cuts.waits(message.worker, self.clock):
            self.inbox.pause(asked.sender)

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
        if self._cuts.is_due(self.clock) and (cut := self._cuts.save_as(self.number)) not in self.saves:
            self.saves.append(cut)
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
            self._attempts.pop(sender, None)
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
        minimum = self._parked.get((sender, request), self._cuts.clock if self.inbox.is_paused(sender) else None)
        if minimum is not None:
            waiting = m.Waiting(request, minimum, self.clock.value, self.clock.slowest())
            self._send(sender, 0, waiting)
            return
        stored = self.inbox.stored(sender, request)
        if stored is not None:
            self._send(sender, request, stored)
        elif not self.inbox.is_running(sender, request):
            expected = self.inbox.expected(sender)
            if request < expected or not self.inbox.holds_next(sender):  # else it is here, and waits for its turn
                self._send(sender, 0, m.Lost(min(request, expected)))

    # --- files of it -------------------------------------------------------------------------------------

    def save_at(self, cuts: Cuts) -> None:
        """While this server answers for it, save the shard at these clocks."""
        self._cuts = cuts
        self._cuts.begin(self.clock)

    def begun(self, save: SaveAs) -> None:
        """A file of it, as it is now, is on its way."""
        self.saves.remove(save)
        if save.cut:
            self.go_on()

    def go_on(self) -> None:
        """The cut is made, or given up: choose the next, and let the workers go on that waited for it."""
        self.saves = [save for save in self.saves if not save.cut]
        self._cuts.begin(self.clock)
        for sender in self.inbox.go_on():
            for ready in self.inbox.resume(sender):
                self._run(Asked(sender, ready))

    def tick(self) -> None:
        """To be called about twice a second: a checkpoint for which workers wait too long is given up."""
        if self._cuts.tick():
            names = ", ".join(map(str, self.clock.slowest()))
            clock = self._cuts.clock
            logger.warning("no checkpoint at clock %d: shard %d waited for worker %s", clock, self.number, names)
            self.go_on()

    def saved(self, message: m.Saved) -> None:
        """A file is written, or failed: tell those who asked for it."""
        for asked in self._saving.pop(stem_in(message.name), []):
            self._answer(asked, m.Failure("CheckpointError", message.error) if message.error else message)

    def _restore(self, message: m.Restore) -> Message:
        parked = self.clock.take_parked()
        try:
            self.restore(message.folder)
            self.tables.begin_serving(self._view)
            self.go_on()
        finally:
            for asked in parked:
                self._parked.pop(asked.key, None)
                self._run(asked)
        return m.Done(1)

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

    def _note_entry(self, sender: bytes, message: m.Enter, view: int) -> None:
        """Of workers that are started anew, the first to enter ends what there was of those before."""
        self._attempts[sender] = message.attempt
        if self.clock.begin_attempt(message.attempt):
            self._parked.clear()
            for other in [other for other, attempt in self._attempts.items() if attempt < message.attempt]:
                self.inbox.forget(other)
            self._entered = dict.fromkeys(self.clock.clocks, view)
        if message.attempt == self.clock.attempt:
            self._entered[message.worker] = view

    def _enter(self, message: m.Enter) -> Message:
        if message.attempt < self.clock.attempt:
            raise RequestError("the workers were started anew, without this one")
        if message.level < 0:
            clock = self.clock.enter(message.worker)
            return m.Entered(clock, clock)
        self._release(self.clock.enter_at(message.worker, message.level))
        return m.Entered(self.clock.clocks.get(message.worker, 0), self.clock.level(message.level))

    def _commit(self, message: m.Commit) -> Message:
        if message.resumes:
            self.tables.undo(message.worker, message.clock)
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
    m.Restore: Shard._restore,
    m.Enter: Shard._enter,
    m.Commit: Shard._commit,
    m.Leave: Shard._leave,
    m.GetStatistics: lambda shard, _message: shard.statistics(),
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
