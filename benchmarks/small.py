"""Small operations, one server: how many a second, one after another and on their way together.

The floor of the blocking ones is a bare echo of as many bytes; that of the pipelined ones is the blocking update.
"""

from collections.abc import Iterator

import paracel
from benchmarks.bare import Bare
from benchmarks.table import Figure
from benchmarks.timing import against, repeated, side_by_side, warmed

#: As many bytes as the header of a small request has.
_MESSAGE = bytes(24)


def measure(quick: bool) -> Iterator[Figure]:
    """Reads, blocking updates, and pipelined updates per second."""
    count, rounds = (100, 2) if quick else (2000, 9)
    with paracel.connect(servers=1) as ps, Bare("echo") as bare:
        ps.write("key", 1)

        def pipelined() -> None:
            repeated(lambda: ps.update("key", 1), 10 * count)()
            ps.wait_acknowledged()

        blocking = [lambda: bare.echo(_MESSAGE), lambda: ps.read("key"), lambda: ps.bupdate("key", 1)]
        works = [*(repeated(work, count) for work in blocking), pipelined]
        floor, *times = side_by_side(warmed(works), rounds)
    for name, taken in zip(("read", "bupdate"), times):
        yield _figure(f"{name}, blocking", count, taken, floor, count, 0.6)
    yield _figure("update, pipelined (floor: bupdate)", 10 * count, times[2], times[1], count, 10.0)


def _figure(name: str, count: int, taken: list[float], floor: list[float], floor_count: int, target: float) -> Figure:
    """Operations a second of both; the works may do different numbers of them."""
    pair = against([t / count for t in taken], [t / floor_count for t in floor])
    return Figure("small operations", name, 1 / pair.seconds, "op/s", 1 / pair.floor, pair.ratio, target)
