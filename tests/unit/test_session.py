"""A session against real shards, message by message."""

import math
from dataclasses import replace

import numpy as np
import pytest
from support.cluster import Cluster, view_of

from paracel import messages as m
from paracel.chains import Place
from paracel.errors import CarryError, CoordinatorLost, ServerLost, UpdateError
from paracel.exchange import COORDINATOR_PATIENCE
from paracel.functions import Functions
from paracel.messages import Envelope
from paracel.ring import Ring
from paracel.session import BATCH_KEYS, Session


@pytest.fixture
def cluster():
    return Cluster(2)


@pytest.fixture
def session(cluster):
    return cluster.join()


def keys_of(server, count, servers=2):
    """Some keys that a server holds."""
    ring = Ring(range(servers))
    return [key for key in map(str, range(1000)) if ring.shard_of(key) == server][:count]


def sent(session):
    """What waits to be sent, as (server, message)."""
    return [(server, envelope.message) for server, envelope in session.outbox]


# --- routing ------------------------------------------------------------------------------------------------


def test_many_keys_are_one_request_to_each_server(session):
    session.read(list(map(str, range(100))))
    assert sorted(server for server, _ in sent(session)) == [0, 1]
    assert sorted(key for _, message in sent(session) for key in message.keys) == sorted(map(str, range(100)))


def test_no_keys_are_no_request(session):
    for pending in (session.read([]), session.remove([]), session.update_multi([], [], "add", True)):
        assert pending.done
        assert not session.outbox


def test_values_come_in_the_order_of_the_keys(cluster, session):
    keys = list(map(str, range(50)))
    cluster.settle(session.write(keys, list(range(50))))
    asked = [*reversed(keys), "7", "none", "7"]
    values, missing = cluster.settle(session.read(asked))
    assert values == [*reversed(range(50)), 7, None, 7]
    assert missing == {"none"}
    assert cluster.settle(session.contains(asked)) == [True] * 51 + [False, True]
    assert cluster.settle(session.remove(["none", "7", "7", "8"])) == [False, True, False, True]
    assert cluster.settle(session.remove_chosen(None)) == 48


# --- batches ------------------------------------------------------------------------------------------------


def test_an_update_leaves_at_once_when_nothing_is_on_its_way(session):
    session.update("w", 1, "add")
    assert [type(message) for _, message in sent(session)] == [m.Update]


def test_others_wait_for_the_reply_and_travel_together(cluster, session):
    tasks = [session.update("w", 1, "add") for _ in range(5)]
    assert len(session.outbox) == 1
    cluster.pump()
    assert all(task.done for task in tasks)
    server = session.ring.shard_of("w")
    assert cluster.shards[server].requests == 2
    assert cluster.shards[server].store.entries["w"] == 5


@pytest.mark.parametrize(("count", "delta", "requests"), [(BATCH_KEYS + 1, 1, 2), (7, b"x" * 100_000, 3)])
def test_a_full_batch_leaves_without_waiting(session, count, delta, requests):
    for _ in range(count):
        session.update("w", delta, "assign")
    assert len(session.outbox) == requests


def test_another_updater_starts_another_batch(cluster, session):
    for name, delta in [("assign", 1), ("add", 2), ("add", 3), ("mul", 10), ("add", 1)]:
        session.update("w", delta, name)
    session.flush()
    assert [message.updater for _, message in sent(session)] == ["assign", "add", "mul", "add"]
    values, _ = cluster.settle(session.read(["w"]))
    assert values == [61]


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.read(["w"]),
        lambda s: s.write(["w"], [0]),
        lambda s: s.update_multi(["w"], [0], "add", True),
        lambda s: s.remove(["w"]),
        lambda s: s.remove_chosen(None),
        lambda s: s.read_clock(),
    ],
)
def test_any_other_request_goes_behind_the_updates(session, ask):
    session.update("w", 1, "add")
    session.update("w", 2, "add")
    ask(session)
    server = session.ring.shard_of("w")
    updates = [message for to, message in sent(session) if to == server]
    assert [type(message) for message in updates[:2]] == [m.Update, m.Update]
    assert type(updates[2]) is not m.Update or updates[2].reply


