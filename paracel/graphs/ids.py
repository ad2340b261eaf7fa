"""Names of vertices, `ids`: text or whole numbers of 64 bits, as arrays; and their numbering from 0. No edges here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from paracel.errors import ConfigError
from paracel.hashing import mix

#: int64, or text of a fixed width.
Ids = NDArray[Any]
Positions = NDArray[np.int64]

#: Whole numbers are counted off in a list of flags where that has at most so many flags for each of them.
_FLAGS_EACH = 8


def counted(count: int) -> Ids:
    """The ids 0 to `count` - 1, each of which is its own position: used as an array of them is, and keeps none."""
    return cast(Ids, _Counted(count))


@dataclass(frozen=True, slots=True)
class _Counted:
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, positions: Positions) -> Ids:
        return positions.copy()

    def tolist(self) -> list[int]:
        return list(range(self.count))


def as_ids(given: Any) -> Ids:
    """Ids as an array of one dimension, int64 or text; ConfigError for anything else, also for both in one."""
    try:
        array = np.asarray(given)
    except ValueError:  # of lists or tuples, not all as long
        array = np.asarray(given, object)
    if array.ndim != 1:
        first = f", as {next(iter(given))!r:.80}" if array.ndim > 1 and array.size else ""
        raise ConfigError(f"ids of shape {array.shape}{first}; allowed: one dimension, of whole numbers or of text")
    if array.size == 0:
        return np.empty(0, _kept(array))
    if array.dtype.kind in "OT" or (array.dtype.kind == "U" and not isinstance(given, np.ndarray)):
        array = _of_objects(np.asarray(given, object))
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise ConfigError(f"the id {array.max()} does not fit 64 bits with a sign; make ids text, or number them anew")
    if array.dtype.kind not in "iuU":
        raise ConfigError(
            f"ids of {array.dtype}, as {array[:1].tolist()[0]!r}; allowed: whole numbers of 64 bits, or all text"
        )
    return array.astype(_kept(array), copy=False)


def _kept(array: Ids) -> Any:
    return array.dtype if array.dtype.kind == "U" else np.int64


def _of_objects(objects: NDArray[Any]) -> Ids:
    """Python's values as numpy would have them, except that it makes text of numbers where both come."""
    kinds = {type(each) for each in objects.tolist()}
    if all(issubclass(kind, str) for kind in kinds):
        return objects.astype(np.str_)
    if all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        try:
            return objects.astype(np.int64)
        except OverflowError:
            raise ConfigError("ids that do not fit 64 bits with a sign; make ids text, or number them anew") from None
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ConfigError(f"ids of type {names}; allowed: whole numbers of 64 bits, or all text")


def joined(parts: Sequence[Ids]) -> Ids:
    """All parts in one array; ConfigError if some are text and some are numbers. Empty ones may be of either."""
    filled = [part for part in parts if len(part)] or list(parts[:1])
    kinds = {part.dtype.kind for part in filled}
    if len(kinds) > 1:
        raise ConfigError("ids that are whole numbers, and ids that are text, in one graph; make them all of one kind")
    return np.concatenate(filled) if filled else np.empty(0, np.int64)


def numbered(ids: Ids) -> tuple[Ids, Positions]:
    """The distinct ids, rising, and the position there of each one given, shape (len(ids),)."""
    if ids.dtype.kind == "U":
        return _numbered_text(ids)
    span = _span(ids)
    if span is None:
        distinct, inverse = np.unique(ids, return_inverse=True)
        return distinct, inverse.astype(np.int64, copy=False)
    least, length = span
    flags = np.zeros(length, np.bool_)
    flags[ids - least] = True
    places = np.flatnonzero(flags)
    number = np.empty(length, np.int64)
    number[places] = np.arange(len(places))
    return places + least, number[ids - least]


def hashes_of(ids: Ids) -> NDArray[np.uint64]:
    """A well mixed 64-bit hash of each id, the same on every machine and for text of any width of its array."""
    if ids.dtype.kind != "U":
        return mix(ids)
    width = ids.dtype.itemsize // 4
    letters = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), width)
    hashes = np.zeros(len(ids), np.uint64)
    for column in letters.T:
        there = column != 0  # text is filled up with zeros
        if not there.any():
            break
        np.copyto(hashes, mix(hashes ^ column), where=there)
    return hashes


def _numbered_text(ids: Ids) -> tuple[Ids, Positions]:
    """By their hashes: to compare text, as sorting does, takes many times as long."""
    _, first, inverse = np.unique(hashes_of(ids), return_index=True, return_inverse=True)
    found = ids[first]
    if not np.array_equal(found[inverse], ids):  # two texts of one hash
        distinct, inverse = np.unique(ids, return_inverse=True)
        return distinct, inverse.astype(np.int64, copy=False)
    order = np.argsort(found)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return found[order], ranks[inverse]


def _span(ids: Ids) -> tuple[int, int] | None:
    """The least id and how far they reach, if that is so little that they can be counted off."""
    if not len(ids):
        return None
    least, most = int(ids.min()), int(ids.max())
    return (least, most - least + 1) if most - least < _FLAGS_EACH * len(ids) + 1024 else None


def positions_of(ids: Ids, distinct: Ids) -> Positions:
    """The position of each id among `distinct`, which rise; -1 of one that is not there."""
    if not len(ids) or not len(distinct) or ids.dtype.kind != distinct.dtype.kind:
        return np.full(len(ids), -1, np.int64)
    places = np.minimum(np.searchsorted(distinct, ids), len(distinct) - 1)
    return np.where(distinct[places] == ids, places, -1)
