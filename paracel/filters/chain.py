"""Filters by name, and a list of them run over a part: forward at the sender, backward at the receiver."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paracel.errors import WireError
from paracel.filters.base import Filter, Memory, Meta, Part, size_of
from paracel.filters.compressing import Compressing
from paracel.filters.custom import Custom
from paracel.filters.fixed_point import FixedPoint
from paracel.filters.lossless import DropZeros, KeyCaching
from paracel.filters.meta import NUMERIC
from paracel.filters.selecting import RandomSkip, SignificantlyModified

_KINDS: dict[str, type[Filter]] = {
    kind.name: kind
    for kind in (KeyCaching, Compressing, FixedPoint, DropZeros, SignificantlyModified, RandomSkip, Custom)
}


def from_wire(data: Any) -> Filter:
    """The filter that `to_wire` wrote. Raises WireError for no such form, ConfigError for parameters that cannot be,
    FunctionError for functions that are not found."""
    if not isinstance(data, list | tuple) or len(data) != 2:
        raise WireError(f"not a message filter: {data!r:.80}")
    name, parameters = data
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise WireError(f"no message filter {name!r:.80}; there are: {', '.join(sorted(_KINDS))}")
    if not isinstance(parameters, dict) or set(parameters) != set(kind.parameters()):
        raise WireError(f"{name} takes {', '.join(kind.parameters()) or 'nothing'}, not {parameters!r:.80}")
    return kind(**parameters)


def for_worker(filters: Sequence[Filter], worker: int) -> list[Filter]:
    """The same filters with seeds that are this worker's own: errors of different workers must not add up."""
    return [_reseeded(one, worker) if "seed" in one.parameters() else one for one in filters]


def _reseeded(one: Any, worker: int) -> Filter:
    seed = np.random.SeedSequence([one.seed, worker]).generate_state(1, np.uint64)[0]
    reseeded: Filter = replace(one, seed=int(seed))
    return reseeded


def encode_all(
    filters: Sequence[Filter], part: Part, memories: Sequence[Memory | None]
) -> tuple[Part, list[Meta], list[tuple[int, int]]]:
    """The part as it goes on the wire, each filter's meta, and the bytes in and out of each filter.

    `memories` has one for each filter: what it keeps for this table, or None (pulls, and filters that keep nothing).
    """
    metas, sizes = [], []
    for one, memory in zip(filters, memories, strict=True):
        before = size_of(part)
        part, meta = one.encode(part, memory)
        metas.append(meta)
        sizes.append((before, size_of(part) + _weight(meta)))
    return part, metas, sizes


def _weight(meta: Any) -> int:
    """About the bytes of a meta on the wire."""
    if isinstance(meta, dict):
        return sum(len(key) + _weight(value) for key, value in meta.items())
    if isinstance(meta, list):
        return sum(map(_weight, meta))
    return len(meta) if isinstance(meta, bytes | str) else 8 if isinstance(meta, float) else 1


def decode_all(filters: Sequence[Filter], part: Part, metas: Any) -> Part:
    """The part as it was before `encode_all`, its values being of the masked keys. Raises WireError.

    Nothing that came from the peer is believed: not the keys, values and mask of the part, and not the metas. `count`
    is the receiver's.
    """
    _check_types(part)
    if not isinstance(metas, list | tuple) or len(metas) != len(filters) or not all(isinstance(m, dict) for m in metas):
        raise WireError(f"not the metas of {len(filters)} message filters: {metas!r:.80}")
    for one, meta in zip(reversed(filters), reversed(metas)):
        part = one.decode(part, meta)
    _check_rows(part)
    return part


def _check_types(part: Part) -> None:
    if not (isinstance(part.keys, bytes | None) or _is_list_of_keys(part.keys) or _is_range(part.keys)):
        raise WireError(f"neither keys nor a range of keys: {part.keys!r:.80}")
    if part.mask is not None and not _is_array(part.mask, "b", (1,)):
        raise WireError(f"not a mask over keys: {part.mask!r:.80}")
    for value in part.values:
        if not isinstance(value, bytes) and not _is_array(value, NUMERIC, range(33)):
            raise WireError(f"neither an array of numbers nor bytes: {value!r:.80}")


def _is_array(value: Any, kinds: str, dimensions: Sequence[int]) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in kinds and value.ndim in dimensions


def _is_list_of_keys(keys: Any) -> bool:
    return _is_array(keys, "u", (1,)) and keys.dtype == np.uint64


def _is_range(keys: Any) -> bool:
    ends = isinstance(keys, tuple) and len(keys) == 2 and all(type(end) is int for end in keys)
    return ends and 0 <= keys[0] <= keys[1] <= 1 << 64


def _check_rows(part: Part) -> None:
    """Raise WireError unless keys, mask and values fit each other."""
    if isinstance(part.keys, bytes):
        raise WireError("keys that are bytes after all filters")
    if part.mask is not None and part.listed not in (None, len(part.mask)):
        raise WireError(f"a mask over {len(part.mask)} keys, of which there are {part.listed}")
    if part.count is not None and part.listed != part.count:
        raise WireError(f"{part.listed} keys, where {part.count} are expected")
    if not all(_is_array(value, NUMERIC, (1, 2)) for value in part.values):
        raise WireError("values that are not arrays of rows after all filters")
    counts = {len(value) for value in part.values} | ({part.rows} - {None})
    if len(counts) > 1:
        raise WireError(f"values and keys that are not equally many: {sorted(map(str, counts))}")
