"""Tasks of tables: thousands on their way, tasks that wait for others, and all that can come between them."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from real import DEADLINE, Background, Job, Program, Programs, eventually

import paracel
from paracel import connection
from paracel.launch.embedded import Cluster

SERVED = Path(__file__).with_name("served_tables.py")
HELPER = "paracel-held-tasks"


def helping() -> bool:
    return any(thread.name == HELPER for thread in threading.enumerate())


def keys_by_server(table: paracel.Table) -> list[np.ndarray]:
    """The keys of a dense table on each of its servers."""
    owners = table.shard_of(slice(None))
    return [np.flatnonzero(owners == server) for server in range(owners.max() + 1)]


def parked(client: paracel.Client) -> int:
    return sum(server.parked for server in client.statistics().servers)


# --- many -------------------------------------------------------------------------------------------------


def test_thousands_of_tasks_in_flight() -> None:
    with Cluster(2) as cluster, paracel.connect(cluster.address) as client:
        first, second = client.table("a", 20_000), client.table("b", 20_000, 2)
        tasks: list[paracel.Task] = []
        for number in range(5100):
            table = (first, second)[number % 2]
            after = tasks[-3:] if number % 3 else ()
            tasks.append(table.push([number, number + 1], 1, after=after))
        last = second.pull(after=tasks)
        assert last.result().sum() == 2 * 5100
        assert all(task.pending.done and task.result() is None for task in tasks)
        assert first.pull().result().sum() == 5100
        eventually(lambda: not helping())


@pytest.mark.parametrize("held", [False, True])
def test_memory_is_bounded_by_the_credit(held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server says nothing, a push waits as soon as more than the credit is on its way, or held."""
    monkeypatch.setattr(connection, "CREDIT_BYTES", 1_000_000)
    with Job(1) as job, job.connect() as client:
        table = client.table("w", 10_000, dtype="float64")
        keys = np.arange(500)
        size = keys.nbytes + 500 * 8 + 200
        os.kill(job.servers[0].pid, signal.SIGSTOP)
        first = table.push(0, 1)
        after = [first] if held else []
        pushing = Background(lambda: [table.push(keys, 1, after=after) for _ in range(1000)])
        session = client._session
        (channel,) = session.channels.values()
        eventually(lambda: (session.held_bytes if held else channel.bytes) > 1_000_000)
        assert pushing.running
        assert bool(session.held) == held
        os.kill(job.servers[0].pid, signal.SIGCONT)
        while pushing.running:
            assert max(session.held_bytes, channel.bytes) < 1_000_000 + 2 * size, "and the push that exceeds it"
        assert len(pushing.result()) == 1000
        client.wait_acknowledged()
        assert (session.held_bytes, channel.bytes) == (0, 0)
        assert np.all(table.pull(keys[1:]).result() == 1000)


def test_a_chain_of_tasks_that_are_done_at_once_takes_no_deep_stack() -> None:
    with Job(1) as job, job.connect() as client:
        table = client.table("w", 10)
        os.kill(job.servers[0].pid, signal.SIGSTOP)
        tasks = [table.push(0, 1)]
        for _ in range(1500):
            tasks.append(table.push([], [], after=tasks[-1:]))
        os.kill(job.servers[0].pid, signal.SIGCONT)
        assert tasks[-1].result() is None


# --- while the caller does something else -------------------------------------------------------------------


def test_chains_go_on_while_their_caller_does_something_else() -> None:
    with Job(2) as job, job.connect() as client, job.connect() as watcher:
        tables = [client.table(name, 100_000, dtype="int64") for name in "ab"]
        seen = [watcher.table(name, 100_000, dtype="int64") for name in "ab"]
        places = [(table, keys[:3]) for table in tables for keys in keys_by_server(table)]
        assert len(places) == 4, "two tables on two servers"
        os.kill(job.servers[0].pid, signal.SIGSTOP)
        task = tables[0].push(places[0][1], 1)
        for number in range(40):
            table, keys = places[number % 4]
            task = table.push(keys, 1, after=[task])
        assert helping()
        os.kill(job.servers[0].pid, signal.SIGCONT)

        def there() -> bool:
            sum(n * n for n in range(20_000))  # Python code that never lets go of anything
            return sum(int(table.pull().result().sum()) for table in seen) == 3 * 41

        eventually(there, what="all of the chain is done, and the client was not used")
        eventually(lambda: not helping(), what="the helping thread ends when nothing waits")
        assert task.result() is None, (
            "its reply may be unread: the thread ends with the last task that waits for others"
        )


def test_many_chains_one_after_the_other_leave_no_thread() -> None:
    with Job(1) as job, job.connect() as client, job.connect() as watcher:
        table, seen = client.table("w", 10), watcher.table("w", 10)
        for number in range(1, 20):
            table.push(0, 1, after=[table.push(1, 1)])
            eventually(lambda n=number: seen.pull(0).result()[0] == n)
            eventually(lambda: not helping())
        assert threading.active_count() < 20


