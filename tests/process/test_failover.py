"""Servers that are killed, or hang, while workers work: with replicas, nobody notices but by the time that it takes."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from losses import TIMEOUT, disturb, hang, kill, living, primary_of
from real import DEADLINE, Background, Programs, eventually

import paracel
from paracel import optim
from paracel.launch.embedded import Cluster

TEXT = Path(__file__).resolve().parents[2] / "examples/data/kjv.txt"
COUNTED = f"{Path(__file__).with_name('served_tables.py')}:counted"
#: How the servers are lost in a test, one after another.
HOWS = ("kill", "hang", "kill")
#: A test's own work goes on for as long as its losses take.
LONG = 100.0

More = Callable[[int], bool]


def copies(replicas: int, workers: int = 1) -> Cluster:
    return Cluster(3, workers, replicas=replicas, heartbeat_timeout=TIMEOUT)


def connected(cluster: Cluster, worker: int | None = None, **options: Any) -> paracel.Client:
    """A client that fails rather than hangs."""
    return paracel.connect(cluster.address, worker=worker, timeout=DEADLINE, **options)


def shard_of(client: paracel.Client, key: str) -> int:
    return client._session.ring.shard_of(key)


def settled(cluster: Cluster) -> None:
    cluster.wait_settled(DEADLINE)


@pytest.fixture(params=[2, 3])
def replicas(request: pytest.FixtureRequest) -> int:
    return int(request.param)


# --- one loss after another ----------------------------------------------------------------------------------

KEYS = [f"key {number}" for number in range(100)]

VICTIM = """
import sys, paracel
with paracel.connect(sys.argv[1]) as ps:
    for number in range(10**9):
        print("issued", number + 1)
        ps.bupdate("victim", 1)
        print("acknowledged", number + 1)
"""


def count(cluster: Cluster, name: str, losing: Background) -> int:
    """Add 1 to every key, and to one of its own in between, again and again; says how often."""
    times = 0
    with connected(cluster) as ps:
        table = ps.table("counts", 1000, dtype="int64")
        while losing.running:
            times += 1
            tasks = [ps.update(key, 1) for key in KEYS]
            tasks.append(table.push(slice(None), 1))
            assert ps.bupdate(name, 1) == times
            assert [task.result() for task in tasks] == [None] * len(tasks)
    return times


def test_every_acknowledged_update_is_there_once(replicas: int, programs: Programs) -> None:
    with copies(replicas) as cluster:
        victim = programs.start(VICTIM, cluster.address)
        victim.wait_said("acknowledged 1")
        losing = Background(lambda: disturb(cluster, seed=replicas, losses=HOWS))
        counting = [Background(lambda name=name: count(cluster, name, losing)) for name in "ab"]
        times = [each.result(LONG) for each in counting]
        losing.result()
        victim.kill()
        with connected(cluster) as ps:
            assert [ps.read(name) for name in "ab"] == times
            assert ps.read_multi(KEYS) == [sum(times)] * len(KEYS)
            assert np.all(ps.table("counts", 1000, dtype="int64").pull().result() == sum(times))
            said = dict(line.split() for line in victim.out.splitlines() if len(line.split()) == 2)
            assert int(said["acknowledged"]) <= ps.read("victim") <= int(said["issued"])


def learn(cluster: Cluster, more: More) -> tuple[int, list[np.ndarray]]:
    """Steps on two tables, each from what the last one made; says how many, and all that the tables have."""
    rng, step = np.random.default_rng(1), 0
    used = np.empty(0, np.uint64)
    with connected(cluster, worker=0) as ps:
        dense = ps.table("dense", 3000, 4, updater=optim.adam(0.01))
        sparse = ps.table("sparse", updater=optim.ftrl(0.1, l1=0.01))
        while more(step):
            keys = rng.integers(0, 2**63, 50, dtype=np.uint64)
            used = np.concatenate([used, keys])[-5000:]
            chosen = rng.choice(used, 100)
            sparse.push(chosen, sparse.pull(chosen).result() - rng.normal(size=100).astype("f4"))
            rows = rng.integers(0, 3000, 200)
            dense.push(rows, dense.pull(rows).result() - rng.normal(size=(200, 4)).astype("f4"))
            if step % 5 == 0:
                ps.commit()
            step += 1
        ps.commit()
        made = [*dense.pull(state=["m", "v", "count"]).result(), *sparse.pull(slice(None), state=["z", "n"]).result()]
        return step, made


def test_tables_with_the_state_of_optimisers_are_as_if_nothing_had_been(replicas: int) -> None:
    with copies(replicas) as cluster:
        losing = Background(lambda: disturb(cluster, seed=10 + replicas, losses=HOWS))
        steps, disturbed = learn(cluster, lambda _step: losing.running)
        losing.result()
    with copies(replicas) as cluster:
        _, undisturbed = learn(cluster, lambda step: step < steps)
    assert len(disturbed[4]) > 100, "the sparse table has rows"
    for one, other in zip(disturbed, undisturbed, strict=True):
        assert one.tobytes() == other.tobytes()


class Rounds:
    """How many iterations two workers do that are at most one apart: until it is told to end."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last
        self._begun = 0

    def more(self, iteration: int) -> bool:
        self._begun = max(self._begun, iteration)
        return self.last is None or iteration <= self.last

    def end(self) -> None:
        self.last = self._begun + 3  # which nobody has come to


