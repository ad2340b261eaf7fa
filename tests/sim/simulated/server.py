"""A server on the network: a node, its timers and its lease, as the process has them."""

from typing import TYPE_CHECKING

from paracel import messages as m
from paracel.errors import ServerLost
from paracel.messages import COORDINATOR, Envelope
from paracel.node import Node
from paracel.server import LEASE_SHARE

from .network import Address

if TYPE_CHECKING:
    from .cluster import Cluster

BEAT_SECONDS = 0.5


class Server:
    """A server's process. One that is `lost` has ended; one that `hangs` goes on later, with all that has come."""

    def __init__(self, cluster: "Cluster", number: int) -> None:
        self.number = number
        self.address = f"server-{number}".encode()
        self.lost = False
        self.hangs = 0
        timeout = cluster.scenario.heartbeat_timeout
        self.node = Node(number, len(cluster.scenario.plans), cluster.functions, timeout / BEAT_SECONDS)
        self._cluster = cluster
        self._network = cluster.network
        self._lease = LEASE_SHARE * timeout
        self._queue: list[tuple[Address, Envelope]] = []
        self._beats: dict[int, float] = {}
        self._beat = 0
        self._leased_until = 0.0
        self._turning = self._turn_is_due = False
        self._network.nodes[self.address] = self.receive

    @property
    def alive(self) -> bool:
        """Whether it does what comes."""
        return not self.lost and not self.hangs

    @property
    def leased(self) -> bool:
        """Whether nobody else can be in its place."""
        return self._network.now < self._leased_until

    # --- what comes ---------------------------------------------------------------------------------------------

    def receive(self, source: Address, envelope: Envelope) -> None:
        """Take a message; answer at once, or together with others."""
        if self.lost:
            return
        if self.hangs:
            self._queue.append((source, envelope))
            return
        self._cluster.questions[type(envelope.message)] += 1
        if isinstance(envelope.message, m.Lease | m.Failure):
            self._take_answer(envelope.message)
            return
        try:
            self.node.handle(source, envelope)
        except ServerLost:
            self._cluster.seen["deposed"] += any(replica.is_primary for replica in self.node.replicas.values())
            self._cluster.end(self, "it ended with exit code 1")
            return
        self._begin_turn()

    def _begin_turn(self) -> None:
        if self._turning:
            return
        self._turning = True
        if self._cluster.turn_seconds:
            self._network.after(self._cluster.turn_seconds, self._turn)
        else:
            self._turn()

    def _turn(self) -> None:
        if not self.alive:
            self._turn_is_due = True
            return
        self._turning = False
        servers = {} if self.node.view is None else self.node.view.servers
        leased = self.leased or not self._cluster.scenario.failing
        for receiver, envelope in self.node.flush(leased=leased):
            self._cluster.answers[type(envelope.message)] += 1
            if isinstance(receiver, bytes):
                self._network.send(self.address, receiver, envelope)
            elif receiver == COORDINATOR or receiver in servers:
                self._network.send(self.address, self._cluster.address_of(receiver), envelope)
        if not leased:
            self._cluster.seen["withheld"] += any(replica._replies for replica in self.node.replicas.values())

    # --- its timers ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to tick."""
        self._network.after(BEAT_SECONDS * self._cluster.rng.random(), self._tick)
        self._send_beat()

    def _tick(self) -> None:
        if self.lost:
            return
        self._network.after(BEAT_SECONDS * (0.9 + 0.2 * self._cluster.rng.random()), self._tick)
        if not self.hangs:
            self._send_beat()
            self.node.tick()
            self._begin_turn()

    def _send_beat(self) -> None:
        """Tell the coordinator that it lives, or, as long as there is no view, that it is ready."""
        if self.node.view is None and self._cluster.scenario.failing:
            self._tell_coordinator(m.Register(self.number, f"sim://server-{self.number}", "simulated", self.number))
        self._beat += 1
        self._beats[self._beat] = self._network.now
        self._tell_coordinator(m.Heartbeat(self.number, 0, self._beat))

    def _tell_coordinator(self, message: m.Message) -> None:
        self._network.send(self.address, self._cluster.coordinator.address, Envelope(0, 0, 0, message))

    def _take_answer(self, answer: m.Lease | m.Failure) -> None:
        """What the coordinator says to a heartbeat."""
        if isinstance(answer, m.Lease) and answer.number in self._beats:
            self._leased_until = self._beats[answer.number] + self._lease
            for older in [each for each in self._beats if each <= answer.number]:
                del self._beats[older]

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def hang(self, seconds: float) -> None:
        """Stop for a while, as if by a signal."""
        self.hangs += 1
        self._network.after(seconds, self._resume)

    def _resume(self) -> None:
        self.hangs -= 1
        if self.hangs or self.lost:
            return
        queue, self._queue = self._queue, []
        if self._turn_is_due:
            self._turn_is_due = False
            self._turn()
        for source, envelope in queue:
            self.receive(source, envelope)
