"""The built-in updaters: pure rules `(value, delta) -> value` over what a value may be.

The arithmetic ones know arrays: an array keeps its shape, and its dtype where numpy's `same_kind` casting allows;
with `in_place` the stored array itself takes the result when it is writable.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


class Arithmetic:
    """An element-wise rule on numbers and arrays."""

    def __init__(self, name: str, scalar: Callable[[Any, Any], Any], ufunc: np.ufunc) -> None:
        self.__name__ = self.__qualname__ = name
        self.scalar = scalar
        self._ufunc = ufunc

    def __call__(self, value: Any, delta: Any, in_place: bool = False) -> Any:
        if type(value) is not np.ndarray:
            if type(delta) is np.ndarray:
                return self._ufunc(value, delta)
            return self.scalar(value, delta)
        # a plain number takes on the array's dtype, so that uint8 stays uint8
        change = delta if type(delta) in (int, float, bool) else np.asarray(delta)
        self._check_shapes(value, np.shape(change))
        if not np.can_cast(np.result_type(value, change), value.dtype, "same_kind"):
            return self._ufunc(value, change)
        out = value if in_place and value.flags.writeable else np.empty_like(value)
        return self._ufunc(value, change, out=out, casting="same_kind")

    def _check_shapes(self, value: Any, shape: tuple[int, ...]) -> None:
        if shape in (value.shape, ()):
            return
        try:
            fits = np.broadcast_shapes(value.shape, shape) == value.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{self.__name__}: a delta of shape {shape} does not fit a value of shape {value.shape}")


def assign(_value: Any, delta: Any) -> Any:
    """The delta replaces the value."""
    return delta


def append(value: Any, delta: Any) -> Any:
    """The delta becomes the last item of a list; on a missing key it starts one."""
    _expect("append", value, list)
    return [*value, delta]


def extend(value: Any, delta: Any) -> Any:
    """The items of the delta, a list or tuple, come after those of the list."""
    _expect("extend", value, list)
    _expect("extend", delta, list, tuple)
    return [*value, *delta]


def union(value: Any, delta: Any) -> Any:
    """The items of both, each once, in the order in which they came; of dicts, the delta's entries win."""
    _expect("union", value, list, dict)
    if isinstance(value, dict):
        _expect("union", delta, dict)
        return {**value, **delta}
    _expect("union", delta, list, tuple)
    return list(_distinct([*value, *delta]))


def merge_add(value: Any, delta: Any) -> Any:
    """Add two dicts of counts key by key."""
    _expect("merge_add", value, dict)
    _expect("merge_add", delta, dict)
    merged = dict(value)
    for key, count in delta.items():
        merged[key] = merged[key] + count if key in merged else count
    return merged


def _expect(name: str, given: Any, *kinds: type) -> None:
    if not isinstance(given, kinds):
        allowed = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} needs a {allowed}, and was given a {type(given).__name__}")


def _distinct(items: list[Any]) -> Iterable[Any]:
    """Each item once; items that cannot be hashed are compared one by one."""
    try:
        return dict.fromkeys(items)
    except TypeError:
        found: list[Any] = []
        for item in items:
            if item not in found:
                found.append(item)
        return found


BUILTINS: dict[str, Callable[..., Any]] = {
    "add": Arithmetic("add", operator.add, np.add),
    "sub": Arithmetic("sub", operator.sub, np.subtract),
    "mul": Arithmetic("mul", operator.mul, np.multiply),
    "max": Arithmetic("max", max, np.maximum),
    "min": Arithmetic("min", min, np.minimum),
    "assign": assign,
    "append": append,
    "extend": extend,
    "union": union,
    "merge_add": merge_add,
}


def first_value(name: str, delta: Any) -> Any:
    """What an update of a missing key writes: the delta (Paracel's rule), as a list where the updater keeps one."""
    if name == "append":
        return [delta]
    return list(delta) if name in ("extend", "union") and type(delta) is tuple else delta
