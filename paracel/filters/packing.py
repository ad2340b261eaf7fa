"""Bits to bytes and back: masks, and small whole numbers of 1 to 16 bits each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.errors import WireError
from paracel.filters.base import Mask


def pack_mask(mask: Mask) -> bytes:
    """A bool array (n,) as (n + 7) // 8 bytes."""
    return np.packbits(mask).tobytes()


def unpack_mask(data: Any, count: int) -> Mask:
    """The bool array (count,) that was packed. Raises WireError when the bytes are not one of that length."""
    if not isinstance(data, bytes) or len(data) != (count + 7) // 8:
        raise WireError(f"not the {(count + 7) // 8} bytes of a mask over {count}: {data!r:.80}")
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    if bits[count:].any():
        raise WireError(f"a mask over {count} with bits set behind its end")
    return bits[:count].view(np.bool_)


def packed_size(bits: int, count: int) -> int:
    """The bytes of `count` numbers."""
    wide = count if bits > 8 else 0
    return wide + ((bits - 8 if wide else bits) * count + 7) // 8


def pack(numbers: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Numbers (n,) below 2**bits as bytes: a plane of their low bytes, where they have more, and then the rest."""
    if bits <= 8:
        return _pack_small(numbers.astype(np.uint8), bits)
    low, high = (numbers & 0xFF).astype(np.uint8), (numbers >> 8).astype(np.uint8)
    return np.concatenate([low, _pack_small(high, bits - 8)])


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint16]:
    """The numbers (count,) that were packed into `packed_size(bits, count)` bytes."""
    if bits <= 8:
        return _unpack_small(packed, bits, count).astype(np.uint16)
    high = _unpack_small(packed[count:], bits - 8, count).astype(np.uint16)
    high <<= 8
    high |= packed[:count]
    return high


def _pack_small(numbers: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Eight numbers of at most 8 bits make one 64-bit word, of which the low `bits` bytes are kept."""
    if bits == 8:
        return numbers
    count = len(numbers)
    eights = np.zeros(((count + 7) // 8, 8), np.uint8)
    eights.reshape(-1)[:count] = numbers
    words = np.zeros(len(eights), "<u8")
    for place in range(8):
        words |= eights[:, place].astype("<u8") << np.uint64(bits * place)
    return words.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(-1)[: (count * bits + 7) // 8]


def _unpack_small(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    if bits == 8:
        return packed
    eights = (count + 7) // 8
    padded = np.zeros(eights * bits, np.uint8)
    padded[: len(packed)] = packed
    words = np.zeros((eights, 8), np.uint8)
    words[:, :bits] = padded.reshape(eights, bits)
    numbers = np.empty((eights, 8), np.uint8)
    for place in range(8):
        numbers[:, place] = (words.view("<u8")[:, 0] >> np.uint64(bits * place)) & np.uint64((1 << bits) - 1)
    return numbers.reshape(-1)[:count]
