"""The three dependency graphs of Li et al. (OSDI 2014, section 3.4): sequential, eventual, bounded delay.

One server is stopped while it has one task. What else has run by then is what the graph allows, no less and no more:
nothing behind it, all of the others, or those up to tau tasks behind it.
"""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from real import Job, eventually

import paracel

SPAN = f"{Path(__file__).with_name('served_tables.py')}:span"
TASKS = 12
#: The task that the stopped server has.
STUCK = 3


def sequential(before: list[paracel.Task]) -> list[paracel.Task]:
    """A task runs when the one before it has finished."""
    return before[-1:]


def eventual(_before: list[paracel.Task]) -> list[paracel.Task]:
    """A task runs at once."""
    return []


def bounded_delay(tau: int) -> object:
    """A task runs when all but the last tau before it have finished."""
    return lambda before: before[: max(0, len(before) - tau)]


GRAPHS = {
    "sequential": (sequential, 0),
    "eventual": (eventual, TASKS),
    "bounded delay of 0": (bounded_delay(0), 0),
    "bounded delay of 1": (bounded_delay(1), 1),
    "bounded delay of 4": (bounded_delay(4), 4),
    "bounded delay of 100": (bounded_delay(100), TASKS),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_what_runs_while_one_task_is_stuck(name: str) -> None:
    graph, tau = GRAPHS[name]
    with Job(2) as job, job.connect() as client, job.connect() as watcher:
        table, seen = client.table("w", 100_000, dtype="int64"), watcher.table("w", 100_000, dtype="int64")
        owners = table.shard_of(slice(None))
        stopped, other = (np.flatnonzero(owners == server) for server in (0, 1))
        places = [int((stopped if number == STUCK else other)[number]) for number in range(TASKS)]

        def run() -> list[int]:
            """The tasks on the other server that have run."""
            keys, rows = seen.pull(shard=1).result()
            done = set(keys[rows > 0].tolist())
            return [number for number, key in enumerate(places) if key in done]

        table.run(SPAN, keys=[places[0]]).wait()  # it is known there
        table.push([places[0]], -1).wait()
        os.kill(job.servers[0].pid, signal.SIGSTOP)
        tasks: list[paracel.Task] = []
        for key in places:
            tasks.append(table.run(SPAN, keys=[key], after=graph(tasks), merge=lambda results: results[0]))
        allowed = [n for n in range(TASKS) if n != STUCK and n <= STUCK + tau]
        eventually(lambda: run() == allowed, what=f"{allowed} have run")
        eventually(lambda: all(tasks[number].done() for number in allowed))
        on_their_way = [len(channel.outstanding) for channel in client._session.channels.values()]
        assert on_their_way == [1, 0], "so that nothing more can come"
        assert run() == allowed
        os.kill(job.servers[0].pid, signal.SIGCONT)
        spans = [task.result() for task in tasks]
        assert sum(seen.pull().result()) == TASKS, "each has run once"
        for number, (began, _) in enumerate(spans):
            finished = [spans[before][1] for before in range(max(0, number - tau))]
            assert all(began >= end for end in finished), "across servers, by the one clock of the host"


def test_a_tree_of_tasks_on_two_tables() -> None:
    """A task may wait for several, and several for one; the pushes of two tables meet in a third."""
    with Job(2) as job, job.connect() as client:
        left, right, both = (client.table(name, 50_000, dtype="float64") for name in ("left", "right", "both"))
        roots = [left.push(slice(None), 2), right.push(slice(None), 3)]
        middle = [table.run(SPAN, after=[root]) for table, root in zip((left, right), roots, strict=True)]
        pulls = [table.pull(after=middle) for table in (left, right)]
        joined = both.run(SPAN, after=pulls, merge=list)
        assert [pull.result().tolist()[0] for pull in pulls] == [3, 4]
        ends = [end for task in middle for _, end in task.result()]
        assert all(began >= max(ends) for began, _ in joined.result())
