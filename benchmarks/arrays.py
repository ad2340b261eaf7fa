"""Dense float32 arrays, one server: how fast they are written, read and updated.

The floor moves the same bytes through bare pyzmq sockets with `copy=False`, as one frame: there (write), back
(read), or there and back (bupdate, whose addition the floor does not do).
"""

from collections.abc import Callable, Iterator

import numpy as np

import paracel
from benchmarks.bare import Bare
from benchmarks.table import Figure
from benchmarks.timing import against, repeated, side_by_side, warmed

TARGET, TARGET_FROM = 0.7, 100_000
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_ROUND_BYTES = 20_000_000


def measure(quick: bool) -> Iterator[Figure]:
    """write, read, update and bupdate of each size."""
    rounds = 2 if quick else 9
    with paracel.connect(servers=1) as ps, Bare("transfer") as bare:
        for size in _SIZES[: 3 if quick else None]:
            yield from _measure(ps, bare, size, rounds)


def _measure(ps: paracel.Client, bare: Bare, size: int, rounds: int) -> Iterator[Figure]:
    array = np.ones(size, np.float32)
    repeats = min(100, max(1, _ROUND_BYTES // array.nbytes))
    ps.write("array", array)
    bare.keep(array)

    def update() -> None:
        ps.update("array", array)
        ps.wait_acknowledged()

    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "write": (lambda: ps.write("array", array), lambda: bare.keep(array)),
        "read": (lambda: ps.read("array"), bare.give),
        "update": (update, lambda: bare.keep(array)),
        "bupdate": (lambda: ps.bupdate("array", array), lambda: bare.return_(array)),
    }
    for name, works in pairs.items():
        times, floor = side_by_side(warmed([repeated(work, repeats) for work in works]), rounds)
        pair = against(times, floor)
        moved = array.nbytes * repeats * (2 if name == "bupdate" else 1) / 1e6
        target = TARGET if size >= TARGET_FROM else None
        label = f"{name}, {size:.0e} elements".replace("e+0", "e")
        yield Figure("float32 arrays", label, moved / pair.seconds, "MB/s", moved / pair.floor, pair.ratio, target)
