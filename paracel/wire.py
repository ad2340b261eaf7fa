"""Messages to frames and back. The only module that knows msgpack; it never reads from a socket.

A message is one msgpack header `[version, tag, request, confirmed, view, shard, fields...]` and then the raw bytes of
each array of at least `FRAME_BYTES`. What msgpack has no type for goes into extension types: tuples, numpy arrays
(inline, or as the number of a frame) and numpy scalars. Nothing that is decoded can run code.
"""

import struct
import threading
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgpack
import numpy as np

from paracel import messages
from paracel.errors import CarryError, WireError
from paracel.messages import TAG_OF, TAGS, Envelope, Message
from paracel.values import (
    FRAME_BYTES,
    IMMUTABLE,
    MAX_DEPTH,
    MAX_KEY_BYTES,
    MESSAGE_BYTES,
    check_keys,
    check_tree,
    check_values,
)

VERSION = 2

_TUPLE, _SCALAR, _INLINE, _FRAMED = 1, 2, 3, 4
_KINDS = "biufc"


class _Encoder(threading.local):
    """One packer a thread, used again and again; large arrays go to `frames`."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self._packer = self._new_packer()

    def _new_packer(self) -> msgpack.Packer:
        return msgpack.Packer(default=self._extend, strict_types=True, unicode_errors="surrogatepass")

    def encode(self, header: list[Any]) -> list[Any]:
        self.frames = []
        try:
            packed = self._packer.pack(header)
        except Exception:
            self._packer = self._new_packer()
            raise
        return [packed, *self.frames]

    def _extend(self, value: Any) -> msgpack.ExtType:
        if type(value) is tuple:
            return msgpack.ExtType(_TUPLE, self._new_packer().pack(list(value)))
        if type(value) is np.ndarray:
            return self._array(value)
        if isinstance(value, np.generic):
            return msgpack.ExtType(_SCALAR, _shape_bytes(value) + value.tobytes())
        raise CarryError(f"cannot be carried: type {type(value).__qualname__}")

    def _array(self, array: np.ndarray[Any, Any]) -> msgpack.ExtType:
        head = _shape_bytes(array)
        if array.nbytes < FRAME_BYTES:
            return msgpack.ExtType(_INLINE, head + array.tobytes())
        self.frames.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        return msgpack.ExtType(_FRAMED, struct.pack("<I", len(self.frames)) + head)


_ENCODER = _Encoder()


def _shape_bytes(array: Any) -> bytes:
    """Dtype and shape: two length bytes, the dtype's name, the sizes."""
    name = array.dtype.str.encode()
    return struct.pack(f"<BB{len(name)}s{array.ndim}Q", len(name), array.ndim, name, *array.shape)


def _read_shape(data: memoryview, at: int) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """The dtype, the shape, and where they end."""
    length, ndim = data[at], data[at + 1]
    at += 2
    dtype = np.dtype(bytes(data[at : at + length]).decode("ascii"))
    if dtype.kind not in _KINDS:
        raise WireError(f"an array of dtype {dtype}")
    at += length
    return dtype, struct.unpack_from(f"<{ndim}Q", data, at), at + 8 * ndim


class _Decoder:
    """Decodes the extension types of one message."""

    def __init__(self, frames: Sequence[Any], depth: int = MAX_DEPTH) -> None:
        self._frames = frames
        self._depth = depth

    def unpack(self, data: Any) -> Any:
        return msgpack.unpackb(data, ext_hook=self._extension, strict_map_key=False, unicode_errors="surrogatepass")

    def _extension(self, code: int, data: bytes) -> Any:
        if code == _TUPLE:
            if self._depth == 0:
                raise WireError(f"nested more than {MAX_DEPTH} deep")
            return tuple(_Decoder(self._frames, self._depth - 1).unpack(data))
        if code not in (_SCALAR, _INLINE, _FRAMED):
            raise WireError(f"extension type {code}")
        view = memoryview(data)
        dtype, shape, end = _read_shape(view, 4 if code == _FRAMED else 0)
        if code == _FRAMED:
            frame = self._frames[struct.unpack_from("<I", view)[0]]
            if frame is None:
                raise MemoryError("no room for an array of this message")
            return np.frombuffer(frame, dtype).reshape(shape)
        array = np.frombuffer(view[end:], dtype).reshape(shape)
        return array[()] if code == _SCALAR else array.copy()


# --- messages ---------------------------------------------------------------------------------------------

_HEAD = 6
#: Enough for the start of a list and so many integers.
_NUMBERS_BYTES = 64
_INT = {int}
#: Messages whose first two fields are keys and their values.
_PAIRED = (messages.Write, messages.Update)


def _getter(kind: type[Message]) -> Callable[[Any], Sequence[Any]]:
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda message: (one(message),)
    return attrgetter(*names) if names else lambda _message: ()


_GETTERS = {kind: _getter(kind) for kind in TAGS.values()}


def encode(envelope: Envelope) -> list[Any]:
    """The frames of a message: the header, and then the arrays, by reference. Raises CarryError."""
    message = envelope.message
    kind = type(message)
    head = [VERSION, TAG_OF[kind], envelope.request, envelope.confirmed, envelope.view, envelope.shard]
    try:
        frames = _ENCODER.encode([*head, *_GETTERS[kind](message)])
    except (OverflowError, ValueError) as error:
        raise CarryError(f"{kind.__name__} cannot be carried: {error}") from error
    if sum(map(len, frames)) > MESSAGE_BYTES:
        raise CarryError(f"{kind.__name__} has more than {MESSAGE_BYTES >> 30} GiB for one server; send less at once")
    return frames


