"""How a row that nobody has pushed begins: a constant, or random numbers that are a function of key, column and seed.

Whoever asks, in whatever order and company, gets the same bits. So nothing here draws from a generator: each number is
a hash of where it stands (splitmix64: Steele, Lea, Flood, OOPSLA 2014). And since the logarithms and sines of two
processors differ in their last bits, the normal distribution uses none but IEEE's exact operations, + - * / and sqrt.
"""

import math
import reprlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from paracel.errors import ConfigError
from paracel.hashing import GAMMA, scramble

Keys: TypeAlias = NDArray[np.uint64]
Floats: TypeAlias = NDArray[np.float64]

_ALLOWED = 'a number, "normal", "uniform", ("normal", scale), ("uniform", scale), a function of the keys'
_MASK = 2**64 - 1
#: No normal number here is further from 0: of 53 random bits, the greatest radius is sqrt(2 * 53 * log(2)) < 9.
_REACH = 9.0


@dataclass(frozen=True, slots=True, repr=False)
class Initial:
    """How rows begin: all at `value`, normal with standard deviation `scale`, or uniform in [-scale, scale)."""

    kind: str
    scale: float = 0.0
    value: int | float = 0

    def __repr__(self) -> str:
        """As its user may write it."""
        return repr(self.value if self.kind == "constant" else (self.kind, self.scale))

    def rows(self, keys: Keys, dim: int, dtype: DTypeLike, seed: int) -> NDArray[Any]:
        """The rows of these keys, shape (n,) for dim 1, else (n, dim), in an array of their own.

        Keys are uint64, shape (n,); the seed is any whole number and counts modulo 2**64. The columns of a row do not
        depend on how many there are. `check_dtype` says which dtypes there may be.
        """
        dtype = np.dtype(dtype)
        shape = (len(keys),) if dim == 1 else (len(keys), dim)
        if self.kind == "constant":
            return np.full(shape, self.value, dtype)
        return _DRAWS[self.kind](keys, dim, dtype, self.scale, seed).reshape(shape)

    def check_dtype(self, dtype: DTypeLike) -> None:
        """Raise ConfigError unless rows of this dtype can begin so: integers exactly, floats without overflow."""
        dtype = np.dtype(dtype)
        if self.kind == "constant":
            fits, allowed = _holds(dtype, self.value), "numbers that the dtype holds"
        else:
            known = dtype in (np.float16, np.float32, np.float64)
            reach = self.scale * (_REACH if self.kind == "normal" else 1)
            fits = known and math.isfinite(reach) and _holds(dtype, reach)
            allowed = "float16, float32 and float64, if they hold the scale"
        if not fits:
            raise ConfigError(f"init={self!r} with dtype {dtype}; allowed: {allowed}")

    def to_wire(self) -> list[Any]:
        """`[kind, {parameter: value}]`, plain values only."""
        return [self.kind, {"value": self.value} if self.kind == "constant" else {"scale": self.scale}]


def make(value: Any) -> Initial:
    """An Initial from a number, "normal" or "uniform" (of scale 1), or a pair of these and a scale above 0.

    Infinity is a number here (a table of minima begins with it), NaN is not. Raises ConfigError for anything else.
    """
    match value:
        case int() | np.integer() if not isinstance(value, bool) and abs(int(value)) < 2**64:
            return Initial("constant", value=int(value))
        case float() | np.floating() if not math.isnan(value):
            return Initial("constant", value=float(value))
        case str(kind) if kind in _DRAWS:
            return Initial(str(kind), scale=1.0)
        case [str(kind), int() | float() | np.integer() | np.floating() as scale] if kind in _DRAWS and _is_scale(
            scale
        ):
            return Initial(str(kind), scale=float(scale))
    raise ConfigError(f"init={reprlib.repr(value)}; allowed: {_ALLOWED}")


