"""One server's brain: for which shards it answers, and to whom it says who does."""

import logging

import pytest
from support.cluster import carried

from paracel import messages as m
from paracel.chains import Place
from paracel.errors import ServerLost
from paracel.functions import Functions
from paracel.messages import COORDINATOR, Envelope
from paracel.node import Node


def view_of(number, *places, lost=()):
    """A view of the servers 0 to 3 with these places: a chain, or a whole Place."""
    whole = [place if isinstance(place, Place) else Place(number, place) for place in places]
    servers = {server: f"ipc://{server}" for server in range(4) if server not in lost}
    return m.View(number, servers, dict.fromkeys(lost, "killed"), 2, {}, [place.to_wire() for place in whole])


def new_node(server=0, *places, number=1):
    node = Node(server, 2, Functions())
    if places:
        tell(node, view_of(number, *places))
    return node


def tell(node, view):
    node.handle(b"coordinator", Envelope(0, 0, 0, view))


def ask(node, message, number=1, *, shard=0, view=1, sender=b"client"):
    node.handle(sender, Envelope(number, 0, view, message, shard))


def replies(node, **how):
    """What goes to clients, as (who, shard, number, message)."""
    out = node.flush(**how)
    return [(to, e.shard, e.request, e.message) for to, e in out if isinstance(to, bytes)]


def join(*nodes):
    """Deliver between servers until nothing is on its way; what else leaves them."""
    by_number = {node.server: node for node in nodes}
    rest, moved = [], True
    while moved:
        moved = False
        for node in nodes:
            for to, envelope in node.flush():
                if to in by_number:
                    moved = True
                    by_number[to].handle(b"server", carried(envelope))
                else:
                    rest.append((node.server, to, envelope))
    return rest


# --- the view ---------------------------------------------------------------------------------------------------------


def test_it_has_the_shards_of_which_it_is_a_member():
    node = new_node(1, (0, 1), (1, 2), (2, 3), Place(1, (3,), 1, (), 1))
    assert sorted(node.replicas) == [0, 1, 3]
    assert [number for number, replica in node.replicas.items() if replica.is_primary] == [1]
    tell(node, view_of(2, (1,), (2,), (2, 3), (3, 1)))
    assert sorted(node.replicas) == [0, 3], "what it is not to have any more is forgotten"


def test_what_comes_before_any_view_waits_for_it():
    node = new_node()
    ask(node, m.Write(["a"], [1]), view=0)
    ask(node, m.Probe(7), 0, view=0)
    assert node.flush() == []
    tell(node, view_of(1, (0,)))
    assert replies(node) == [(b"client", 0, 1, m.Done(1)), (b"client", 0, 0, m.Lost(2))]


def test_who_knows_a_newer_view_waits_until_it_is_here():
    node = new_node(0, (1,))
    ask(node, m.Write(["a"], [1]), view=3)
    tell(node, view_of(2, (1,)))
    assert replies(node) == []
    tell(node, view_of(3, (0,)))
    assert replies(node) == [(b"client", 0, 1, m.Done(1))]


def test_early_messages_are_not_more_than_so_many(monkeypatch):
    monkeypatch.setattr("paracel.node.MOST_EARLY", 3)
    node = new_node()
    for number in range(1, 9):
        ask(node, m.Write(["a"], [number]), number)
    tell(node, view_of(1, (0,)))
    assert [number for _, _, number, _ in replies(node)] == [1, 2, 3]


def test_an_older_view_changes_nothing():
    node = new_node(0, (0,), number=5)
    tell(node, view_of(4, (1,)))
    tell(node, view_of(5, (1,)))
    ask(node, m.Write(["a"], [1]), view=5)
    assert replies(node) == [(b"client", 0, 1, m.Done(1))]


def test_a_server_that_was_given_up_ends():
    node = new_node(0, (0, 1))
    with pytest.raises(ServerLost, match="server 0 was given up: killed"):
        tell(node, view_of(2, (1,), lost=[0]))


def test_that_others_are_lost_does_not_end_it():
    node = new_node(0, (1, 0))
    tell(node, view_of(2, (0,), lost=[1]))
    ask(node, m.Write(["a"], [1]), view=2)
    assert replies(node) == [(b"client", 0, 1, m.Done(1))]


