"""What a shard becomes by a checkpoint of a job that had as many shards, fewer or more."""

import numpy as np
import pytest
from support.checkpoints import empty_shard, restored, write
from support.cluster import FakeNetwork

import paracel
from paracel import checkpoint
from paracel import messages as m
from paracel.errors import CheckpointError
from paracel.messages import Envelope
from paracel.ring import Ring

#: How many shards there were, and how many there are.
SHARDS = [(2, 2), (1, 3), (3, 1), (3, 2), (2, 5)]
both = pytest.mark.parametrize(("before", "now"), SHARDS)
KEYS = np.arange(300, dtype=np.uint64) * np.uint64(977)


def carried_over(tmp_path, before, now, fill):
    """Fill a network of shards, and make another one of its checkpoint."""
    network = FakeNetwork(before, 2)
    with network.clients():
        fill(network.client(worker=0))
    return restored(write(network, tmp_path / "c"), now)


@both
def test_entries(tmp_path, before, now):
    entries = {f"key {at}": at for at in range(200)} | {"array": np.arange(100_000.0), "": b""}
    network = carried_over(tmp_path, before, now, lambda client: client.write_multi(entries))
    ring = Ring(range(now))
    for shard in network.shards.values():
        assert all(ring.shard_of(key) == shard.number for key in shard.store.entries)
    with network.clients():
        client = network.client()
        read = client.readall()
        assert read.keys() == entries.keys()
        assert np.array_equal(read.pop("array"), entries["array"])
        assert all(read[key] == entries[key] for key in read)
        client.update("array", np.ones(100_000))
        assert client.read("array")[7] == 8, "what came from a file can be changed"


def fill_tables(client):
    dense = client.table("dense", 100_000, updater=paracel.optim.adam(0.1))
    dense.push(np.arange(100_000), np.arange(100_000, dtype="f4")).result()
    client.table("wide", 5000, dim=3, dtype="int64").push(np.arange(5000), np.ones((5000, 3), "i8")).result()
    client.table("sparse", dim=2, updater=paracel.optim.adagrad(0.1)).push(KEYS, np.ones((300, 2), "f4")).result()
    client.table("kept", expire_after=2, max_rows=1000).push(KEYS, np.ones(300, "f4")).result()


@both
def test_tables_with_their_state(tmp_path, before, now):
    network = carried_over(tmp_path, before, now, fill_tables)
    loaded = checkpoint.load(tmp_path / "c").tables
    with network.clients():
        client = network.client()
        dense = client.table("dense", 100_000, updater=paracel.optim.adam(0.1))
        rows, state = dense.pull(state=["m"]).result(), dense.pull(state=["m", "v"]).result()
        assert np.array_equal(state[0], loaded["dense"].rows)
        assert np.array_equal(state[1], loaded["dense"].state["m"])
        assert np.array_equal(rows[0], state[0])
        wide = client.table("wide", 5000, dim=3, dtype="int64").pull().result()
        assert np.array_equal(wide, np.ones((5000, 3)))
        sparse = client.table("sparse", dim=2, updater=paracel.optim.adagrad(0.1))
        assert np.array_equal(sparse.pull(np.sort(KEYS)).result(), loaded["sparse"].rows)
        kept = client.table("kept", expire_after=2, max_rows=1000)
        assert kept.pull(KEYS).result().sum() == 300
    assert sum(shard.tables._tables["sparse"].part.count for shard in network.shards.values()) == 300


@both
def test_keys_that_were_counted_are_as_near_to_being_let_in(tmp_path, before, now):
    def fill(client):
        table = client.table("strict", admit_after=3)
        table.push(KEYS, np.ones(300, "f4")).result()
        table.push(KEYS, np.ones(300, "f4")).result()

    network = carried_over(tmp_path, before, now, fill)
    with network.clients():
        table = network.client().table("strict", admit_after=3)
        table.push(KEYS, np.ones(300, "f4")).result()
        assert table.pull(KEYS).result().sum() == 300
        strangers = KEYS + np.uint64(1)
        table.push(strangers, np.ones(300, "f4")).result()
        assert table.pull(strangers).result().sum() < 30, "counts of other keys are not theirs"


