"""A checkpoint of a dense table (200 MB) and 100,000 entries on two servers: how fast, and who waits for it.

The floor of writing is `numpy.save` and fsync of the same arrays by this process, one after the other; that of reading
is `numpy.load` of them. The pause is the longest bupdate of a worker while a checkpoint is made; its floor is the
longest while `numpy.save` writes the same.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import paracel
from benchmarks.table import Figure
from benchmarks.timing import Work, against, side_by_side, warmed
from paracel.launch.embedded import Cluster

TOPIC = "checkpoints"
ROWS, ENTRIES = 50_000_000, 100_000


def measure(quick: bool) -> Iterator[Figure]:
    """Writing, the pause meanwhile, and restoring."""
    rows, entries, rounds = (500_000, 1000, 1) if quick else (ROWS, ENTRIES, 5)
    with (
        tempfile.TemporaryDirectory(prefix="paracel-bench-") as folder,
        Cluster(2) as cluster,
        paracel.connect(cluster.address, worker=0) as ps,
        paracel.connect(cluster.address) as saver,
    ):
        arrays = _fill(ps, rows, entries)
        yield from _measure(ps, saver, _Files(Path(folder), arrays), rounds)


def _fill(ps: paracel.Client, rows: int, entries: int) -> list[NDArray[np.float32]]:
    """The same values in arrays, and on the servers."""
    random = np.random.default_rng(0)
    table, values = random.random(rows, np.float32), random.random(entries, np.float32)
    ps.table("table", rows).push(slice(None), table).result()
    ps.write_multi({f"key {number}": value for number, value in enumerate(values.tolist())})
    return [table, values]


class _Files:
    """The floor: arrays in files of their own."""

    def __init__(self, folder: Path, arrays: list[NDArray[np.float32]]) -> None:
        self.folder = folder
        self._arrays = arrays

    @property
    def megabytes(self) -> float:
        """The bytes of all of them."""
        return sum(array.nbytes for array in self._arrays) / 1e6

    def save(self) -> None:
        """Write them, and wait until they are on disk."""
        for number, array in enumerate(self._arrays):
            with open(self.folder / f"{number}.npy", "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())

    def load(self) -> None:
        """Read them."""
        for number in range(len(self._arrays)):
            np.load(self.folder / f"{number}.npy")


def _measure(ps: paracel.Client, saver: paracel.Client, files: _Files, rounds: int) -> Iterator[Figure]:
    where = files.folder / "checkpoint"

    def save() -> None:
        saver.checkpoint(where)

    pairs: dict[str, tuple[Work, Work]] = {
        "written and on disk (floor: numpy.save, fsync)": (save, files.save),
        "restored (floor: numpy.load)": (lambda: ps.restore(where), files.load),
    }
    for name, works in pairs.items():
        pair = against(*side_by_side(warmed(works), rounds))
        speed, floor = files.megabytes / pair.seconds, files.megabytes / pair.floor
        yield Figure(TOPIC, name, speed, "MB/s", floor, pair.ratio, None)
    pauses = [[_longest_update(ps, during) for during in (save, files.save)] for _ in range(rounds)]
    pair = against(*map(list, zip(*pauses, strict=True)))
    name = "longest bupdate meanwhile (floor: during numpy.save)"
    yield Figure(TOPIC, name, pair.seconds * 1e3, "ms", pair.floor * 1e3, pair.ratio, None)


def _longest_update(ps: paracel.Client, during: Callable[[], None]) -> float:
    """Seconds of the longest of many updates that are made while something else is done."""
    other = threading.Thread(target=during)
    longest = 0.0
    other.start()
    while other.is_alive() or not longest:
        begun = time.perf_counter()
        ps.bupdate("key 0", 1.0)
        longest = max(longest, time.perf_counter() - begun)
    other.join()
    return longest
