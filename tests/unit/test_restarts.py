"""Workers that are started anew: each goes on where it was, and nothing of those before comes after."""

from dataclasses import replace

import numpy as np
import pytest
from support.cluster import Cluster

from paracel import messages as m
from paracel.clock import SspClock
from paracel.errors import ConfigError, RequestError
from paracel.membership import Membership, WorkerStatus
from paracel.messages import Envelope
from paracel.tables import journal
from paracel.tables.merge import Commits, Pushed
from paracel.tables.spec import make_spec
from paracel.tables.table import Table

# --- the clock ----------------------------------------------------------------------------------------------------


def committed(*clocks: int) -> SspClock:
    clock = SspClock(range(len(clocks)))
    for worker, times in enumerate(clocks):
        clock.commit(worker, times)
    return clock


def test_all_are_in_the_quorum_again_with_what_they_have_committed():
    clock = committed(5, 3, 4)
    clock.leave(1)
    assert clock.value == 4
    assert clock.begin_attempt(1)
    assert (clock.value, clock.clocks, clock.slowest()) == (3, {0: 5, 1: 3, 2: 4}, [1])
    assert not clock.reached(4)


def test_an_attempt_begins_once():
    clock = committed(1, 1)
    assert clock.begin_attempt(2)
    clock.leave(0)
    assert not clock.begin_attempt(2)
    assert not clock.begin_attempt(1)
    assert clock.slowest() == [1]


def test_what_waited_for_a_worker_of_before_is_dropped():
    clock = committed(1, 0)
    clock.park(1, "a read")
    clock.begin_attempt(1)
    assert clock.commit(1, 1) == []


def test_a_level_is_where_the_fastest_was_when_it_was_first_named():
    clock = committed(5, 3)
    for worker in (0, 1):
        clock.leave(worker)
    assert clock.enter_at(0, 1) == []
    assert clock.enter_at(1, 1) == []
    assert (clock.clocks, clock.value) == ({0: 5, 1: 5}, 5)
    clock.commit(0, 7)
    clock.begin_attempt(1)
    for worker in (0, 1):  # once more, and nobody is put forward by what the other has done since
        clock.enter_at(worker, 1)
    assert (clock.clocks, clock.value) == ({0: 7, 1: 5}, 5)
    clock.enter_at(1, 2)
    assert clock.clocks == {0: 7, 1: 7}


def test_a_worker_that_is_put_forward_releases_who_waits_for_it():
    clock = committed(4, 0)
    clock.park(4, "a read")
    assert clock.enter_at(1, 0) == ["a read"]


def test_a_copy_of_a_clock_knows_attempt_and_levels():
    clock = committed(5, 3)
    clock.begin_attempt(2)
    clock.enter_at(0, 0)
    copy = SspClock(range(2))
    copy.restore(clock.state())
    assert copy.state() == clock.state()
    assert not copy.begin_attempt(2)
    copy.restore([{0: 1, 1: 1}, [0, 1], 1])  # of a checkpoint
    assert (copy.attempt, copy.level(0), copy.value) == (2, 5, 1)


# --- sessions and shards ------------------------------------------------------------------------------------------


def attempt(cluster: Cluster, number: int):
    """Sessions of both workers, in this attempt, at the beginning of their work."""
    cluster.view = replace(cluster.view, number=cluster.view.number + 1, attempt=number)
    sessions = [cluster.join(worker, staleness=0) for worker in range(2)]
    for session in sessions:
        cluster.settle(session.enter(0))
    return sessions


def refused(cluster: Cluster, pending) -> bool:
    while cluster.step():
        pass
    return isinstance(pending.error, RequestError) and "started anew" in str(pending.error)


@pytest.fixture
def cluster():
    return Cluster(2, 2)


def test_each_worker_goes_on_where_it_was(cluster):
    fast, slow = attempt(cluster, 1)
    for _ in range(2):
        cluster.settle(fast.commit())
    cluster.settle(slow.commit())
    fast, slow = attempt(cluster, 2)
    assert (fast.clock, fast.level) == (2, 0)
    assert (slow.clock, slow.level) == (1, 0)


def test_a_commit_that_came_to_one_shard_has_come_to_all(cluster):
    (worker, _) = attempt(cluster, 1)
    worker.clock = 1
    cluster.settle(worker.ask(1, m.Commit(0, 1)))
    worker, other = attempt(cluster, 2)
    assert worker.clock == 1
    cluster.settle(other.commit())
    assert [shard.clock.value for shard in cluster.shards.values()] == [1, 1]


def test_none_goes_on_before_all_are_back(cluster):
    attempt(cluster, 1)
    cluster.view = replace(cluster.view, number=3, attempt=2)
    first = cluster.join(0, staleness=0)
    cluster.settle(first.commit())
    reading = first.read(["a"])
    while cluster.step():
        pass
    assert not reading.done
    second = cluster.join(1, staleness=0)
    cluster.settle(second.commit())
    cluster.settle(reading)


def test_what_comes_late_of_a_worker_of_before_is_refused(cluster):
    before, _ = attempt(cluster, 1)
    attempt(cluster, 2)
    for late in (before.commit(), before.update("a", 1, "add"), before.ask(0, m.Write(["b"], [1]))):
        assert refused(cluster, late)
    assert all(shard.clock.clocks == {0: 0, 1: 0} for shard in cluster.shards.values())
    assert not any(shard.store.entries for shard in cluster.shards.values())


