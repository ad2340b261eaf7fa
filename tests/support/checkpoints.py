"""Checkpoints without processes: shards in memory are written to a folder, and others are made from it."""

import os
from typing import Any

import numpy as np

import paracel
from paracel import checkpoint
from paracel.checkpointing import manifest_of
from paracel.cuts import file_of, stem_of
from paracel.functions import Functions
from paracel.messages import Saved
from paracel.shard import Shard
from support.cluster import FakeNetwork

#: Hexadecimal digits, as those that tokens are made of.
TOKEN = "0123abcd"


def saved_of(shard: Shard, folder: str, token: str = TOKEN) -> Saved:
    """Write the file of a shard; what a server tells of it."""
    written = checkpoint.write_shard(shard, folder, file_of(stem_of(shard.number, token)))
    clock = shard.clock
    return Saved(shard.number, folder, written.name, written.size, written.digest, clock.value, clock.clocks, "")


def write(network: FakeNetwork, folder: str | os.PathLike[str], token: str = TOKEN) -> str:
    """A whole checkpoint of all shards."""
    where = os.fspath(folder)
    checkpoint.complete(where, manifest_of([saved_of(shard, where, token) for shard in network.shards.values()]))
    return where


def restored(folder: str | os.PathLike[str], shards: int, workers: int = 2) -> FakeNetwork:
    """A network of so many shards, which are what the checkpoint says."""
    network = FakeNetwork(shards, workers)
    for shard in network.shards.values():
        shard.restore(os.fspath(folder))
        shard.begin_serving(1)
    return network


def small(value: int = 1, shards: int = 2) -> FakeNetwork:
    """A network that has a little of many kinds."""
    network = FakeNetwork(shards, 2)
    with network.clients():
        client = network.client(worker=0)
        client.write_multi({"int": value, "text": "täxt", "list": [1, [2.5, None]], "array": np.arange(4) * value})
        client.table("dense", 12, updater=paracel.optim.momentum(0.5)).push(np.arange(12), float(value)).result()
        client.table("sparse", dim=2).push(np.array([3, 1 << 60], np.uint64), np.full((2, 2), value, "f4")).result()
        client.commit()
    return network


def plain(loaded: checkpoint.Checkpoint) -> Any:
    """A checkpoint as values that can be compared, but for when it was made."""
    tables = {
        name: (table.settings, table.keys.tolist(), table.rows.tolist(), _lists(table.state))
        for name, table in loaded.tables.items()
    }
    return loaded.clock, loaded.clocks, _lists(loaded.entries), tables


def _lists(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (str(value.dtype), value.shape, value.tolist()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def empty_shard(number: int = 0, shards: int = 1, workers: int = 2) -> Shard:
    """A shard with nothing in it."""
    return Shard(number, shards, workers, Functions())
