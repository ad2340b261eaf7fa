"""The rows that one process holds of one table, in columns: arrays that share the order of the rows. No rules here.

The column "rows" holds the values; updaters and others add columns of their own. A dense part has all its rows from
the start; a sparse one makes a row when a key needs one. `locate` gives places, which index every column.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paracel.tables.placement import DensePlaces

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]
Array = NDArray[Any]
#: Keys as messages have them: a list, or the range from `begin` to `end`.
Selection = Keys | tuple[int, int]
#: What a new row begins with: a number for all, or a function of the keys.
Fill = float | Callable[[Keys], Array]

ROWS = "rows"
#: By how much columns grow: little, since memory is what large tables are short of.
GROWTH = 1.25
LEAST_ROWS = 512


@dataclass(frozen=True, slots=True)
class Form:
    """What a column holds for each row: a dtype, the shape of one row, and how it begins."""

    dtype: np.dtype[Any]
    tail: tuple[int, ...]
    fill: Fill

    def begin(self, keys: Callable[[], Keys], count: int) -> Array:
        """Fresh rows of the column; `keys` is asked for only where the fill depends on them."""
        shape = (count, *self.tail)
        if callable(self.fill):
            made = self.fill(keys())
            if np.shape(made) != shape:
                raise ValueError(f"an initial value of shape {np.shape(made)} for rows of shape {shape}")
            return np.asarray(made, self.dtype)
        return np.zeros(shape, self.dtype) if self.fill == 0 else np.full(shape, self.fill, self.dtype)


class Part(Protocol):
    """A part of a table, dense or sparse."""

    @property
    def count(self) -> int:
        """How many rows there are."""

    @property
    def nbytes(self) -> int:
        """The bytes of memory that it takes."""

    def keys(self) -> Keys:
        """The keys in the order of their places, shape (count,)."""

    def column(self, name: str) -> Array:
        """A column, shape (count, ...): a view that may be written to."""

    def has(self, name: str) -> bool:
        """Whether there is such a column."""

    def names(self) -> list[str]:
        """The columns that there are."""

    def add_column(self, name: str, form: Form) -> None:
        """A new column beside the others."""

    def drop_column(self, name: str) -> None:
        """Forget a column."""

    def locate(self, selection: Selection, create: bool = False) -> Places | slice:
        """The place of each key: -1 where there is none, unless `create` makes it."""


class DensePart:
    """Rows that are all there from the start."""

    def __init__(self, places: DensePlaces, rows: Form) -> None:
        self._places = places
        self.count = places.count
        self._columns: dict[str, Array] = {}
        self.add_column(ROWS, rows)

    @property
    def nbytes(self) -> int:
        """The bytes of memory that it takes."""
        return sum(column.nbytes for column in self._columns.values())

    def keys(self) -> Keys:
        """The keys in the order of their places."""
        return self._places.keys()

    def column(self, name: str) -> Array:
        """A column; a view that may be written to."""
        return self._columns[name]

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._columns

    def names(self) -> list[str]:
        """The columns that there are."""
        return list(self._columns)

    def add_column(self, name: str, form: Form) -> None:
        """A new column beside the others."""
        self._columns[name] = form.begin(self.keys, self.count)

    def drop_column(self, name: str) -> None:
        """Forget a column."""
        del self._columns[name]

    def range_of(self, first: int, last: int) -> tuple[int, int]:
        """The range of keys that has the rows of these places, of the last one too, and no others that are here."""
        return self._places.key_at(first), self._places.key_at(last) + 1

    def locate(self, selection: Selection, create: bool = False) -> Places | slice:
        """The place of each key; of a range, the slice of the own ones."""
        if isinstance(selection, tuple):
            return self._places.span(*selection)
        return self._places.places(selection)


class SparsePart:
    """Rows that come into being as they are needed."""

    def __init__(self, rows: Form) -> None:
        from paracel.tables.index import Index  # compiles; a process without sparse tables does without

        self._index = Index()
        self._forms: dict[str, Form] = {}
        self._columns: dict[str, Array] = {}
        #: Keys that were dropped, in lists; None: nobody wants to know.
        self.dropped: list[Keys] | None = None
        self.add_column(ROWS, rows)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self._index.count

    @property
    def nbytes(self) -> int:
        """The bytes of memory that it takes."""
        return self._index.nbytes + sum(column.nbytes for column in self._columns.values())

    def keys(self) -> Keys:
        """The keys in the order of their places."""
        return self._index.keys()

    def column(self, name: str) -> Array:
        """A column; a view that may be written to."""
        return self._columns[name][: self.count]

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._columns

    def names(self) -> list[str]:
        """The columns that there are."""
        return list(self._columns)

    def add_column(self, name: str, form: Form) -> None:
        """A new column beside the others."""
        self._forms[name] = form
        self._columns[name] = form.begin(self.keys, self.count)

    def drop_column(self, name: str) -> None:
        """Forget a column."""
        del self._forms[name], self._columns[name]

    def locate(self, selection: Selection, create: bool = False) -> Places | slice:
        """The place of each key, -1 where there is none, unless `create` makes it. Of a range, of the keys in it."""
        if isinstance(selection, tuple):
            begin, end = selection
            keys = self.keys()
            places = np.flatnonzero((keys >= np.uint64(begin)) & (keys <= np.uint64(max(0, end - 1))) & (begin < end))
            return places[np.argsort(keys[places])]
        places = self._index.find(selection)
        if create:
            missing = np.flatnonzero(places < 0)
            if len(missing):
                places[missing] = self._create(selection[missing])
        return places

    def _create(self, keys: Keys) -> Places:
        """The places of keys that have none; they may come twice. If it fails, nothing has changed."""
        before = self.count
        for name in self._columns:
            self._make_room(name, before + len(keys))
        places = self._index.insert(keys)
        try:
            self._fill(before, keys, places)
        except BaseException:  # a user's function makes their beginning
            self.shorten(before)
            raise
        return places

    def add(self, keys: Keys, deltas: Array) -> None:
        """Add to the rows of keys, which may come twice; rows that are not there are made."""
        from paracel.tables.index import add_at

        missing = self._index.add(keys, self.column(ROWS), deltas)
        if len(missing):
            places = self._create(keys[missing])
            add_at(self.column(ROWS), places, deltas[missing])

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Keep only the chosen rows, shape (count,); the others are as if they had never been."""
        columns = {name: self.column(name)[chosen] for name in self._columns}
        if self.dropped is not None:
            self.dropped.append(self.keys()[~chosen])
        self._index.keep(chosen)
        self._columns = columns

    def present(self, keys: Keys) -> Keys:
        """Those of the keys that have a row."""
        return keys[self._index.find(keys) >= 0]

    def drop(self, keys: Keys) -> None:
        """Drop the rows of keys, where there are any."""
        places = self._index.find(keys)
        chosen = np.ones(self.count, bool)
        chosen[places[places >= 0]] = False
        if not chosen.all():
            self.keep(chosen)

    def shorten(self, count: int) -> None:
        """Take back the rows from `count` on, which were made last and at once."""
        if count < self.count:
            self._index.take_back(count)

    def _fill(self, before: int, keys: Keys, places: Places) -> None:
        """Begin the rows from `before` on; their keys are among these."""
        new = self.count - before

        def new_keys() -> Keys:
            made = places >= before
            fresh = np.empty(new, np.uint64)
            fresh[places[made] - before] = keys[made]
            return fresh

        for name, form in self._forms.items():
            self.column(name)[before:] = form.begin(new_keys, new)

    def _make_room(self, name: str, count: int) -> None:
        column = self._columns[name]
        if len(column) < count:
            longer = max(LEAST_ROWS, count, int(len(column) * GROWTH))
            larger = np.empty((longer, *column.shape[1:]), column.dtype)
            larger[: len(column)] = column
            self._columns[name] = larger