def test_an_older_view_of_a_given_up_server_does_not_end_it():
    node = new_node(0, (0,), number=5)
    tell(node, view_of(4, (1,), lost=[0]))


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "shard"), [(1, 0), (0, 0), (1, 1), (1, 7), (1, -1)])
def test_who_asks_for_a_shard_that_another_answers_for_is_told_the_view(number, shard):
    node = new_node(0, (1, 0), (1, 2), (0,))
    ask(node, m.Write(["a"], [1]) if number else m.Probe(1), number, shard=shard)
    assert replies(node) == [(b"client", -1, 0, node.view)]


def test_who_knows_only_an_older_view_is_answered_all_the_same():
    node = new_node(0, (0,), number=5)
    ask(node, m.Write(["a"], [1]), view=2)
    assert replies(node) == [(b"client", 0, 1, m.Done(1))]


def test_each_shard_has_its_own_numbers():
    node = new_node(0, (0,), (0,))
    for shard in (0, 1):
        ask(node, m.Update(["a"], [1], "add", True), shard=shard)
    assert replies(node) == [(b"client", shard, 1, m.Updated([1], {}, 0)) for shard in (0, 1)]


def test_what_is_said_without_a_shard_is_said_of_all_it_answers_for():
    node = new_node(0, (0,), (1, 0), (0,))
    for shard in (0, 2):
        ask(node, m.Write(["a"], [1]), shard=shard)
    node.flush()
    ask(node, m.Forget(), 0, shard=-1)
    ask(node, m.Leave(1, 9), 0, shard=-1, sender=b"coordinator")
    assert replies(node) == []
    for shard in (0, 2):
        assert node.replicas[shard].shard.inbox.senders() == []
        assert node.replicas[shard].shard.clock.slowest() == [0]
    assert node.replicas[1].shard.clock.slowest() == [0, 1], "the others of the chain will say so to this one"


def test_statistics_are_of_the_shards_that_it_answers_for():
    node = new_node(0, (0,), (1, 0), (0,))
    ask(node, m.Write(["a", "b"], [1, 2]), shard=0)
    ask(node, m.Write(["c"], [1]), shard=2)
    ask(node, m.Write(["c"], [1]), shard=2)  # once more
    ask(node, m.Commit(0, 4), 2, shard=0)
    ask(node, m.Commit(1, 3), 3, shard=0)
    ask(node, m.Commit(0, 5), 2, shard=2)
    ask(node, m.Read(["c"], 9), 3, shard=2)
    node.malformed = 7
    node.flush()
    ask(node, m.GetStatistics(), 0, shard=-1, sender=b"coordinator")
    ((_, _, _, found),) = replies(node)
    assert found == m.Statistics(
        server=0, requests=5, operations=6, duplicates=1, malformed=7, keys=3, parked=1, clock=0,
        clocks={0: 4, 1: 0}, filled={},
    )  # fmt: skip


# --- other servers ----------------------------------------------------------------------------------------------------


def test_two_servers_keep_two_shards_for_each_other():
    nodes = [new_node(server, (0, 1), (1, 0)) for server in (0, 1)]
    ask(nodes[0], m.Write(["a"], [1]), shard=0)
    ask(nodes[1], m.Write(["b"], [2]), shard=1)
    answers = join(*nodes)
    assert sorted((server, to, e.shard, e.message) for server, to, e in answers) == [
        (0, b"client", 0, m.Done(1)),
        (1, b"client", 1, m.Done(1)),
    ]
    for shard, entries in enumerate([{"a": 1}, {"b": 2}]):
        assert [dict(node.replicas[shard].shard.store.entries) for node in nodes] == [entries] * 2


def test_what_goes_to_servers_carries_the_view_and_the_shard():
    node = new_node(0, (2,), (0, 1), number=6)
    ask(node, m.Write(["a"], [1]), shard=1, view=6)
    ((to, envelope),) = node.flush()
    assert (to, envelope.view, envelope.shard, type(envelope.message)) == (1, 6, 1, m.Replicate)