def test_of_one_key_twice_in_a_batch_only_the_update_that_failed_fails(cluster, session):
    cluster.settle(session.write(["w"], [0]))
    first = session.update("w", 0, "add")
    tasks = [session.update("w", delta, "add") for delta in (1, "bad", 2, "worse")]
    cluster.pump()
    assert first.result() is None
    assert [task.error is None for task in tasks] == [True, False, True, False]
    with pytest.raises(UpdateError) as caught:
        tasks[1].result()
    assert list(caught.value.failures) == ["w"]
    assert cluster.settle(session.read(["w"]))[0] == [3]


def test_failures_of_many_keys_on_many_servers_are_all_told(cluster, session):
    keys = list(map(str, range(20)))
    cluster.settle(session.write(keys, [0, "text"] * 10))
    for reply in (False, True):
        with pytest.raises(UpdateError) as caught:
            cluster.settle(session.update_multi(keys, [1] * 20, "add", reply))
        assert sorted(caught.value.failures) == sorted(keys[1::2])
        assert all("TypeError" in text for text in caught.value.failures.values())
    assert cluster.settle(session.read(keys))[0] == [2, "text"] * 10


def test_a_failure_that_nobody_looked_at_is_told_once(cluster, session):
    cluster.settle(session.write(["w"], ["text"]))
    seen = session.update("w", 1, "add")
    cluster.pump()
    with pytest.raises(UpdateError):
        seen.result()
    assert session.unobserved_failure() is None
    session.update("w", 2, "add")
    session.update_multi(["w"], [3], "add", False)
    cluster.pump()
    assert isinstance(session.unobserved_failure().error, UpdateError)
    assert session.unobserved_failure() is None


# --- the cache ----------------------------------------------------------------------------------------------


@pytest.fixture
def two_workers():
    cluster = Cluster(2, workers=2)
    return cluster, cluster.join(0, staleness=1), cluster.join(1, staleness=1)


def test_a_key_is_read_again_if_and_only_if_its_entry_is_too_old(two_workers):
    cluster, one, other = two_workers
    cluster.settle(other.write(["a", "b"], [1, 1]))
    cluster.settle(one.read(["a"]))
    for committed in range(4):
        cluster.settle(other.update_multi(["a"], [1], "add", False))
        needs = one.cache.clock_of("a") < one.min_clock
        pending = one.read(["a", "a"])
        assert bool(one.outbox) == needs
        values, _ = cluster.settle(pending)
        assert values[0] == values[1]
        assert values[0] >= committed - 1
        cluster.settle(one.commit())
        cluster.settle(other.commit())


def test_a_fresh_read_of_one_key_does_not_make_another_fresh(two_workers):
    cluster, one, other = two_workers
    cluster.settle(other.write(["a", "b"], [1, 1]))
    cluster.settle(one.read(["a"]))
    for _ in range(2):
        cluster.settle(one.commit())
        cluster.settle(other.commit())
    cluster.settle(other.write(["a", "b"], [2, 2]))
    assert cluster.settle(one.read(["b"]))[0] == [2]
    assert not one.cache.fresh("a", one.min_clock)
    assert cluster.settle(one.read(["b", "a"]))[0] == [2, 2]


def test_own_updates_are_read_whatever_the_cache_holds(two_workers):
    cluster, one, _ = two_workers
    cluster.settle(one.write(["a"], [1]))
    cluster.settle(one.read(["a"]))
    one.update("a", 5, "add")
    one.update_multi(["a"], [2], "mul", False)
    pending = one.read(["a"])
    assert pending.done
    assert pending.result() == ([12], set())
    one.write(["a"], [3])
    assert one.read(["a"]).result()[0] == [3]
    assert cluster.settle(one.update_multi(["a"], [4], "add", True)) == [7]
    assert one.read(["a"]).result()[0] == [7]
    one.remove(["a"])
    assert cluster.settle(one.read(["a"]))[1] == {"a"}


def test_what_is_read_is_nobody_elses(two_workers):
    cluster, one, _ = two_workers
    cluster.settle(one.write(["a"], [[np.zeros(2)]]))
    for _ in range(3):
        value = cluster.settle(one.read(["a"]))[0][0]
        assert value[0].tolist() == [0, 0]
        value[0] += 1
        value.append(1)


def test_a_read_ends_although_an_update_of_a_cached_key_fails_meanwhile(two_workers):
    cluster, one, other = two_workers
    cluster.settle(one.write(["a", "b"], [1, 2]))
    cluster.settle(one.read(["a"]))
    cluster.settle(other.write(["a"], ["text"]))
    one.update("a", 1, "add")
    values, missing = cluster.settle(one.read(["a", "b"]))
    assert (values[1], missing) == (2, set())
    assert cluster.settle(one.read(["a"]))[0] == ["text"]


