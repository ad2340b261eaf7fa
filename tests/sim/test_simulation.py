"""Many small jobs on many bad networks. `PARACEL_SIM_SEED=7` repeats one; `PARACEL_SIM_SEEDS=100000` looks further."""

import os
from collections import Counter
from unittest import mock

import pytest
from simulated.cluster import Cluster, run
from simulated.mutants import without_reference

from paracel import inbox, session
from paracel import messages as m

SEEDS = int(os.environ.get("PARACEL_SIM_SEEDS", "1500"))
ONE = os.environ.get("PARACEL_SIM_SEED")
GROUP = 100


@pytest.mark.parametrize("first", [int(ONE)] if ONE else range(0, SEEDS, GROUP))
def test_every_job_ends_as_if_it_had_run_serially(first: int) -> None:
    """Every update once, no read staler than allowed, none parked longer than needed, and nobody hangs."""
    for seed in range(first, first + 1 if ONE else min(first + GROUP, SEEDS)):
        run(seed)


def test_tight_limits_slow_jobs_down_and_change_nothing() -> None:
    """Windows, credits and batches so small that every job meets them. Then a server may also wait for a client."""
    with (
        mock.patch.object(inbox, "UNCONFIRMED_BYTES", 130),
        mock.patch.object(inbox, "WINDOW", 3),
        mock.patch.object(session, "BATCH_KEYS", 2),
        without_reference(),
    ):
        for seed in range(GROUP):
            run(seed)


def test_a_seed_repeats_its_run() -> None:
    assert trace(run(4)) == trace(run(4))
    assert trace(run(4)) != trace(run(5))


def trace(cluster: Cluster) -> tuple[object, ...]:
    return (
        cluster.network.now,
        cluster.network.sent,
        [worker.clock for worker in cluster.workers],
        [repr(dict(shard.store.entries)) for shard in cluster.shards],
    )


def test_the_simulation_meets_what_it_is_for() -> None:
    """Faults and waits happen often enough for a wrong protocol to be seen."""
    seen: Counter[str] = Counter()
    for seed in range(150):
        note(run(seed), seen)
    rare = [what for what in WHAT if seen[what] < 5]
    assert not rare, f"seldom or never: {rare}; seen: {seen}"


WHAT = (
    "dropped",
    "repeated",
    "parked",
    "resent",
    "probed",
    "died",
    "lost a server",
    "replaced",
    "eventual",
    "returned",
    "asked for keys",
    "told keys",
    "asked anew",
    "came after others",
)


def note(cluster: Cluster, seen: Counter[str]) -> None:
    weather = cluster.scenario.weather
    seen["dropped"] += weather.drop > 0
    seen["repeated"] += any(shard.inbox.duplicates for shard in cluster.all_shards)
    seen["parked"] += cluster.answers[m.Waiting] > 0
    seen["resent"] += cluster.answers[m.Lost] > 0
    seen["probed"] += cluster.questions[m.Probe] > 0
    seen["died"] += any(worker.died for worker in cluster.workers)
    seen["lost a server"] += any(worker.error is not None for worker in cluster.workers)
    seen["replaced"] += len(cluster.workers) > len(cluster.scenario.plans)
    seen["eventual"] += any(plan.staleness == float("inf") for plan in cluster.scenario.plans)
    seen["asked for keys"] += cluster.answers[m.UnknownKeys] > 0
    seen["told keys"] += cluster.questions[m.KeyList] > 0
    seen["asked anew"] += any(worker.refused for worker in cluster.workers)
    seen["came after others"] += any(node.before for node in cluster.register.order)
    seen["returned"] += cluster.questions[m.Leave] > len(cluster.workers) * cluster.scenario.shards
