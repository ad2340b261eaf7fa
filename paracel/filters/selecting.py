"""The filters that choose which rows of a push are sent. There is nothing to decode: the keys or the mask say it."""

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from paracel.errors import ConfigError
from paracel.filters.base import PUSH, Array, Filter, Mask, Memory, Meta, Part, check_seed

_MOST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class SignificantlyModified(Filter):
    """Only rows with an element above `threshold` are sent; the others wait at the sender until they add up to it.

    On pushes: a row, together with what waits for its key, is sent if and only if any of its elements, in any of
    the value arrays, is above the threshold in absolute value (or NaN); else all of it waits in the memory. Nothing is
    lost. On pulls the server compares with what it sent last, so that here everything passes.
    """

    name: ClassVar[str] = "significantly_modified"
    threshold: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", _number("threshold", self.threshold, math.inf))

    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """The significant rows; the memory keeps the rest."""
        keys = part.keys_of(0) if memory is not None and part.whole and part.values else None
        if memory is None or keys is None:
            return part, {}
        sums = [_sum(value, memory.read(keys, index)) for index, value in enumerate(part.values)]
        chosen = np.logical_or.reduce([_above(total, self.threshold) for total in sums])
        for index, total in enumerate(sums):
            rest = total.copy()
            rest[chosen] = 0
            memory.write(keys, index, rest)
        return replace(part, values=sums).select(chosen), {}

    def decode(self, part: Part, meta: Meta) -> Part:
        """The part as it is."""
        return part


def _sum(value: Array, residual: Array) -> Array:
    return (value + residual).astype(value.dtype, copy=False)


def _above(total: Array, threshold: float) -> Mask:
    """Which rows have an element above the threshold, bool (n,); NaN is above."""
    # not abs(), which leaves the smallest integer negative, and not a threshold rounded to the array's dtype
    limit = np.float64(threshold)
    sized = np.abs(total) if total.dtype.kind == "c" else total
    above: Mask = ~((sized <= limit) & (sized >= -limit))
    return above if above.ndim == 1 else np.logical_or.reduce(above, axis=1)


@dataclass(frozen=True, slots=True)
class RandomSkip(Filter):
    """Each row of a push is left out with this probability; those that stay are divided by (1 - probability).

    The expectation of what arrives is what was pushed. Values must be floats. The choice depends on the seed and on
    the calls before, so that workers need seeds of their own (`for_worker`).
    """

    name: ClassVar[str] = "random_skip"
    directions: ClassVar[frozenset[str]] = frozenset({PUSH})
    probability: float
    seed: int = 0
    _random: np.random.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "probability", _number("probability", self.probability, 1))
        check_seed(self.seed)
        object.__setattr__(self, "_random", np.random.default_rng(self.seed))

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Raise ConfigError unless values of this dtype are floats."""
        if dtype.kind not in "fc":
            raise ConfigError(f"RandomSkip divides what it sends, so it needs floats, not {dtype}")

    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """The rows that stay. Raises ConfigError for values that are not floats."""
        if not part.whole or not part.values:
            return part, {}
        for value in part.values:
            self.check_dtype(value.dtype)
        chosen = self._random.random(len(part.values[0])) >= self.probability
        left = part.select(chosen)
        scaled = [(value / np.float64(1 - self.probability)).astype(value.dtype, copy=False) for value in left.values]
        return replace(left, values=scaled), {}

    def decode(self, part: Part, meta: Meta) -> Part:
        """The part as it is."""
        return part


def _number(name: str, value: Any, end: float) -> float:
    """The value as a float. Raises ConfigError unless it is a number from 0 up to, and not including, `end`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < end or value > _MOST:
        raise ConfigError(f"{name}={value!r:.80}; allowed: numbers from 0 up to, and not including, {end}")
    return float(value)
