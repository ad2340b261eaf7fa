"""Pairs of numbers that look random, none of which comes twice, without a memory of those that came."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from paracel.errors import ConfigError

_ROUNDS = 4
_ODD = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(29)

Whole = NDArray[np.int64]


def distinct_pairs(
    given: SimpleNamespace, first: str, second: str, random: np.random.Generator
) -> Callable[[Whole], tuple[Whole, Whole]]:
    """A function of places: the pairs there, of numbers below `given.<first>` and `given.<second>`.

    There is a place for each pair, from 0 on. ConfigError if `given.lines` are more, or if there are 2**62 or more.
    """
    size = getattr(given, first) * getattr(given, second)
    if size >= 1 << 62:
        raise ConfigError(f"{getattr(given, first)} {first} x {getattr(given, second)} {second}; allowed: below 2**62")
    if given.lines > size:
        raise ConfigError(
            f"{given.lines} lines with different pairs, and there are {size}: {getattr(given, first)} {first} x "
            f"{getattr(given, second)} {second}; ask for fewer lines, or for more {first} or {second}"
        )
    keys = random.integers(1 << 62, size=_ROUNDS).astype(np.uint64)

    def pairs(places: Whole) -> tuple[Whole, Whole]:
        shuffled = permuted(places.astype(np.uint64), size, keys)
        one, other = np.divmod(shuffled.astype(np.int64), getattr(given, second))
        return one, other

    return pairs


def permuted(places: NDArray[np.uint64], size: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What a pseudo-random permutation of the numbers below `size` (below 2**62) has at these places.

    A Feistel network over the next power of 4; what falls outside goes round again (Black and Rogaway, Ciphers with
    arbitrary finite domains, 2002, section 4).
    """
    half = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
    found = _feistel(places, half, keys)
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], half, keys)
    return found


def _feistel(numbers: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        mixed = (right + key) * _ODD
        mixed = (mixed ^ (mixed >> _FOLD)) * _ODD
        left, right = right, left ^ (mixed >> (np.uint64(64) - half))
    return (left << half) | right
