"""What the servers' tables must hold when a job has ended."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from . import table_settings
from .table_history import CLOCKS

if TYPE_CHECKING:
    from .cluster import Cluster


def check_final(cluster: "Cluster") -> None:
    """Every push was done exactly once, wherever it went; only what was pushed by the dead may be missing."""
    history, tables = cluster.table_history, rows_of(cluster)
    for name in table_settings.COUNTS:
        history.check_final_counts(name, tables[name])
    for name in table_settings.COMMITS:
        history.check_final_commits(name, tables[name])
    _check_calls(cluster)
    _check_contested(cluster)
    if not history.any_died:
        for name in ("sums", "rounded"):
            _check_sums(cluster, name, tables[name])


def rows_of(cluster: "Cluster") -> dict[str, dict[int, Any]]:
    """All rows, by table and key; no key is in two shards."""
    rows: dict[str, dict[int, Any]] = defaultdict(dict)
    for shard in cluster.shards:
        for name, table in shard.tables._tables.items():
            assert not table.failure, f"{name} failed: {table.failure}"
            for key, row in zip(table.part.keys().tolist(), table.part.column("rows"), strict=True):
                assert key not in rows[name], f"key {key} of {name} is in two shards"
                rows[name][key] = row
    return rows


def _check_calls(cluster: "Cluster") -> None:
    """A function has run once in a clock in each shard, if anybody had its result, or else perhaps."""
    for shard in cluster.shards:
        table = shard.tables._tables.get("calls")
        if table is None or not table.part.count:
            continue
        counts = table.part.column("rows")
        assert (counts == counts[0]).all(), "it ran over some of the rows"
        for clock in range(CLOCKS):
            least = int(clock in cluster.table_history.once)
            assert least <= counts[0, clock] <= 1, f"{counts[0, clock]} runs in clock {clock}, of shard {shard.number}"


def _check_contested(cluster: "Cluster") -> None:
    there = [shard.tables._tables.get("contested") for shard in cluster.shards]
    seeds = {table.spec.seed for table in there if table is not None}
    assert len(seeds) <= 1, "a table has several settings"
    assert cluster.contested <= seeds, f"opened with seeds {cluster.contested}, and it has {seeds}"


def _check_sums(cluster: "Cluster", name: str, rows: dict[int, Any]) -> None:
    """What the server holds and what waits at the senders is what was pushed."""
    total: dict[int, Any] = defaultdict(float, {key: np.copy(row) for key, row in rows.items()})
    for worker in cluster.workers:
        for key, rest in worker.tables.rests(name).items():
            total[key] = total[key] + rest
    for (table, key), pushed in cluster.table_history.sums.items():
        assert table != name or np.allclose(total[key], pushed, rtol=1e-9, atol=1e-6), (
            f"{name} {key}: {total[key]}, and {pushed} was pushed"
        )
