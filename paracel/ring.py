"""Consistent hashing: which server holds which key. Values and rules only; nothing here sends.

The 64-bit hash space is cut into `SLOTS` equal slots, the unit of placement. Each server stands at
`VIRTUAL_NODES` points of a circle; a slot belongs to the first server at or after its own point (Karger et
al., STOC 1997). Everyone who knows the live servers computes the same ring, on any machine.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.hashing import SLOT_BITS, hash_bytes
from paracel.values import encode_key

SLOTS = 1 << SLOT_BITS
_SLOT_SHIFT = 64 - SLOT_BITS
VIRTUAL_NODES = 160


def slot_of(key: str) -> int:
    """The slot of one key, 0 to SLOTS - 1."""
    return hash_bytes(encode_key(key)) >> _SLOT_SHIFT


def slots_of(keys: Sequence[str]) -> NDArray[np.int64]:
    """The slots of many keys, shape (len(keys),)."""
    try:
        hashes = _hashes(map(str.encode, keys), len(keys))
    except UnicodeEncodeError:
        hashes = _hashes(map(encode_key, keys), len(keys))
    return (hashes >> np.uint64(_SLOT_SHIFT)).astype(np.int64)


def _hashes(encoded: Iterable[bytes], count: int) -> NDArray[np.uint64]:
    return np.fromiter(map(hash_bytes, encoded), np.uint64, count)


class Ring:
    """Who holds each slot, for one set of live servers."""

    def __init__(self, servers: Iterable[int]) -> None:
        self.servers = tuple(sorted(set(servers)))
        if not self.servers:
            raise ValueError("a ring needs at least one server")
        self._points, self._holders = _circle(self.servers)
        self.owners: NDArray[np.int64] = np.array([self.chain(slot, 1)[0] for slot in range(SLOTS)])
        self._owner_list: list[int] = self.owners.tolist()

    def chain(self, slot: int, length: int) -> tuple[int, ...]:
        """The slot's primary and then its backups: the next distinct servers on the circle."""
        wanted = min(length, len(self.servers))
        at = int(np.searchsorted(self._points, np.uint64(slot) << np.uint64(_SLOT_SHIFT)))
        found: dict[int, None] = {}
        while len(found) < wanted:
            found[self._holders[at % len(self._holders)]] = None
            at += 1
        return tuple(found)

    def server_of(self, key: str) -> int:
        """The primary server of one key."""
        return self._owner_list[slot_of(key)]

    def route(self, keys: Sequence[str]) -> list[tuple[int, list[int] | None]]:
        """Cut a list of keys by server: pairs of server and positions in `keys` (None: all of them, in order)."""
        if len(self.servers) == 1 or len(keys) == 1:
            return [(self.server_of(keys[0]), None)] if keys else []
        owners = self.owners[slots_of(keys)].astype(np.int16)  # which numpy sorts by radix
        order = np.argsort(owners, kind="stable")
        edges = np.flatnonzero(np.diff(owners[order])) + 1
        parts = np.split(order, edges) if len(keys) else []
        if len(parts) == 1:
            return [(int(owners[0]), None)]
        return [(int(owners[part[0]]), part.tolist()) for part in parts]


@lru_cache(maxsize=8)
def shard_owners(shards: int) -> NDArray[np.int64]:
    """The shard of each slot, shape (SLOTS,), where there are so many. Not to be written to."""
    return Ring(range(shards)).owners


#: Positions in a list: some, a run of them, or (None) all.
Positions = list[int] | range | None


def in_parts(routes: Sequence[tuple[int, list[int] | None]], count: int, most: int) -> list[tuple[int, Positions]]:
    """The routes of `count` keys, none longer than `most`; the first part of each server comes first."""
    parts: list[tuple[int, int, Positions]] = []
    for server, positions in routes:
        whole: Sequence[int] = range(count) if positions is None else positions
        if len(whole) <= most:
            parts.append((0, server, positions))
        else:
            parts += [(at, server, whole[at : at + most]) for at in range(0, len(whole), most)]  # type: ignore[misc]
    return [(server, positions) for _, server, positions in sorted(parts, key=itemgetter(0))]


def pick(items: list[Any], positions: Positions) -> list[Any]:
    """The items at the positions of a route."""
    if positions is None:
        return items
    if isinstance(positions, range):
        return items[positions.start : positions.stop]
    return list(itemgetter(*positions)(items)) if len(positions) > 1 else [items[positions[0]]]


def _circle(servers: Sequence[int]) -> tuple[NDArray[np.uint64], list[int]]:
    """The sorted points of the virtual nodes and the server that stands at each."""
    labels = [(f"{server}/{node}".encode(), server) for server in servers for node in range(VIRTUAL_NODES)]
    placed = sorted((hash_bytes(label), server) for label, server in labels)
    return np.array([point for point, _ in placed], np.uint64), [server for _, server in placed]
