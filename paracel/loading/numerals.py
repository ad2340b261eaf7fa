"""Numbers written in bytes, all of a block at once. Pure: arrays in, arrays out.

Numbers are cut out of the block by where they begin and end. One loop goes over the characters of a number, from the
first to the last, and each step of it is done for all numbers of the block.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.int32]
Flags = NDArray[np.bool_]

#: The most characters of a number that are worth the loop.
_LONGEST = 24
_TENS = 10.0 ** np.arange(23)  # exact
#: Up to this any integer is exact in a float.
_EXACT = 1 << 53
#: So many digits do not overflow 64 bits without a sign.
_DIGITS = 19
_BATCH = 1 << 15
_SIGN = np.uint64(1 << 63)
#: Digits are gathered in 32 bits, which are half the work, so many at a time.
_GROUP = 9
_WHOLE_TENS = np.array([10**power for power in range(_GROUP + 1)], np.uint64)
#: With the 64 bits of an x87 register, 19 digits over 10^27 are rounded once; elsewhere the loop knows fewer numbers.
_EXTENDED = np.finfo(np.longdouble).nmant == 63
_LONG_TENS = np.longdouble(10) ** np.arange(28) if _EXTENDED else np.ones(0, np.longdouble)


class _Scanned(NamedTuple):
    """Numbers as digits: the sign, the digits as one integer and their count; what begins with 0; what is none."""

    negative: Flags
    digits: NDArray[np.uint64]
    length: Bytes
    decimals: Bytes
    pointed: Flags
    zero: Flags
    odd: Flags


def integers(data: Bytes, starts: Places, ends: Places) -> tuple[NDArray[np.int64], Flags]:
    """The integers in `data[start:end]`, and which of them are int64 and written as Python writes them."""
    return _in_batches(_integers, np.int64, data, starts, ends)


def floats(data: Bytes, starts: Places, ends: Places) -> tuple[NDArray[np.float64], Flags]:
    """The numbers in `data[start:end]`, each as `float()` has it, to the last bit; and which of them are one."""
    return _in_batches(_floats, np.float64, data, starts, ends)


def _in_batches(parse: Any, dtype: DTypeLike, data: Bytes, starts: Places, ends: Places) -> tuple[NDArray[Any], Flags]:
    """Parse so many at a time that what there is between the steps stays in the processor's cache."""
    values, right = np.empty(len(starts), dtype), np.empty(len(starts), np.bool_)
    for begin in range(0, len(starts), _BATCH):
        part = slice(begin, begin + _BATCH)
        values[part], right[part] = parse(data, starts[part], ends[part])
    return values, right


def _integers(data: Bytes, starts: Places, ends: Places) -> tuple[NDArray[np.int64], Flags]:
    scanned = _scan(data, starts, ends)
    values = scanned.digits.astype(np.int64)
    leading_zero = scanned.zero & (scanned.length > 1)
    minus_zero = scanned.negative & (values == 0)
    # What is beyond int64 has another sign by now; only -2**63 may.
    beyond = (scanned.length > _DIGITS) | ((values < 0) & ~(scanned.negative & (scanned.digits == _SIGN)))
    wrong = scanned.odd | scanned.pointed | beyond | leading_zero | minus_zero
    values *= 1 - 2 * scanned.negative.astype(np.int64)
    return values, ~wrong


def _floats(data: Bytes, starts: Places, ends: Places) -> tuple[NDArray[np.float64], Flags]:
    powers = _exponents(data, starts, ends)
    scanned = _scan(data, starts, ends if powers is None else powers.at)
    digits, odd = scanned.digits, scanned.odd
    decimals: NDArray[Any] = scanned.decimals
    if powers is not None:
        decimals, odd = decimals - powers.value, odd | powers.odd
    odd |= scanned.length - scanned.zero > _DIGITS
    values = digits.astype(np.float64)
    _scale(values, decimals, _TENS)
    hard = ((digits > _EXACT) | (np.abs(decimals) >= len(_TENS))) & ~odd
    if _EXTENDED and hard.any():
        hard[_scale_extended(values, digits, decimals, np.flatnonzero(hard))] = False
    values.view(np.uint64)[:] ^= scanned.negative * _SIGN
    # What is left is rare, or long: 20 digits, large exponents, nan.
    return _mend(data, starts, ends, values, np.flatnonzero(hard | odd))


class _Exponents(NamedTuple):
    """Where the mantissa ends, the exponent (0 where there is none), and which are not plain."""

    at: Places
    value: NDArray[np.int32]
    odd: Flags