def test_a_server_in_a_newer_view_is_not_refused_but_waited_for():
    nodes = [new_node(server, (0,)) for server in (0, 1)]
    tell(nodes[0], view_of(2, Place(2, (0,), 1, (), 2)))
    assert join(*nodes) == []
    assert not nodes[1].replicas
    tell(nodes[1], view_of(2, Place(2, (0,), 1, (), 2)))
    ((_, to, envelope),) = join(*nodes)
    assert (to, envelope.message) == (COORDINATOR, m.Filled(0, 0, 1, 2))


@pytest.mark.parametrize("places", [[(1,)], [(1, 2)]])
def test_a_server_that_does_not_know_the_view_yet_is_told(places):
    node = new_node(1, *places, number=4)
    late = m.Replicate(0, 1, 1, 1, -1, {"entries": [["a"], [1]]})
    node.handle(b"server", Envelope(0, 0, 1, late, 0))
    assert [(to, e.message) for to, e in node.flush()] == [(0, node.view)]
    assert not node.replicas[0].shard.store.entries
    node.handle(b"server", Envelope(0, 0, 1, late, 9))
    assert [(to, e.message) for to, e in node.flush()] == [(0, node.view)], "nor of a shard that is not here"


# --- the lease --------------------------------------------------------------------------------------------------------


def test_without_backups_no_lease_is_needed():
    node = new_node(0, (0,), (1,))
    assert not node.needs_lease
    ask(node, m.Write(["a"], [1]))
    assert replies(node, leased=False) == [(b"client", 0, 1, m.Done(1))]


@pytest.mark.parametrize("place", [(0, 1), (1, 0), Place(1, (0,), 1, (), 1)])
def test_where_others_may_take_the_place_nothing_is_answered_without_a_lease(place):
    node = new_node(0, place, (0,))
    assert node.needs_lease
    ask(node, m.Read(["a"], 0), shard=1)
    assert replies(node, leased=False) == []
    assert replies(node, leased=True) == [(b"client", 1, 1, m.Found([None], [0], 0))], "with it, what was held too"


# --- time -------------------------------------------------------------------------------------------------------------


def test_ticks_send_again_and_report_who_is_behind():
    node = Node(0, 2, Functions(), patience=2)
    tell(node, view_of(1, (0, 1)))
    ask(node, m.Write(["a"], [1]))
    told = [[e.message for _, e in node.flush()]]
    for _ in range(4):
        node.tick()
        told.append([e.message for _, e in node.flush()])
    sent = told[0][0]
    assert told == [[sent], [], [sent], [sent, m.Behind(0, 0, 1, 1)], [sent, m.Behind(0, 0, 1, 1)]]


def test_bytes_to_who_joins_are_counted_until_it_has_all():
    nodes = [new_node(server, (0,)) for server in (0, 1)]
    ask(nodes[0], m.Write(["a"], [bytes(5000)]))
    nodes[0].flush()
    for node in nodes:
        tell(node, view_of(2, Place(2, (0,), 1, (), 2)))
    assert nodes[0].statistics().filled[0] > 0
    join(*nodes)
    assert nodes[0].statistics().filled == {}


def test_moved_shards_are_named_in_the_log(caplog):
    node = new_node(0, (0, 1))
    with caplog.at_level(logging.INFO):
        tell(node, view_of(2, (1,)))
    assert [record.getMessage() for record in caplog.records] == ["shard 0 is not here any more"]


# --- while a shard drains ---------------------------------------------------------------------------------------------


def test_a_file_that_is_ready_changes_nothing_in_a_shard_that_drains():
    node = new_node(0, (0, 1))
    ask(node, m.Save("/nowhere", "shard-0000-aa"))
    ((shard, save),) = node.take_saves()
    shard.begun(save)
    tell(node, view_of(2, Place(2, (0, 1), -1, (1, 0), -1)))
    before = node.replicas[0].applied
    node.handle(b"", Envelope(0, 0, 0, m.Saved(0, "/nowhere", "shard-0000-aa-1.bin", 1, "", 0, {}, "")))
    node.tick()
    node.flush()
    assert node.replicas[0].applied == before, "its copies would not be the same any more"
