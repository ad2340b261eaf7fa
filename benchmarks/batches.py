"""Batches of distinct uint64 keys for the benchmarks of tables, and the floors they are measured against.

`zipf`: ranks of a Zipf distribution with exponent 1.1 over the keys, drawn until a batch has enough distinct ones;
`uniform`: all keys equally often. Both in random order, as gradients of shuffled samples come.
"""

from collections.abc import Iterator

import numpy as np
from numba import njit
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
EXPONENT = 1.1


def make(kind: str, size: int, keys: int, count: int, seed: int = 0) -> list[Keys]:
    """`count` batches of `size` distinct keys below `keys`."""
    random = np.random.default_rng(seed)
    draws = _zipf(random, keys, size) if kind == "zipf" else _uniform(random, keys, size)
    return [_batch(draws, random, size) for _ in range(count)]


def _batch(draws: Iterator[NDArray[np.int64]], random: np.random.Generator, size: int) -> Keys:
    found = np.unique(next(draws))
    while len(found) < size:
        found = np.union1d(found, next(draws))
    return random.permutation(found)[:size].astype(np.uint64)


def _uniform(random: np.random.Generator, keys: int, size: int) -> Iterator[NDArray[np.int64]]:
    while True:
        yield random.integers(0, keys, size + size // 10)


def _zipf(random: np.random.Generator, keys: int, size: int) -> Iterator[NDArray[np.int64]]:
    shares = np.cumsum(1.0 / np.arange(1, keys + 1) ** EXPONENT)
    while True:
        yield np.searchsorted(shares, random.random(2 * size) * shares[-1])


@njit(cache=True)
def hash_and_add(slot_keys, slot_values, keys, deltas):
    """The floor of sparse tables: open addressing in one process, without rows, growth, messages or anything."""
    mask = np.uint64(len(slot_keys) - 1)
    for at in range(len(keys)):
        key = keys[at] + np.uint64(1)  # 0 is an empty slot
        place = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20) & mask
        while slot_keys[place] != key and slot_keys[place] != 0:
            place = (place + np.uint64(1)) & mask
        slot_keys[place] = key
        slot_values[place] += deltas[at]


@njit(cache=True)
def hash_and_take(slot_keys, slot_values, keys, taken):
    """The floor of pulls: the same for looking up."""
    mask = np.uint64(len(slot_keys) - 1)
    for at in range(len(keys)):
        key = keys[at] + np.uint64(1)
        place = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20) & mask
        while slot_keys[place] != key and slot_keys[place] != 0:
            place = (place + np.uint64(1)) & mask
        taken[at] = slot_values[place]


def slots(keys: int, dim: int) -> tuple[Keys, NDArray[np.float32]]:
    """Empty slots for twice so many keys, in memory that has been touched, for `hash_and_add`."""
    count = 1 << (2 * keys - 1).bit_length()
    slot_keys, values = np.empty(count, np.uint64), np.empty(count if dim == 1 else (count, dim), np.float32)
    slot_keys[:] = 0
    values[:] = 0
    return slot_keys, values
