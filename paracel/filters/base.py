"""What a filter is, and what it works on: one message's part for one server. No algorithm here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from paracel.checks import check_count
from paracel.errors import ConfigError

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Meta = dict[str, Any]

PUSH = "push"
PULL = "pull"


@dataclass(slots=True, eq=False)
class Part:
    """What one message carries for one server. A filter never changes one: it makes another.

    `keys` is a list of distinct keys, uint64 (k,), or a range begin..end, or None (replies: the receiver has them);
    bytes after `Compressing`. `values` are arrays that share the keys, each (n,) or (n, dim); bytes after some
    filters. `mask`, bool (k,), says which of the keys the values are of; None: of all. `fixed`: the key list must
    stay as it is, because it travels as a hash. `count`, at the receiver: how many keys it expects, where `keys`
    does not say. The last two are the sender's alone: `kept` holds, for each value array, which of its rows are
    left (None: all), once `DropZeros` has been there; `encoded`, that the values are no longer rows.
    """

    keys: NDArray[np.uint64] | tuple[int, int] | bytes | None
    values: list[Any]
    mask: Mask | None = None
    fixed: bool = False
    count: int | None = None
    kept: list[Mask | None] | None = None
    encoded: bool = False

    @property
    def listed(self) -> int | None:
        """How many keys there are before the mask; None when only the sender knows."""
        if isinstance(self.keys, np.ndarray):
            return len(self.keys)
        if isinstance(self.keys, tuple):
            return self.keys[1] - self.keys[0]
        return self.count

    @property
    def rows(self) -> int | None:
        """How many rows each value array has by the keys and the mask; None when only the sender knows."""
        return self.listed if self.mask is None else int(np.count_nonzero(self.mask))

    @property
    def whole(self) -> bool:
        """Whether the values still have one row for each (masked) key."""
        return self.kept is None and not self.encoded

    def keys_of(self, index: int) -> NDArray[np.uint64] | None:
        """The keys of the rows of value array `index`, uint64; None when the part has none."""
        if self.keys is None or isinstance(self.keys, bytes):
            return None
        keys = _keys_of_range(*self.keys) if isinstance(self.keys, tuple) else self.keys
        kept = self.kept[index] if self.kept else None
        masked = keys if self.mask is None else keys[self.mask]
        return masked if kept is None else masked[kept]

    def select(self, chosen: Mask) -> "Part":
        """Only the chosen rows, bool (n,). A key list that may change is cut; else the mask says what is left."""
        if chosen.all():
            return self
        values = [value[chosen] for value in self.values]
        if self.mask is None and isinstance(self.keys, np.ndarray) and not self.fixed:
            return replace(self, keys=self.keys[chosen], values=values)
        mask = chosen
        if self.mask is not None:
            mask = self.mask.copy()
            mask[self.mask] = chosen
        return replace(self, mask=mask, values=values)


def _keys_of_range(begin: int, end: int) -> NDArray[np.uint64]:
    return np.arange(end - begin, dtype=np.uint64) + np.uint64(begin % (1 << 64))


class Memory(Protocol):
    """What a sender keeps by key for one filter, one array for each value array of a push."""

    def read(self, keys: NDArray[np.uint64], index: int) -> Array:
        """What is kept for these keys and value array `index`, shaped like the values; zeros where nothing is."""

    def write(self, keys: NDArray[np.uint64], index: int, rows: Array) -> None:
        """Keep the rows in place of what was kept."""


class Filter(ABC):
    """One step between a table and the wire. A frozen value of its parameters; equal ones understand each other."""

    __slots__ = ()
    name: ClassVar[str]
    directions: ClassVar[frozenset[str]] = frozenset({PUSH, PULL})
    #: Whether what arrives is what was sent, to the bit.
    lossless: ClassVar[bool] = False

    @abstractmethod
    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """The part as it goes on, and what `decode` needs to know: plain values and bytes, `{}` when nothing was done.

        `memory` is None for pulls, and for filters that keep nothing.
        """

    @abstractmethod
    def decode(self, part: Part, meta: Meta) -> Part:
        """The part as it was, from what a peer sent. Raises WireError when it cannot be that."""

    def check_dtype(self, dtype: np.dtype[Any]) -> None:  # noqa: B027 - most take any
        """Raise ConfigError if it cannot work on values of this dtype."""

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of the arguments that make one."""
        return tuple(field.name for field in fields(cls) if field.init)  # type: ignore[arg-type]

    def to_wire(self) -> list[Any]:
        """`[name, {parameter: value}]`, plain values only; `from_wire` makes an equal filter of it."""
        return [self.name, {name: getattr(self, name) for name in self.parameters()}]


def check_seed(seed: object) -> None:
    """Raise ConfigError unless it is a whole number from 0 on, of at most 64 bits."""
    check_count("seed", seed, 0)
    if isinstance(seed, int) and seed >= 1 << 64:
        raise ConfigError(f"seed={seed!r:.80}; allowed: whole numbers below 2**64")


def size_of(part: Part) -> int:
    """The bytes of the keys (8 each, 16 for a range), of the values, and of the mask (which travels as bits)."""
    keys = 16 if isinstance(part.keys, tuple) else 0 if part.keys is None else _bytes_of(part.keys)
    mask = 0 if part.mask is None else (len(part.mask) + 7) // 8
    return keys + mask + sum(map(_bytes_of, part.values))


def _bytes_of(item: Any) -> int:
    return int(item.nbytes) if isinstance(item, np.ndarray) else len(item)