# --- ends -----------------------------------------------------------------------------------------------------


def test_close_waits_for_what_is_held() -> None:
    with Job(2) as job, job.connect() as watcher:
        client = job.connect()
        table = client.table("w", 100_000)
        task = table.push(slice(None), 1)
        for _ in range(30):
            task = table.push(slice(None), 1, after=[task])
        client.close()
        assert task.pending.done
        eventually(lambda: not helping())
        assert np.all(watcher.table("w", 100_000).pull().result() == 31)


def test_close_raises_in_time_when_what_is_held_cannot_go_on() -> None:
    with Job(1, workers=2) as job, job.connect(worker=1, staleness=0) as other:
        client = job.connect(worker=0, staleness=0, timeout=1)
        table = client.table("w", 10)
        client.commit()
        waits = table.pull()  # for the other worker
        held = table.push(0, 1, after=[waits])
        closing = Background(client.close)
        with pytest.raises(paracel.WaitTimeout, match="asked to pull"):
            closing.result()
        assert client.closed
        eventually(lambda: not helping())
        for ask in (held.done, held.wait, held.result):
            with pytest.raises(paracel.ClientClosed):
                ask()
        other.commit()
        other.commit()
        assert other.table("w", 10).pull().result()[0] == 0, "nobody waits for the closed one"


INTERRUPTED = """
import os, sys
import paracel
with paracel.connect(sys.argv[1], worker=0, staleness=0) as client:
    table = client.table("w", 10)
    client.commit()
    held = table.push(0, 1, after=[table.pull()])
    print("waiting", os.getpid())
    try:
        held.result()
    except KeyboardInterrupt:
        print("interrupted")
        if sys.argv[2] == "raise":
            raise
    print("then", held.result())
"""


@pytest.fixture
def interrupted(programs: Programs) -> object:
    def start(address: str, then: str) -> Program:
        program = programs.start(INTERRUPTED, address, then)
        program.wait_said("waiting")
        os.kill(program.pid, signal.SIGINT)
        program.wait_said("interrupted")
        return program

    return start


def test_ctrl_c_in_a_wait_leaves_the_task_as_it_is(interrupted: object) -> None:
    with Cluster(1, workers=2) as cluster, paracel.connect(cluster.address, worker=1) as other:
        program = interrupted(cluster.address, "go on")
        other.commit()
        program.check_ended_well()
        assert program.wait_said("then") == "None"
        assert other.table("w", 10).pull(0).result()[0] == 1


def test_ctrl_c_twice_ends_a_program_whose_tasks_wait_for_others(interrupted: object) -> None:
    with Cluster(1, workers=2) as cluster, paracel.connect(cluster.address, worker=1) as other:
        program = interrupted(cluster.address, "raise")
        os.kill(program.pid, signal.SIGINT)  # it waits, closing, for the other worker
        assert program.wait() != 0
        assert "KeyboardInterrupt" in program.err
        other.commit()
        eventually(lambda: not parked(other))
        assert other.table("w", 10).pull(0).result()[0] == 0


def test_a_wait_with_a_deadline_says_for_whom_and_the_task_goes_on() -> None:
    with Job(1) as job, job.connect() as client:
        table = client.table("w", 10)
        os.kill(job.servers[0].pid, signal.SIGSTOP)
        held = table.pull(after=[table.push(0, 1)])
        with pytest.raises(paracel.WaitTimeout, match=r"server 0 \(ipc://.*\), asked to push in 0\.2 s"):
            held.result(timeout=0.2)
        assert not held.done()
        os.kill(job.servers[0].pid, signal.SIGCONT)
        assert held.result(timeout=DEADLINE)[0] == 1