def regress(cluster: Cluster, worker: int, rounds: Rounds) -> tuple[int, np.ndarray]:
    """Logistic regression by batch gradient descent, each worker with its half of the samples."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 20))
    labels = (rows @ rng.normal(size=20) + rng.normal(size=400) > 0)[worker::2]
    rows, iteration = rows[worker::2], 0
    with connected(cluster, worker=worker, staleness=0) as ps:
        table = ps.table("theta", 20, dtype="float64", apply="commit")
        while rounds.more(iteration):
            theta = table.pull().result()
            error = 1 / (1 + np.exp(-rows @ theta)) - labels
            table.push(slice(None), -0.1 * (rows.T @ error) / 400)
            assert ps.bupdate(f"iterations of {worker}", 1) == iteration + 1
            ps.commit()
            iteration += 1
        return iteration, table.pull().result()


def run_both(cluster: Cluster, rounds: Rounds) -> list[Background]:
    return [Background(lambda worker=worker: regress(cluster, worker, rounds)) for worker in range(2)]


def test_bulk_synchronous_regression_is_as_if_nothing_had_been(replicas: int) -> None:
    rounds = Rounds()
    with copies(replicas, workers=2) as cluster:
        workers = run_both(cluster, rounds)
        try:
            disturb(cluster, seed=20 + replicas, losses=HOWS)
        finally:
            rounds.end()
        (iterations, one), (also, other) = [worker.result() for worker in workers]
    assert iterations == also > 10
    assert one.tobytes() == other.tobytes()
    with copies(replicas, workers=2) as cluster:
        for worker in run_both(cluster, Rounds(rounds.last)):
            again, undisturbed = worker.result(LONG)
            assert again == iterations
            assert undisturbed.tobytes() == one.tobytes()


def batches() -> Iterator[Counter[str]]:
    """The words of a text, some lines at a time; from the beginning when it is at its end."""
    lines = TEXT.read_text().splitlines()
    while True:
        for start in range(0, len(lines), 500):
            yield Counter(word for line in lines[start : start + 500] for word in line.split())


def test_words_are_counted_exactly(replicas: int) -> None:
    with copies(replicas) as cluster:
        losing = Background(lambda: disturb(cluster, seed=30 + replicas, losses=HOWS))

        def send() -> Counter[str]:
            sent = Counter[str]()
            with connected(cluster) as ps:
                for batch in batches():
                    if not losing.running:
                        return sent
                    sent += batch
                    ps.update_multi(batch)
            raise AssertionError("there is always one more")

        sending = [Background(send) for _ in range(2)]
        sent = sum((each.result(LONG) for each in sending), Counter())
        losing.result()
        with connected(cluster) as ps:
            assert ps.readall() == dict(sent)
            assert ps.read_topk(5) == sorted(sent.items(), key=lambda item: (-item[1], item[0]))[:5]


# --- at a bad moment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_server_that_was_given_up_ends_although_nobody_asks_it_for_anything(replicas: int) -> None:
    with copies(replicas) as cluster:
        hang(cluster, 1)
        settled(cluster)


@pytest.mark.parametrize("lose", [kill, hang])
def test_a_read_that_waits_for_another_worker_is_asked_again(lose: Callable[[Cluster, int], None]) -> None:
    with (
        copies(2, workers=2) as cluster,
        connected(cluster, worker=0, staleness=0) as ahead,
        connected(cluster, worker=1) as behind,
    ):
        ahead.write("k", 1)
        ahead.commit()
        reading = Background(lambda: ahead.read("k"))
        eventually(lambda: sum(each.parked for each in behind.statistics().servers) == 1)
        lose(cluster, primary_of(cluster, shard_of(ahead, "k")))
        eventually(
            lambda: sum(each.parked for each in behind.statistics().servers) == 1, what="it waits at another server"
        )
        assert reading.running
        behind.update("k", 5)
        behind.commit()
        assert reading.result() == 6


def test_tasks_that_wait_for_others_go_on() -> None:
    with copies(2) as cluster, connected(cluster) as ps:
        table = ps.table("w", 3000, dtype="int64")
        victim = primary_of(cluster, int(table.shard_of([0])[0]))
        os.kill(living(cluster)[victim], signal.SIGSTOP)
        tasks = [table.push([0], 1)]
        for _ in range(50):
            tasks.append(table.push(slice(None), 1, after=tasks[-1:]))
            tasks.append(table.pull([0, 2999], after=tasks[-1:]))
        assert ps._session.held
        kill(cluster, victim)
        assert tasks[-1].result().tolist() == [51, 50]
        assert [task.result().tolist() for task in tasks[2::2]] == [[n + 1, n] for n in range(1, 51)]


@pytest.mark.parametrize("of", ["primary", "backup"])
def test_large_values_on_their_way_to_a_server_that_is_lost(of: str) -> None:
    value = np.arange(5_000_000.0)
    with copies(2) as cluster, connected(cluster) as ps:
        place = cluster.statistics().shards[shard_of(ps, "large")]
        victim = place.primary if of == "primary" else place.chain[1]
        os.kill(living(cluster)[victim], signal.SIGSTOP)
        writing = Background(lambda: ps.write("large", value))
        channel = ps._session.channels[shard_of(ps, "large")]
        eventually(lambda: channel.bytes > value.nbytes)
        kill(cluster, victim)
        writing.result()
        assert np.array_equal(ps.bupdate("large", value), 2 * value)
        settled(cluster)
        place = cluster.statistics().shards[shard_of(ps, "large")]
        os.kill(living(cluster)[place.primary], signal.SIGSTOP)
        reading = Background(lambda: ps.read("large"))
        eventually(lambda: channel.outstanding)
        kill(cluster, place.primary)
        assert np.array_equal(reading.result(), 2 * value), "and there is one server left"


def test_pushes_of_a_clock_that_is_not_complete_are_not_lost() -> None:
    with (
        copies(2, workers=2) as cluster,
        connected(cluster, worker=0, staleness=0) as ahead,
        connected(cluster, worker=1) as behind,
    ):
        tables = [ps.table("w", 3000, updater=COUNTED, apply="commit") for ps in (ahead, behind)]
        for _ in range(3):
            tables[0].push(slice(None), 1)
            ahead.commit()
        tables[1].push(slice(None), 10).result()
        kill(cluster, primary_of(cluster, 0))
        settled(cluster)
        kill(cluster, primary_of(cluster, 1))
        for clock in range(3):
            behind.commit()
            rows, times = tables[1].pull(state=["times"]).result()
            assert np.all(rows == 10 + 1 + clock)
            assert np.all(times == 1 + clock)


def test_nothing_is_acknowledged_that_a_backup_does_not_have() -> None:
    with Cluster(3, replicas=2) as cluster, connected(cluster) as ps:
        places = cluster.statistics().shards
        primary, backup = places[0].chain
        beside = next(n for n, place in enumerate(places) if place.primary == primary and backup not in place.chain)
        key, other = [next(key for key in KEYS if shard_of(ps, key) == shard) for shard in (0, beside)]
        ps.write_multi({key: 1, other: 1})
        pid = living(cluster)[backup]
        os.kill(pid, signal.SIGSTOP)
        task = ps.update(key, 1)
        assert ps.bupdate(other, 1) == 2, "the primary has come to what was sent after it"
        assert not task.done()
        os.kill(pid, signal.SIGCONT)
        assert task.result() is None
        assert ps.read(key) == 2


def test_with_three_replicas_two_may_be_lost_at_once() -> None:
    with copies(3) as cluster, connected(cluster) as ps:
        ps.write_multi(dict.fromkeys(KEYS, 1))
        victims = cluster.statistics().shards[0].chain[:2]
        tasks = [ps.update(key, 1) for key in KEYS]
        kill(cluster, *victims)
        assert [task.result() for task in tasks] == [None] * len(KEYS)
        assert ps.bupdate_multi(dict.fromkeys(KEYS, 1)) == dict.fromkeys(KEYS, 3)


# --- what replicas cannot mend --------------------------------------------------------------------------------


def test_shards_that_are_lost_with_all_copies_fail_and_the_others_go_on() -> None:
    with Cluster(4, replicas=2, heartbeat_timeout=TIMEOUT) as cluster, connected(cluster) as ps:
        ps.write_multi(dict.fromkeys(KEYS, 1))
        places = cluster.statistics().shards
        victims = places[shard_of(ps, KEYS[0])].chain
        broken = [number for number, place in enumerate(places) if set(place.chain) == set(victims)]
        dead = [key for key in KEYS if shard_of(ps, key) in broken]
        others = [key for key in KEYS if shard_of(ps, key) not in broken]
        assert others
        kill(cluster, *victims)
        for key in dead:
            with pytest.raises(paracel.ServerLost, match=r"server \d .* is gone: .*signal 9"):
                ps.read(key)
            with pytest.raises(paracel.ServerLost):
                ps.bupdate(key, 1)
        assert ps.bupdate_multi(dict.fromkeys(others, 1)) == dict.fromkeys(others, 2)
        assert sorted(cluster.statistics().broken) == broken
        eventually(
            lambda: all(len(place.chain) == 2 for n, place in enumerate(cluster.statistics().shards) if n not in broken)
        )
        kill(cluster, primary_of(cluster, shard_of(ps, others[0])))
        assert ps.bupdate_multi(dict.fromkeys(others, 1)) == dict.fromkeys(others, 3)


def test_without_replicas_a_loss_names_the_server() -> None:
    with Cluster(2, shards=8) as cluster, connected(cluster) as ps:
        ps.write_multi(dict.fromkeys(KEYS, 1))
        victim = primary_of(cluster, shard_of(ps, KEYS[0]))
        kill(cluster, victim)
        with pytest.raises(paracel.ServerLost, match=rf"server {victim} \(ipc://.*\) is gone: .*signal 9"):
            ps.read(KEYS[0])
        others = [key for key in KEYS if primary_of(cluster, shard_of(ps, key)) != victim]
        assert ps.read_multi(others) == [1] * len(others)
