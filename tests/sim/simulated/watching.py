"""What is looked at in a simulated job: of each shard what it does, and of each loss what it interrupts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from paracel import messages as m
from paracel.functions import Functions
from paracel.messages import Envelope
from paracel.shard import Asked, Shard

from .reference import ReferenceClock

if TYPE_CHECKING:
    from .cluster import Cluster


class JobFunctions(Functions):
    """The functions of a job's servers, which know of the job."""

    def __init__(self, cluster: "Cluster", functions: Functions) -> None:
        super().__init__()
        self._known.update(functions._known)
        self.cluster = cluster


class WatchedShard(Shard):
    """A shard beside the reference that says which of its reads must wait."""

    def __init__(self, number: int, shards: int, workers: int, functions: JobFunctions) -> None:
        super().__init__(number, shards, workers, functions)
        self._cluster = functions.cluster
        self._reference = ReferenceClock(workers)
        self._own_answers: set[tuple[bytes, int]] = set()
        self._own_runs: set[tuple[str, str, int]] = set()

    def handle(self, sender: bytes, envelope: Envelope) -> None:
        """Take a message; where a shard stays on its server, the reference takes it too."""
        if envelope.request and self.inbox.stored(sender, envelope.request) is not None:
            self._cluster.seen["answered twice"] += (sender, envelope.request) not in self._own_answers
        super().handle(sender, envelope)
        if not self._cluster.scenario.failing:
            self._reference.handle(sender, envelope, self.inbox.expected(sender))
            self.check_parked(envelope)

    def check_parked(self, envelope: Envelope) -> None:
        """A read is parked if and only if the clock has not reached what it needs."""
        parked, waiting = self.clock.parked, len(self._reference.waiting)
        assert parked == waiting, f"shard {self.number}: {parked} reads wait, and {waiting} should, after {envelope}"

    def _reply_to(self, message: m.Message) -> m.Message:
        if isinstance(message, m.RunTable) and message.once >= 0:
            ran = message.table, message.function, message.once
            known = message.once in self.tables._results.get(ran[:2], {})
            self._cluster.seen["ran before"] += known and ran not in self._own_runs
            self._own_runs.add(ran)
        return super()._reply_to(message)

    def _send(self, receiver: bytes, request: int, reply: m.Message) -> None:
        if isinstance(reply, m.Failure) and reply.kind == "ReadTooOld":  # it is asked anew, as another request
            self._cluster.register.refused((self.number, receiver, request))
        super()._send(receiver, request, reply)

    def _answer(self, asked: Asked, reply: m.Message) -> None:
        self._own_answers.add(asked.key)
        super()._answer(asked, reply)
        self._cluster.register.handled((self.number, asked.sender, asked.envelope.request))


@contextmanager
def noting_losses(cluster: "Cluster") -> Iterator[None]:
    """Count what the servers were doing that are given up within `with`."""
    membership, faults = cluster.coordinator.membership, cluster.faults
    before, places = set(membership.lost), list(membership.assignment.places)
    yield
    for server in membership.lost.keys() - before:
        faults.excused |= not (faults.is_expected(server) or cluster.servers[server].lost)
        for number, place in enumerate(places):
            replica = cluster.servers[server].node.replicas.get(number)
            if replica is None or server not in place.members:
                continue
            cluster.seen["a loss while filling"] += place.joining >= 0
            cluster.seen["a loss while draining"] += bool(place.target)
            if place.primary == server and len(place.chain) > 1:
                _note_failover(cluster, replica.shard, len(place.chain))


def _note_failover(cluster: "Cluster", shard: Shard, copies: int) -> None:
    seen, tables = cluster.seen, shard.tables._tables.values()
    waiting = [asked.envelope.message for _, _, asked in shard.clock._waiting]
    seen["failovers"] += 1
    seen["failovers of three"] += copies > 2
    seen["failovers of parked reads"] += any(type(message) in m.READS for message in waiting)
    seen["failovers of parked functions"] += any(isinstance(message, m.RunTable) for message in waiting)
    seen["failovers of waiting pushes"] += any(table.commits.all() for table in tables)
