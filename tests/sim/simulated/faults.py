"""What goes wrong in a job, and what may: never more servers at once than the copies that there are of each shard."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from paracel import messages as m
from paracel.replication import Replica

from .network import Address
from .server import Server

if TYPE_CHECKING:
    from .cluster import Cluster

#: A server that is silent for longer may be given up; less than the shortest time-out, since messages are late.
SHORT_SECONDS = 0.8
#: How long it takes until it has been heard again, after a silence.
AFTER_SECONDS = 1.0
MOST_SERVERS = 6
LATEST_SPLIT = 4.0
#: How often one looks whether a server does what it is to be hit at.
AIM_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `one` and `other`, in [0, 1), say to whom, and how."""

    kind: str
    at: float
    seconds: float
    one: float
    other: float


class Faults:
    """Lets them happen, each in its time; what would be too much does not happen."""

    def __init__(self, cluster: "Cluster") -> None:
        self.seen: Counter[str] = Counter()
        self.over = False
        #: Whether somebody was given up without a reason; then more may be lost than there are copies.
        self.excused = False
        self._cluster = cluster
        self._network = cluster.network
        self._endangered: Counter[int] = Counter()
        for fault in cluster.scenario.faults:
            self._begin(fault, after=fault.at)

    def stop(self) -> None:
        """Nothing goes wrong from now on, and what was cut is whole again."""
        self.over = True
        self._network.cuts.clear()
        self._network.slow.clear()

    def is_expected(self, server: int) -> bool:
        """Whether a server may be given up now."""
        return self._endangered[server] > 0

    def _begin(self, fault: Fault, after: float) -> None:
        self._network.after(after, self._let_happen, fault)

    def _let_happen(self, fault: Fault) -> None:
        if not self.over and KINDS[fault.kind](self, fault):
            self.seen[fault.kind] += 1

    # --- whom it may hit -----------------------------------------------------------------------------------------

    def _servers(self) -> list[Server]:
        """Those that are in the job, as far as the coordinator knows."""
        cluster = self._cluster
        known = cluster.coordinator.membership.addresses
        return [cluster.servers[number] for number in sorted(known) if not cluster.servers[number].lost]

    def _chosen(self, at: float) -> Server | None:
        servers = self._servers()
        return servers[int(at * len(servers))] if servers else None

    def _is_safe(self, server: Server) -> bool:
        """Whether every shard has a living copy beside that of this server, and of those that may be lost already."""
        gone = {number for number, times in self._endangered.items() if times} | {server.number}
        return all(set(place.chain) - gone for place in self._cluster.coordinator.membership.assignment.places)

    def _silence(self, server: Server, seconds: float) -> bool:
        """Whether a server may be silent for so long; then it counts as lost, until it is heard again."""
        short = seconds <= SHORT_SECONDS and not any(self._endangered.values())
        if not short and not self._is_safe(server):
            return False
        self._endangered[server.number] += 1
        self._network.after(seconds + AFTER_SECONDS, self._endangered.subtract, [server.number])
        return True

    # --- what it is ----------------------------------------------------------------------------------------------

    def _crash(self, fault: Fault) -> bool:
        """A process ends: its launcher notices, or only its silence tells."""
        server = self._chosen(fault.one)
        cluster = self._cluster
        if server is None or (cluster.loses_nothing and not self._is_safe(server)):
            return False
        self._end(server, noticed=fault.other < 0.5)
        return True

    def _end(self, server: Server, *, noticed: bool) -> None:
        server.lost = True
        self._endangered[server.number] += 1
        if noticed:
            self._network.after(0.02, self._cluster.end, server, "it was ended by signal 9")

    def _aimed_crash(self, fault: Fault) -> bool:
        """The process ends that is just doing something, as soon as there is one."""
        doing = AIMS[int(fault.one * len(AIMS))]
        for place, server in self._primaries():
            replica = server.node.replicas.get(place)
            if replica is not None and doing(replica) and self._is_safe(server):
                self._end(server, noticed=fault.other < 0.5)
                return True
        if fault.seconds > 0.0:
            self._begin(replace(fault, seconds=fault.seconds - AIM_SECONDS), after=AIM_SECONDS)
        return False

    def _primaries(self) -> list[tuple[int, Server]]:
        places = self._cluster.coordinator.membership.assignment.places
        servers = self._cluster.servers
        return [(number, servers[place.primary]) for number, place in enumerate(places)]

    def _hang(self, fault: Fault) -> bool:
        server = self._chosen(fault.one)
        if server is None or not self._silence(server, fault.seconds):
            return False
        server.hang(fault.seconds)
        return True

    def _slow(self, fault: Fault) -> bool:
        server = self._chosen(fault.one)
        address = self._cluster.coordinator.address if server is None or fault.other < 0.1 else server.address
        self._network.delay(address, 0.4 * fault.other, fault.seconds)
        return True

    def _cut_servers(self, fault: Fault) -> bool:
        """Two servers cannot reach each other, or one cannot reach the other."""
        addresses = [server.address for server in self._servers()]
        pairs = list(permutations(addresses, 2))
        if not pairs:
            return False
        one, other = pairs[int(fault.one * len(pairs))]
        ways = [(one, other)] if fault.other < 0.5 else [(one, other), (other, one)]
        self._network.cut(ways, fault.seconds)
        return True

    def _cut_worker(self, fault: Fault) -> bool:
        """A worker cannot reach a server, or the coordinator, or is not reached."""
        workers = [worker.address for worker in self._cluster.workers]
        others = [self._cluster.coordinator.address, *(server.address for server in self._servers())]
        pairs = list(product(workers, others))
        one, other = pairs[int(fault.one * len(pairs))]
        ways = [(one, other)] if fault.other < 0.3 else [(other, one)] if fault.other < 0.6 else both(one, other)
        self._network.cut(ways, fault.seconds)
        return True

    def _isolate(self, fault: Fault) -> bool:
        """A server cannot reach the coordinator, or is not reached, or reaches nobody."""
        server = self._chosen(fault.one)
        if server is None:
            return False
        one, other = server.address, self._cluster.coordinator.address
        ways = [(other, one)]
        if fault.other < 0.7:
            if not self._silence(server, fault.seconds):
                return False
            ways = [(one, other)] if fault.other < 0.3 else both(one, other)
        if fault.other < 0.2:
            ways = [way for each in self._network.nodes if each != one for way in both(one, each)]
        self._network.cut(ways, fault.seconds)
        return True

    def _isolate_coordinator(self, fault: Fault) -> bool:
        """Nobody reaches the coordinator for a moment, or is reached, or both."""
        if any(self._endangered.values()):
            return False
        servers = self._servers()
        seconds = min(fault.seconds, SHORT_SECONDS)
        if not all(self._silence(server, seconds) for server in servers[:1]):
            return False
        for server in servers[1:]:
            self._endangered[server.number] += 1
            self._network.after(seconds + AFTER_SECONDS, self._endangered.subtract, [server.number])
        coordinator = self._cluster.coordinator.address
        ways = [way for each in self._network.nodes if each != coordinator for way in both(coordinator, each)]
        self._network.cut(ways[:: 1 if fault.other < 0.5 else 2], seconds)
        return True

    def _split(self, fault: Fault) -> bool:
        """The first shard's primary and the first worker are apart from all others, and the primary may hang first.

        If it is to be so, when a copy has joined and the primary has not heard of it yet.
        """
        coordinator, shard = self._cluster.coordinator, 0
        place = coordinator.membership.assignment.places[shard]
        server = self._cluster.servers[place.primary]
        known = server.node.replicas.get(shard)
        aware = known is None or len(known.place.chain) == len(place.chain)
        if not self._is_safe(server) or (fault.one < 0.4 and aware):
            if self._network.now < LATEST_SPLIT:
                self._begin(fault, after=0.004)
            return False
        self._endangered[server.number] += 1
        inside = {server.address, self._cluster.workers[0].address}
        outside = [address for address in self._network.nodes if address not in inside]
        timeout = self._cluster.scenario.heartbeat_timeout
        hangs = fault.one > 0.7
        if hangs:
            server.hang(timeout + 1.0)
        ways = [way for each in product(inside, outside) for way in both(*each)]
        # an answer to its last heartbeat may wait for one that hangs
        self._network.after(0.05 if hangs else 0.0, self._network.cut, ways, fault.seconds + timeout)
        return True

    def _join(self, _fault: Fault) -> bool:
        if len(self._servers()) >= MOST_SERVERS:
            return False
        self._cluster.add_server()
        return True

    def _leave(self, fault: Fault) -> bool:
        server = self._chosen(fault.one)
        return server is not None and self._cluster.coordinator.remove(server.number)


