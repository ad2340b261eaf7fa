"""The coordinator's brain: who is in the job."""

import logging

import pytest

from paracel import messages as m
from paracel.membership import Membership, ServerStatistics, WorkerStatus


class Hosts:
    """Which processes are alive, as the coordinator would look it up."""

    def __init__(self):
        self.dead = set()

    def alive(self, host, pid):
        return (host, pid) not in self.dead


@pytest.fixture
def hosts():
    return Hosts()


@pytest.fixture
def membership():
    return Membership(2, 2, 30.0)


def register(server, pid=100):
    return m.Register(server, f"ipc://{server}", "n1", pid + server)


def tell(membership, hosts, message, sender=b"someone"):
    return list(membership.handle(sender, message, hosts.alive))


def start(membership, hosts):
    for server in range(membership.expected):
        tell(membership, hosts, register(server), b"server")


def leaves(messages):
    return [message for message in messages if isinstance(message, m.Leave)]


def places(epoch, *chains):
    return [[epoch, list(chain), -1, [], -1] for chain in chains]


def test_servers_register_and_the_view_is_numbered(membership, hosts):
    assert (membership.ready, membership.missing) == (False, [0, 1])
    ((to, first),) = tell(membership, hosts, register(1), b"server 1")
    assert (to, first) == (b"server 1", m.View(1, {1: "ipc://1"}, {}, 2, {}, []))
    assert (membership.ready, membership.missing) == (False, [0])
    ((_, second),) = tell(membership, hosts, register(0))
    assert second == m.View(2, {0: "ipc://0", 1: "ipc://1"}, {}, 2, {}, []), "before the shards have their places"
    assert membership.view() == m.View(3, {0: "ipc://0", 1: "ipc://1"}, {}, 2, {}, places(3, [0], [1]))
    assert membership.ready
    assert membership.addresses == {0: "ipc://0", 1: "ipc://1"}


def test_a_server_may_register_twice_and_another_process_may_not(membership, hosts):
    tell(membership, hosts, register(0))
    assert isinstance(tell(membership, hosts, register(0))[0][1], m.View)
    ((_, refusal),) = tell(membership, hosts, register(0, pid=555))
    assert refusal == m.Failure("LaunchError", "server 0 is registered already, pid 100")
    for stranger in (2, -1):
        ((_, refusal),) = tell(membership, hosts, register(stranger))
        assert refusal.text == f"server {stranger} is not one of 2"


def test_clients_that_come_early_are_answered_when_all_servers_are_there(membership, hosts):
    tell(membership, hosts, register(0))
    assert tell(membership, hosts, m.Join(0, "n2", 7), b"worker") == []
    assert tell(membership, hosts, m.GetView(), b"reader") == []
    answers = tell(membership, hosts, register(1), b"server 1")
    view = membership.view()
    assert view == m.View(4, {0: "ipc://0", 1: "ipc://1"}, {}, 2, {0: "n2, pid 7"}, places(4, [0], [1]))
    assert answers[1:] == [(b"worker", view), (b"reader", view)]
    assert tell(membership, hosts, m.GetView()) == [(b"someone", view)]


def test_a_server_that_ended_does_not_stand_for_one_that_has_not_come(membership, hosts):
    tell(membership, hosts, register(0))
    membership.server_exited(0, "exited with status 1")
    assert not membership.ready
    assert tell(membership, hosts, m.Join(0, "n2", 7)) == []
    tell(membership, hosts, register(1))
    assert membership.ready
    assert membership.view().lost == {0: "exited with status 1"}


def test_a_server_that_ended_before_it_registered_is_lost(membership, hosts):
    membership.server_exited(1, "no such file")
    ((_, view),) = tell(membership, hosts, register(0))
    assert membership.ready
    assert (view.servers, view.lost) == ({0: "ipc://0"}, {1: "no such file"})


def test_a_lost_server_stays_lost_for_its_first_reason(membership, hosts):
    start(membership, hosts)
    membership.server_exited(1, "killed")
    number = membership.number
    membership.server_exited(1, "no heartbeat")
    view = membership.view()
    assert (view.number, view.servers, view.lost) == (number, {0: "ipc://0"}, {1: "killed"})
    assert membership.lost == {1: "killed"}
    assert membership.addresses == {0: "ipc://0"}
    membership.lost.clear()
    assert membership.lost


@pytest.mark.parametrize(
    ("worker", "refused"), [(-1, None), (0, None), (1, None), (2, "worker 2 is not one of the job's 2 workers; ")]
)
def test_who_may_join(membership, hosts, worker, refused):
    start(membership, hosts)
    ((_, answer),) = tell(membership, hosts, m.Join(worker, "n2", 7))
    if refused is None:
        assert answer == membership.view()
    else:
        assert (answer.kind, answer.text.startswith(refused)) == ("ConfigError", True)
        assert "connect(servers=..., workers=3), or prun -w" in answer.text