def test_eventual_reads_never_wait_and_are_renewed_behind(two_workers):
    cluster, one, other = two_workers
    one.staleness = math.inf
    assert one.min_clock == 0
    cluster.settle(other.write(["a"], [1]))
    assert cluster.settle(one.read(["a"]))[0] == [1]
    cluster.settle(other.write(["a"], [2]))
    assert one.read(["a"]).result()[0] == [1]
    assert not one.outbox, "asked for once in an iteration"
    one.commit()
    assert one.read(["a"]).result()[0] == [1]
    one.update("a", 10, "add")
    assert one.read(["a"]).result()[0] == [11], "own updates at once"
    cluster.pump()
    assert one.read(["a"]).result()[0] == [12], "and the newer value with them"


def test_eventual_reads_of_a_key_removed_meanwhile(two_workers):
    cluster, one, _ = two_workers
    one.staleness = math.inf
    cluster.settle(one.write(["a"], [1]))
    cluster.settle(one.read(["a"]))
    cluster.settle(one.commit())
    one.read(["a"])
    cluster.settle(one.remove(["a"]))
    assert cluster.settle(one.read(["a"]))[1] == {"a"}


# --- the clock ----------------------------------------------------------------------------------------------


def test_a_refresh_that_is_read_again_after_an_own_update_does_not_count_it_twice(cluster):
    one = cluster.join(0, math.inf)
    cluster.settle(one.write(["a"], [1]))
    cluster.settle(one.read(["a"]))
    one.commit()
    cluster.pump()
    assert one.read(["a"]).result() == ([1], set())  # a refresh is on its way
    ((server, refresh),) = one.outbox
    cluster.collect()
    cluster._links[b"client 0", server, True].clear()
    cluster.deliver(b"client 0", server, refresh)
    cluster._links[b"client 0", server, False].clear()  # its reply is lost
    cluster.settle(one.update_multi(["a"], [10], "add", False))
    cluster.settle(one.acknowledged())  # asks after the refresh, which is sent again
    assert cluster.settle(one.read(["a"])) == ([11], set())


@pytest.mark.parametrize(
    ("staleness", "needed"), [(None, [0, 0, 0, 0]), (0, [0, 1, 2, 3]), (2, [0, 0, 0, 1]), (math.inf, [0, 0, 0, 0])]
)
def test_the_clock_that_a_read_needs(staleness, needed):
    cluster = Cluster(2)
    session = cluster.join(0, staleness)
    seen = []
    for _ in range(4):
        seen.append(session.min_clock)
        cluster.settle(session.commit())
    assert seen == needed
    assert session.clock == 4


def test_a_read_waits_if_and_only_if_someone_is_too_far_behind(two_workers):
    cluster, one, other = two_workers
    for _ in range(2):
        cluster.settle(one.commit())
    waits = one.read(["a"])
    cluster.pump()
    assert not waits.done
    other.commit()
    cluster.pump()
    assert waits.done


def test_whoever_leaves_is_not_waited_for_and_enters_level(two_workers):
    cluster, one, other = two_workers
    for _ in range(5):
        cluster.settle(one.commit())
    waits = one.read(["a"])
    cluster.settle(other.leave())
    assert waits.done
    cluster.settle(other.enter())
    assert other.clock == 5


def test_the_clock_of_the_servers_is_the_least(two_workers):
    cluster, one, other = two_workers
    other.commit()
    one.commit()
    server, envelope = one.outbox.popleft()
    cluster.deliver(b"client 0", server, envelope)
    one.outbox.clear()
    cluster.pump()
    assert sorted(shard.clock.value for shard in cluster.shards.values()) == [0, 1]
    assert cluster.settle(other.read_clock()) == 0


# --- what is gone -------------------------------------------------------------------------------------------


def view(number, lost=()):
    """Of two servers, with one copy of each shard."""
    whole = view_of(2, 1)
    live = {server: address for server, address in whole.servers.items() if server not in lost}
    return replace(whole, number=number, servers=live, lost=dict.fromkeys(lost, "exited with status 9"))


