"""Servers, a coordinator and workers on one network, from one seed; run to the end, and then checked."""

import dataclasses
import gc
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

from paracel import exchange, node, replication, shard_tables, store, wire
from paracel import messages as m
from paracel.errors import ServerLost
from paracel.functions import Functions, key_filter
from paracel.messages import COORDINATOR
from paracel.ring import Ring
from paracel.shard import Shard
from paracel.tables import placement

from . import copies, table_checks, table_settings
from .coordinator import Coordinator
from .faults import Faults
from .history import History
from .linear import Linear
from .network import LATEST, Address, Network
from .scenario import TABLES, Scenario
from .server import Server
from .table_history import TableHistory
from .tasks import Register
from .watching import JobFunctions, WatchedShard
from .worker import Worker

__all__ = ["TABLES", "Cluster", "Failed", "Scenario", "run", "run_failures", "small_scale"]

#: No run needs more virtual time; the worst weather and the longest waits end well before.
LONGEST = 300.0
MOST_MESSAGES = 40_000
#: So small that key lists are forgotten all the time, and that dense tables have blocks on every server.
KEY_LIST_BYTES = 40
BLOCK_BYTES = 64
#: So small that it takes a while until a server that joins has all.
PIECE_BYTES, FILL_WINDOW = 32, 200


@key_filter
def own(key: str, value: Any) -> bool:
    """Keys of numbers that one worker has for itself."""
    return key.startswith("own-") and isinstance(value, int)


_FUNCTIONS = Functions()
_FUNCTIONS.add("key_filter", "own", own)
table_settings.register(_FUNCTIONS)


