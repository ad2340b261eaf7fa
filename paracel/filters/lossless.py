"""The two filters that lose nothing and need no library: zeros that are not sent, and key lists that are known."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from paracel.checks import check_count
from paracel.errors import WireError
from paracel.filters.base import Array, Filter, Mask, Memory, Meta, Part
from paracel.filters.meta import check_size, entries, entry, number
from paracel.filters.packing import pack_mask, unpack_mask


@dataclass(frozen=True, slots=True)
class KeyCaching(Filter):
    """A key list that the receiver has seen travels as a 128-bit hash of the whole list.

    The client keeps at most `max_bytes` of key lists for each server, a server 256 MiB in all. Here it is only the
    wish: the messages that ask for an unknown list are the table protocol's, so parts pass as they are.
    """

    name: ClassVar[str] = "key_caching"
    lossless: ClassVar[bool] = True
    max_bytes: int = 64 * 1024**2

    def __post_init__(self) -> None:
        check_count("max_bytes", self.max_bytes, 1)

    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """The part as it is."""
        return part, {}

    def decode(self, part: Part, meta: Meta) -> Part:
        """The part as it is."""
        return part


@dataclass(frozen=True, slots=True)
class DropZeros(Filter):
    """Rows of zeros are not sent, only a mask of the others: for each value array that this makes smaller.

    Lossless to the bit: a row that holds -0.0 is not one of zeros.
    """

    name: ClassVar[str] = "drop_zeros"
    lossless: ClassVar[bool] = True

    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """Value arrays of fewer rows; the masks go into the meta."""
        if not part.whole or not part.values:
            return part, {}
        kept = [_worthwhile(value) for value in part.values]
        values = [value if rows is None else value[rows] for value, rows in zip(part.values, kept)]
        masks = [None if rows is None else pack_mask(rows) for rows in kept]
        return replace(part, values=values, kept=kept), {"count": len(part.values[0]), "masks": masks}

    def decode(self, part: Part, meta: Meta) -> Part:
        """The rows back in their places. Raises WireError when masks and values do not belong together."""
        if not meta:
            return part
        count = number(entry(meta, "count"), "a count of rows")
        if part.rows not in (None, count):
            raise WireError(f"values of {count} rows, where {part.rows} belong to the keys")
        masks = entries(meta, "masks", len(part.values))
        values = [v if m is None else _spread(v, unpack_mask(m, count)) for v, m in zip(part.values, masks)]
        return replace(part, values=values)


def _worthwhile(value: Array) -> Mask | None:
    """Which rows are not zeros, bool (n,); None when the mask would cost more than the zeros."""
    if not value.size:
        return None
    # bits are compared, not numbers, so that -0.0 counts
    word = math.gcd(value.itemsize, 8)
    bits = np.ascontiguousarray(value).view(f"u{word}").reshape(len(value), -1)
    rows: Mask = bits[:, 0] != 0 if bits.shape[1] == 1 else np.logical_or.reduce(bits, axis=1)
    row_bytes = value.nbytes // len(value)
    saved = (len(value) - int(np.count_nonzero(rows))) * row_bytes
    return rows if saved > (len(value) + 7) // 8 else None


def _spread(value: Array, rows: Mask) -> Array:
    if not isinstance(value, np.ndarray) or value.ndim < 1 or len(value) != np.count_nonzero(rows):
        raise WireError(f"a mask of {np.count_nonzero(rows)} rows for values that are not so many")
    shape = (len(rows), *value.shape[1:])
    check_size(value.dtype, shape)
    spread = np.zeros(shape, value.dtype)
    spread[rows] = value
    return spread