def both(one: Address, other: Address) -> list[tuple[Address, Address]]:
    """There and back."""
    return [(one, other), (other, one)]


#: What a server does when it is hit.
AIMS: tuple[Callable[[Replica], Any], ...] = (
    lambda replica: replica.shard.clock.parked,
    lambda replica: replica.shard.clock.parked,
    lambda replica: any(isinstance(asked.envelope.message, m.RunTable) for _, _, asked in replica.shard.clock._waiting),
    lambda replica: any(table.commits.all() for table in replica.shard.tables._tables.values()),
    lambda replica: replica.shard.tables._results.get(("calls", "count_once")),
    lambda replica: replica.place.joining >= 0 and replica.outlet is not None and replica.outlet.pieces > 1,
    lambda replica: replica.place.target,
    lambda replica: replica._replies and replica.stable < replica.applied,
)
KINDS: dict[str, Callable[[Faults, Fault], Any]] = {
    "crash": Faults._crash,
    "aimed crash": Faults._aimed_crash,
    "hang": Faults._hang,
    "slow": Faults._slow,
    "servers cut": Faults._cut_servers,
    "worker cut": Faults._cut_worker,
    "server isolated": Faults._isolate,
    "coordinator isolated": Faults._isolate_coordinator,
    "join": Faults._join,
    "leave": Faults._leave,
    "split": Faults._split,
}
