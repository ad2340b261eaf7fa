"""Hashes that are the same on every machine and in every version: the only module that knows xxhash. No policy here."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest, xxh3_128, xxh3_128_digest

Keys = NDArray[np.uint64]

#: What splitmix64 adds at each step.
GAMMA = 0x9E3779B97F4A7C15
#: The number of high bits of a hash that name its slot.
SLOT_BITS = 10
_SHIFT = 64 - SLOT_BITS
#: The 64-bit hash of some bytes, an int (XXH3).
hash_bytes = xxh3_64_intdigest
#: The 128-bit hash of bytes that come one after the other (XXH3): `update`, `digest`, `hexdigest`.
Hasher = xxh3_128


def digest(keys: Keys) -> bytes:
    """The 128-bit hash of a whole list of keys, 16 bytes (XXH3)."""
    return xxh3_128_digest(np.ascontiguousarray(keys).view(np.uint8).data)


def mix(numbers: Any) -> Keys:
    """A well mixed 64-bit hash of each number, shape kept: one step of splitmix64."""
    mixed = np.array(numbers, np.uint64)  # a copy: it is mixed in place
    with np.errstate(over="ignore"):  # of numbers without a dimension
        mixed += np.uint64(GAMMA)
        return scramble(mixed)


def scramble(words: Keys) -> Keys:
    """The finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), in place.

    A bijection in which each bit of the result depends on each bit given.
    """
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def slots_of_numbers(seed: int, numbers: Any) -> NDArray[np.int64]:
    """The slot of each number of the family that has this seed, shape (len(numbers),)."""
    hashes = mix(np.asarray(numbers, np.uint64) ^ np.uint64(seed))
    return (hashes >> np.uint64(_SHIFT)).astype(np.int64)
