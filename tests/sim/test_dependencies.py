"""The three dependency graphs of the paper (Li et al., OSDI 2014, section 3.4), on a network that reorders.

Sequential: each task comes after the one before it. Eventual: none comes after another. Bounded delay: task t comes
after task t - 1 - delay. What the servers handled, and when, must be what the graph says: no less, and no more.
"""

import dataclasses

import numpy as np
import pytest
from simulated import table_settings
from simulated.cluster import Cluster, Scenario
from simulated.network import Weather
from simulated.tasks import Node
from simulated.worker import Plan, Script, Worker

TASKS = 12
SEEDS = range(40)
#: Rows on several servers; each task writes its own number into all of them.
KEYS = np.arange(0, table_settings.SIZE, 3, dtype=np.uint64)


def run(seed: int, delay: int | None, weather: Weather | None = None) -> tuple[Cluster, list[Node]]:
    """A job whose one worker makes `TASKS` tasks, each after the one that `delay` of them lie between; None: no one."""
    scenario = Scenario.of(seed)
    nodes: list[Node] = []

    def script(worker: Worker) -> Script:
        table = yield from worker.tables.open("assigned")
        for number in range(TASKS):
            earlier = number - 1 - delay if delay is not None else -1
            before = (nodes[earlier],) if earlier >= 0 else ()
            rows = np.full((len(KEYS), table.dim), number)
            nodes.append(worker.tables.ask(table.push, KEYS, rows, node=Node(before)))
        for node in nodes:
            yield node.pending

    plan = Plan(staleness=None, iterations=0, stall=0.0, script=script)
    weather = weather or dataclasses.replace(scenario.weather, ordered=False)
    cluster = Cluster(dataclasses.replace(scenario, servers=3, shards=3, plans=(plan,), faults=(), weather=weather))
    cluster.run()
    return cluster, nodes


def handled(cluster: Cluster, nodes: list[Node]) -> list[int]:
    """The numbers of the tasks in the order in which servers handled their requests."""
    return [nodes.index(node) for node in cluster.register.order if node in nodes]


def most_at_once(cluster: Cluster, nodes: list[Node]) -> int:
    """How many tasks were under way together, at most: handled somewhere, and not yet everywhere."""
    order = handled(cluster, nodes)
    open_at = [(order.index(n), len(order) - 1 - order[::-1].index(n)) for n in range(TASKS)]
    return max(sum(first <= at <= last for first, last in open_at) for at in range(len(order)))


def rows(cluster: Cluster) -> set[int]:
    """What the rows hold at the end."""
    held: set[int] = set()
    for shard in cluster.shards:
        table = shard.tables._tables["assigned"]
        held |= set(table.pull(np.intersect1d(KEYS, table.part.keys()), [])[0][0].ravel().tolist())
    return held


@pytest.mark.parametrize("seed", SEEDS)
def test_sequential(seed: int) -> None:
    """One task after the other, everywhere: no server begins one before all servers have ended the one before."""
    cluster, nodes = run(seed, 0)
    assert handled(cluster, nodes) == sorted(handled(cluster, nodes))
    assert most_at_once(cluster, nodes) == 1
    assert rows(cluster) == {TASKS - 1}


def test_eventual() -> None:
    """Nothing waits: all are sent before the first is answered, and servers are at different tasks at the same time."""
    overlaps = []
    for seed in SEEDS:
        cluster, nodes = run(seed, None)
        assert all(not node.before for node in nodes)
        overlaps.append(most_at_once(cluster, nodes))
    assert max(overlaps) > 4, f"never more at once than {max(overlaps)}"


@pytest.mark.parametrize("delay", [1, 2, 5])
def test_bounded_delay(delay: int) -> None:
    """At most `delay` + 1 tasks are under way, and so many are."""
    overlaps = []
    for seed in SEEDS:
        cluster, nodes = run(seed, delay)
        order = handled(cluster, nodes)
        ends = {number: len(order) - 1 - order[::-1].index(number) for number in range(TASKS)}
        for number in range(delay + 1, TASKS):
            assert order.index(number) > ends[number - 1 - delay], f"task {number} began too early: {order}"
        overlaps.append(most_at_once(cluster, nodes))
    assert 1 < max(overlaps) <= delay + 1, f"at most {max(overlaps)} at once, and {delay + 1} may be"


def test_more_delay_takes_less_time() -> None:
    """On a network where nothing is lost, the time of a job falls with each dependency that it does without."""
    weather = Weather(ordered=True)
    ends = [run(4, delay, weather)[0].network.now for delay in (0, 1, 5, None)]
    assert ends == sorted(ends, reverse=True)
    assert len(set(ends)) == len(ends), f"virtual seconds: {ends}"


@pytest.mark.parametrize("failing", [0, 3, TASKS - 1])
@pytest.mark.parametrize("seed", range(10))
def test_what_comes_after_a_failed_task_never_reaches_a_server(seed: int, failing: int) -> None:
    """And names it; what does not come after it runs."""
    scenario = Scenario.of(seed)
    nodes: list[Node] = []

    def script(worker: Worker) -> Script:
        table = yield from worker.tables.open("checked")
        for number in range(TASKS):
            before = (nodes[-2],) if number > 1 else ()  # two lines of tasks, of which one fails
            delta = table_settings.POISON if number == failing else 1
            nodes.append(worker.tables.ask(table.push, [number], delta, node=Node(before, fails=number == failing)))
        yield worker.session.acknowledged()

    plan = Plan(staleness=None, iterations=0, stall=0.0, script=script)
    cluster = Cluster(dataclasses.replace(scenario, servers=3, shards=3, plans=(plan,), faults=()))
    cluster.run()
    behind = [n for n in range(failing + 1, TASKS) if n % 2 == failing % 2]
    assert [n for n, node in enumerate(nodes) if not node.started] == behind
    assert all(f"{nodes[failing].pending.error}" in f"{nodes[n].pending.error}" for n in behind)
    assert {n for n, node in enumerate(nodes) if node.pending.error} == {failing, *behind}
