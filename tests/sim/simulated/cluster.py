"""Servers, a coordinator and workers on one network, from one seed; run to the end, and then checked."""

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from unittest import mock

from paracel import exchange, shard_tables, store, wire
from paracel import messages as m
from paracel.errors import ServerLost
from paracel.functions import Functions, key_filter
from paracel.membership import Membership
from paracel.messages import Envelope
from paracel.ring import Ring
from paracel.shard import Asked, Shard
from paracel.tables import placement

from . import table_checks, table_settings
from .history import History
from .network import LATEST, Network, Weather
from .reference import ReferenceClock
from .table_history import TableHistory
from .tasks import Register
from .worker import Plan, Worker

#: No run needs more virtual time; the worst weather and the longest waits end well before.
LONGEST = 600.0
HEARTBEAT_SECONDS = 1.0
HOST = "simulated"
#: Every so many jobs one uses tables.
TABLES = 5
#: So small that key lists are forgotten all the time, and that dense tables have blocks on every server.
KEY_LIST_BYTES = 40
BLOCK_BYTES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """All that a seed decides before the first event."""

    seed: int
    weather: Weather
    servers: int
    plans: tuple[Plan, ...]
    lost_server: int | None
    lost_at: float
    group_commit: float

    @classmethod
    def of(cls, seed: int) -> "Scenario":
        rng = random.Random(seed)
        servers = rng.randint(1, 3)
        plans = tuple(_plan(rng) for _ in range(rng.randint(1, 4)))
        scenario = cls(
            seed=seed,
            weather=Weather.random(rng),
            servers=servers,
            plans=plans,
            lost_server=rng.randrange(servers) if rng.random() < 0.12 else None,
            lost_at=3.0 * rng.random(),
            group_commit=rng.choice((0.0, 0.0, 0.01)),
        )
        return scenario if seed % TABLES else scenario.with_tables()

    def with_tables(self) -> "Scenario":
        """The same job, whose workers use tables too."""
        return dataclasses.replace(self, plans=tuple(dataclasses.replace(plan, tables=True) for plan in self.plans))


def _plan(rng: random.Random) -> Plan:
    return Plan(
        staleness=rng.choice((None, 0, 0, 1, 3, float("inf"), float("inf"))),
        iterations=rng.randint(0, 7),
        stall=rng.choice((0.02, 0.1, 0.5)),
        writes_only=rng.random() < 0.15,
        dies_at=1.5 * rng.random() if rng.random() < 0.1 else float("inf"),
        returns=rng.random() < 0.2,
        replaced=rng.random() < 0.5,
    )


@key_filter
def own(key: str, value: Any) -> bool:
    """Keys of numbers that one worker has for itself."""
    return key.startswith("own-") and isinstance(value, int)


_FUNCTIONS = Functions()
_FUNCTIONS.add("key_filter", "own", own)
table_settings.register(_FUNCTIONS)


class Server:
    """A shard on the network, beside the reference that says which of its reads must wait."""

    def __init__(self, cluster: "Cluster", number: int, workers: int) -> None:
        self.address = f"server-{number}".encode()
        self.lost = False
        self.shard = Shard(number, workers, _FUNCTIONS)
        self.shard._answer = partial(self._answered, self.shard._answer)  # type: ignore[method-assign]
        self._number = number
        self._reference = ReferenceClock(workers)
        self._cluster = cluster
        self._turning = False
        cluster.network.nodes[self.address] = self.receive

    def receive(self, source: bytes, envelope: Envelope) -> None:
        """Take a message; answer at once, or together with others."""
        if self.lost:
            return
        self._cluster.questions[type(envelope.message)] += 1
        self.shard.handle(source, envelope)
        self._reference.handle(source, envelope, self.shard.inbox.expected(source))
        self.check_parked(envelope)
        if self._turning:
            return
        self._turning = True
        if self._cluster.turn_seconds:
            self._cluster.network.after(self._cluster.turn_seconds, self._turn)
        else:
            self._turn()

    def _answered(self, answer: Callable[[Asked, m.Message], None], asked: Asked, reply: m.Message) -> None:
        """A request has been run."""
        answer(asked, reply)
        self._cluster.register.handled((self._number, asked.sender, asked.envelope.request))

    def check_parked(self, envelope: Envelope) -> None:
        """A read is parked if and only if the clock has not reached what it needs."""
        parked, waiting = self.shard.clock.parked, len(self._reference.waiting)
        assert parked == waiting, f"{self.address!r}: {parked} reads wait, and {waiting} should, after {envelope}"

    def _turn(self) -> None:
        self._turning = False
        for receiver, reply in self.shard.flush():
            self._cluster.answers[type(reply.message)] += 1
            if not self.lost:
                self._cluster.network.send(self.address, receiver, reply)