@pytest.mark.parametrize("keys", [np.arange(40_000), slice(10, 39_000), np.array([7, 3, 39_999])], ids=str)
@both
def test_pushes_that_wait_for_their_clock(tmp_path, before, now, keys):
    count = 40_000 if isinstance(keys, np.ndarray) and len(keys) > 3 else 3 if not isinstance(keys, slice) else 38_990
    given = np.arange(count, dtype="f4") + 1

    def fill(client):
        client.table("late", 40_000, apply="commit").push(keys, given).result()
        client.table("later", apply="commit").push(KEYS, np.ones(300, "f4")).result()

    network = carried_over(tmp_path, before, now, fill)
    with network.clients():
        first, other = network.client(worker=0), network.client(worker=1)
        table, sparse = first.table("late", 40_000, apply="commit"), first.table("later", apply="commit")
        assert table.pull().result().sum() == 0
        first.commit()
        other.commit()
        assert np.array_equal(table.pull(keys).result(), given)
        assert table.pull().result().sum(dtype="f8") == given.sum(dtype="f8")
        assert sparse.pull(KEYS).result().sum() == 300


@both
def test_clocks(tmp_path, before, now):
    def fill(client):
        for _ in range(5):
            client.commit()

    network = FakeNetwork(before, 2)
    with network.clients():
        fast, slow = network.client(worker=0), network.client(worker=1)
        for client in (fast, slow, fast, fast):
            client.commit()
    folder = write(network, tmp_path / "c")
    for workers, clock, clocks in ((2, 1, {0: 3, 1: 1}), (1, 3, {0: 3}), (4, 1, {0: 3, 1: 1, 2: 1, 3: 1})):
        for shard in restored(folder, now, workers).shards.values():
            assert (shard.clock.value, shard.clock.clocks) == (clock, clocks)


def test_a_push_is_applied_at_once_if_nobody_is_left_for_whom_it_would_wait(tmp_path):
    network = FakeNetwork(1, 2)
    with network.clients():
        fast, _slow = network.client(worker=0), network.client(worker=1)
        fast.table("late", 4, apply="commit").push(np.arange(4), np.ones(4, "f4")).result()
        fast.commit()
    with (alone := restored(write(network, tmp_path / "c"), 2, workers=1)).clients():
        assert alone.client().table("late", 4, apply="commit").pull().result().sum() == 4


def test_the_failure_of_a_table_stays(tmp_path):
    network = FakeNetwork(2, 2)
    with network.clients():
        network.client().table("broken", 4)
    network.shards["ipc://0"].tables._tables["broken"].failure = "it did not work"
    for now in (1, 2, 3):
        shard = restored(write(network, tmp_path / f"{now}", f"{now}{now}"), now).shards["ipc://0"]
        assert shard.tables._tables["broken"].failure == "it did not work"


def test_tables_that_only_some_shards_had(tmp_path):
    network = FakeNetwork(3, 2)
    spec = {"size": None, "dim": 1, "dtype": "float32"}
    with network.clients():
        network.client().table("all", **spec)
        network.client().table("last", **spec)
    for shard in list(network.shards.values())[:2]:
        shard.tables.drop(m.DropTable("last"))
    for shard in restored(write(network, tmp_path / "c"), 2).shards.values():
        assert sorted(shard.tables._tables) == ["all", "last"]


