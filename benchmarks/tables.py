"""Tables: sparse pushes and pulls of many keys, dense ones with random keys, and whole dense tables as a range.

All with float32 and one server. The floor of sparse pushes is a loop compiled by numba that hashes and adds the same
batches in one process (`batches.hash_and_add`), that of pulls one that looks up; the floor of dense ones numpy's
indexing of an array of the same size. Figures are of pushes that are on their way together, and of pulls likewise;
`cold` is the first time, when the server has to make the rows. The floor of ranges moves the same bytes through bare
sockets, as in `arrays`; it does not add. With two workers, each in a process of its own pushes all the batches; the
floor does so twice. `python -m benchmarks.tables ADDRESS KIND SIZE KEYS COUNT DIM` is one such worker.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import paracel
from benchmarks import batches
from benchmarks.bare import Bare
from benchmarks.table import Figure
from benchmarks.timing import Work, against, repeated, seconds_of, side_by_side, warmed

ROOT = Path(__file__).resolve().parents[1]
SPARSE, DENSE, MEMORY = "sparse tables", "dense table, random keys", "memory of a sparse table"
RANGES = "dense table, all of it"
WARM_TARGET, DENSE_TARGET, MEMORY_TARGET = 0.6, 0.4, 1.0
MOST_KEY_BYTES = 40

Keys = NDArray[np.uint64]


def measure(quick: bool) -> Iterator[Figure]:
    """Sparse tables of both distributions, batch sizes and dims; then a dense one."""
    keys, sizes, moved = (20_000, (1000,), 4000) if quick else (10_000_000, (10_000, 100_000), 4_000_000)
    for kind in ("zipf", "uniform"):
        for size in sizes:
            for dim in (1, 16):
                count = max(2, moved // size // (4 if dim > 1 else 1))
                target = WARM_TARGET if size == 100_000 and dim == 1 else None
                yield from _sparse(kind, batches.make(kind, size, keys, count), keys, dim, target)
    yield _two_workers("uniform", sizes[-1], keys, max(2, moved // sizes[-1]))
    yield from _ranges(sizes=(1000,) if quick else (100_000, 1_000_000, 10_000_000), rounds=2 if quick else 9)
    yield from _dense(keys, batches.make("uniform", sizes[-1], keys, max(2, moved // sizes[-1])), 3 if quick else 7)


def _pushing(ps: paracel.Client, table: paracel.Table, given: list[Keys], deltas: NDArray[np.float32]) -> Work:
    def push() -> None:
        for batch in given:
            table.push(batch, deltas)
        ps.wait_acknowledged()

    return push


def _pulling(table: paracel.Table, given: list[Keys]) -> Work:
    def pull() -> None:
        for task in [table.pull(batch) for batch in given]:
            task.result()

    return pull


def _sparse(kind: str, given: list[Keys], keys: int, dim: int, target: float | None) -> Iterator[Figure]:
    size = len(given[0])
    deltas = np.ones(size if dim == 1 else (size, dim), np.float32)
    floor_keys, floor_values = batches.slots(keys, dim)
    batches.hash_and_add(*batches.slots(2, dim), given[0][:1], deltas[:1])  # compiles
    label = f"{kind}, {size:,} keys, dim {dim}"

    taken = np.empty_like(deltas)
    batches.hash_and_take(*batches.slots(2, dim), given[0][:1], taken[:1])

    def floor() -> None:
        for batch in given:
            batches.hash_and_add(floor_keys, floor_values, batch, deltas)

    def pull_floor() -> None:
        for batch in given:
            batches.hash_and_take(floor_keys, floor_values, batch, taken)

    with paracel.connect(servers=1) as ps:
        ps.table("compiled", dim=dim).push(given[0], deltas).result()
        table = ps.table("sparse", dim=dim)
        push, pull = _pushing(ps, table, given, deltas), _pulling(table, given)
        cold, cold_floor = seconds_of(push), seconds_of(floor)
        yield _figure(SPARSE, f"push, {label}, cold", [cold], [cold_floor], size * len(given), None)
        base, pushed, pull_base, pulled = side_by_side(warmed([floor, push, pull_floor, pull]), 5)
        yield _figure(SPARSE, f"push, {label}", pushed, base, size * len(given), target)
        yield _figure(SPARSE, f"pull, {label}", pulled, pull_base, size * len(given), None)
        if dim == 1:
            yield from _dict(label, given, pushed)
            statistics = table.statistics()
            each = statistics.bytes / statistics.keys
            ratio = MOST_KEY_BYTES / each
            name = f"bytes for each of {statistics.keys:,} keys, {label}"
            yield Figure(MEMORY, name, each, "bytes", MOST_KEY_BYTES, ratio, MEMORY_TARGET)


def _dict(label: str, given: list[Keys], pushed: Sequence[float]) -> Iterator[Figure]:
    """The same pushes as a Python dict of floats would take them, once."""
    held: dict[int, float] = {}
    some = [batch.tolist() for batch in given[: max(1, len(given) // 8)]]

    def add() -> None:
        for batch in some:
            for key in batch:
                held[key] = held.get(key, 0.0) + 1.0

    add()
    share = len(given) / len(some)
    taken = [seconds_of(add) * share for _ in pushed]
    yield _figure(SPARSE, f"push, {label}, floor: a dict", pushed, taken, sum(map(len, given)), None)


def _two_workers(kind: str, size: int, keys: int, count: int) -> Figure:
    given = batches.make(kind, size, keys, count)
    deltas = np.ones(size, np.float32)
    floor_keys, floor_values = batches.slots(keys, 1)

    def floor() -> None:
        for batch in [*given, *given]:
            batches.hash_and_add(floor_keys, floor_values, batch, deltas)

    with paracel.connect(servers=1) as ps:
        command = [sys.executable, "-m", "benchmarks.tables", ps.address, kind, *map(str, (size, keys, count, 1))]
        pushers = [_Pusher(command) for _ in range(2)]

        def push() -> None:
            for pusher in pushers:
                pusher.start()
            for pusher in pushers:
                pusher.wait()

        base, pushed = side_by_side(warmed([floor, push]), 5)
        for pusher in pushers:
            pusher.close()
    return _figure(SPARSE, f"push, {kind}, {size:,} keys, dim 1, 2 workers", pushed, base, 2 * size * count, None)


class _Pusher:
    """A process that pushes all its batches each time it is told to."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.wait()

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._process.communicate(timeout=60)


