"""Consistent hashing: which shard has which key. Values and rules only; nothing here sends.

The 64-bit hash space is cut into `SLOTS` equal slots. Each shard stands at `VIRTUAL_NODES` points of a circle; a slot
belongs to the first shard at or after its own point (Karger et al., STOC 1997). Everyone who knows how many shards
there are computes the same ring, on any machine.
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
    """The shard of each slot, for one set of shards."""

    def __init__(self, shards: Iterable[int]) -> None:
        self.shards = tuple(sorted(set(shards)))
        if not self.shards:
            raise ValueError("a ring needs at least one shard")
        points, holders = _circle(self.shards)
        at = np.searchsorted(points, np.arange(SLOTS, dtype=np.uint64) << np.uint64(_SLOT_SHIFT))
        self.owners: NDArray[np.int64] = holders[at % len(holders)]
        self._owner_list: list[int] = self.owners.tolist()

    def shard_of(self, key: str) -> int:
        """The shard of one key."""
        return self._owner_list[slot_of(key)]

    def route(self, keys: Sequence[str]) -> list[tuple[int, list[int] | None]]:
        """Cut a list of keys by shard: pairs of shard and positions in `keys` (None: all of them, in order)."""
        if len(self.shards) == 1 or len(keys) == 1:
            return [(self.shard_of(keys[0]), None)] if keys else []
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
    """The routes of `count` keys, none longer than `most`; the first part of each shard comes first."""
    parts: list[tuple[int, int, Positions]] = []
    for shard, positions in routes:
        whole: Sequence[int] = range(count) if positions is None else positions
        if len(whole) <= most:
            parts.append((0, shard, positions))
        else:
            parts += [(at, shard, whole[at : at + most]) for at in range(0, len(whole), most)]  # type: ignore[misc]
    return [(shard, positions) for _, shard, positions in sorted(parts, key=itemgetter(0))]


def pick(items: list[Any], positions: Positions) -> list[Any]:
    """The items at the positions of a route."""
    if positions is None:
        return items
    if isinstance(positions, range):
        return items[positions.start : positions.stop]
    return list(itemgetter(*positions)(items)) if len(positions) > 1 else [items[positions[0]]]


def _circle(shards: Sequence[int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The sorted points of the virtual nodes, and the shard that stands at each."""
    labels = [(f"{shard}/{node}".encode(), shard) for shard in shards for node in range(VIRTUAL_NODES)]
    placed = sorted((hash_bytes(label), shard) for label, shard in labels)
    return np.array([point for point, _ in placed], np.uint64), np.array([shard for _, shard in placed], np.int64)
