"""Many clients, dying clients, threads, forks; and that an error in one hangs no other."""

import os
import signal
import threading
from pathlib import Path

import pytest
from real import Background, Job, Programs, eventually

import paracel
from paracel.launch.embedded import Cluster

REFUSE = f"{Path(__file__).with_name('served.py')}:refuse"


def parked(client: paracel.Client) -> int:
    return sum(server.parked for server in client.statistics().servers)


def test_a_killed_worker_is_buried_and_nobody_waits_for_it(programs: Programs) -> None:
    with Cluster(2, workers=2) as cluster:
        victim = programs.start(
            """
            import sys, time, paracel
            client = paracel.connect(sys.argv[1], worker=1)
            client.commit()
            print("committed", client.read("server_clock"))
            time.sleep(1000)
            """,
            cluster.address,
        )
        victim.wait_said("committed")
        with (
            paracel.connect(cluster.address, worker=0, staleness=0) as client,
            paracel.connect(cluster.address) as watcher,
        ):
            client.write("k", 5)
            client.commit()
            assert client.read("k") == 5
            client.commit()
            reading = Background(lambda: client.read("k"))
            eventually(lambda: parked(watcher) == 1)
            os.kill(victim.pid, signal.SIGKILL)
            assert reading.result() == 5
            workers = {worker.worker: worker for worker in cluster.statistics().workers}
            assert workers[1].died
            assert not workers[0].died


def test_a_killed_worker_can_be_replaced_and_learns_where_it_was(programs: Programs) -> None:
    with Cluster(1, workers=1) as cluster:
        code = """
            import os, sys, paracel
            client = paracel.connect(sys.argv[1], worker=0)
            print("clock", client.clock)
            for _ in range(3):
                client.update("k", 1)
                client.commit()
            client.wait_acknowledged()
            os._exit(9)
            """
        first = programs.start(code, cluster.address)
        assert first.wait_said("clock") == "0"
        assert first.wait() == 9
        second = programs.start(code, cluster.address)
        assert second.wait_said("clock") == "3"
        assert second.wait() == 9
        with paracel.connect(cluster.address) as client:
            assert client.read("k") == 6


def test_a_worker_that_is_not_of_the_job() -> None:
    refused = pytest.raises(paracel.ConfigError, match="worker 7 is not one of the job's 2")
    with Cluster(1, workers=2) as cluster, paracel.connect(cluster.address, worker=0), refused:
        paracel.connect(cluster.address, worker=7)


def test_the_number_of_a_worker_in_another_living_process_is_taken(programs: Programs) -> None:
    with Cluster(1, workers=2) as cluster, paracel.connect(cluster.address, worker=0):
        program = programs.start(
            """
            import sys, paracel
            try:
                paracel.connect(sys.argv[1], worker=0)
            except paracel.ConfigError as error:
                print("refused", error)
            """,
            cluster.address,
        )
        assert f"pid {os.getpid()}" in program.wait_said("refused")
        program.check_ended_well()


def test_a_client_whose_update_failed_leaves_the_quorum_when_it_closes() -> None:
    with Cluster(1, workers=2) as cluster, paracel.connect(cluster.address, worker=1, staleness=0, timeout=20) as other:
        client = paracel.connect(cluster.address, worker=0)
        client.write("k", 1)
        client.update("k", 2, REFUSE)
        with pytest.raises(paracel.UpdateError, match="no 2 for 1"):
            client.close()
        other.commit()
        assert other.read("k") == 1


def test_update_errors_carry_the_traceback_and_leave_the_value() -> None:
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        keys = [f"k{n}" for n in range(20)]
        client.write_multi(dict.fromkeys(keys, 1))
        with pytest.raises(paracel.UpdateError, match=r"in refuse[\s\S]*ValueError: no 5 for 1"):
            client.bupdate("k0", 5, REFUSE)
        with pytest.raises(paracel.UpdateError) as caught:
            client.bupdate_multi(dict.fromkeys(keys, 2), REFUSE)
        assert sorted(caught.value.failures) == sorted(keys)
        task = client.update("k1", 3, REFUSE)
        with pytest.raises(paracel.UpdateError):
            client.commit()
        assert client.clock == 0
        with pytest.raises(paracel.UpdateError):
            task.result()
        client.commit()
        assert client.clock == 1
        assert client.read_multi(keys) == [1] * len(keys)


def test_many_clients_at_once() -> None:
    count, rounds = 40, 25
    with Cluster(2, workers=count) as cluster:
        clients = [paracel.connect(cluster.address, worker=worker, staleness=1) for worker in range(count)]

        def work(client: paracel.Client) -> None:
            for _ in range(rounds):
                client.update("sum", 1)
                client.update(f"own {client.worker}", 1)
                client.commit()
            client.leave()

        calls = [Background(lambda client=client: work(client)) for client in clients]
        for call in calls:
            call.result()
        with paracel.connect(cluster.address) as reader:
            assert reader.read("sum") == count * rounds
            assert reader.read_multi([f"own {worker}" for worker in range(count)]) == [rounds] * count
            assert reader.read("server_clock") == rounds
        for client in clients:
            client.close()


def test_many_processes_that_come_and_go(programs: Programs) -> None:
    with Cluster(2) as cluster:
        code = """
            import sys, paracel
            with paracel.connect(sys.argv[1]) as client:
                for _ in range(200):
                    client.update("sum", 1)
            """
        started = [programs.start(code, cluster.address) for _ in range(6)]
        for program in started:
            program.check_ended_well()
        with paracel.connect(cluster.address) as client:
            assert client.read("sum") == 1200


def test_one_client_used_by_many_threads() -> None:
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        start = threading.Barrier(8)

        def work(number: int) -> list[int]:
            start.wait(30)
            seen = []
            for _ in range(50):
                client.update("async", 1)
                client.update_multi({"async": 1, f"own {number}": 1}).wait()
                seen.append(client.bupdate("counter", 1))
                assert client.read(f"own {number}") == len(seen)
            return seen

        calls = [Background(lambda n=n: work(n)) for n in range(8)]
        results = [call.result() for call in calls]
        client.wait_acknowledged()
        assert sorted(count for seen in results for count in seen) == list(range(1, 401)), (
            "every update had its own outcome"
        )
        assert all(seen == sorted(seen) for seen in results)
        assert client.read("async") == 800


def test_a_forked_child_cannot_use_the_client_and_does_not_disturb_it() -> None:
    with Cluster(1) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write("k", 1)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.close()  # does nothing: it is the parent's
                try:
                    client.read("k")
                except paracel.ClientClosed:
                    with paracel.connect(cluster.address) as mine:
                        status = 0 if mine.bupdate("k", 1) == 2 else 2
            finally:
                os._exit(status)
        waiting = Background(lambda: os.waitpid(child, 0)[1])
        assert waiting.result() == 0
        assert client.read("k") == 2
        client.commit()
        assert client.clock == 1


def test_a_closed_client_says_so() -> None:
    with Job(1) as job:
        client = job.connect()
        client.close()
        client.close()
        with pytest.raises(paracel.ClientClosed):
            client.read("k")
        with pytest.raises(paracel.ClientClosed):
            client.update("k", 1)
