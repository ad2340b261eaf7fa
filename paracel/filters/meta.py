"""Reading what a peer says of its arrays. What cannot be is a WireError, before any memory is taken for it."""

import math
import re
from typing import Any

import numpy as np

from paracel.errors import WireError
from paracel.filters.base import Array, Meta
from paracel.values import MESSAGE_BYTES

#: The dtypes that a value may have: numbers and bools of any byte order.
_DTYPE = re.compile(r"[<>|=][biufc][0-9]{1,2}")
NUMERIC = "biufc"
_MOST_DIMENSIONS = 32


def entry(meta: Meta, name: str) -> Any:
    """The entry of that name. Raises WireError when there is none."""
    try:
        return meta[name]
    except KeyError:
        raise WireError(f"a filter's meta without {name!r}; it has: {', '.join(map(repr, meta))[:200]}") from None


def entries(meta: Meta, name: str, count: int) -> list[Any]:
    """The entry of that name, a list of `count` items. Raises WireError for anything else."""
    found = entry(meta, name)
    if not isinstance(found, list | tuple) or len(found) != count:
        raise WireError(f"a filter's meta where {name!r} is not a list of {count}: {found!r:.80}")
    return list(found)


def number(value: Any, what: str, most: int = MESSAGE_BYTES) -> int:
    """The value, a whole number from 0 to `most`. Raises WireError for anything else."""
    if type(value) is not int or not 0 <= value <= most:
        raise WireError(f"{what} is {value!r:.80}; allowed: whole numbers from 0 to {most}")
    return value


def describe(array: Array) -> list[Any]:
    """Dtype and shape of an array as plain values, as in `["<f4", n, dim]`."""
    return [array.dtype.str, *array.shape]


def described(description: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Dtype and shape from `describe`'s list. Raises WireError for what is no array of numbers, or a too large one."""
    if not isinstance(description, list | tuple) or not 1 <= len(description) <= 1 + _MOST_DIMENSIONS:
        raise WireError(f"not the dtype and shape of an array: {description!r:.80}")
    dtype = _dtype(description[0])
    shape = tuple(number(size, "the size of an array") for size in description[1:])
    check_size(dtype, shape)
    return dtype, shape


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise WireError(f"an array of dtype {name!r:.80}")
    try:
        return np.dtype(name)
    except TypeError:
        raise WireError(f"an array of dtype {name!r}, which this machine does not have") from None


def check_size(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise WireError for an array that no message can hold, or that numpy cannot make although it is empty."""
    size = dtype.itemsize * math.prod(max(length, 1) for length in shape)
    if size > MESSAGE_BYTES:
        raise WireError(f"an array of shape {shape} and dtype {dtype} has more than the {MESSAGE_BYTES} bytes allowed")
