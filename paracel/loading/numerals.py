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
#: Of so many digits any integer is exact in 64 bits, or in a float.
_INT_DIGITS, _EXACT = 18, 1 << 53
#: So many digits do not overflow 64 bits.
_DIGITS = 19
_BATCH = 1 << 14
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
    length: NDArray[np.int32]
    decimals: NDArray[np.int32]
    pointed: Flags
    zero: Flags
    odd: Flags


def integers(data: Bytes, starts: Places, ends: Places) -> tuple[NDArray[np.int64], Flags]:
    """The integers in `data[start:end]`, and which of them are written as Python writes one, in 18 digits at most."""
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
    wrong = scanned.odd | scanned.pointed | (scanned.length > _INT_DIGITS) | leading_zero | minus_zero
    return np.where(scanned.negative, -values, values), ~wrong


def _floats(data: Bytes, starts: Places, ends: Places) -> tuple[NDArray[np.float64], Flags]:
    powers = _exponents(data, starts, ends)
    scanned = _scan(data, starts, ends if powers is None else powers.at)
    digits, decimals, odd = scanned.digits, scanned.decimals, scanned.odd
    if powers is not None:
        decimals, odd = decimals - powers.value, odd | powers.odd
    odd |= scanned.length - scanned.zero > _DIGITS
    values = digits.astype(np.float64)
    _scale(values, decimals, _TENS)
    hard = ((digits > _EXACT) | (np.abs(decimals) >= len(_TENS))) & ~odd
    if _EXTENDED and hard.any():
        hard[_scale_extended(values, digits, decimals, np.flatnonzero(hard))] = False
    np.negative(values, out=values, where=scanned.negative)
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
    found = first + np.flatnonzero((data[first:last] | 32) == 101)
    if not len(found):
        return None
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
    negative = (data.take(starts, mode="clip") == ord("-")) & (ends > starts)
    at = (starts + negative).astype(np.intp)
    lengths = ends - at
    odd = (lengths > _LONGEST) | (lengths < 1)
    longest, shortest = min(int(lengths.max(initial=0)), _LONGEST), int(lengths.min(initial=_LONGEST))
    left = np.clip(lengths, 0, _LONGEST).astype(np.uint8)
    points, whole = np.zeros((2, len(at)), np.uint8)
    digits, group = np.zeros(len(at), np.uint64), np.zeros(len(at), np.uint32)
    character, grown = np.empty(len(at), np.uint8), np.empty(len(at), np.uint32)
    for step in range(longest):
        data[step:].take(at, mode="clip", out=character)
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
        points += is_point
        np.copyto(whole, np.uint8(step), where=is_point)
        np.multiply(group, np.uint32(10), out=grown)
        grown += character
        np.copyto(group, grown, where=is_digit)
        if step % _GROUP == _GROUP - 1:
            digits, group = _with_group(digits, group, step, left, points, whole), np.zeros_like(group)
    if longest % _GROUP:
        digits = _with_group(digits, group, longest - 1, left, points, whole)
    pointed = points > 0
    decimals = np.where(pointed, lengths - whole - 1, 0).astype(np.int32)
    length = (lengths - pointed).astype(np.int32)
    zero = data.take(at, mode="clip") == ord("0")
    return _Scanned(negative, digits, length, decimals, pointed, zero, odd | (points > 1) | (length < 1))


def _with_group(
    digits: NDArray[np.uint64], group: NDArray[np.uint32], step: int, left: Bytes, points: Bytes, whole: Bytes
) -> NDArray[np.uint64]:
    """The digits, and behind them those of the group that ends with this step."""
    begin = step - step % _GROUP
    count = np.minimum(left, np.uint8(step + 1))
    count -= np.minimum(count, np.uint8(begin))
    count -= (points > 0) & (whole >= begin) & (whole <= step)
    return digits * _WHOLE_TENS[count] + group


def _scale(values: NDArray[Any], decimals: NDArray[np.int32], tens: NDArray[Any]) -> None:
    """Divide by 10 to the power of `decimals`, in place: one rounding, as the powers are exact."""
    last = len(tens) - 1
    values /= tens[np.clip(decimals, 0, last)]
    if (decimals < 0).any():
        values *= tens[np.clip(-decimals, 0, last)]


def _scale_extended(
    values: NDArray[np.float64], digits: NDArray[np.uint64], decimals: NDArray[np.int32], hard: NDArray[np.intp]
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
