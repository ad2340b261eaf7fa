"""Compression of keys and values. The only module that knows lz4 and zstandard, which are an optional extra."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from paracel.errors import ConfigError, WireError
from paracel.filters.base import Array, Filter, Memory, Meta, Part
from paracel.filters.meta import describe, described, entries, entry, number
from paracel.values import MESSAGE_BYTES

_KEY = np.dtype("<u8")


@dataclass(frozen=True, slots=True)
class _Codec:
    """A method of compression. `ratio`: so many bytes at most can one compressed byte stand for."""

    levels: range
    ratio: int
    load: Callable[[], Any]
    compress: Callable[[Any, int | None], bytes]
    decompress: Callable[[bytes, int], bytes]


def _lz4() -> Any:
    import lz4.block

    return lz4.block


def _lz4_compress(data: Any, level: int | None) -> bytes:
    mode = {"mode": "default"} if level is None else {"mode": "high_compression", "compression": level}
    return bytes(_lz4().compress(data, store_size=False, **mode))


def _lz4_decompress(data: bytes, size: int) -> bytes:
    return bytes(_lz4().decompress(data, uncompressed_size=size))


def _zstd() -> Any:
    import zstandard

    return zstandard


def _zstd_compress(data: Any, level: int | None) -> bytes:
    return bytes(_zstd().ZstdCompressor(level=3 if level is None else level).compress(data))


def _zstd_decompress(data: bytes, size: int) -> bytes:
    # the decompressor takes what memory the frame asks for
    if _zstd().get_frame_parameters(data).content_size != size:
        raise ValueError("the frame is of another size")
    return bytes(_zstd().ZstdDecompressor().decompress(data, allow_extra_data=False))


_CODECS = {
    "lz4": _Codec(range(1, 13), 255, _lz4, _lz4_compress, _lz4_decompress),
    "zstd": _Codec(range(1, 23), 1 << 15, _zstd, _zstd_compress, _zstd_decompress),
}
#: lz4 takes no more at once, and no array is larger in practice.
_MOST = 0x7E000000
#: A few bytes of either method stand for more than the ratio says.
_SLACK = 64


@dataclass(frozen=True, slots=True)
class Compressing(Filter):
    """The key list and each value array, compressed with lz4 or zstd; what does not get smaller travels as it is.

    `level`: None for the method's usual one, else 1 to 12 (lz4, slower and smaller), 1 to 22 (zstd). Lossless.
    """

    name: ClassVar[str] = "compressing"
    lossless: ClassVar[bool] = True
    method: str = "lz4"
    level: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in _CODECS:
            raise ConfigError(f"method={self.method!r:.80}; allowed: {', '.join(map(repr, _CODECS))}")
        levels = _CODECS[self.method].levels
        if self.level is not None and (type(self.level) is not int or self.level not in levels):
            allowed = f"None, or {levels[0]} to {levels[-1]}"
            raise ConfigError(f"level={self.level!r:.80} of {self.method}; allowed: {allowed}")
        try:
            _CODECS[self.method].load()
        except ImportError as error:
            raise ConfigError(f"{self.method} is not installed; pip install 'paracel[compress]'") from error

    def encode(self, part: Part, memory: Memory | None) -> tuple[Part, Meta]:
        """Bytes in place of arrays, where that is less."""
        values = [self._compressed(value) for value in part.values]
        meta: Meta = {"keys": None, "values": [None if v is None else _about(o) for o, v in zip(part.values, values)]}
        keys = part.keys
        if isinstance(keys, np.ndarray) and not part.fixed and (packed := self._compressed(keys)) is not None:
            meta["keys"], keys = len(keys), packed
        left = [old if new is None else new for old, new in zip(part.values, values)]
        return replace(part, keys=keys, values=left, encoded=True), meta

    def _compressed(self, data: Array | bytes) -> bytes | None:
        raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        if not 0 < len(raw) <= _MOST:
            return None
        packed = _CODECS[self.method].compress(raw, self.level)
        return packed if len(packed) < len(raw) else None

    def decode(self, part: Part, meta: Meta) -> Part:
        """The arrays, read-only. Raises WireError for what does not decompress to exactly what the meta says."""
        if not meta:
            return part
        abouts = entries(meta, "values", len(part.values))
        count = entry(meta, "keys")
        keys = part.keys if count is None else self._keys(part, count)
        values = [v if about is None else self._value(v, about) for v, about in zip(part.values, abouts)]
        return replace(part, keys=keys, values=values)

    def _keys(self, part: Part, count: Any) -> Array:
        size = number(count, "a count of keys", MESSAGE_BYTES // _KEY.itemsize)
        if part.count not in (None, size) or (part.mask is not None and len(part.mask) != size):
            raise WireError(f"{size} compressed keys, where another number is expected")
        return np.frombuffer(self._decompressed(part.keys, size * _KEY.itemsize), _KEY)

    def _value(self, data: Any, about: Any) -> Array | bytes:
        if type(about) is int:
            return self._decompressed(data, number(about, "a count of bytes"))
        dtype, shape = described(about)
        size = dtype.itemsize * math.prod(shape)
        return np.frombuffer(self._decompressed(data, size), dtype).reshape(shape)

    def _decompressed(self, data: Any, size: int) -> bytes:
        """Exactly `size` bytes. No memory is taken for more than the compressed bytes can stand for."""
        codec = _CODECS[self.method]
        if not isinstance(data, bytes) or not 0 < size <= min(_MOST, codec.ratio * len(data) + _SLACK):
            raise WireError(f"not {size} bytes compressed with {self.method}: {data!r:.40}")
        try:
            plain = codec.decompress(data, size)
        except Exception as error:  # of several libraries, each with its own
            raise WireError(f"not {size} bytes compressed with {self.method}: {error}") from error
        if len(plain) != size:
            raise WireError(f"{len(plain)} bytes compressed with {self.method}, where {size} were announced")
        return plain


def _about(data: Array | bytes) -> Any:
    return len(data) if isinstance(data, bytes) else describe(data)