def _dense(size: int, given: list[Keys], rounds: int) -> Iterator[Figure]:
    deltas = np.ones(len(given[0]), np.float32)
    array = np.zeros(size, np.float32)
    moved = sum(map(len, given))

    def add() -> None:
        for batch in given:
            array[batch] += deltas

    def take() -> None:
        for batch in given:
            array[batch]

    with paracel.connect(servers=1) as ps:
        table = ps.table("dense", size=size)
        works = [add, _pushing(ps, table, given, deltas), take, _pulling(table, given)]
        added, pushed, taken, pulled = side_by_side(warmed(works), rounds)
    name = f"{size:,} rows, {len(given[0]):,} keys"
    yield _figure(DENSE, f"push, {name}", pushed, added, moved, DENSE_TARGET)
    yield _figure(DENSE, f"pull, {name}", pulled, taken, moved, DENSE_TARGET)


def _ranges(sizes: Sequence[int], rounds: int) -> Iterator[Figure]:
    with paracel.connect(servers=1) as ps, Bare("transfer") as bare:
        for size in sizes:
            yield from _range(ps.table(f"whole {size}", size=size), bare, np.ones(size, np.float32), rounds)


def _range(table: paracel.Table, bare: Bare, array: NDArray[np.float32], rounds: int) -> Iterator[Figure]:
    repeats = min(100, max(1, 5_000_000 // len(array)))
    bare.keep(array)
    pairs = {
        "push": (lambda: table.push(slice(None), array).result(), lambda: bare.keep(array)),
        "pull": (lambda: table.pull().result(), bare.give),
    }
    for name, works in pairs.items():
        times, floor = side_by_side(warmed([repeated(work, repeats) for work in works]), rounds)
        pair = against(times, floor)
        rates = [array.nbytes * repeats / 1e6 / seconds for seconds in (pair.seconds, pair.floor)]
        yield Figure(RANGES, f"{name}, {len(array):,} rows", rates[0], "MB/s", rates[1], pair.ratio, None)


def _figure(
    topic: str, name: str, times: Sequence[float], floor: Sequence[float], moved: int, target: float | None
) -> Figure:
    pair = against(times, floor)
    return Figure(topic, name, moved / pair.seconds, "keys/s", moved / pair.floor, pair.ratio, target)


def main() -> None:
    """One worker: pushes all its batches for each line that it reads."""
    address, kind, *numbers = sys.argv[1:]
    size, keys, count, dim = map(int, numbers)
    given = batches.make(kind, size, keys, count, seed=time.time_ns() % 1000)
    deltas = np.ones(size if dim == 1 else (size, dim), np.float32)
    with paracel.connect(address) as ps:
        table = ps.table("sparse", dim=dim)
        push = _pushing(ps, table, given, deltas)
        print("ready", flush=True)
        for _line in sys.stdin:
            push()
            print("ready", flush=True)


if __name__ == "__main__":
    main()
