"""Wrong versions of replication, failover, repair and growth, in the style of those in `mutants`."""

from dataclasses import replace
from typing import Any
from unittest import mock

from paracel import messages as m
from paracel.assignment import Assignment
from paracel.chains import Place
from paracel.channel import Channel
from paracel.inbox import Inbox, Peer
from paracel.membership import Membership
from paracel.messages import COORDINATOR, Envelope
from paracel.node import Node
from paracel.pending import Pending
from paracel.replication import Outlet, Replica
from paracel.shard import Asked, Shard
from paracel.shard_state import ShardState
from paracel.shard_tables import ShardTables
from paracel.store import Store
from paracel.tables import journal
from paracel.tables.publishing import Publisher

from . import server
from .making import Mutant, instead, nothing

# --- what is answered, and when -------------------------------------------------------------------------


def _answers_at_once(right: Any) -> Any:
    def flush(replica: Replica, *, leased: bool) -> list[Any]:
        out: list[Any] = right(replica, leased=leased)
        if leased:
            out += [(receiver, reply) for _, receiver, reply in replica._replies]
            replica._replies.clear()
        return out

    return flush


def _stable_on_receipt(right: Any) -> Any:
    """Each copy says that those behind it have what it has itself."""

    def settle(replica: Replica) -> None:
        if not replica.is_primary:
            replica.stable = replica.applied
        right(replica)

    return settle


def _asks_no_joiner(_right: Any) -> Any:
    return property(lambda node: any(len(replica.place.chain) > 1 for replica in node.replicas.values()))


def _extends_from_the_answer(_right: Any) -> Any:
    def take_answer(self: server.Server, answer: m.Message) -> None:
        if isinstance(answer, m.Lease):
            self._leased_until = self._network.now + self._lease

    return take_answer


# --- what copies are told -------------------------------------------------------------------------------


def _without_replies(right: Any) -> Any:
    return lambda inbox: [[sender, following, confirmed, {}] for sender, following, confirmed, _ in right(inbox)]


def _without(name: str) -> Any:
    """Of what is told, not this."""

    def make(right: Any) -> Any:
        def told(*arguments: Any) -> Any:
            changes = right(*arguments)
            return {key: value for key, value in changes.items() if key != name} if changes else changes

        return told

    return make


def _removes_silently(right: Any) -> Any:
    def take_changes(store: Store) -> Any:
        keys, values, _gone = right(store)
        return keys, values, []

    return take_changes


def _keeps_its_outlet_unwatched(right: Any) -> Any:
    """One that becomes primary and has an outlet already tells it nothing."""

    def connect(replica: Replica, view: int) -> None:
        members = replica.place.members
        at = members.index(replica._server) + 1
        if replica.outlet is None or at == len(members) or replica.outlet.peer != members[at]:
            right(replica, view)

    return connect


def _forgets_its_log(right: Any) -> Any:
    def connect(replica: Replica, view: int) -> None:
        log, replica._log = replica._log, type(replica._log)()
        right(replica, view)
        replica._log = log

    return connect


def _takes_old_links(right: Any) -> Any:
    def receive(replica: Replica, message: m.Replicate) -> None:
        replica._source, replica._link, replica._last = message.source, message.link, message.number - 1
        with mock.patch.object(Replica, "_predecessor", return_value=message.source):
            right(replica, message)

    return receive


# --- a server that joins --------------------------------------------------------------------------------


def _no_changes_in_between(right: Any) -> Any:
    def add(outlet: Outlet, sequence: int, changes: Any, piece: int = -1, size: int = 0) -> Any:
        filling = piece < 0 and not outlet.in_sync
        return right(outlet, sequence, {} if filling else changes, piece, size)

    return add


def _counts_at_once(right: Any) -> Any:
    def report(replica: Replica) -> None:
        outlet, place = replica.outlet, replica.place
        if outlet is not None and outlet.peer == place.joining and not replica._reported:
            replica._reported = True
            told = m.Filled(replica._server, replica.shard.number, outlet.peer, place.epoch)
            replica._out.append((COORDINATOR, told))
        right(replica)

    return report


# --- who answers ----------------------------------------------------------------------------------------


def _promotes(first: Any) -> Any:
    """After a loss, the chain is `first(the rest of it, who joins)`."""

    def make(right: Any) -> Any:
        def lose(assignment: Assignment, lost: int, view: int) -> None:
            before = list(assignment.places)
            right(assignment, lost, view)
            for number, (old, new) in enumerate(zip(before, assignment.places, strict=True)):
                if old.primary == lost and old.chain != new.chain:
                    assignment.places[number] = first(new)

        return lose

    return make


def _last_first(place: Place) -> Place:
    return replace(place, chain=place.chain[::-1])


def _joiner_first(place: Place) -> Place:
    if place.joining < 0:
        return place
    return Place(place.epoch, (place.joining, *place.chain))


def _drains_at_once(right: Any) -> Any:
    def report(replica: Replica) -> None:
        if replica.is_primary and replica.place.target and not replica._reported:
            replica._reported = True
            told = m.Drained(replica._server, replica.shard.number, replica.place.epoch)
            replica._out.append((COORDINATOR, told))
        right(replica)

    return report