def pack(value: Any) -> list[Any]:
    """The frames of a plain value that is no message: for files. Raises CarryError."""
    try:
        return _ENCODER.encode([VERSION, value])
    except (OverflowError, ValueError) as error:
        raise CarryError(f"cannot be carried: {error}") from error


def unpack(frames: Sequence[Any]) -> Any:
    """The reverse. Raises WireError for anything else."""
    try:
        version, value = _Decoder(frames).unpack(frames[0])
    except (WireError, MemoryError):
        raise
    except Exception as error:
        raise WireError(f"not a value: {type(error).__name__}: {error}"[:300]) from error
    if version != VERSION:
        raise WireError(f"a value of version {version}; this is version {VERSION}")
    return value


def decode(frames: Sequence[Any]) -> Envelope:
    """The message in the frames. Raises WireError for anything that is not one.

    MemoryError if there is no room for it here: then `refused` tells which request it was.
    """
    try:
        return _decode(frames)
    except (WireError, MemoryError):
        raise
    except Exception as error:  # whatever a stranger's bytes provoke in msgpack, numpy or struct
        raise WireError(f"not a message: {type(error).__name__}: {error}"[:300]) from error


def refused(frames: Sequence[Any], text: str) -> Envelope:
    """A Failure with this text in the place of a message, under the message's numbers. Raises WireError.

    It takes hardly any memory, and looks no further than the numbers.
    """
    start = msgpack.Unpacker(max_buffer_size=_NUMBERS_BYTES)
    start.feed(bytes(memoryview(frames[0])[:_NUMBERS_BYTES]))
    try:
        start.read_array_header()
        numbers = [start.unpack() for _ in range(_HEAD)]
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"not a message: {error}"[:300]) from error
    if set(map(type, numbers)) != _INT:
        raise WireError("not a message: no header")
    _, _, request, confirmed, view, shard = numbers
    return Envelope(request, confirmed, view, messages.Failure("RequestError", text), shard)


def _decode(frames: Sequence[Any]) -> Envelope:
    header = _Decoder(frames).unpack(frames[0])
    if type(header) is not list or len(header) < _HEAD or set(map(type, header[:_HEAD])) != _INT:
        raise WireError("not a message: no header")
    version, tag, request, confirmed, view, shard, *given = header
    if version != VERSION:
        raise WireError(f"protocol version {version}; this is version {VERSION}")
    kind = TAGS.get(tag)
    if kind is None:
        raise WireError(f"no message has tag {tag}")
    checks = _CHECKS[kind]
    if len(given) != len(checks):
        raise WireError(f"{kind.__name__} has {len(checks)} fields, not {len(given)}")
    for (name, check), value in zip(checks, given, strict=True):
        if not check(value):
            raise WireError(f"{kind.__name__}.{name} is of a wrong type")
    if kind in _PAIRED and len(given[0]) != len(given[1]):
        raise WireError(f"{kind.__name__} of {len(given[0])} keys and {len(given[1])} values")
    return Envelope(request, confirmed, view, kind(*given), shard)


def _is_values(value: Any) -> bool:
    if type(value) is not list:
        return False
    if not set(map(type, value)) <= IMMUTABLE:
        check_values([""] * len(value), value)
    return True


def _is_any(value: Any) -> bool:
    check_tree(value)
    return True


def _is_keys(value: Any) -> bool:
    if type(value) is not list or not set(map(type, value)) <= {str}:
        return False
    if max(map(len, value), default=0) * 4 > MAX_KEY_BYTES:
        check_keys(value)
    return True


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    if kind is str:
        return _is_keys
    kinds = {kind}
    return lambda value: type(value) is list and (not value or set(map(type, value)) == kinds)


def _is_dict_of(key: type, item: type) -> Callable[[Any], bool]:
    return lambda value: (
        type(value) is dict and set(map(type, value)) <= {key} and set(map(type, value.values())) <= {item}
    )


def _is_one_of(*kinds: type) -> Callable[[Any], bool]:
    allowed = frozenset(kinds)
    return lambda value: type(value) in allowed


def _check_for(hint: Any) -> Callable[[Any], bool]:
    """The check of a field, from its type annotation."""
    if hint is Any:
        return _is_any
    if isinstance(hint, types.UnionType):
        return _is_one_of(*hint.__args__)
    arguments = typing.get_args(hint)
    if not arguments:
        return _is_one_of(hint)
    if typing.get_origin(hint) is dict:
        return _is_dict_of(*arguments)
    return _is_values if arguments[0] is Any else _is_list_of(arguments[0])


def _is_whatever(_value: Any) -> bool:
    return True


_CHECKS: dict[type[Message], list[tuple[str, Callable[[Any], bool]]]] = {
    kind: [(name, _check_for(hint)) for name, hint in typing.get_type_hints(kind).items()] for kind in TAGS.values()
}
# values that are checked where they come from; here they are deeper by what is around them
_CHECKS[messages.Replicate][-1] = ("changes", _is_whatever)
