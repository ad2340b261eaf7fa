"""Floats as whole numbers of a few bits between the smallest and the largest, rounded at random."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from paracel.checks import check_count
from paracel.errors import ConfigError, WireError
from paracel.filters.base import Array, Filter, Memory, Meta, Part, check_seed
from paracel.filters.meta import described, entries
from paracel.filters.packing import pack, packed_size, unpack

_MOST_BITS = 16
_FLOAT_BYTES = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class FixedPoint(Filter):
    """Each value array as numbers of `bits` bits (1 to 16) between its minimum and its maximum.

    With r the residual (0 without error feedback), |decoded - (x + r)| <= (max - min) / (2**bits - 1), the extremes
    being those of x + r, and up to the rounding of the array's own dtype. Rounding is stochastic: the expectation of
    what arrives is x + r (QSGD, Alistarh et al. 2017). With `error_feedback`, what a push lost by rounding is added
    to the next push of that key (Seide et al. 2014), so that the sum of pushes is kept; pulls have none. A residual
    is at most the widest range of x divided by 2**bits - 3: with one bit it would grow without end, so that
    `error_feedback` needs two. Values must be float16, float32 or float64, and finite.
    """

    name: ClassVar[str] = "fixed_point"
    bits: int
    error_feedback: bool = True
    seed: int = 0
    _random: np.random.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_count("bits", self.bits, 1)
        if self.bits > _MOST_BITS:
            raise ConfigError(f"bits={self.bits}; allowed: 1 to {_MOST_BITS}")
        if not isinstance(self.error_feedback, bool):
            raise ConfigError(f"error_feedback={self.error_feedback!r}; allowed: True, False")
        if self.error_feedback and self.bits == 1:
            raise ConfigError("bits=1 with error_feedback=True; allowed: 2 to 16, or error_feedback=False")
        check_seed(self.seed)
        object.__setattr__(self, "_random", np.random.default_rng(self.seed))

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Raise ConfigError unless values of this dtype are floats."""
        if not _is_float(dtype):
            raise ConfigError(f"FixedPoint needs float16, float32 or float64 values, not {dtype}")

    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """Arrays of bytes. Raises ConfigError for values that are not floats, ValueError for NaN and infinity."""
        if part.encoded:
            return part, {}
        memory = memory if self.error_feedback else None
        keys = [None if memory is None else part.keys_of(index) for index in range(len(part.values))]
        # everything that can fail comes before the first write
        targets = [self._target(part.values[index], index, keys[index], memory) for index in range(len(keys))]
        done = [self._quantise(target, part.values[index].dtype) for index, target in enumerate(targets)]
        for index, (packed, meta) in enumerate(done):
            of = keys[index]
            if memory is not None and of is not None:
                memory.write(of, index, targets[index] - self._restore(packed, meta))
        return replace(part, values=[packed for packed, _ in done], encoded=True), {
            "arrays": [meta for _, meta in done]
        }

    def _target(
        self, value: Array, index: int, keys: NDArray[np.uint64] | None, memory: Memory | None
    ) -> NDArray[np.float64]:
        """What should arrive: the value and the residual, in float64."""
        self.check_dtype(value.dtype)
        most = float(np.finfo(value.dtype).max)
        with np.errstate(over="ignore", invalid="ignore"):
            target = value.astype(np.float64)
            if memory is not None and keys is not None:
                target += memory.read(keys, index)
            finite = not target.size or (-most <= target.min() and target.max() <= most)
        if not finite:
            raise ValueError(f"FixedPoint needs finite values; array {index} holds NaN, infinity or what overflows")
        return target

    def _quantise(self, target: NDArray[np.float64], dtype: np.dtype[Any]) -> tuple[NDArray[np.uint8], list[Any]]:
        """The packed numbers, and what `_restore` needs: dtype, shape, minimum and maximum."""
        low, high = (float(target.min()), float(target.max())) if target.size else (0.0, 0.0)
        levels = (1 << self.bits) - 1
        numbers = np.zeros(target.size, np.uint16)
        if low < high:
            # halved where the range itself would overflow
            scale = 1.0 if math.isfinite(high - low) else 0.5
            places = target.reshape(-1) * scale
            places -= low * scale
            places /= high * scale - low * scale
            places *= levels
            places += self._random.random(places.size)
            # the largest one can be rounded up to a level that is not there
            numbers = np.minimum(np.floor(places, out=places), levels, out=places).astype(np.uint16)
        return pack(numbers, self.bits), [dtype.str, *target.shape, low, high]

    def _restore(self, packed: Any, meta: Any) -> Array:
        """The decoded array, of the sender's dtype and shape. The sender takes its residual from the same numbers."""
        if not isinstance(meta, list | tuple) or len(meta) < 4:
            raise WireError(f"not what describes an array in fixed point: {meta!r:.80}")
        *description, low, high = meta
        dtype, shape = described(description)
        _check_extremes(dtype, low, high)
        count = math.prod(shape)
        if not _is_bytes(packed) or len(packed) != packed_size(self.bits, count):
            raise WireError(f"not {count} numbers of {self.bits} bits: {packed!r:.80}")
        share = unpack(packed, self.bits, count) / ((1 << self.bits) - 1)
        with np.errstate(over="ignore"):
            restored: Array = share * high
            restored += low * (1 - share)
        np.clip(restored, low, high, out=restored)
        return restored.astype(dtype).reshape(shape)

    def decode(self, part: Part, meta: Meta) -> Part:
        """The floats. Raises WireError when bytes and meta are not an array in fixed point of so many bits."""
        if not meta:
            return part
        arrays = entries(meta, "arrays", len(part.values))
        return replace(part, values=[self._restore(packed, of) for packed, of in zip(part.values, arrays)])


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" and dtype.itemsize in _FLOAT_BYTES


def _is_bytes(packed: Any) -> bool:
    return isinstance(packed, np.ndarray) and packed.dtype == np.uint8 and packed.ndim == 1


def _check_extremes(dtype: np.dtype[Any], low: Any, high: Any) -> None:
    """Raise WireError unless they are finite numbers of the dtype, in order."""
    if not _is_float(dtype) or type(low) is not float or type(high) is not float:
        raise WireError(f"an array in fixed point of dtype {dtype} from {low!r:.40} to {high!r:.40}")
    most = float(np.finfo(dtype).max)
    if not -most <= low <= high <= most:
        raise WireError(f"an array in fixed point from {low!r} to {high!r}")
