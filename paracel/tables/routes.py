"""Which keys of a call go to which shard, and how arrays are cut and put together for it. Nothing here sends."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.tables.placement import Blocks, owners_of_keys
from paracel.tables.spec import TableSpec
from paracel.tables.storage import Array, Keys, Selection

Owners = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Route:
    """The part of a call that goes to one shard: which positions of the call's arrays (None: all), and how many."""

    shard: int
    selection: Selection
    count: int
    positions: NDArray[np.intp] | list[slice] | None

    def cut(self, array: Array) -> Array:
        """The shard's part of an array of the call: a copy."""
        if self.positions is None:
            return array.copy()
        if isinstance(self.positions, list):
            return np.concatenate([array[run] for run in self.positions])
        return array[self.positions]

    def paste(self, whole: Array, part: Array) -> None:
        """Put the shard's part into its positions."""
        if self.positions is None:
            whole[:] = part
        elif isinstance(self.positions, list):
            at = 0
            for run in self.positions:
                whole[run] = part[at : at + run.stop - run.start]
                at += run.stop - run.start
        else:
            whole[self.positions] = part


class Router:
    """The routes of one table, for one ring."""

    def __init__(self, spec: TableSpec, slot_owners: Owners) -> None:
        self._spec = spec
        self._slot_owners = slot_owners
        self.shards = [int(shard) for shard in np.unique(slot_owners)]
        if spec.size is not None:
            self._blocks = Blocks.of(spec.name, spec.size, spec.row_bytes)
            self._owners = self._blocks.owners(slot_owners)

    def owners(self, keys: Keys) -> Owners:
        """The shard of each key, shape (len(keys),)."""
        if self._spec.size is None:
            return owners_of_keys(self._spec.name, keys, self._slot_owners)
        owners: Owners = self._owners[keys.view(np.int64) >> self._blocks.shift]
        return owners

    def keys_at(self, shard: int, selection: Keys | list[int]) -> Keys:
        """The keys of a list; of a range, as a list [begin, end], of a dense table those that the shard has."""
        if not isinstance(selection, list):
            return selection
        keys = np.arange(*selection, dtype=np.uint64)
        own: Keys = keys[self.owners(keys) == shard]
        return own

    def route(self, selection: Selection) -> list[Route]:
        """The shards of the keys, with what each gets. A range of a sparse table goes to all of them."""
        if isinstance(selection, tuple):
            return list(self._range_routes(selection))
        if not len(selection):
            return []
        if len(self.shards) == 1:
            return [Route(self.shards[0], selection.copy(), len(selection), None)]
        owners = self.owners(selection).astype(np.int16)  # which numpy sorts by radix
        order = np.argsort(owners, kind="stable")
        edges = np.flatnonzero(np.diff(owners[order])) + 1
        parts = np.split(order, edges)
        if len(parts) == 1:
            return [Route(int(owners[0]), selection.copy(), len(selection), None)]
        return [Route(int(owners[part[0]]), selection[part], len(part), part) for part in parts]

    def keys_of(self, route: Route) -> Keys:
        """The keys of a route, one by one."""
        if not isinstance(route.selection, tuple):
            return route.selection
        keys = np.arange(*route.selection, dtype=np.uint64)
        return keys if route.positions is None else route.cut(keys)

    def _range_routes(self, selection: tuple[int, int]) -> Iterator[Route]:
        begin, end = selection
        if self._spec.size is None:
            yield from (Route(shard, selection, 0, None) for shard in self.shards)
            return
        if begin >= end:
            return
        first, shift = begin >> self._blocks.shift, self._blocks.shift
        owners = self._owners[first : ((end - 1) >> shift) + 1]
        for shard in np.unique(owners):
            runs = [
                slice(max(begin, (first + low) << shift) - begin, min(end, (first + high) << shift) - begin)
                for low, high in _runs(np.flatnonzero(owners == shard))
            ]
            count = sum(run.stop - run.start for run in runs)
            yield Route(int(shard), selection, count, None if count == end - begin else runs)


def _runs(numbers: NDArray[np.intp]) -> Iterable[tuple[int, int]]:
    """Rising numbers as runs from a first to behind a last one."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    for run in np.split(numbers, breaks):
        yield int(run[0]), int(run[-1]) + 1


def gathered(routes: list[Route], parts: list[list[Any]], count: int) -> list[Array]:
    """The arrays of all shards in one each, in the order of the call's keys; they may be written to."""
    if len(routes) == 1 and routes[0].positions is None:
        return [part if part.flags.writeable else part.copy() for part in parts[0]]
    wholes = []
    for column in zip(*parts, strict=True):
        whole = np.empty((count, *column[0].shape[1:]), column[0].dtype)
        for route, part in zip(routes, column, strict=True):
            route.paste(whole, part)
        wholes.append(whole)
    return wholes


def clocks_of(routes: list[Route], clocks: list[int], count: int) -> int | Array:
    """What the rows of a pull are valid for: one clock, or one a row (count,), since each shard has its own."""
    if len(set(clocks)) < 2:
        return clocks[0] if clocks else 0
    parts = [[np.full(route.count, clock)] for route, clock in zip(routes, clocks, strict=True)]
    return gathered(routes, parts, count)[0]