def test_one_of_before_cannot_enter(cluster):
    attempt(cluster, 2)
    cluster.view = replace(cluster.view, attempt=1)
    late = cluster.join()
    late.worker = 0
    assert refused(cluster, late.enter())
    assert refused(cluster, late.update("a", 1, "add"))


def test_a_worker_that_is_gone_is_of_before_when_a_new_one_may_be_there(cluster):
    attempt(cluster, 2)
    for shard in cluster.shards.values():
        shard.handle(b"coordinator", Envelope(0, 0, 0, m.Leave(1, cluster.view.number - 1)))
        assert shard.clock.slowest() == [0, 1]
        shard.handle(b"coordinator", Envelope(0, 0, 0, m.Leave(1, cluster.view.number + 1)))
        assert shard.clock.slowest() == [0]


def test_where_none_is_started_anew_one_that_comes_back_is_level_with_the_fastest(cluster):
    fast, slow = (cluster.join(worker) for worker in range(2))
    cluster.settle(fast.commit())
    cluster.settle(slow.leave())
    cluster.settle(slow.enter(0))
    assert (slow.clock, slow.level) == (1, 1)


# --- tables -------------------------------------------------------------------------------------------------------


def keys_of(pushes) -> list:
    return [(clock, pushed.worker, pushed.values[0].tolist()) for clock, pushed in pushes]


def test_pushes_of_clocks_that_were_not_committed_are_forgotten():
    commits = Commits(np.asarray)
    for clock, worker in ((1, 0), (2, 0), (2, 1), (3, 0)):
        commits.add(clock, Pushed(worker, (0, 0), [np.array([float(clock)])]))
    commits.undo(0, 2)
    assert keys_of(commits.all()) == [(1, 0, [1.0]), (2, 1, [2.0])]
    assert commits.nbytes == 16
    assert commits.clocks() == [1, 2]


def make_table() -> Table:
    owners = np.zeros(1024, np.int64)
    return Table.open(make_spec("t", 4, 1, "float64", apply="commit"), owners, 0, str, str)


def test_a_copy_of_a_table_forgets_the_same():
    table, copy = make_table(), make_table()
    journal.watch(table)
    for worker, value in ((0, 1.0), (1, 2.0)):
        table.push(Pushed(worker, (0, 3), [np.full(4, value)]), 5, complete=False)
    journal.apply(copy, journal.take_changes(table))
    table.push(Pushed(0, (0, 3), [np.full(4, 4.0)]), 5, complete=False)
    table.undo(0, 5)
    table.push(Pushed(0, (0, 3), [np.full(4, 8.0)]), 5, complete=False)
    journal.apply(copy, journal.take_changes(table))
    assert keys_of(copy.commits.all()) == keys_of(table.commits.all()) == [(5, 1, [2.0] * 4), (5, 0, [8.0] * 4)]


# --- the coordinator ----------------------------------------------------------------------------------------------


def join(membership: Membership, worker: int, pid: int, sender: bytes):
    ((_, answer),) = membership.handle(sender, m.Join(worker, "n2", pid), lambda _host, _pid: True)
    return answer


@pytest.fixture
def membership():
    membership = Membership(2, 2, 30.0, resumable=True)
    for server in range(2):
        list(membership.handle(b"server", m.Register(server, f"ipc://{server}", "n1", server), lambda *_: True))
    return membership


def test_the_view_counts_the_attempts(membership):
    assert join(membership, 0, 7, b"first").attempt == 1
    assert isinstance(join(membership, 0, 8, b"second"), m.Failure)
    number = membership.number
    membership.start_anew()
    assert membership.statistics().workers == ()
    view = join(membership, 0, 8, b"second")
    assert view.attempt == 2
    assert view.number > number
    assert membership.clients == [b"second"]


def test_the_dead_are_waited_for_until_they_are_started_anew(membership):
    for worker in range(2):
        join(membership, worker, 7 + worker, b"w%d" % worker)
    list(membership.handle(b"w0", m.Goodbye(0), lambda *_: True))
    sent = membership.tick(1.0, lambda _host, pid: pid != 8)
    assert [message.worker for message in sent if isinstance(message, m.Leave)] == [0]
    assert membership.statistics().workers[1] == WorkerStatus(1, "n2", 8, left=True, died=True)


def test_new_servers_have_numbers_that_none_had():
    membership = Membership(2, 1, 30.0, shards=4)
    for server in range(2):
        list(membership.handle(b"server", m.Register(server, f"ipc://{server}", "n1", server), lambda *_: True))
    assert membership.new_servers(2) == [2, 3]
    with pytest.raises(ConfigError, match=r"4 servers and 1 more are too many for the job's 4 shards.*--shards 5"):
        membership.new_servers(1)
    membership.server_exited(3, "it did not start")
    assert membership.new_servers(1) == [4]


def test_several_are_removed_or_none(membership):
    with pytest.raises(ConfigError, match="server 2 is not one of the servers 0, 1"):
        membership.remove_all([0, 2])
    with pytest.raises(ConfigError, match="0 of 2 servers would be left, and 1 are needed"):
        membership.remove_all([0, 1])
    membership.remove_all([1, 1])
    with pytest.raises(ConfigError, match="server 1 is not one of the servers 0"):
        membership.remove_all([1])
