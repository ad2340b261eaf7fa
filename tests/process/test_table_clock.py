"""Tables and the clock: pushes that are applied when a clock is complete, pulls that wait for it, and cached ones."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from real import Background, Job, Programs, eventually

import paracel
from paracel.launch.embedded import Cluster

SERVED = Path(__file__).with_name("served_tables.py")
COUNTED = f"{SERVED}:counted"

WORKER = """
import json, os, sys, time
import numpy as np
import paracel

address, plan = sys.argv[1], json.loads(sys.argv[2])
worker, iterations = plan["worker"], plan["iterations"]
with paracel.connect(address, worker=worker, staleness=plan["staleness"], timeout=60) as client:
    table = client.table("w", 2000, dtype="float64", updater=plan["updater"], apply="commit")
    for iteration in range(iterations[worker]):
        if plan["staleness"] is not None and "dies" not in plan:
            rows = table.pull().result()
            promised = [min(iteration - plan["staleness"], total) for total in iterations]
            assert (rows[1 : 1 + len(iterations)] >= promised).all(), (iteration, rows, promised)
        table.push(slice(None), 1)
        table.push([1 + worker], 1 - 1)
        if plan.get("dies") == iteration:
            client.wait_acknowledged()
            print("in the middle of", iteration)
            time.sleep(1000)
        client.commit()
    if plan.get("leaves"):
        table.push(slice(None), 1).wait()  # of a clock that it never commits
print("clock", client.clock)
"""


def start_workers(programs: Programs, cluster: Cluster, iterations: list[int], **plans: dict) -> list:
    started = []
    for worker, _ in enumerate(iterations):
        plan = {"worker": worker, "iterations": iterations, "staleness": None, "updater": COUNTED}
        plan |= plans.get(f"worker_{worker}", {})
        started.append(programs.start(WORKER, cluster.address, json.dumps(plan)))
    return started


def test_commits_of_workers_with_unequal_counts_of_which_one_leaves_early(programs: Programs) -> None:
    iterations = [6, 15, 9, 0]
    with Cluster(2, workers=4) as cluster:
        for program in start_workers(programs, cluster, iterations, worker_2={"leaves": True}):
            program.check_ended_well()
        with paracel.connect(cluster.address) as client:
            table = client.table("w", 2000, dtype="float64", updater=COUNTED, apply="commit")
            rows, times = table.pull(state=["times"]).result()
            assert np.all(rows == sum(iterations) + 1), "every push of every worker once"
            assert np.all(times == max(iterations)), "and the updater once for each clock"


def test_a_worker_that_is_killed_in_the_middle_of_a_clock(programs: Programs) -> None:
    with Cluster(2, workers=3) as cluster:
        plans = {"worker_1": {"dies": 3}}
        first, victim, last = start_workers(programs, cluster, [8, 8, 8], **plans)
        victim.wait_said("in the middle of 3")
        os.kill(victim.pid, signal.SIGKILL)
        first.check_ended_well()
        last.check_ended_well()
        with paracel.connect(cluster.address) as client:
            table = client.table("w", 2000, dtype="float64", updater=COUNTED, apply="commit")

            def complete() -> bool:
                rows, times = table.pull(state=["times"]).result()
                return bool(np.all(rows == 8 + 4 + 8) and np.all(times == 8))

            eventually(complete, what="the others' clocks, with what the killed one had pushed")


def test_bulk_synchronous_pulls_show_the_clocks_before(programs: Programs) -> None:
    plan = {"staleness": 0, "updater": "add"}
    plans = {f"worker_{worker}": plan for worker in range(3)}
    with Cluster(2, workers=3) as cluster:
        for program in start_workers(programs, cluster, [5, 12, 9], **plans):
            program.check_ended_well()


def parked(client: paracel.Client) -> int:
    return sum(server.parked for server in client.statistics().servers)


def test_a_pull_waits_for_the_slow_worker_and_is_released_by_its_commit() -> None:
    with (
        Job(2, workers=2) as job,
        job.connect(worker=0, staleness=1) as fast,
        job.connect(worker=1) as slow,
        job.connect() as watcher,
    ):
        mine, theirs = (client.table("w", 100_000) for client in (fast, slow))
        for _ in range(2):
            mine.push(slice(None), 1)
            fast.commit()
        theirs.push(slice(None), 10)
        pulling = Background(lambda: mine.pull().result())
        eventually(lambda: parked(watcher) == 2, what="it waits on both servers")
        assert pulling.running
        slow.commit()
        assert np.all(pulling.result() == 12), "all of the slow worker's first clock"
        assert fast.read_clock == 1
        assert parked(watcher) == 0
        fast.commit()
        with pytest.raises(paracel.WaitTimeout, match="asked to pull"):
            mine.pull().result(timeout=0.2)
        assert np.all(mine.pull(staleness=None).result() == 12), "a fresh one does not wait"
        assert np.all(mine.pull(staleness=2).result() == 12), "nor one that may be older"
        slow.leave()
        assert np.all(mine.pull().result() == 12)


def test_a_cached_pull_asks_nobody_if_and_only_if_it_is_recent_enough() -> None:
    with (
        Job(2, workers=2) as job,
        job.connect(worker=0, staleness=2) as client,
        job.connect(worker=1) as other,
        job.connect() as watcher,
    ):
        table, theirs, seen = (each.table("w", 100_000) for each in (client, other, watcher))
        keys = np.arange(50_000)
        assert np.all(table.pull(keys).result() == 0)
        pulls = seen.statistics().pulls
        theirs.push(slice(None), 100).wait()
        for iteration in range(3):  # clock 0 is recent enough for iterations 0, 1 and 2
            table.push(slice(None), 1)
            assert np.all(table.pull(keys[::-1]).result() == iteration + 1), "own pushes show at once"
            assert seen.statistics().pulls == pulls
            if iteration < 2:
                for each in (other, client):
                    each.commit()
        assert np.all(table.pull([70_000]).result() == 103), "not cached before"
        assert np.all(table.pull(keys, staleness=1).result() == 103)
        assert seen.statistics().pulls > pulls + 1
        pulls = seen.statistics().pulls
        for each in (other, client):
            each.commit()
        assert np.all(table.pull(keys).result() == 103)
        assert seen.statistics().pulls == pulls
        client.staleness = 1
        table.pull(keys).result()
        assert seen.statistics().pulls == pulls + 2


def test_a_function_that_runs_once_per_clock() -> None:
    multiply = f"{SERVED}:multiply"
    with (
        Job(2, workers=2) as job,
        job.connect(worker=0, staleness=0) as first,
        job.connect(worker=1, staleness=0) as second,
        job.connect() as watcher,
    ):
        mine, theirs = (client.table("w", 10_000, init=1) for client in (first, second))
        assert mine.run(multiply, 2.0, merge=sum, once_per_clock=True).result() == 10_000
        assert theirs.run(multiply, 77.0, merge=sum, once_per_clock=True).result() == 10_000
        for clock in (1, 2, 3):
            assert np.all(mine.pull(staleness=None).result() == 2**clock), "it ran once in the clock before"
            first.commit()
            waiting = Background(lambda: mine.run(multiply, 2.0, merge=sum, once_per_clock=True).result())
            eventually(lambda: parked(watcher) == 2, what="it waits until all have come as far")
            assert waiting.running
            second.commit()
            assert waiting.result() == 10_000
            assert theirs.run(multiply, 77.0, merge=sum, once_per_clock=True).result() == 10_000
