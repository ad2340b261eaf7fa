"""Whatever a job holds: a checkpoint of it has the same, and so has a job of any number of shards made from it."""

import tempfile

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkpoints import plain, restored, write
from support.cluster import FakeNetwork
from support.exact import same
from support.strategies import KEYS, VALUES

import paracel
from paracel import checkpoint

SHARDS = st.integers(1, 5)
UPDATERS = st.sampled_from(["add", paracel.optim.adagrad(0.1), paracel.optim.adam(0.1), paracel.optim.momentum(0.1)])


@st.composite
def tables(draw):
    """The settings of a table, and the keys of some pushes."""
    size = draw(st.one_of(st.none(), st.integers(1, 3000)))
    settings = {"size": size, "dim": draw(st.integers(1, 3)), "apply": draw(st.sampled_from(["push", "commit"]))}
    settings["updater"] = updater = draw(UPDATERS)
    settings["dtype"] = draw(st.sampled_from(["float32", "float64", "int64"] if updater == "add" else ["float32"]))
    if size is None:
        settings["admit_after"] = draw(st.integers(1, 2))
        settings["max_rows"] = draw(st.sampled_from([None, 2000]))
    keys = st.integers(0, (1 << 64) - 1 if size is None else size - 1)
    ranges = [] if size is None else [st.tuples(keys, keys).map(lambda ends: slice(min(ends), max(ends) + 1))]
    return settings, draw(
        st.lists(st.one_of(st.lists(keys, min_size=1, max_size=30, unique=True), *ranges), max_size=3)
    )


def fill(client, entries, of_tables):
    client.write_multi(entries)
    for number, (made, pushes) in enumerate(of_tables):
        table = client.table(f"table {number}", **made)
        for value, keys in enumerate(pushes):
            count = keys.stop - keys.start if isinstance(keys, slice) else len(keys)
            listed = keys if isinstance(keys, slice) else np.array(keys, np.uint64)
            rows = np.full((count, made["dim"])[: 1 + (made["dim"] > 1)], value + 1, made["dtype"])
            table.push(listed, rows).result()


def pulled(network, of_tables):
    """All that clients can see."""
    with network.clients():
        client = network.client(worker=0)
        opened = [client.table(f"table {number}", **made) for number, (made, _) in enumerate(of_tables)]
        seen = []
        for _ in range(2):  # before the end of a clock, and after
            for (_, pushes), table in zip(of_tables, opened, strict=True):
                chosen = [keys if isinstance(keys, slice) else np.array(keys, np.uint64) for keys in pushes]
                seen += [table.pull(keys).result() for keys in chosen]
            client.commit()
            network.client(worker=1).commit()
        return client.readall(), seen


@settings(max_examples=25)
@given(
    st.dictionaries(KEYS.filter(lambda key: key != "server_clock"), VALUES, max_size=12),
    st.lists(tables(), max_size=3),
    SHARDS,
    SHARDS,
    SHARDS,
)
def test_a_checkpoint_has_all_and_makes_the_same_job_in_any_number_of_shards(entries, of_tables, before, now, then):
    network = FakeNetwork(before, 2)
    with network.clients():
        fill(network.client(worker=0), entries, of_tables)
    with tempfile.TemporaryDirectory() as folder:
        first = write(network, f"{folder}/1")
        loaded = checkpoint.load(first)
        assert same(in_order(loaded.entries), in_order(entries))
        second = write(restored(first, now), f"{folder}/2")
        assert plain_tables(checkpoint.load(second)) == plain_tables(loaded)
        assert same(in_order(checkpoint.load(second).entries), in_order(entries))
        others = [pulled(restored(where, shards), of_tables) for where, shards in ((first, now), (second, then))]
    kept, seen = pulled(network, of_tables)
    for other_entries, other_seen in others:
        assert same(in_order(other_entries), in_order(kept))
        assert all(map(np.array_equal, seen, other_seen))


def plain_tables(loaded):
    return plain(loaded)[-1]


def in_order(entries):
    return dict(sorted(entries.items()))