class Cluster:
    """One simulated job."""

    coordinator_address = b"coordinator"

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.turn_seconds = scenario.group_commit
        self.questions: Counter[type[m.Message]] = Counter()
        self.answers: Counter[type[m.Message]] = Counter()
        #: Where no server goes silent, nothing hangs on the heartbeats' answers.
        self._heartbeats = scenario.lost_server is not None
        self.network = Network(random.Random(scenario.seed + 1), scenario.weather)
        self._rng = random.Random(scenario.seed + 2)
        self.working = count = len(scenario.plans)
        self._membership = Membership(scenario.servers, count, 10.0 if self._heartbeats else LONGEST * 2)
        self.servers = [Server(self, number, count) for number in range(scenario.servers)]
        for number in range(scenario.servers):
            self._coordinate(m.Register(number, f"sim://server-{number}", HOST, number))
        self.workers: list[Worker] = []
        self.history = History(self.workers)
        self.table_history = TableHistory(self.history, self.workers)
        self.register = Register()
        self.contested: set[int] = set()
        self.workers.extend(Worker(self, number, number, plan) for number, plan in enumerate(scenario.plans))
        self.network.nodes[self.coordinator_address] = self._receive
        self.network.after(0.0, self._beat)
        if scenario.lost_server is not None:
            self.network.after(scenario.lost_at, self._lose, scenario.lost_server)

    def join(self, worker: Worker) -> m.View:
        """Take a worker's number for it; its party is its process id. The membership of which it now is."""
        joined = m.Join(worker.number, HOST, worker.party)
        ((_, view),) = self._membership.handle(worker.address, joined, self._alive)
        assert isinstance(view, m.View), view
        return view

    def replace(self, dead: Worker) -> None:
        """Somebody takes a dead worker's place, once what that one had sent has arrived."""
        self.working += 1
        self.network.after(LATEST * (1 + self._rng.random()), self._start_in_place_of, dead)

    def _start_in_place_of(self, dead: Worker) -> None:
        self._send_heartbeats()  # so that a last burial of the dead one is on its way
        plan = dataclasses.replace(dead.plan, dies_at=float("inf"))
        self.workers.append(Worker(self, len(self.workers), dead.number, plan))

    def address_of(self, server: int) -> bytes:
        """Where a server, or the coordinator, is reached."""
        return self.coordinator_address if server == exchange.COORDINATOR else self.servers[server].address

    def server_number(self, address: bytes) -> int:
        """A server's number; the coordinator's is COORDINATOR."""
        return exchange.COORDINATOR if address == self.coordinator_address else int(address.rpartition(b"-")[2])

    def run(self) -> None:
        """Run to the end, and check it."""
        while self.working:
            assert self.network.now < LONGEST, "; ".join(w.awaited for w in self.workers if not w.finished)
            self.network.step()
        if any(worker.died for worker in self.workers):
            self._settle()
        self._check_losses()
        if not any(server.lost for server in self.servers):
            self._check_store()
            table_checks.check_final(self)

    def _settle(self) -> None:
        """Go on a little, until what dead workers sent has arrived."""
        end = self.network.now + LATEST
        while self.network.now < end:
            self.network.step()

    def _check_losses(self) -> None:
        lost = self.scenario.lost_server
        for worker in self.workers:
            if worker.error is not None:
                assert lost is not None, f"worker {worker.number} ended with {worker.error}"
                assert isinstance(worker.error, ServerLost)
                known = f" (sim://server-{lost})"  # but to one that came later
                told = str(worker.error) if worker.party == worker.number else str(worker.error).replace(known, "")
                assert told.startswith(f"server {lost}{known if worker.party == worker.number else ''} is gone: ")

    def _check_store(self) -> None:
        store: dict[str, Any] = {}
        ring = exchange.Ring(range(len(self.servers)))
        for number, server in enumerate(self.servers):
            assert all(ring.server_of(key) == number for key in server.shard.store.entries)
            store.update(server.shard.store.entries)
        self.history.check_final(store)
        for worker in self.workers:
            worker.check_final(store)

    # --- the coordinator ------------------------------------------------------------------------------------------

    def _alive(self, _host: str, pid: int) -> bool:
        return pid >= len(self.workers) or not self.workers[pid].died

    def _coordinate(self, message: m.Message) -> None:
        for _answer in self._membership.handle(b"", message, self._alive):
            pass

    def _receive(self, source: bytes, envelope: Envelope) -> None:
        if source.startswith(b"server"):
            if isinstance(envelope.message, m.Statistics):
                self._membership.heard(self.server_number(source), envelope.message)
            return
        for receiver, answer in self._membership.handle(source, envelope.message, self._alive):
            self.network.send(self.coordinator_address, receiver, Envelope(0, 0, 0, answer))

    def _beat(self) -> None:
        self._send_heartbeats()
        self.network.after(HEARTBEAT_SECONDS, self._beat)

    def _send_heartbeats(self) -> None:
        messages = self._membership.tick(self.network.now, self._alive)
        for message in messages if self._heartbeats else messages[1:]:
            for number in self._membership.addresses:
                address = self.servers[number].address
                self.network.send(self.coordinator_address, address, Envelope(0, 0, 0, message))

    def _lose(self, number: int) -> None:
        """A server's process ends: its launcher notices, or only its silence tells."""
        self.servers[number].lost = True
        if self.scenario.seed % 2:
            self._membership.server_exited(number, "it was ended by signal 9")


class Failed(AssertionError):
    """A run that broke a rule; the seed repeats it."""


@cache
def _ring(servers: tuple[int, ...]) -> Ring:
    return Ring(servers)


@contextmanager
def small_scale() -> Iterator[None]:
    """Rings are made once, and small arrays travel as large ones do: in frames of their own, by reference."""
    with (
        mock.patch.object(exchange, "Ring", lambda servers: _ring(tuple(servers))),
        mock.patch.object(shard_tables, "Ring", lambda servers: _ring(tuple(servers))),
        mock.patch.object(wire, "FRAME_BYTES", 64),
        mock.patch.object(store, "FRAME_BYTES", 64),
        mock.patch.object(shard_tables, "KEY_LIST_BYTES", KEY_LIST_BYTES),
        mock.patch.object(placement, "LEAST_BLOCK_BYTES", BLOCK_BYTES),
    ):
        yield


def run(seed: int) -> Cluster:
    """Run the job that the seed describes; Failed says how to repeat it."""
    scenario = Scenario.of(seed)
    try:
        cluster = Cluster(scenario)
        cluster.run()
    except Exception as error:
        raise Failed(f"PARACEL_SIM_SEED={seed} repeats this: {type(error).__name__}: {error}\n{scenario}") from error
    return cluster
