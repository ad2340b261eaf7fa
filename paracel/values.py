"""What may be a key and a value, and how values are checked, measured and copied. No wire format here.

A key is a str of at most 64 KiB in UTF-8. A value is None, bool, int (64 bits), float, str, bytes, list,
tuple, dict (keys str or int), a numpy array or a numpy scalar of a bool, integer, float or complex dtype,
nested at most `MAX_DEPTH` deep.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from paracel.errors import CarryError

MAX_KEY_BYTES = 64 * 1024
MAX_DEPTH = 64
#: No message may be larger: one value, or all the values of a request to one server.
MESSAGE_BYTES = 4 * 1024**3
#: Arrays from this size on travel in frames of their own, by reference, instead of inside the header.
FRAME_BYTES = 128 * 1024

IMMUTABLE = frozenset({type(None), bool, int, float, str, bytes})
_KEY_TYPES = frozenset({str, int})
_NUMERIC_KINDS = "biufc"
_ALLOWED = "None, bool, int, float, str, bytes, list, tuple, dict, numpy arrays and scalars of numbers or bools"


def check_key(key: object) -> str:
    """Return `key` when it may be one; raise CarryError otherwise."""
    if type(key) is not str:
        raise CarryError(f"a key must be a str, not {type(key).__name__}: {key!r:.80}")
    if len(key) * 4 > MAX_KEY_BYTES and len(encode_key(key)) > MAX_KEY_BYTES:
        raise CarryError(f"the key {key[:40]!r}... has more than {MAX_KEY_BYTES} bytes in UTF-8")
    return key


def check_keys(keys: Iterable[str]) -> list[str]:
    """Return the keys as a list when every one may be a key; raise CarryError for the first that may not."""
    if isinstance(keys, str):
        raise CarryError(f"expected a list of keys, got the one str {keys!r:.80}; write [{keys!r:.40}]")
    listed = list(keys)
    if not set(map(type, listed)) <= {str} or max(map(len, listed), default=0) * 4 > MAX_KEY_BYTES:
        for key in listed:
            check_key(key)
    return listed


def encode_key(key: str) -> bytes:
    """The bytes that are hashed: UTF-8, and lone surrogates pass."""
    return key.encode("utf-8", "surrogatepass")


def check_value(key: str, value: Any) -> None:
    """Raise CarryError, naming the key and the type, when the value cannot be carried exactly."""
    if type(value) in IMMUTABLE and type(value) is not int:
        return
    reason = _flaw(value, MAX_DEPTH)
    if reason:
        raise CarryError(f"the value for key {key[:200]!r} cannot be carried: {reason}")


def check_values(keys: Sequence[str], values: Sequence[Any]) -> None:
    """`check_value` for many, at the speed of `map` where all values are plain."""
    kinds = set(map(type, values))
    if kinds <= IMMUTABLE and not too_wide(values, kinds):
        return
    for key, value in zip(keys, values, strict=True):
        check_value(key, value)


def check_tree(value: Any) -> None:
    """The same for a value that has no key, such as an argument or a result."""
    reason = _flaw(value, MAX_DEPTH)
    if reason:
        raise CarryError(f"cannot be carried: {reason}")


def too_wide(values: Iterable[Any], kinds: set[type]) -> bool:
    """Whether an int among plain values needs more than 64 bits."""
    if int not in kinds:
        return False
    ints = values if kinds == {int} else [v for v in values if type(v) is int]
    return max(ints) >= 1 << 64 or min(ints) < -(1 << 63)


def _flaw(value: Any, depth: int) -> str:
    """What is wrong with the value, or an empty string."""
    kind = type(value)
    if kind is int:
        return "" if -(1 << 63) <= value < 1 << 64 else f"int {_shown(value)} needs more than 64 bits"
    if kind in IMMUTABLE:
        return ""
    if kind is np.ndarray or isinstance(value, np.generic):
        fits = value.dtype.kind in _NUMERIC_KINDS
        return "" if fits else f"{kind.__name__} of dtype {value.dtype} is neither numbers nor bools"
    if kind in (list, tuple, dict):
        return _container_flaw(value, depth)
    hint = "; pass numpy.asarray(...) of it" if isinstance(value, np.ndarray) else ""
    return f"type {kind.__module__}.{kind.__qualname__}{hint}; allowed: {_ALLOWED}"


def _shown(number: int) -> str:
    return str(number) if number.bit_length() < 256 else f"{hex(number)[:40]}..."


def _container_flaw(value: Any, depth: int) -> str:
    if depth == 0:
        return f"nested more than {MAX_DEPTH} deep"
    items: Any = value
    if type(value) is dict:
        strange = set(map(type, value)) - _KEY_TYPES
        if strange:
            return f"a dict key of type {strange.pop().__name__}; allowed: str, int"
        if too_wide(value, set(map(type, value))):
            return "a dict key of more than 64 bits"
        items = value.values()
    kinds = set(map(type, items))
    if kinds <= IMMUTABLE and not too_wide(items, kinds):
        return ""
    return next(filter(None, (_flaw(item, depth - 1) for item in items)), "")


def copy_value(value: Any) -> Any:
    """A copy that shares nothing that can change; plain values are returned as they are."""
    kind = type(value)
    if kind in IMMUTABLE:
        return value
    if kind is np.ndarray:
        return value.copy()
    if kind is dict:
        plain = set(map(type, value.values())) <= IMMUTABLE
        return dict(value) if plain else {k: copy_value(v) for k, v in value.items()}
    if kind in (list, tuple):
        return kind(value if set(map(type, value)) <= IMMUTABLE else map(copy_value, value))
    return value


def guarded(value: Any) -> Any:
    """The value as a user's function may see it: arrays read-only, containers as copies."""
    if type(value) is np.ndarray:
        view = value.view()
        view.flags.writeable = False
        return view
    return copy_value(value)


def size_of(value: Any) -> int:
    """About how many bytes the value takes on the wire. Large containers are estimated from their length."""
    kind = type(value)
    if kind is np.ndarray:
        return int(value.nbytes) + 32
    if kind in (str, bytes):
        return len(value) + 5
    if kind in (list, tuple):
        return 5 + sum(map(size_of, value)) if len(value) <= 64 else 5 + _sampled(value)
    if kind is dict:
        return 5 + _sampled(list(value)) + _sampled(list(value.values()))
    return 9


def _sampled(values: Sequence[Any]) -> int:
    """The total of `size_of`, from at most 64 of the values unless they hold arrays."""
    if len(values) <= 64 or not set(map(type, values)) <= IMMUTABLE:
        return sum(map(size_of, values))
    step = len(values) // 64
    return sum(map(size_of, values[:: step + 1])) * (step + 1)


def sizes(values: Sequence[Any]) -> int:
    """The total of `size_of` over a list."""
    return _sampled(values)


def key_sizes(keys: Sequence[str]) -> int:
    """The same for keys."""
    step = 1 + len(keys) // 64
    return sum(map(len, keys[::step])) * step + 5 * len(keys)