def test_a_shard_that_moved_and_was_lost_since_fails_with_who_had_it_last(cluster, session):
    reading = session.read(keys_of(0, 1))
    moved = replace(session.view, number=5, servers={1: "ipc://1"}, lost={2: "exited"})
    places = [Place(5, (2,)).to_wire(), Place(1, (1,)).to_wire()]
    session.receive(Envelope(0, 0, 0, replace(moved, shards=places)), 0.0)
    for pending in (reading, session.read(keys_of(0, 1))):
        with pytest.raises(ServerLost, match=r"server 2 .*exited"):
            pending.result()


def test_what_a_lost_server_owes_fails_and_nothing_is_asked_of_it(session):
    gone, kept = keys_of(0, 2), keys_of(1, 2)
    waits = [session.read([gone[0]]), session.update(gone[1], 1, "add"), session.read([*gone, *kept])]
    stays = session.read(kept)
    session.receive(Envelope(0, 0, 0, view(3, lost=[0])), 0.0)
    for pending in waits[:2]:
        with pytest.raises(ServerLost, match=r"server 0 \(ipc://0\) is gone: exited with status 9"):
            pending.result()
    assert not stays.done
    session.outbox.clear()
    for pending in (session.read(gone), session.update(gone[0], 1, "add"), session.ask_all(m.Commit(0, 1), list)):
        if not pending.done:
            session.receive(Envelope(session.outbox[-1][1].request, 0, 0, m.Done(0), 1), 0.0)
            continue
        with pytest.raises(ServerLost):
            pending.result()
    assert {server for server, _ in session.outbox} == {1}
    assert session.ring.shards == (0, 1), "the keys of the others stay where they are"


def test_an_older_view_changes_nothing(session):
    session.receive(Envelope(0, 0, 0, view(3)), 0.0)
    session.receive(Envelope(0, 0, 0, view(2, lost=[0])), 0.0)
    assert session.view.number == 3
    assert not session.view.lost


def test_a_coordinator_that_cannot_be_reached_for_long_ends_the_waits(session):
    waits = session.read(["w"])
    for second in range(COORDINATOR_PATIENCE):
        session.tick(float(second), connected=False)
        assert not waits.done
    session.tick(99.0, connected=True)
    for second in range(COORDINATOR_PATIENCE):
        session.tick(100.0 + second, connected=False)
        assert not waits.done
    session.tick(200.0, connected=False)
    with pytest.raises(CoordinatorLost, match="no connection to the coordinator for 15 s"):
        waits.result()


def test_a_coordinator_that_is_only_busy_is_waited_for_and_named(session, caplog):
    waits = session.read(["w"])
    for second in range(70):
        session.tick(float(second), connected=True)
    assert not waits.done
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"the coordinator has not answered for {s} s; its process is busy" for s in (30, 60)]


def test_a_view_says_where_stragglers_are(cluster, caplog):
    cluster = Cluster(1, workers=2)
    one = cluster.join(0, 0)
    cluster.settle(one.commit())
    waits = one.read(["w"])
    cluster.view = replace(cluster.view, hosts={1: "n4, pid 77"})
    for _ in range(40):
        cluster.pump()
        cluster.tick()
    assert not waits.done
    (record,) = caplog.records
    assert "worker 0 has waited" in record.getMessage()
    assert "for clock 1: worker 1 (n4, pid 77) at clock 0" in record.getMessage()


def test_a_refused_request_is_an_error(cluster, session):
    pending = session.ask(0, m.Contains(["w"]))
    number = session.outbox.pop()[1].request
    session.receive(Envelope(number, 0, 0, m.Failure("CarryError", "odd"), 0), 0.0)
    with pytest.raises(CarryError, match="odd"):
        pending.result()


def test_an_unknown_updater_is_an_error_of_everything_in_the_batch(cluster, session):
    tasks = [session.update("w", 1, "f.py:nowhere") for _ in range(3)]
    cluster.pump()
    assert all("no updater 'f.py:nowhere'" in str(task.error) for task in tasks)


def test_a_session_outside_the_quorum_has_no_clock():
    session = Session(view(1), None, 0, Functions())
    assert session.worker is None
    assert session.min_clock == 0


def test_a_read_that_was_given_up_does_not_hide_own_writes():
    cluster = Cluster(1)
    session = cluster.join(staleness=2)
    cluster.settle(session.write(["w"], [1]))
    given_up = session.read(["w"])
    cluster.settle(session.update_multi(["w"], [10], "add", False))
    assert given_up.done
    assert cluster.settle(session.read(["w"]))[0] == [11]