def _exponents(data: Bytes, starts: Places, ends: Places) -> _Exponents | None:
    """The exponents of numbers like 1.5e-07; None if there are none at all."""
    first, last = (int(starts[0]), int(ends[-1])) if len(starts) else (0, 0)
    written = data[first:last]
    raw = written.tobytes()
    if b"e" not in raw and b"E" not in raw:
        return None
    found = first + np.flatnonzero((written | 32) == ord("e"))
    number = np.searchsorted(starts, found, side="right") - 1
    found, number = found[inside := found < ends[number]], number[inside]
    at, value, odd = ends.copy(), np.zeros(len(starts), np.int32), np.zeros(len(starts), np.bool_)
    at[number] = found
    begin = found + 1
    plus = data.take(begin, mode="clip") == 43
    begin += plus
    scanned = _scan(data, begin.astype(np.int32), ends[number])
    value[number] = np.where(scanned.negative, -1, 1) * scanned.digits.astype(np.int32)
    odd[number] = scanned.odd | scanned.pointed | (scanned.length > 3) | (plus & scanned.negative)
    return _Exponents(at, value, odd)


def _scan(data: Bytes, starts: Places, ends: Places) -> _Scanned:
    at = starts.astype(np.intp)
    negative = (data.take(at, mode="clip") == ord("-")) & (ends > starts)
    at += negative
    lengths = ends - starts - negative
    odd = (lengths > _LONGEST) | (lengths < 1)
    longest, shortest = min(int(lengths.max(initial=0)), _LONGEST), int(lengths.min(initial=_LONGEST))
    left = np.clip(lengths, 0, _LONGEST).astype(np.uint8)
    points, whole = np.zeros((2, len(at)), np.uint8)
    digits, group = np.zeros(len(at), np.uint64), np.zeros(len(at), np.uint32)
    zero = np.zeros(len(at), np.bool_)
    character, factor = np.empty(len(at), np.uint8), np.empty(len(at), np.uint32)
    for step in range(longest):
        data[step:].take(at, mode="clip", out=character)
        if step == 0:
            zero = character == ord("0")
        is_point = character == ord(".")
        character -= np.uint8(ord("0"))
        is_digit = character < 10
        if step < shortest:
            odd |= ~(is_digit | is_point)
        else:
            live = left > step
            is_digit &= live
            is_point &= live
            odd |= (is_digit | is_point) ^ live
        # Arithmetic on all of them is several times as fast as changing some of them.
        points += is_point
        whole += is_point * np.uint8(step)
        factor[:] = is_digit * np.uint8(9) + np.uint8(1)
        group *= factor
        character *= is_digit
        group += character
        if step % _GROUP == _GROUP - 1 or step == longest - 1:
            digits *= _WHOLE_TENS.take(_count_in_group(step, left, points, whole), mode="clip")
            digits += group
            group.fill(0)
    pointed = points > 0
    length = left - pointed
    decimals = (length - whole) * pointed
    return _Scanned(negative, digits, length, decimals, pointed, zero, odd | (points > 1) | (length < 1))


def _count_in_group(step: int, left: Bytes, points: Bytes, whole: Bytes) -> Bytes:
    """How many digits are in the group of steps that ends with this one."""
    begin = step - step % _GROUP
    count = np.minimum(left, np.uint8(step + 1))
    count -= np.minimum(count, np.uint8(begin))
    count -= (points > 0) & (whole >= begin) & (whole <= step)
    return count


def _scale(values: NDArray[Any], decimals: NDArray[Any], tens: NDArray[Any]) -> None:
    """Divide by 10 to the power of `decimals`, in place: one rounding, as the powers are exact."""
    values /= tens.take(decimals, mode="clip")
    if decimals.dtype.kind == "i" and (decimals < 0).any():
        values *= tens.take(-decimals, mode="clip")


def _scale_extended(
    values: NDArray[np.float64], digits: NDArray[np.uint64], decimals: NDArray[Any], hard: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Set the values of those hard ones that the longer registers can do; which these are."""
    hard = hard[np.abs(decimals[hard]) < len(_LONG_TENS)]
    scaled = digits[hard].astype(np.longdouble)
    _scale(scaled, decimals[hard], _LONG_TENS)
    # Rounded twice, a number can go astray only if it seems to be just between two floats.
    sure = scaled.view(np.uint64)[::2] & np.uint64(0x7FF) != 0x400
    done: NDArray[np.intp] = hard[sure]
    values[done] = scaled[sure].astype(np.float64)
    return done


def _mend(
    data: Bytes, starts: Places, ends: Places, values: NDArray[np.float64], odd: NDArray[np.intp]
) -> tuple[NDArray[np.float64], Flags]:
    right = np.ones(len(starts), np.bool_)
    for at, start, end in zip(odd.tolist(), starts[odd].tolist(), ends[odd].tolist()):
        text = data[start:end].tobytes()
        try:
            if b"_" in text:  # Python's own
                raise ValueError
            values[at] = float(text)
        except ValueError:
            right[at] = False
    return values, right
