"""A client's side of tables, joined to servers by queues: what is in flight, and what is asked for twice."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from support.cluster import Cluster, view_of
from support.table_rules import check_execution_order, check_key_lists, uint64

from paracel import messages as m
from paracel.errors import ServerLost, TableError
from paracel.filters import KeyCaching, SignificantlyModified
from paracel.sent_keys import SentKeys
from paracel.session_tables import Call
from paracel.tables.spec import make_spec

KEYS = uint64([1, 2, 3])
PLAIN = Call()


def opened(cluster, session, size=9, **settings):
    spec = make_spec("t", size, 1, "int64", **settings)
    cluster.settle(session.ask_first(spec))
    return cluster.settle(session.open_table(spec, 1))


def ones(keys=KEYS):
    return [np.ones(len(keys), np.int64)]


def lose_server_1(session):
    """Tell it that one of two servers is gone."""
    lost = replace(view_of(2, 1), number=3, servers={0: "ipc://0"}, lost={1: "killed"})
    session.receive(m.Envelope(0, 0, 0, lost), 0.0)


@pytest.mark.parametrize("seed", range(25))
def test_key_lists_on_a_network_that_loses_repeats_and_reorders(seed):
    check_key_lists(seed)


@pytest.mark.parametrize("seed", range(10))
def test_tasks_begin_when_those_before_them_have_ended(seed):
    check_execution_order(seed)


def test_a_pull_waits_for_the_clock_and_shows_what_it_promises():
    cluster = Cluster(2, 2)
    one, two = cluster.join(0, 0), cluster.join(1, 0)
    table, other = opened(cluster, one), opened(cluster, two)
    cluster.settle(other.push(KEYS, ones(), PLAIN))
    cluster.settle(one.commit())
    pulled = table.pull(KEYS, PLAIN, (), 0)
    cluster.pump()
    assert not pulled.done
    assert table.pull(KEYS, PLAIN, (), 1).done is False
    two.commit()
    assert cluster.settle(pulled).tolist() == [1, 1, 1]
    assert one.last_read_clock == 1


@pytest.mark.parametrize("waits", [False, True])
def test_own_pushes_while_a_pull_is_in_flight_are_read_and_once(waits):
    cluster = Cluster(2, 2)
    one, two = cluster.join(0, 0), cluster.join(1, 0)
    table = opened(cluster, one)
    if waits:
        cluster.settle(one.commit())
    first = table.pull(KEYS, PLAIN, (), 0)
    table.push(KEYS, ones(), PLAIN)
    cluster.pump()
    cluster.settle(two.commit())
    cluster.settle(first)
    second = table.pull(KEYS, PLAIN, (), 0)
    assert second.done is not waits, "whether it has the push, nobody knows: it is asked for again"
    assert cluster.settle(second).tolist() == [1, 1, 1]
    assert table.pull(KEYS, PLAIN, (), 0).done


def test_a_refresh_is_asked_for_once_however_often_one_reads():
    cluster = Cluster(1, 1)
    session = cluster.join(0, math.inf)
    table = opened(cluster, session)
    cluster.settle(table.pull(KEYS, PLAIN, (), math.inf))
    cluster.settle(session.commit())
    for _ in range(3):
        assert table.pull(KEYS, PLAIN, (), math.inf).done
    assert [type(envelope.message) for _, envelope in session.outbox] == [m.Pull]


def test_rows_of_a_server_that_is_ahead_are_refreshed_too():
    cluster = Cluster(2, 1)
    session, other = cluster.join(0, math.inf), cluster.join()
    table, keys = opened(cluster, session, None), uint64(range(40))
    pusher = opened(cluster, other, None)

    def pulled(some):
        """What the cache holds in the next iteration; the refresh that this asks for has come when it returns."""
        session.clock += 1
        rows = cluster.settle(table.pull(some, PLAIN, (), math.inf))
        cluster.settle(session.acknowledged())
        return set(rows.tolist())

    assert pulled(keys) == {0}
    cluster.settle(session.ask(0, m.Commit(0, 2)))  # server 0 is at clock 2, and server 1 at 0
    assert pulled(keys[table.router.owners(keys) == 0]) == {0}
    cluster.settle(pusher.push(keys, ones(keys), PLAIN))
    assert pulled(keys) == {0}, "of before"
    assert pulled(keys) == {1}


def test_rows_that_a_lost_server_cannot_refresh_are_an_error():
    cluster = Cluster(2, 1)
    session = cluster.join(0, math.inf)
    table, keys = opened(cluster, session, None), uint64(range(40))
    cluster.settle(table.pull(keys, PLAIN, (), math.inf))
    lose_server_1(session)
    session.clock += 1
    assert table.pull(keys, PLAIN, (), math.inf).done, "from the cache, for the last time"
    cluster.pump()
    with pytest.raises(ServerLost):
        cluster.settle(table.pull(keys, PLAIN, (), math.inf))


def test_a_commit_waits_for_the_refresh_that_a_held_pull_asks_for():
    cluster = Cluster(1, 1)
    session = cluster.join(0, math.inf)
    table = opened(cluster, session)
    cluster.settle(table.pull(KEYS, PLAIN, (), math.inf))
    session.clock += 1
    pushed = table.push(KEYS, ones(), PLAIN)
    held = session.hold([pushed], 0, lambda: table.pull(KEYS, PLAIN, (), math.inf))
    acknowledged = session.acknowledged()
    left = []
    acknowledged.then(lambda _outcome: left.extend(session.channels[0].outstanding.values()))
    cluster.settle(acknowledged)
    assert held.result().tolist() == [1, 1, 1], "from the cache, while newer rows were on their way"
    assert left == []


def test_a_forgotten_cache_is_asked_anew():
    cluster = Cluster(1, 1)
    session = cluster.join(0, 5)
    table = opened(cluster, session)
    cluster.settle(table.pull(KEYS, PLAIN, (), 5))
    assert table.pull(KEYS, PLAIN, (), 5).done
    session.forget_cached()
    assert not table.pull(KEYS, PLAIN, (), 5).done


def test_what_a_lost_server_held_is_an_error_and_key_lists_are_given_back():
    cluster = Cluster(2, 1)
    session = cluster.join()
    table = opened(cluster, session, None)
    call = Call([KeyCaching()])
    cluster.settle(table.push(uint64(range(50)), ones(range(50)), call))
    assert session._sent_keys._lent == {}
    pending = table.pull(uint64(range(50)), call, (), None)
    lose_server_1(session)
    again = table.push(uint64(range(50)), ones(range(50)), call)
    cluster.pump()
    for each in (pending, again):
        assert isinstance(each.error, ServerLost)
    assert session._sent_keys._lent == {}


def test_a_table_that_others_made_anew_is_known_anew():
    cluster = Cluster(2, 1)
    one, two = cluster.join(), cluster.join()
    first, old = opened(cluster, one), opened(cluster, two)
    cluster.settle(one.drop_table("t"))
    assert opened(cluster, one, 10) is not first
    new = opened(cluster, two, 10)
    assert new is not old
    assert opened(cluster, two, 10) is new
    with pytest.raises(TableError, match="exists with size=10"):
        opened(cluster, two)


def test_sent_lists_are_lent_while_a_request_rests_on_them():
    from paracel.pending import Pending

    sent = SentKeys()
    assert not sent.knows(0, b"a", KEYS, 100)
    assert sent.knows(0, b"a", KEYS, 100)
    assert not sent.knows(1, b"a", KEYS, 100), "another server"
    first, second = Pending(), Pending()
    for pending in (first, second):
        sent.lend(b"a", KEYS, pending)
    first.resolve(None)
    assert sent.get(b"a") is KEYS
    second.fail(KeyError())
    assert sent.get(b"a") is None


def test_a_server_may_be_asked_again_for_a_repeated_pull():
    cluster = Cluster(2, 1, rng=random.Random(3))
    session = cluster.join()
    table = opened(cluster, session, None)
    call = Call([SignificantlyModified(2.5)])
    for pushed in range(1, 9):
        cluster.settle(table.push(KEYS, ones(), PLAIN))
        told = cluster.settle(table.pull(KEYS, call, (), None))
        assert np.abs(told - pushed).max() <= 2
        assert told.tolist() == cluster.settle(table.pull(KEYS, call, (), None)).tolist()
