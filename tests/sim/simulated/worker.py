"""One worker: a session, and a script that asks it for things at random and checks what comes back.

The script is a generator. It yields an outcome to wait for, or a number of seconds to compute. Between two waits it
does what the blocking client does: it sends what is to be sent, and looks at the replies that are there.
"""

import contextlib
import math
import random
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from paracel import messages as m
from paracel.errors import ConnectionLost, UpdateError
from paracel.functions import Functions
from paracel.messages import COORDINATOR, Envelope
from paracel.pending import Pending
from paracel.session import Session
from paracel.store import largest

from . import linear_work, own_rows
from .history import PARTIES, WORKER
from .tasks import cause_of

if TYPE_CHECKING:
    from .cluster import Cluster

Script = Generator[Pending | float, Any, Any]
LISTS = [f"list-{n}" for n in range(4)]
ARRAYS = [f"array-{n}" for n in range(2)]
ARRAY_SIZE = 16
TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one worker is going to do."""

    staleness: float | None
    iterations: int
    stall: float
    writes_only: bool = False
    dies_at: float = math.inf
    returns: bool = False
    replaced: bool = False
    tables: bool = False
    linear: bool = False
    #: What it does in place of things at random.
    script: "Callable[[Worker], Script] | None" = None


class Worker:
    """A worker of the simulated job."""

    def __init__(self, cluster: "Cluster", party: int, number: int, plan: Plan) -> None:
        self.party = party
        self.number = number
        self.plan = plan
        self.address = f"worker-{party}".encode()
        self.in_quorum = party == number  # who takes the place of another is in it once it has entered
        self.died = False
        self.finished = False
        self.error: BaseException | None = None
        self.rng = random.Random(cluster.scenario.seed * 97 + party)
        self.session = Session(cluster.coordinator.join(self), number, plan.staleness, Functions())
        self.tables = own_rows.OwnRows(self, cluster)
        self.linear = cluster.linear
        self.failing = 0
        self.refused = 0  # how many reads had to be asked for anew
        self._cluster = cluster
        self._own: dict[str, Any] = {}
        self._settled = 0  # the last clock before which no refresh was still on its way
        self._first_fetch: dict[str, tuple[int, list[int]]] = {}
        self._inbox: deque[Envelope] = deque()
        self._awaited: Pending | None = None
        self._script = self._run()
        cluster.network.nodes[self.address] = self.receive
        cluster.network.after(0.5 * self.rng.random() if party == number else 0.0, self._resume, None)
        cluster.network.after(plan.dies_at, self._die) if plan.dies_at < math.inf else None

    @property
    def clock(self) -> int:
        """The commits made."""
        return self.session.clock

    @property
    def awaited(self) -> str:
        """What it waits for, for the message of a test that failed."""
        outstanding = [
            f"{r.message} of {c.server}" for c in self.session.channels.values() for r in c.outstanding.values()
        ]
        return f"worker {self.party} at clock {self.clock} waits for {'; '.join(outstanding) or self._awaited}"

    # --- being a node -----------------------------------------------------------------------------------------

    def receive(self, _source: bytes, envelope: Envelope) -> None:
        """A message has come: it is looked at when the worker next looks."""
        if self.died or self.finished:
            return
        self.refused += isinstance(envelope.message, m.Failure) and envelope.message.kind == "ReadTooOld"
        self._inbox.append(envelope)
        if self._awaited is not None:
            self._look()

    def _look(self) -> None:
        while self._inbox:
            self.session.receive(self._inbox.popleft(), self._cluster.network.now)
        self.send()
        awaited = self._awaited
        if awaited is not None and awaited.done:
            self._awaited = None
            self._resume(awaited)

    def send(self) -> None:
        """Put on the network what is to be sent."""
        outbox, servers = self.session.outbox, self.session.view.servers
        while outbox:
            server, envelope = outbox.popleft()
            if server == COORDINATOR or server in servers:
                self._cluster.network.send(self.address, self._cluster.address_of(server), envelope)

    def _tick(self, awaited: Pending) -> None:
        if self._awaited is awaited and not self.died:
            self.session.tick(self._cluster.network.now)
            self._cluster.network.after(TICK_SECONDS, self._tick, awaited)
            self._look()

    def _die(self) -> None:
        if not self.finished:
            self.died = True
            self._finish()
            self._script.close()
            if self.plan.replaced:
                self._cluster.replace(self)

    def _finish(self) -> None:
        self.finished = True
        self._cluster.working -= 1

    # --- running the script -------------------------------------------------------------------------------------

    def _resume(self, outcome: Pending | None) -> None:
        while not self.finished:
            try:
                wanted = self._advance(outcome)
            except StopIteration:
                self._finish()
                self.send()
                return
            if isinstance(wanted, float):
                self.send()
                self._cluster.network.after(wanted, self._resume, None)
                return
            self.session.flush()
            self.send()
            if not wanted.done:
                self._awaited = wanted
                self._cluster.network.after(TICK_SECONDS, self._tick, wanted)
                self._look()
                return
            outcome = wanted

    def _advance(self, outcome: Pending | None) -> Pending | float:
        if outcome is None:
            return next(self._script)
        try:
            value = outcome.result()
        except Exception as error:
            return self._script.throw(error)
        return self._script.send(value)

    def _run(self) -> Script:
        try:
            yield self.session.enter()
            self.in_quorum = True
            yield from (self.plan.script or Worker._iterate)(self)
            yield from self.leave()
        except ConnectionLost as error:
            self.error = error
            yield from self._give_up()
        self.session.outbox.append((COORDINATOR, Envelope(0, 0, 0, m.Goodbye(self.number))))

    def _iterate(self) -> Script:
        rng = self.rng
        offered = _CHANGES if self.plan.writes_only else _KINDS
        kinds = rng.sample(offered, rng.randint(2, min(8, len(offered))))  # few kinds meet each other more often
        calls, most = [partial(kind, self) for kind in kinds], 5
        if self.plan.linear:
            calls += [partial(kind, self) for kind in rng.sample(linear_work.KINDS, 3)]
        if self.plan.tables:
            calls, most = self.tables.calls(calls, self.plan.writes_only), 12
        for _ in range(self.plan.iterations):
            for _ in range(rng.randrange(most)):
                yield from rng.choice(calls)()
                if rng.random() < 0.3:
                    self._look()
            yield self.plan.stall * rng.random()
            yield from self.commit()
            if self.plan.returns and rng.random() < 0.4:
                yield from self.leave()
                yield 0.05 * rng.random()  # so that others are still at work
                yield self.session.enter()
                self.in_quorum = True

    def _give_up(self) -> Script:
        """What a worker does that was told that the job is over."""
        for last in (self.session.acknowledged, self.session.leave):
            with contextlib.suppress(ConnectionLost):
                yield last()
            self.in_quorum = False

    def leave(self) -> Script:
        """Leave the quorum when all that it has done is acknowledged."""
        yield from self.tables.finish()
        yield self.session.acknowledged()
        self._check_failures()
        self._cluster.table_history.left(self.party)
        self.in_quorum = False
        yield self.session.leave()

    def commit(self) -> Script:
        """Commit when all that it has done is acknowledged."""
        yield self.session.acknowledged()
        self._check_failures()
        self.session.commit()
        requests = [request for c in self.session.channels.values() for request in c.outstanding.values()]
        if not any(isinstance(request.message, m.Read) for request in requests):
            self._settled = self.clock

    def _check_failures(self) -> None:
        """A failed update that nobody has looked at is told about at the next commit, and only then."""
        failed = self.session.unobserved_failure()
        cause = None if failed is None else cause_of(failed.error)
        if isinstance(cause, ConnectionLost):
            raise cause
        assert (failed is not None) == (self.failing > 0), f"worker {self.party}: {failed and failed.error}"
        self.failing = 0

    # --- shared keys: many workers update, and everyone reads ----------------------------------------------------

    def _update(self) -> Script:
        key, delta, updater, number = self._change()
        pending = self.session.update(key, delta, updater)
        self._acknowledge([key], [number], pending)
        self.send()
        yield from ()

    def _update_multi(self) -> Script:
        keys = self.rng.sample(LISTS, self.rng.randint(1, 4))
        numbers = [self._issue(key) for key in keys]
        deltas = [self.party * WORKER + number for number in numbers]
        pending = self.session.update_multi(keys, deltas, "append", False)
        self._acknowledge(keys, numbers, pending)
        self.send()
        yield from ()

    def _bupdate(self) -> Script:
        key, delta, updater, number = self._change()
        least = self._cluster.history.acknowledged(key)
        self._fetched([key])
        pending = self.session.update_multi([key], [delta], updater, True)
        self._acknowledge([key], [number], pending)
        values = yield pending
        self._cluster.history.check_value(key, values[0], least, self.party)

    def _change(self) -> tuple[str, Any, str, int]:
        key = self.rng.choice(LISTS + ARRAYS)
        number = self._issue(key)
        if key in LISTS:
            return key, self.party * WORKER + number, "append", number
        one = np.zeros(ARRAY_SIZE)
        one[self.party] = 1.0
        return key, one, "add", number

    def _issue(self, key: str) -> int:
        return self._cluster.history.issue(key, self.party)

    def _acknowledge(self, keys: list[str], numbers: list[int], pending: Pending) -> None:
        def note(outcome: Pending) -> None:
            if outcome.error is None:
                for key, number in zip(keys, numbers, strict=True):
                    self._cluster.history.acknowledge(key, self.party, number)

        pending.then(note)

    def _read(self) -> Script:
        keys = self.rng.sample(LISTS + ARRAYS, self.rng.randint(1, 3))
        least = [self._least(key) for key in keys]
        self._fetched(keys)
        values, _missing = yield self.session.read(keys)
        for key, value, wanted in zip(keys, values, least, strict=True):
            self._check_read(key, value, wanted)

    def _scan(self) -> Script:
        least = {key: self._least(key, cached=False) for key in LISTS + ARRAYS}
        parts = yield self.session.ask_entries(m.Scan(None, False, self.session.min_clock))
        found = {key: value for part in parts for key, value in zip(part.keys, part.values, strict=True)}
        for key, wanted in least.items():
            self._check_read(key, found.get(key), wanted)

    def _top(self) -> Script:
        """The longest own numbers: only this worker's, so that the order of the answer is known."""
        message = m.Top(3, "own", self.session.min_clock)
        parts = yield self.session.ask_entries(message)
        best = largest([pair for part in parts for pair in zip(part.keys, part.values, strict=True)], 3)
        assert all(value is not None for _, value in best)
        mine = sorted((-v, k) for k, v in self._own.items() if isinstance(v, int))
        seen = [(-v, k) for k, v in best if k in self._own]
        assert seen == mine[: len(seen)], f"top {best}; own {self._own}"
        if len(best) < 3:
            assert len(seen) == len(mine)

    def _read_clock(self) -> Script:
        clock = yield self.session.read_clock()
        self._cluster.history.check_quorum(clock)

    def _least(self, key: str, cached: bool = True) -> list[int]:
        """What a read now must contain of each worker's updates, the clock's promise aside."""
        history = self._cluster.history
        if self.plan.staleness is None or (self.plan.staleness == math.inf and not cached):
            return history.acknowledged(key)
        clock, before = self._first_fetch.get(key, (0, []))
        if self.plan.staleness == math.inf and before and clock < self._settled:
            return before  # the refresh that was asked for then has come
        return [0] * PARTIES

    def _fetched(self, keys: list[str]) -> None:
        """Note what was done when a key was first asked for in this iteration."""
        for key in keys:
            if self._first_fetch.get(key, (-1, []))[0] < self.clock:
                self._first_fetch[key] = (self.clock, self._cluster.history.acknowledged(key))

    def _check_read(self, key: str, value: Any, least: list[int]) -> None:
        staleness = self.plan.staleness
        history = self._cluster.history
        if staleness is not None and staleness != math.inf:
            needed = max(0, self.clock - int(staleness))
            history.check_quorum(needed)
            least = history.promised(key, needed)
        history.check_value(key, value, least, self.party)

    # --- own keys: only this worker changes them, so every read has exactly one right answer ---------------------

    def _own_key(self) -> str:
        return f"own-{self.party}-{self.rng.randrange(2)}"

    def _own_write(self) -> Script:
        key, value = self._own_key(), self.rng.choice((self.rng.randrange(9), [self.rng.randrange(9)]))
        self._own[key] = value
        yield self.session.write([key], [value])

    def _own_update(self) -> Script:
        key, delta = self._own_key(), self.rng.randrange(9)
        value = self._own.get(key)
        updater = self.rng.choice(("mul", "add", "assign")) if isinstance(value, int) else "append"
        fails = value is not None and self.rng.random() < 0.2
        if fails:  # a list less a number, or a number and a text: the updater raises, the value stays
            updater, delta = ("sub", delta) if isinstance(value, list) else ("add", "text")
        pending = self.session.update(key, delta, updater)
        if not fails:
            pending.then(self._expect_success)
        self._own[key] = value if fails else _own_result(value, delta, updater)
        self.send()
        if fails and self.rng.random() < 0.5:
            yield from self._expect_failure(pending)
        else:
            self.failing += fails

    def _expect_success(self, outcome: Pending) -> None:
        assert outcome.error is None or isinstance(outcome.error, ConnectionLost), f"{self.party}: {outcome.error}"

    def _expect_failure(self, pending: Pending) -> Script:
        try:
            yield pending
        except UpdateError:
            return
        raise AssertionError("an updater that raises did not fail")

    def _own_bupdate(self) -> Script:
        key, delta = self._own_key(), self.rng.randrange(9)
        updater = "append" if not isinstance(self._own.get(key), int) else "add"
        self._own[key] = _own_result(self._own.get(key), delta, updater)
        values = yield self.session.update_multi([key], [delta], updater, True)
        assert values == [self._own[key]], f"bupdate of {key}: {values}, not {self._own[key]}"

    def _own_remove(self) -> Script:
        key = self._own_key()
        was_there = self._own.pop(key, None) is not None
        flags = yield self.session.remove([key])
        assert flags == [was_there], f"{key}: removed {flags}, was there {was_there}"

    def _own_read(self) -> Script:
        keys = [f"own-{self.party}-{n}" for n in range(2)]
        values, missing = yield self.session.read(keys)
        expected = [self._own.get(key) for key in keys]
        assert values == expected, f"{keys} are {values}, not {expected}"
        assert missing == set(keys) - set(self._own)

    def check_final(self, store: dict[str, Any]) -> None:
        """At the end the servers hold what this worker's own updates make, one after the other."""
        mine = {key: value for key, value in store.items() if key.startswith(f"own-{self.party}-")}
        assert self.died or mine == self._own, f"worker {self.party}: {mine}, not {self._own}"


def _own_result(value: Any, delta: Any, updater: str) -> Any:
    """The serial meaning of an update."""
    if value is None:
        return [delta] if updater == "append" else delta
    results = {
        "append": lambda: [*value, delta],
        "add": lambda: value + delta,
        "mul": lambda: value * delta,
        "assign": lambda: delta,
    }
    return results[updater]()


_CHANGES = (Worker._update, Worker._update, Worker._update_multi, Worker._own_update)
_READS = (
    Worker._read,
    Worker._read,
    Worker._read,
    Worker._scan,
    Worker._read_clock,
    Worker._own_read,
    Worker._own_read,
)
_KINDS = (
    *_CHANGES, *_READS, Worker._bupdate, Worker._top,
    Worker._own_write, Worker._own_bupdate, Worker._own_remove,
)  # fmt: skip
