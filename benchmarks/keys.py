"""Many string keys at once: 100,000 keys with an int each, with one server and with two.

The floor is what no implementation with these messages could save: packing the same keys and values with msgpack,
unpacking them, and updating a dict with them, in one process.
"""

from collections.abc import Iterator

import msgpack

import paracel
from benchmarks.table import Figure
from benchmarks.timing import against, side_by_side, warmed

TARGET = 0.4


def measure(quick: bool) -> Iterator[Figure]:
    """write_multi, read_multi and bupdate_multi."""
    count, rounds = (1000, 2) if quick else (100_000, 9)
    for servers in (1, 2):
        yield from _measure(servers, count, rounds)


def _measure(servers: int, count: int, rounds: int) -> Iterator[Figure]:
    entries = {f"parameter:{number}": number for number in range(count)}
    keys = list(entries)
    held: dict[str, int] = {}

    def floor() -> None:
        packed = msgpack.packb([keys, list(entries.values())])
        names, values = msgpack.unpackb(packed)
        held.update(zip(names, values))

    with paracel.connect(servers=servers) as ps:
        works = {
            "write_multi": lambda: ps.write_multi(entries),
            "read_multi": lambda: ps.read_multi(keys),
            "bupdate_multi": lambda: ps.bupdate_multi(entries),
        }
        base, *times = side_by_side(warmed([floor, *works.values()]), rounds)
    for name, taken in zip(works, times):
        pair = against(taken, base)
        rates = (count / pair.seconds, count / pair.floor)
        label = f"{name}, {servers} server{'s' if servers > 1 else ''}"
        yield Figure(f"{count:,} string keys", label, rates[0], "keys/s", rates[1], pair.ratio, TARGET)