def from_wire(data: object) -> Initial:
    """The Initial that `to_wire` was called on. Raises ConfigError for anything else."""
    match data:
        case [str(kind), {"value": int() | float() as value, **rest}] if kind == "constant" and not rest:
            return make(value)
        case [str(kind), {"scale": float() as scale, **rest}] if kind in _DRAWS and not rest:
            return make((kind, scale))
    raise ConfigError(f"no Initial is {reprlib.repr(data)}; allowed: what its to_wire() gives")


def _is_scale(given: Any) -> bool:
    # a number of numpy's is made a plain one, for it would round the limit to its own type
    scale = given.item() if isinstance(given, np.generic) else given
    return not isinstance(scale, bool) and 0 < scale <= sys.float_info.max


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether it is exactly one of an integer dtype's numbers, or a float dtype's without becoming 0 or infinite."""
    if dtype.kind in "iu":
        return float(value).is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    if dtype.kind != "f":
        return False
    with np.errstate(over="ignore", under="ignore"):
        held = float(dtype.type(value))
    return math.isfinite(held) == math.isfinite(value) and (held == 0) == (value == 0)


# --- random numbers -------------------------------------------------------------------------------------------------


def _hashes(keys: Keys, count: int, seed: int) -> Keys:
    """The first `count` numbers of splitmix64 for each key, shape (n, count); the key and the seed make its state."""
    start = np.uint64((seed + 1) * GAMMA & _MASK)
    states = scramble(keys + scramble(np.array([start], np.uint64)))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
    return scramble(states[:, None] + steps)


def _uniform(keys: Keys, dim: int, dtype: np.dtype[Any], scale: float, seed: int) -> NDArray[Any]:
    # as many bits as the dtype holds, for if more were rounded, some would be rounded up to `scale`
    bits = np.finfo(dtype).nmant + 1
    wholes = _hashes(keys, dim, seed).view(np.int64) >> np.int64(64 - bits)
    rows: NDArray[Any] = wholes.astype(dtype)
    rows *= dtype.type(2.0 ** (1 - bits))
    rows *= dtype.type(scale)
    return rows


def _normal(keys: Keys, dim: int, dtype: np.dtype[Any], scale: float, seed: int) -> NDArray[Any]:
    """Box and Muller, 1958: a radius and the sine of an angle, for which half the circle does as well as the whole."""
    hashes = _hashes(keys, 2 * dim, seed)
    uniform = ((hashes[:, ::2] >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    angle = (hashes[:, 1::2].view(np.int64) >> np.int64(11)).astype(np.float64) * (math.pi * 2.0**-53)
    return (np.sqrt(-2 * _log(uniform)) * _sin(angle) * scale).astype(dtype)


_DRAWS: dict[str, Callable[[Keys, int, np.dtype[Any], float, int], NDArray[Any]]] = {
    "normal": _normal,
    "uniform": _uniform,
}

# Series are long enough for a double: atanh(s) / s in s**2 for s**2 < 0.03, and sin(x) / x in x**2 for x**2 < 2.5.
_ATANH = tuple(1 / (2 * k + 1) for k in reversed(range(11)))
_SIN = tuple((-1) ** k / math.factorial(2 * k + 1) for k in reversed(range(12)))


def _log(x: Floats) -> Floats:
    """The natural logarithm of numbers above 0."""
    fraction, exponent = np.frexp(x)
    low = fraction < math.sqrt(0.5)
    fraction *= np.where(low, 2.0, 1.0)
    exponent -= low
    s = (fraction - 1) / (fraction + 1)
    log: Floats = exponent * math.log(2) + 2 * s * _polynomial(_ATANH, s * s)
    return log


def _sin(x: Floats) -> Floats:
    """The sine of angles from -pi / 2 to pi / 2."""
    return x * _polynomial(_SIN, x * x)


def _polynomial(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """By Horner's rule, of the highest power first; each step rounds by itself, as fused ones would not."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= x
        total += coefficient
    return total
