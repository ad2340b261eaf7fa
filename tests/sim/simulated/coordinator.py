"""The coordinator on the network: the membership, which it tells of, and its timer, as its thread has them."""

from typing import TYPE_CHECKING

from paracel import messages as m
from paracel.errors import ConfigError
from paracel.membership import Membership
from paracel.messages import Envelope

from .network import Address
from .server import BEAT_SECONDS
from .watching import noting_losses

if TYPE_CHECKING:
    from .cluster import Cluster
    from .worker import Worker

HOST = "simulated"
#: A server's statistics are asked for with every so many heartbeats, to save time.
ASKS_EVERY = 4
#: Longer than any job.
NEVER = 1e6


class Coordinator:
    """Knows who is in the job. What launchers and workers' processes do beside messages, they do at once."""

    address = b"coordinator"

    def __init__(self, cluster: "Cluster") -> None:
        scenario = cluster.scenario
        workers, timeout = len(scenario.plans), min(NEVER, scenario.heartbeat_timeout)
        self.membership = Membership(scenario.servers, workers, timeout, scenario.replicas, scenario.shards)
        self._cluster = cluster
        self._network = cluster.network
        self._published = self._beats = 0
        #: Where no server goes silent, nothing hangs on the answers.
        self._asks = timeout < NEVER
        self._network.nodes[self.address] = self.receive
        for number in range(scenario.servers):
            self._handle(b"", m.Register(number, f"sim://server-{number}", HOST, number))

    def start(self) -> None:
        """Tell everyone of the first view, and begin to tick."""
        self._publish()
        self._beat()

    def receive(self, source: Address, envelope: Envelope) -> None:
        """Take a message, and tell everyone what it changed."""
        if isinstance(envelope.message, m.Statistics):
            self.membership.heard(int(source.rpartition(b"-")[2]), envelope.message)
        if isinstance(envelope.message, m.Statistics | m.View):  # these are answers
            return
        for receiver, answer in self._handle(source, envelope.message):
            self._network.send(self.address, receiver, Envelope(0, 0, 0, answer))
        self._publish()

    def _handle(self, source: Address, message: m.Message) -> list[tuple[Address, m.Message]]:
        return list(self.membership.handle(source, message, self._alive))

    def join(self, worker: "Worker") -> m.View:
        """Take a worker's number for it; its party is its process id. The membership of which it now is."""
        ((_, view),) = self._handle(worker.address, m.Join(worker.number, HOST, worker.party))
        assert isinstance(view, m.View), view
        self._publish()
        return view

    # --- what a launcher tells -----------------------------------------------------------------------------------

    def server_exited(self, server: int, reason: str) -> None:
        """A process has ended."""
        with noting_losses(self._cluster):
            self.membership.server_exited(server, reason)
        self._publish()

    def remove(self, server: int) -> bool:
        """Ask for a server to go; whether it can."""
        try:
            self.membership.remove(server)
        except ConfigError:
            return False
        self._publish()
        return True

    # --- its timer -----------------------------------------------------------------------------------------------

    def _alive(self, _host: str, pid: int) -> bool:
        return pid >= len(self._cluster.workers) or not self._cluster.workers[pid].died

    def _beat(self) -> None:
        self._network.after(BEAT_SECONDS * (0.9 + 0.4 * self._cluster.rng.random()), self._beat)
        self.send_heartbeats()
        for server in self.membership.removed:
            self._cluster.end(self._cluster.servers[server], "it ended with exit code 0")

    def send_heartbeats(self) -> None:
        """What goes to every server about twice a second."""
        with noting_losses(self._cluster):
            messages = self.membership.tick(self._network.now, self._alive)
        self._beats += 1
        if not self._asks or self._beats % ASKS_EVERY:
            messages = [message for message in messages if not isinstance(message, m.GetStatistics)]
        for message in messages:
            for number in self.membership.addresses:
                self._send(self._cluster.address_of(number), message)
        self._publish()

    def _publish(self) -> None:
        """Tell all servers of a new view, and the clients too if it is about servers."""
        membership = self.membership
        news, membership.news = membership.news, False
        if membership.number == self._published:
            return
        self._published = membership.number
        view = membership.view()
        for server in view.servers:
            self._send(self._cluster.address_of(server), view)
        for client in sorted(membership.clients) if news else ():  # a set's order is another one in each process
            self._send(client, view)

    def _send(self, receiver: Address, message: m.Message) -> None:
        self._network.send(self.address, receiver, Envelope(0, 0, 0, message))
