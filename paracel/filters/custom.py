"""A filter of the user's own: a pair of functions, which travel by name."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from paracel.errors import FunctionError, WireError
from paracel.filters.base import Array, Filter, Memory, Meta, Part
from paracel.filters.meta import NUMERIC, describe, described, entry
from paracel.functions import Functions, Kind, reference
from paracel.values import guarded

Encoder = Callable[[list[Array]], list[Any]]
Decoder = Callable[[list[Any]], list[Array]]


@dataclass(frozen=True, slots=True, init=False)
class Custom(Filter):
    """`encode(values) -> payload` at the sender and `decode(payload) -> values` at the receiver.

    `values` is a list of read-only arrays, (n,) or (n, dim), of any number of rows, none too; `payload` a list of
    arrays of numbers and bytes. Both functions are defined at the top level of a module or file that the servers can
    import, or given as 'file.py:function'. Raises FunctionError when they are not, when one does not take one
    argument, or when decode(encode(x)) is not of the count, shapes and dtypes of a small x.
    """

    name: ClassVar[str] = "custom"
    encoder: str
    decoder: str
    _encode: Encoder = field(repr=False, compare=False)
    _decode: Decoder = field(repr=False, compare=False)

    def __init__(self, encode: str | Encoder, decode: str | Decoder) -> None:
        for kind, function in (("encoder", encode), ("decoder", decode)):
            name, found = _found(function, kind)  # type: ignore[arg-type]
            object.__setattr__(self, kind, name)
            object.__setattr__(self, f"_{kind[:-1]}", found)
        for shape in ((4,), (4, 3)):
            self._try(np.linspace(-1, 1, num=int(np.prod(shape)), dtype=np.float32).reshape(shape))

    def _try(self, sample: Array) -> None:
        """Raise FunctionError when the pair does not give a small sample back."""
        try:
            part, meta = self.encode(Part(None, [sample]), None)
            self.decode(part, meta)
        except WireError as error:
            raise FunctionError(f"a float32 array of shape {sample.shape} went in, and then: {error}") from error

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The two arguments that make one."""
        return ("encode", "decode")

    def to_wire(self) -> list[Any]:
        """The name of the filter and those of the two functions."""
        return [self.name, {"encode": self.encoder, "decode": self.decoder}]

    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """The payload in place of the values. Raises FunctionError when the user's function does, or gives no such."""
        if part.encoded:
            return part, {}
        try:
            payload = self._encode([guarded(value) for value in part.values])
        except Exception as error:
            raise FunctionError(
                f"encoder {self.encoder} raised {type(error).__name__}: {error} (it was given a list of arrays)"
            ) from error
        if not isinstance(payload, list) or not all(map(_may_travel, payload)):
            raise FunctionError(
                f"encoder {self.encoder} must return a list of arrays of numbers and bytes, and gave {_kinds(payload)}"
            )
        return replace(part, values=list(payload), encoded=True), {"arrays": [describe(v) for v in part.values]}

    def decode(self, part: Part, meta: Meta) -> Part:
        """The values. Raises WireError when the user's function does, or gives others than the sender had."""
        if not meta:
            return part
        abouts = entry(meta, "arrays")
        if not isinstance(abouts, list | tuple):
            raise WireError(f"not what describes arrays: {abouts!r:.80}")
        expected = [described(about) for about in abouts]
        try:
            values = self._decode(list(part.values))
        except Exception as error:
            raise WireError(f"decoder {self.decoder} raised {type(error).__name__}: {error}") from error
        found = _forms(values)
        if found != expected:
            raise WireError(f"decoder {self.decoder} gave {found}, and not the {expected} that were encoded")
        return replace(part, values=list(values))


def _found(function: str | Callable[..., Any], kind: Kind) -> tuple[str, Callable[..., Any]]:
    """The name and the function, imported when only the name is given."""
    name = reference(function, kind)
    if not isinstance(function, str):
        return name, function
    functions = Functions()
    functions.load(kind, name)
    return name, functions.get(kind, name)


def _may_travel(item: Any) -> bool:
    return type(item) is bytes or (type(item) is np.ndarray and item.dtype.kind in NUMERIC)


def _kinds(payload: Any) -> str:
    """What something is that is no payload: its type, or those of the items that do not do."""
    if not isinstance(payload, list):
        return f"one {type(payload).__name__}"
    wrong = next(item for item in payload if not _may_travel(item))
    return (
        f"a list with an {wrong.dtype} array"
        if type(wrong) is np.ndarray
        else f"a list with {type(wrong).__name__} in it"
    )


def _forms(values: Any) -> Any:
    """Dtype and shape of each array; or the type of what is no list of arrays."""
    if not isinstance(values, list) or not all(type(value) is np.ndarray for value in values):
        return type(values).__name__
    return [(value.dtype, value.shape) for value in values]