def _forgets_parked_calls(right: Any) -> Any:
    def handle_repeated(shard: Shard, asked: Asked) -> None:
        stored = shard.inbox.stored(asked.sender, asked.envelope.request) is not None
        if stored or type(asked.envelope.message) in m.READS:
            right(shard, asked)

    return handle_repeated


# --- clients --------------------------------------------------------------------------------------------


def _moves_with_new_numbers(right: Any) -> Any:
    def move(channel: Channel, *arguments: Any) -> list[Envelope]:
        for number in list(channel.outstanding):
            channel.outstanding[channel._next] = channel.outstanding.pop(number)
            channel._next += 1
        sent: list[Envelope] = right(channel, *arguments)
        return sent

    return move


def _confirms_without_going_on(right: Any) -> Any:
    def confirm(peer: Peer, up_to: int) -> None:
        following = peer.next
        right(peer, up_to)
        peer.next = following

    return confirm


def _gives_up_what_moves(right: Any) -> Any:
    """What was asked of the lost server is taken for done."""

    def move(channel: Channel, *arguments: Any) -> list[Envelope]:
        for number, each in list(channel.outstanding.items()):
            if isinstance(each.message, m.Update) and not each.message.reply:
                channel.outstanding[number] = replace(each, message=m.Read([], 0), pending=Pending())
                each.pending.resolve(m.Updated([], {}, 0))
        sent: list[Envelope] = right(channel, *arguments)
        return sent

    return move


# --- the coordinator ------------------------------------------------------------------------------------


def _tells_a_view_once(right: Any) -> Any:
    def tick(*arguments: Any) -> list[m.Message]:
        return [message for message in right(*arguments) if not isinstance(message, m.View)]

    return tick


def _stops_after_an_unwanted_fill(right: Any) -> Any:
    def step(assignment: Assignment, view: int) -> None:
        places = list(assignment.places)
        unwanted = [n for n, p in enumerate(places) if p.joining >= 0 and p.joining not in assignment._wanted[n]]
        right(assignment, view)
        for number in unwanted:
            assignment.places[number] = Place(view, places[number].chain)

    return step


REPLICA_MUTANTS: dict[str, Mutant] = {
    "replies leave before the copies have what they tell": instead(Replica, "flush", _answers_at_once),
    "a copy speaks for those behind it": instead(Replica, "_settle", _stable_on_receipt),
    "nobody needs a lease": instead(Node, "needs_lease", lambda _right: property(lambda _node: False)),
    "who may have joined is not reckoned with": instead(Node, "needs_lease", _asks_no_joiner),
    "a lease begins with its answer": instead(server.Server, "_take_answer", _extends_from_the_answer),
    "a lease outlives the time-out": lambda: mock.patch.object(server, "LEASE_SHARE", 1.8),
    "copies are not told of replies": instead(Inbox, "take_changes", _without_replies),
    "copies are not told of requests": instead(Inbox, "take_changes", lambda _right: lambda inbox: []),
    "copies are not told of the clock": instead(ShardState, "_clock_changes", nothing),
    "copies are not told of removed keys": instead(Store, "take_changes", _removes_silently),
    "copies are not told of waiting pushes": instead(journal, "take_changes", _without("waiting")),
    "copies are not told of taken pushes": instead(journal, "take_changes", _without("taken")),
    "copies are not told of new tables": instead(ShardTables, "take_changes", _without("made")),
    "copies are not told of results": instead(ShardTables, "take_changes", _without("results")),
    "a fill has no changes in between": instead(Outlet, "add", _no_changes_in_between),
    "a joiner counts before it has all": instead(Replica, "_report", _counts_at_once),
    "one that becomes primary keeps its outlet as it was": instead(Replica, "_connect", _keeps_its_outlet_unwatched),
    "what was on its way is not sent to the next one": instead(Replica, "_connect", _forgets_its_log),
    "whoever sends is the one before": instead(Replica, "receive", _takes_old_links),
    "nothing is sent to a copy again": instead(Replica, "tick", nothing),
    "nobody asks a copy again what it has": instead(Replica, "_ask_again", nothing),
    "the last of the chain is promoted": instead(Assignment, "lose", _promotes(_last_first)),
    "who joins is promoted": instead(Assignment, "lose", _promotes(_joiner_first)),
    "a chain is changed before it is drained": instead(Replica, "_report", _drains_at_once),
    "a function that waited is forgotten at failover": instead(Shard, "_handle_repeated", _forgets_parked_calls),
    "versions go on where the server before was": instead(Publisher, "begin_anew", nothing),
    "a request has another number at another server": instead(Channel, "move", _moves_with_new_numbers),
    "a confirmation closes no gap": instead(Peer, "confirm", _confirms_without_going_on),
    "what was under way at a loss is taken for done": instead(Channel, "move", _gives_up_what_moves),
    "a view is told once": instead(Membership, "tick", _tells_a_view_once),
    "an unwanted fill is the last step": instead(Assignment, "_step", _stops_after_an_unwanted_fill),
}
