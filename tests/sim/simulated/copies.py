"""The copies of each shard on several servers: that they are there at the end, and are the same."""

from typing import TYPE_CHECKING, Any

import numpy as np
from support.exact import fingerprint

from paracel.messages import packed
from paracel.replication import Replica
from paracel.shard import Shard
from paracel.tables import journal

if TYPE_CHECKING:
    from .cluster import Cluster


def are_settled(cluster: "Cluster") -> bool:
    """Whether everyone knows the last view, every shard has all its copies, and these have all that was changed."""
    membership = cluster.coordinator.membership
    if any(server.lost and server.number in membership.addresses for server in cluster.servers):
        return False
    if not membership.statistics().settled or membership.removed:
        return False
    nodes = [cluster.servers[number].node for number in membership.addresses]
    if any(node.view is None or node.view.number != membership.number for node in nodes):
        return False
    replicas = [replica for node in nodes for replica in node.replicas.values()]
    return all(replica.stable == replica.applied for replica in replicas) and all(
        len({replica.applied for replica in chain}) == 1 for chain in _chains(cluster)
    )


def _chains(cluster: "Cluster") -> list[list[Replica]]:
    places = cluster.coordinator.membership.assignment.places
    return [[cluster.servers[s].node.replicas[n] for s in place.chain] for n, place in enumerate(places)]


def describe(cluster: "Cluster") -> str:
    """Where everyone is, for the message of a test that failed."""
    membership = cluster.coordinator.membership
    views = {n: cluster.servers[n].node.view and cluster.servers[n].node.view.number for n in membership.addresses}
    lost, places = membership.lost, membership.assignment.places
    return f"view {membership.number}, servers at {views}, lost {lost}, places {places}"


def check_equal(cluster: "Cluster") -> None:
    """All copies of a shard hold the same, and there are as many as there can be."""
    for number, chain in enumerate(_chains(cluster)):
        primary = chain[0].shard
        state = state_of(primary)
        for server, copy in zip(cluster.coordinator.membership.assignment.places[number].chain, chain, strict=True):
            other = state_of(copy.shard)
            for name, value in state.items():
                assert fingerprint(value) == fingerprint(other[name]), (
                    f"{name} of shard {number} on server {server}: {other[name]}; on its primary: {value}"
                )
            _check_replies(primary, copy.shard)


def _check_replies(primary: Shard, copy: Shard) -> None:
    """A copy knows of every change; of reads it need not, and what was confirmed it may still keep."""
    for sender, peer in primary.inbox._peers.items():
        other = copy.inbox._peers.get(sender)
        if other is None:
            assert not peer.replies, f"a copy of shard {primary.number} does not know {sender!r}"
            continue
        for request, reply in peer.replies.items():
            if request <= other.confirmed:
                continue
            kept = other.replies.get(request)
            assert kept is not None, f"shard {primary.number}: reply {request} of {sender!r} is not in a copy"
            assert fingerprint(packed(kept)) == fingerprint(packed(reply)), f"{kept} and {reply}"


def state_of(shard: Shard) -> dict[str, Any]:
    """What must be the same in all copies."""
    tables = shard.tables
    state: dict[str, Any] = {
        "entries": dict(sorted(shard.store.entries.items())),
        "clock": [*shard.clock.state(), dict(sorted(shard._entered.items()))],
        "results": {
            f"{of} {clock}": packed(reply)
            for of, kept in sorted(tables._results.items())
            for clock, reply in kept.items()
        },
        "tables": {name: table.number for name, table in sorted(tables._tables.items())},
    }
    for name, table in tables._tables.items():
        keys = table.part.keys()
        order = np.argsort(keys)
        state[f"rows of {name}"] = [
            keys[order].tolist(),
            *([column, table.part.column(column)[order].tolist()] for column in sorted(journal._columns(table))),
        ]
        waiting = [fingerprint(journal._waiting(clock, pushed)) for clock, pushed in table.commits.all()]
        state[f"pushes of {name}"] = [sorted(map(str, waiting)), table.failure]
    return state