class Cluster:
    """One simulated job."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.turn_seconds = scenario.group_commit
        self.questions: Counter[type[m.Message]] = Counter()
        self.answers: Counter[type[m.Message]] = Counter()
        self.seen: Counter[str] = Counter()
        self.network = Network(random.Random(scenario.seed + 1), scenario.weather)
        self.rng = random.Random(scenario.seed + 2)
        self.functions = JobFunctions(self, _FUNCTIONS)
        self.working = len(scenario.plans)
        self.workers: list[Worker] = []
        self.servers = [Server(self, number) for number in range(scenario.servers)]
        self.coordinator = Coordinator(self)
        self.history = History(self.workers)
        self.table_history = TableHistory(self.history, self.workers)
        self.linear = Linear(self.network)
        self.register = Register()
        self.contested: set[int] = set()
        self.faults = Faults(self)
        self.coordinator.start()
        if scenario.heartbeat_timeout < LONGEST:
            for server in self.servers:
                server.start()
        self.workers.extend(Worker(self, number, number, plan) for number, plan in enumerate(scenario.plans))

    @property
    def loses_nothing(self) -> bool:
        """Whether there are always copies of what is lost."""
        return self.scenario.replicas > 1

    @property
    def shards(self) -> list[Shard]:
        """Each shard as the server has it that answers for it."""
        places = self.coordinator.membership.assignment.places
        return [self.servers[place.primary].node.replicas[shard].shard for shard, place in enumerate(places)]

    @property
    def all_shards(self) -> list[Shard]:
        """Every copy of every shard."""
        return [replica.shard for server in self.servers for replica in server.node.replicas.values()]

    def replace(self, dead: Worker) -> None:
        """Somebody takes a dead worker's place, once what that one had sent has arrived."""
        self.working += 1
        self.network.after(LATEST * (1 + self.rng.random()), self._start_in_place_of, dead)

    def _start_in_place_of(self, dead: Worker) -> None:
        self.coordinator.send_heartbeats()  # so that a last burial of the dead one is on its way
        plan = dataclasses.replace(dead.plan, dies_at=float("inf"))
        self.workers.append(Worker(self, len(self.workers), dead.number, plan))

    def add_server(self) -> None:
        """One more server begins."""
        number = len(self.servers)
        self.servers.append(Server(self, number))
        self.coordinator.membership.expect(number)
        self.servers[number].start()

    def end(self, server: Server, reason: str) -> None:
        """A server's process has ended, and its launcher has noticed."""
        server.lost = True
        known = server.number in self.coordinator.membership.lost
        self.coordinator.server_exited(server.number, reason)
        if not known and self.scenario.replaces and not self.faults.over:
            self.network.after(self.rng.random(), self.add_server)

    def address_of(self, server: int) -> Address:
        """Where a server, or the coordinator, is reached."""
        return self.coordinator.address if server == COORDINATOR else self.servers[server].address

    # --- to the end ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run to the end, and check it."""
        while self.working:
            assert self.network.now < LONGEST, "; ".join(w.awaited for w in self.workers if not w.finished)
            assert self.network.sent < MOST_MESSAGES, f"too many messages: {self.questions}, {self.answers}"
            self.network.step()
        self.faults.stop()
        if any(worker.died for worker in self.workers):
            self._go_on(LATEST)  # until what dead workers sent has arrived
        if self.scenario.failing:
            self._settle()
        self._check_losses()
        self.linear.check()
        if self.broken or (not self.scenario.failing and any(server.lost for server in self.servers)):
            return
        if self.scenario.failing:
            copies.check_equal(self)
        self._check_store()
        table_checks.check_final(self)

    @property
    def broken(self) -> list[int]:
        """The shards of which all copies are lost."""
        membership = self.coordinator.membership
        return membership.assignment.broken(membership.lost)

    def _go_on(self, seconds: float) -> None:
        end = self.network.now + seconds
        while self.network.now < end:
            self.network.step()

    def _settle(self) -> None:
        """Go on until every shard has all its copies."""
        latest = self.network.now + LONGEST
        while not self.broken and not copies.are_settled(self):
            assert self.network.now < latest, f"it does not settle: {copies.describe(self)}"
            self._go_on(0.5)

    def _check_losses(self) -> None:
        """Whoever was told that servers are lost was told the truth, and only if all copies of a shard are gone."""
        broken = self.broken
        assert not broken or not self.loses_nothing or self.faults.excused, f"shards {broken} are lost"
        for worker in self.workers:
            if worker.error is not None:
                assert broken, f"worker {worker.number} ended with {worker.error}"
                assert isinstance(worker.error, ServerLost), worker.error
                lost = int(str(worker.error).split()[1])
                known = f" (sim://server-{lost})"  # but to one that came later
                came_before = worker.party == worker.number and not self.scenario.failing
                told = str(worker.error) if came_before else str(worker.error).replace(known, "")
                assert told.startswith(f"server {lost}{known if came_before else ''} is gone: "), told

    def _check_store(self) -> None:
        store: dict[str, Any] = {}
        ring = exchange.Ring(range(self.scenario.shards))
        for number, shard in enumerate(self.shards):
            assert all(ring.shard_of(key) == number for key in shard.store.entries)
            store.update(shard.store.entries)
        self.history.check_final(store)
        for worker in self.workers:
            worker.check_final(store)


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
        mock.patch.object(node, "Shard", WatchedShard),
        mock.patch.object(replication, "PIECE_BYTES", PIECE_BYTES),
        mock.patch.object(replication, "FILL_WINDOW", FILL_WINDOW),
        mock.patch.object(wire, "FRAME_BYTES", 64),
        mock.patch.object(store, "FRAME_BYTES", 64),
        mock.patch.object(shard_tables, "KEY_LIST_BYTES", KEY_LIST_BYTES),
        mock.patch.object(placement, "LEAST_BLOCK_BYTES", BLOCK_BYTES),
    ):
        collects = gc.get_threshold()
        gc.set_threshold(100_000)  # a run makes many objects that live to its end
        yield
        gc.set_threshold(*collects)


def run(seed: int) -> Cluster:
    """Run the job that the seed describes; Failed says how to repeat it."""
    return _run(Scenario.of, seed, "PARACEL_SIM_SEED")


def run_failures(seed: int) -> Cluster:
    """Run the job with failures that the seed describes; Failed says how to repeat it."""
    return _run(Scenario.of_failures, seed, "PARACEL_SIM_FAILING_SEED")


def _run(scenario_of: Callable[[int], Scenario], seed: int, variable: str) -> Cluster:
    scenario = scenario_of(seed)
    try:
        cluster = Cluster(scenario)
        cluster.run()
    except Exception as error:
        raise Failed(f"{variable}={seed} repeats this: {type(error).__name__}: {error}\n{scenario}") from error
    return cluster