@pytest.mark.parametrize("gone", [None, "left", "died"])
def test_a_number_is_taken_again_if_and_only_if_its_worker_is_gone(membership, hosts, gone):
    start(membership, hosts)
    tell(membership, hosts, m.Join(0, "n2", 7))
    if gone == "left":
        tell(membership, hosts, m.Goodbye(0))
    if gone == "died":
        hosts.dead.add(("n2", 7))
    ((_, answer),) = tell(membership, hosts, m.Join(0, "n2", 8), b"another process")
    assert isinstance(answer, m.View) == (gone is not None)
    if gone is None:
        assert answer.text == "worker 0 is n2, pid 7, already"
        assert isinstance(tell(membership, hosts, m.Join(0, "n2", 7))[0][1], m.View), "the same client may"
        ((_, answer),) = tell(membership, hosts, m.Join(0, "n2", 7), b"another client")
        assert answer.text == "worker 0 is another client of this process (n2, pid 7); close that one first"


def test_other_messages_are_refused(membership, hosts):
    assert tell(membership, hosts, m.Done(1)) == [
        (b"someone", m.Failure("RequestError", "a coordinator does not take Done"))
    ]
    assert tell(membership, hosts, m.Goodbye(-1)) == []


def test_a_server_is_lost_if_and_only_if_it_is_silent_for_longer_than_the_timeout(membership, hosts):
    start(membership, hosts)
    quiet = m.Statistics(1, 5, 6, 0, 0, 7, 1, 3, {1: 4, 0: 3}, {1: 9})
    for second in range(62):
        assert m.GetStatistics() in membership.tick(float(second), hosts.alive)
        assert (0 in membership.lost) == (second > 30)
        if second % 30 == 0:
            membership.heard(1, quiet)
    assert membership.lost == {0: "no heartbeat for 30 s"}
    known = ServerStatistics(1, "ipc://1", "n1", 101, 5, 6, 7, 1, 3, ((0, 3), (1, 4)), ((1, 9),))
    statistics = membership.statistics()
    assert (statistics.servers, statistics.lost) == ((known,), ((0, "no heartbeat for 30 s"),))
    assert statistics.broken == (0,)
    assert [place.chain for place in statistics.shards] == [(0,), (1,)]


def test_a_job_that_slept_as_a_whole_goes_on(membership, hosts):
    start(membership, hosts)
    membership.tick(0.0, hosts.alive)
    membership.tick(86_400.0, hosts.alive)
    assert membership.lost == {}


def test_a_worker_that_is_gone_is_taken_out_and_stays_out(membership, hosts, caplog):
    start(membership, hosts)
    for worker in (0, 1):
        tell(membership, hosts, m.Join(worker, "n2", 7 + worker))
    tell(membership, hosts, m.Goodbye(0))
    before = membership.number
    hosts.dead |= {("n2", 7), ("n2", 8)}
    with caplog.at_level(logging.WARNING):
        for second in range(3):
            gone = membership.tick(float(second), hosts.alive)
            assert leaves(gone) == [m.Leave(0, before), m.Leave(1, before)]
    assert [record.getMessage() for record in caplog.records] == ["worker 1 (n2, pid 8) died; nobody waits for it"]
    assert membership.statistics().workers == (
        WorkerStatus(0, "n2", 7, left=True),
        WorkerStatus(1, "n2", 8, left=True, died=True),
    )
    ((_, view),) = tell(membership, hosts, m.Join(1, "n2", 9))
    assert view.number > before, "what was said of the one before is older"
    assert leaves(membership.tick(9.0, hosts.alive)) == [m.Leave(0, view.number)]


def test_a_server_that_beats_is_not_lost_however_long_its_turn_is(membership, hosts, caplog):
    start(membership, hosts)
    for second in range(100):
        membership.tick(float(second), hosts.alive)
        for beat in (m.Heartbeat(0, second, 5), m.Heartbeat(1, second % 29, 6)):
            assert tell(membership, hosts, beat) == [(b"someone", m.Lease(beat.number))]
        for stranger in (m.Heartbeat(7, 1, 0), m.Heartbeat(-1, 2**62, 0)):
            ((_, refusal),) = tell(membership, hosts, stranger)
            assert refusal == m.Failure("RequestError", f"there is no server {stranger.server}")
    assert membership.lost == {}
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 3
    assert named[0].startswith("server 0 (n1, pid 100) has been busy for 30 s")
    assert named[2].startswith("server 0 (n1, pid 100) has been busy for 90 s")
