"""Checkpoints of real jobs: exact at a clock, whole or not there, and restored into other jobs."""

import contextlib
import math
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real import Background, Programs, ended, eventually

import paracel
from paracel import checkpoint
from paracel.errors import CheckpointError
from paracel.launch.embedded import Cluster
from paracel.settings import Checkpoints

EVERY = 3


def workers(cluster: Cluster, iterations: list[int], staleness: float | None, work: Callable[..., None]) -> None:
    """Workers on threads of their own, which call `work(client, worker, iteration)` so often, commit, and leave."""

    def run(worker: int) -> None:
        with paracel.connect(cluster.address, worker=worker, staleness=staleness) as client:
            entered.wait()
            for iteration in range(iterations[worker]):
                work(client, worker, iteration)
                client.commit()

    entered = threading.Barrier(len(iterations))
    running = [Background(lambda worker=worker: run(worker)) for worker in range(len(iterations))]
    for each in running:
        each.result(100)


def add(client: paracel.Client, worker: int, iteration: int) -> None:
    """An iteration that can be counted, on keys of many shards and in tables; worker 0 does more for it."""
    for _ in range(1 + 20 * (worker == 0)):
        client.update(f"own {worker}", 1)
    for key in range(8):
        client.update(f"common {key}", 1)
    client.table("dense", 3000).push(np.arange(3000), np.ones(3000, "f4"))
    client.table("late", 50, apply="commit").push(np.arange(50), np.ones(50, "f4"))
    client.read("common 0")


def check_exact(loaded: checkpoint.Checkpoint, done: dict[int, int]) -> None:
    """It has so many iterations of each worker, and no others."""
    total = sum(done.values())
    assert loaded.clocks == done
    entries = dict(loaded.entries)
    for worker, count in done.items():
        assert entries.pop(f"own {worker}", 0) == count * (21 if worker == 0 else 1)
    assert entries == {f"common {key}": total for key in range(8)}
    assert set(loaded.tables["dense"].rows.tolist()) == {total}
    assert set(loaded.tables["late"].rows.tolist()) == {total}


@pytest.mark.parametrize("staleness", [None, 0, 2, math.inf], ids=str)
@pytest.mark.parametrize("servers", [{"servers": 2}, {"servers": 3, "replicas": 2}], ids=["2", "3 in pairs"])
def test_every_checkpoint_has_exactly_the_iterations_before_its_clock(
    tmp_path: Path, staleness: float | None, servers: dict[str, int]
) -> None:
    settings = Checkpoints(every=EVERY, folder=str(tmp_path), keep=10)
    with Cluster(workers=3, checkpoints=settings, **servers) as cluster:
        workers(cluster, [12, 12, 12], staleness, add)
    found = checkpoint.all_in(tmp_path)
    assert [os.path.basename(each) for each in found] == [f"clock-{clock:08d}" for clock in (3, 6, 9, 12)]
    for path, clock in zip(found, (3, 6, 9, 12), strict=True):
        check_exact(checkpoint.load(path), dict.fromkeys(range(3), clock))
    assert sorted(os.listdir(tmp_path)) == list(map(os.path.basename, found)), "nothing else is left"


def test_workers_that_leave_early_are_in_it_with_all_that_they_did(tmp_path: Path) -> None:
    with Cluster(2, workers=3, checkpoints=Checkpoints(every=EVERY, folder=str(tmp_path), keep=10)) as cluster:
        workers(cluster, [12, 4, 7], 1, add)
    for path in checkpoint.all_in(tmp_path):
        loaded = checkpoint.load(path)
        at = int(path[-8:])
        check_exact(loaded, {0: at, 1: min(at, 4), 2: min(at, 7)})