@pytest.mark.parametrize("lock_is_held", [False, True])
def test_a_fork_while_tasks_are_held(lock_is_held: bool) -> None:
    with Job(2, workers=2) as job, job.connect(worker=0, staleness=0) as client, job.connect(worker=1) as other:
        table = client.table("w", 10)
        client.commit()
        held = table.push(0, 1, after=[table.pull()])
        forked = threading.Event()
        holding = threading.Event()
        locking = Background(lambda: _hold(client, holding, forked) if lock_is_held else None)
        assert not lock_is_held or holding.wait(DEADLINE)
        child = os.fork()
        if child == 0:
            status = 2
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(int(DEADLINE) // 2)  # ends a child that hangs
                status = _refused_in_child(client, table, held)
            finally:
                os._exit(status)
        forked.set()
        locking.result()
        assert Background(lambda: os.waitpid(child, 0)[1]).result() == 0
        other.commit()
        assert held.result() is None
        assert table.pull(0, staleness=None).result()[0] == 1


def _hold(client: paracel.Client, holding: threading.Event, forked: threading.Event) -> None:
    """Hold the lock at the moment of the fork, as the helping thread may."""
    with client._connection.lock:
        holding.set()
        forked.wait(DEADLINE)


def _refused_in_child(client: paracel.Client, table: paracel.Table, held: paracel.Task) -> int:
    """0 if all that may be done with the parent's client is refused."""
    for call in (held.result, held.done, table.pull, lambda: table.push(0, 1), client.commit, lambda: client.read("k")):
        try:
            call()
        except paracel.ClientClosed:
            continue
        return 1
    client.close()  # does nothing: it is the parent's
    return 0


# --- failures ---------------------------------------------------------------------------------------------------


def test_a_killed_server_fails_all_that_waits_for_it_and_is_named() -> None:
    with Job(2) as job:
        client = job.connect()
        table = client.table("w", 100_000)
        there, gone = keys_by_server(table)
        os.kill(job.servers[1].pid, signal.SIGSTOP)
        first = table.push(gone, 1)
        chain = [table.push(there, 1, after=[first])]
        for number in range(1500):
            keys = (there, gone)[number % 2][:1]
            chain.append(table.push(keys, 1, after=chain[-1:]))
        apart = table.push(there[:1], 1)
        assert apart.result() is None
        os.kill(job.servers[1].pid, signal.SIGKILL)
        with pytest.raises(paracel.ServerLost, match=r"server 1 .*signal 9"):
            first.result()
        for task in chain:
            with pytest.raises(
                paracel.DependencyError, match="a task before it failed: ServerLost: server 1 "
            ) as caught:
                task.result()
            assert isinstance(caught.value.__cause__, paracel.ServerLost)
        eventually(lambda: not helping())
        assert client._session.held_bytes == 0
        assert table.pull(there).result().sum() == 1, "nothing of the chain was run"
        client.close()  # it was told of everything


def test_a_client_is_told_at_its_end_of_held_tasks_that_a_lost_server_failed() -> None:
    with Job(1) as job:
        client = job.connect()
        table = client.table("w", 10)
        os.kill(job.servers[0].pid, signal.SIGSTOP)
        table.push(0, 1, after=[table.push(0, 1)])
        os.kill(job.servers[0].pid, signal.SIGKILL)
        with pytest.raises(paracel.ServerLost, match="server 0 "):
            client.close()
        assert client.closed


@pytest.mark.parametrize("ending", ["commit", "close", "wait_acknowledged"])
def test_errors_of_tasks_that_nobody_looked_at_are_raised_later(ending: str) -> None:
    refuse, fail = f"{SERVED}:refuse", f"{SERVED}:fail"
    with Job(2) as job, job.connect() as watcher:
        client = job.connect(worker=0)
        table = client.table("w", 10, updater=refuse)
        failing = {
            "push": lambda: table.push(0, -1),
            "function": lambda: table.run(fail),
            "held push": lambda: table.push(0, -1, after=[table.push(0, 1)]),
            "pull": lambda: table.pull(0, state=["nothing"]),
            "behind a pull": lambda: table.push(0, 1, after=[table.pull(0, state=["nothing"])]),
        }
        for name, ask in failing.items():
            ask()
            if ending == "close" and name != "behind a pull":
                ask().wait()
                with pytest.raises(paracel.ParacelError):
                    client.commit()
                continue
            with pytest.raises(paracel.ParacelError) as caught:
                getattr(client, ending)()
            assert not isinstance(caught.value, paracel.WaitTimeout)
            assert "whose task nobody has looked at" in caught.value.__notes__[0], name
            assert client.clock == 0
            if ending != "close":
                getattr(client, ending)()
                client._session.clock = 0
        assert client.closed == (ending == "close")
        client.close()
        assert watcher.table("w", 10, updater=refuse).pull(0).result()[0] == 1 + (ending == "close")


def test_an_error_that_was_looked_at_is_not_raised_again() -> None:
    with Job(1) as job, job.connect(worker=0) as client:
        table = client.table("w", 10, updater=f"{SERVED}:refuse")
        failed = table.push(0, -1)
        behind = table.push(0, 1, after=[failed])
        with pytest.raises(paracel.ServerFunctionError, match="no delta of -1"):
            failed.result()
        with pytest.raises(paracel.DependencyError, match="no delta of -1"):
            behind.result()
        client.commit()
        assert table.pull(0).result()[0] == 0


def test_a_task_of_another_client_is_refused() -> None:
    with Job(1) as job, job.connect() as one, job.connect() as other:
        task = one.table("w", 10).push(0, 1)
        with pytest.raises(paracel.ConfigError, match="another client"):
            other.table("w", 10).push(0, 1, after=[task])


def test_tasks_of_keys_and_of_tables_may_wait_for_each_other() -> None:
    with Job(2) as job, job.connect() as client, job.connect() as watcher:
        table, seen = client.table("w", 10), watcher.table("w", 10)
        tasks = [client.update(f"k{number}", 1) for number in range(500)]
        table.push(0, 1, after=tasks)
        eventually(lambda: seen.pull(0).result()[0] == 1)
        assert watcher.read_multi([f"k{number}" for number in range(500)]) == [1] * 500