def test_what_cannot_be_made_here_is_refused_and_nothing_has_changed(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text("import paracel\n@paracel.updater\ndef mine(rows, deltas, state):\n    return rows + deltas\n")
    network = FakeNetwork(1, 2)
    with network.clients():
        network.client().table("own", 4, updater=f"{script}:mine")
    folder = write(network, tmp_path / "c")
    assert list(restored(folder, 2).shards["ipc://0"].tables._tables) == ["own"]
    script.unlink()
    shard = empty_shard()
    shard.store.write(["kept"], [1])
    with pytest.raises(CheckpointError, match=r"shard-0000-.* cannot be restored: FunctionError"):
        shard.restore(folder)
    assert dict(shard.store.entries) == {"kept": 1}


# --- while it serves ----------------------------------------------------------------------------------------------


def asked(shard, sender, number, message):
    shard.handle(sender, Envelope(number, number - 1, 1, message))
    return [(to, reply.message) for to, reply in shard.flush()]


def test_a_read_that_waits_goes_on_waiting(tmp_path):
    network = FakeNetwork(1, 2)
    with network.clients():
        for worker in (0, 1):
            client = network.client(worker=worker)
            client.commit()
            client.write("k", "restored")
    folder = write(network, tmp_path / "c")
    shard = empty_shard()
    shard.begin_serving(1)
    for worker in (0, 1):
        asked(shard, b"w%d" % worker, 1, m.Enter(worker))
    assert asked(shard, b"w0", 2, m.Read(["k"], 1)) == [(b"w0", m.Parked(2))]
    assert asked(shard, b"w1", 2, m.Read(["k"], 2)) == [(b"w1", m.Parked(2))]
    replies = asked(shard, b"other", 1, m.Restore(folder))
    assert replies == [
        (b"w0", m.Found(["restored"], [], 1)),
        (b"w1", m.Parked(2)),
        (b"other", m.Done(1)),
    ]
    assert asked(shard, b"c", 1, m.Commit(0, 2)) == [(b"c", m.Done(0))]
    assert (b"w1", m.Found(["restored"], [], 2)) in asked(shard, b"c", 2, m.Commit(1, 2))


def test_a_copy_of_the_shard_becomes_the_same(tmp_path):
    """Also what was told of the same turn, before and after."""
    network = FakeNetwork(2, 2)
    with network.clients():
        fill_tables(network.client(worker=0))
    folder = write(network, tmp_path / "c")
    shard, copy = empty_shard(), empty_shard()
    shard.begin_serving(1)
    shard.watch()
    for worker in (0, 1):
        asked(shard, b"w%d" % worker, 1, m.Enter(worker))
    asked(shard, b"w1", 2, m.Write(["gone"], [1]))
    asked(shard, b"w1", 3, m.Leave(1))
    asked(shard, b"w0", 2, m.Restore(folder))
    asked(shard, b"w0", 3, m.Write(["new"], [2]))
    copy.apply(shard.take_changes())
    assert dict(copy.store.entries) == dict(shard.store.entries) == {"new": 2}
    assert copy.clock.state() == shard.clock.state()
    for name, table in shard.tables._tables.items():
        other = copy.tables._tables[name]
        assert np.array_equal(np.sort(other.part.keys()), np.sort(table.part.keys()))
        assert np.array_equal(other.part.column("rows"), table.part.column("rows"))
    assert copy.inbox.was_answered(b"w1", 3), "it is not run again, if its sender sends it again"
    shard.handle(b"w0", Envelope(4, 3, 1, m.Update(["new"], [1], "add", False)))
    copy.apply(shard.take_changes())
    assert copy.store.entries["new"] == 3


def test_workers_that_waited_for_a_cut_go_on(tmp_path):
    from paracel.cuts import Cuts

    folder = write(FakeNetwork(1, 2), tmp_path / "c")
    shard = empty_shard()
    shard.save_at(Cuts(1, "/f", "ab"))
    shard.begin_serving(1)
    for worker in (0, 1):
        asked(shard, b"w%d" % worker, 1, m.Enter(worker))
    asked(shard, b"w0", 2, m.Commit(0, 1))
    assert asked(shard, b"w0", 3, m.Write(["k"], [1])) == []
    assert (b"w0", m.Done(1)) in asked(shard, b"other", 1, m.Restore(folder))