DYING = """
import os, signal, sys
import paracel
client = paracel.connect(sys.argv[1], worker=1)
for iteration in range(2):
    client.update("own 1", 1)
    client.commit()
client.update("own 1", 1).result()
print("ready")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nobody_waits_for_a_worker_that_died(tmp_path: Path, programs: Programs) -> None:
    settings = Checkpoints(every=EVERY, folder=str(tmp_path), keep=10)
    with Cluster(2, workers=2, checkpoints=settings) as cluster, paracel.connect(cluster.address, worker=0) as client:
        programs.start(DYING, cluster.address).wait_said("ready")
        for _ in range(9):
            client.update("own 0", 1)
            client.commit()
        assert client.read("own 0") == 9
    for path, clock in zip(checkpoint.all_in(tmp_path), (3, 6, 9), strict=True):
        loaded = checkpoint.load(path)
        assert loaded.entries["own 0"] == clock
        assert loaded.clocks[0] == clock


def test_while_shards_move_checkpoints_are_whole_or_not_there(tmp_path: Path) -> None:
    settings = Checkpoints(every=EVERY, folder=str(tmp_path), keep=100)
    with Cluster(2, workers=2, replicas=2, checkpoints=settings) as cluster:

        def grow(client: paracel.Client, worker: int, iteration: int) -> None:
            add(client, worker, iteration)
            if worker == 0 and iteration in (5, 20):
                cluster.add_server()
            if worker == 0 and iteration == 29:
                cluster.wait_settled()

        workers(cluster, [39, 39], 1, grow)
    found = checkpoint.all_in(tmp_path)
    for path in found:
        check_exact(checkpoint.load(path), dict.fromkeys(range(2), int(path[-8:])))
    assert {int(path[-8:]) for path in found} >= {3, 33, 36, 39}, "before, and after"
    assert sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, found))


def test_a_server_that_is_killed_while_checkpoints_are_made(tmp_path: Path) -> None:
    settings = Checkpoints(every=EVERY, folder=str(tmp_path), keep=100)
    with Cluster(3, workers=2, replicas=2, checkpoints=settings) as cluster:

        def lose(client: paracel.Client, worker: int, iteration: int) -> None:
            add(client, worker, iteration)
            if worker == 0 and iteration == 6:
                os.kill(cluster.pids[1], signal.SIGKILL)

        workers(cluster, [30, 30], 1, lose)
    found = checkpoint.all_in(tmp_path)
    for path in found:
        check_exact(checkpoint.load(path), dict.fromkeys(range(2), int(path[-8:])))
    assert found[-1].endswith("clock-00000030")
    assert sorted(os.listdir(tmp_path)) == sorted(map(os.path.basename, found))


# --- on demand ----------------------------------------------------------------------------------------------------


def fill(client: paracel.Client, value: int = 1) -> None:
    client.write_multi({f"key {number}": value for number in range(100)})
    client.write("array", np.full(200_000, float(value)))
    client.table("w", 50_000, updater=paracel.optim.adagrad(0.1)).push(np.arange(50_000), float(value)).result()
    client.table("s", dim=2).push(np.arange(500, dtype=np.uint64) * np.uint64(977), np.ones((500, 2), "f4")).result()


def seen(client: paracel.Client) -> tuple[Any, ...]:
    """All that there is, to be compared."""
    w, s = client.table("w", 50_000, updater=paracel.optim.adagrad(0.1)), client.table("s", dim=2)
    entries = client.readall()
    keys = np.arange(500, dtype=np.uint64) * np.uint64(977)
    array = entries.pop("array").tobytes()
    return dict(sorted(entries.items())), array, w.pull().result().tobytes(), s.pull(keys).result().tobytes()


@pytest.mark.parametrize("url", ["", "file://"])
def test_a_checkpoint_is_restored_into_other_jobs(tmp_path: Path, url: str) -> None:
    where = f"{url}{tmp_path}/c"
    with Cluster(2, workers=2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        fill(client)
        client.commit()
        client.checkpoint(where)
        before = seen(client)
    for servers, count, shards in ((1, 1, 1), (3, 3, 3), (2, 2, 5)):
        job = Cluster(servers, workers=count, shards=shards, checkpoints=Checkpoints(restore=where))
        with job as cluster, paracel.connect(cluster.address, worker=0) as client:
            assert client.clock == 1
            assert seen(client) == before
            client.commit()
            assert client.clock == 2


def test_what_is_restored_while_a_job_runs_is_on_all_copies(tmp_path: Path) -> None:
    with Cluster(2, replicas=2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        fill(client)
        client.commit()
        client.checkpoint(tmp_path / "c")
        before = seen(client)
        client.clear()
        fill(client, 2)
        client.commit()
        client.restore(tmp_path / "c")
        assert client.clock == 1
        assert seen(client) == before
        client.update("key 1", 1).result()
        os.kill(cluster.pids[0], signal.SIGKILL)
        assert client.read("key 1") == 2
        client.update("key 1", -1).result()
        assert seen(client) == before, "the other server has the same"


def damage(folder: Path) -> str:
    """Flip a byte in the middle of one file; its path."""
    path = sorted(folder.glob("shard-0001-*"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return str(path)


def test_a_damaged_checkpoint_is_refused_with_the_name_of_its_file(tmp_path: Path) -> None:
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        fill(client)
        client.checkpoint(tmp_path / "c")
        path = damage(tmp_path / "c")
        fill(client, 2)
        before = seen(client)
        with pytest.raises(CheckpointError, match=path):
            client.restore(tmp_path / "c")
        assert seen(client) == before
    with pytest.raises(CheckpointError, match=path):
        Cluster(2, checkpoints=Checkpoints(restore=str(tmp_path / "c")))
    with pytest.raises(CheckpointError, match="there is none in it"):
        Cluster(2, checkpoints=Checkpoints(restore=str(tmp_path)))


def test_a_folder_in_which_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write("k", 1)
        for where in (tmp_path / "file", tmp_path / "file" / "in"):
            with pytest.raises(CheckpointError, match=f"{where}.*cannot be written: (Not a directory|File exists)"):
                client.checkpoint(where)
        assert client.read("k") == 1
    with pytest.raises(CheckpointError, match="Not a directory"):
        Cluster(1, checkpoints=Checkpoints(every=1, folder=str(tmp_path / "file" / "in")))


# --- disks and processes that fail --------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of so little room."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def check_goes_on_after_a_failure(cluster: Cluster, where: Path, fail: Callable[[], None], heal: Callable[[], None]):
    """A checkpoint fails, the older one stays, the servers serve, and once there is room the next one succeeds."""
    with paracel.connect(cluster.address, worker=0) as client:
        client.write("k", 1)
        client.checkpoint(where)
        names = sorted(os.listdir(where))
        client.write_multi({"k": 2, "large": np.random.default_rng(0).random(1_000_000)})
        fail()
        with pytest.raises(CheckpointError, match=f"{where}/shard-.*cannot be written: (No space|File too large)"):
            client.checkpoint(where)
        assert checkpoint.load(where).entries["k"] == 1
        assert sorted(os.listdir(where)) == names, "nothing else is left"
        heal()
        assert client.read("k") == 2
        client.remove("large")
        client.checkpoint(where)
        assert checkpoint.load(where).entries == {"k": 2}
        client.write("k", 3)


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 4) as disk, Cluster(2) as cluster:
        check_goes_on_after_a_failure(cluster, disk / "c", lambda: None, lambda: None)


def test_a_limit_of_the_size_of_files(tmp_path: Path) -> None:
    with Cluster(2) as cluster:

        def limit(size: int) -> None:
            for pid in cluster.pids:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        check_goes_on_after_a_failure(
            cluster, tmp_path / "c", lambda: limit(1 << 20), lambda: limit(resource.RLIM_INFINITY)
        )


def test_a_full_disk_does_not_hinder_a_job_that_makes_checkpoints(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 4) as disk:
        settings = Checkpoints(every=1, folder=str(disk), keep=5)
        with Cluster(2, checkpoints=settings) as cluster, paracel.connect(cluster.address, worker=0) as client:
            for iteration in range(4):
                client.write("large", np.random.default_rng(0).random(1_000_000 if 0 < iteration < 3 else 10))
                client.write("k", iteration + 1)
                client.commit()
        assert [path[-1] for path in checkpoint.all_in(disk)] == ["1", "4"]
        assert sorted(os.listdir(disk)) == ["clock-00000001", "clock-00000004"]
        assert checkpoint.load(disk).entries["k"] == 4


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def begin_to_save(cluster: Cluster, client: paracel.Client, where: Path, server: int) -> tuple[Background, int]:
    """A checkpoint that is being made, and stands still: the process that writes a shard of the server."""
    saving = Background(lambda: client.checkpoint(where))
    found: list[int] = []

    def stopped() -> bool:
        for child in children(cluster.pids[server]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
                found.append(child)
        return bool(found)

    eventually(stopped, what="a process writes")
    return saving, found[0]


def test_a_process_that_is_killed_while_it_writes(tmp_path: Path) -> None:
    with Cluster(2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write("k", 1)
        client.checkpoint(tmp_path / "c")
        names = sorted(os.listdir(tmp_path / "c"))
        client.write_multi({f"large {n}": np.ones(2_000_000) for n in range(8)})
        saving, child = begin_to_save(cluster, client, tmp_path / "c", 1)
        os.kill(child, signal.SIGKILL)
        with pytest.raises(CheckpointError, match=r"/c/shard-0001-.*: the process that wrote it ended with status -9"):
            saving.result()
        assert checkpoint.load(tmp_path / "c").entries == {"k": 1}
        assert sorted(os.listdir(tmp_path / "c")) == names
        client.checkpoint(tmp_path / "c")
        assert len(checkpoint.load(tmp_path / "c").entries) == 9


def test_a_server_serves_while_it_is_saved_and_keeps_what_it_was(tmp_path: Path) -> None:
    with Cluster(1) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write_multi({f"large {n}": np.zeros(2_000_000) for n in range(8)})
        saving, child = begin_to_save(cluster, client, tmp_path / "c", 0)
        with paracel.connect(cluster.address) as other:
            for number in range(8):
                other.update(f"large {number}", 1.0).result()
            assert other.read("large 7")[0] == 1
        os.kill(child, signal.SIGCONT)
        saving.result()
        assert not any(array.any() for array in checkpoint.load(tmp_path / "c").entries.values())


def test_a_server_that_is_killed_while_it_is_saved(tmp_path: Path) -> None:
    """The one that takes its place is asked for the file; what the first began to write is not left."""
    with Cluster(2, replicas=2) as cluster, paracel.connect(cluster.address, worker=0) as client:
        client.write_multi({f"large {n}": np.full(500_000, float(n)) for n in range(40)})
        saving, child = begin_to_save(cluster, client, tmp_path / "c", 1)
        os.kill(cluster.pids[1], signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)  # it may have been stopped before it asked to end with its server
        saving.result()
        eventually(lambda: ended(child), what="it has ended with its server")
        loaded = checkpoint.load(tmp_path / "c")
        assert [loaded.entries[f"large {n}"][0] for n in range(40)] == list(range(40))
        assert len(os.listdir(tmp_path / "c")) == client.shard_size + 1
