"""Messages combined on the servers: the updaters of a run's message table. No vertices and no supersteps here.

Each vertex has two rows, for even and odd supersteps: while one worker still reads the messages of a superstep, a
faster one may send those of the next. Nobody empties the rows. A push brings messages and the superstep that they are
for, from 1; the first one for a superstep replaces what is left of an older one. The superstep is of the rows' dtype,
so these have at least 8 bytes, `stored`, whatever the program's dtype is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from paracel.errors import ConfigError
from paracel.functions import updater

Array = NDArray[Any]
STEP = "step"


def _combined(ufunc: np.ufunc, rows: Array, deltas: tuple[Array, Array], state: Mapping[str, Array]) -> Array:
    messages, steps = deltas
    new = state[STEP] != steps
    state[STEP][...] = steps
    combined: Array = np.where(new, messages, ufunc(rows, messages))
    return combined


@updater(state={STEP: 0}, inputs=2)
def add_messages(rows: Array, deltas: tuple[Array, Array], state: Mapping[str, Array]) -> Array:
    """The sum of the messages of one superstep."""
    return _combined(np.add, rows, deltas, state)


@updater(state={STEP: 0}, inputs=2)
def min_messages(rows: Array, deltas: tuple[Array, Array], state: Mapping[str, Array]) -> Array:
    """The least message of one superstep."""
    return _combined(np.minimum, rows, deltas, state)


@updater(state={STEP: 0}, inputs=2)
def max_messages(rows: Array, deltas: tuple[Array, Array], state: Mapping[str, Array]) -> Array:
    """The greatest message of one superstep."""
    return _combined(np.maximum, rows, deltas, state)


@dataclass(frozen=True, slots=True)
class Combiner:
    """A way to make one of many: on arrays, and the server's updater."""

    ufunc: np.ufunc
    updater: Any

    def identity(self, dtype: DTypeLike) -> Any:
        """What changes nothing: 0, or the greatest or least that there is."""
        kind = np.dtype(dtype)
        if self.ufunc is np.add:
            return kind.type(0)
        if kind.kind == "f":
            least, greatest = -np.inf, np.inf
        else:
            least, greatest = np.iinfo(kind).min, np.iinfo(kind).max
        return greatest if self.ufunc is np.minimum else least


def stored(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype of the table for messages of this one: holds every message, and the number of every superstep."""
    kind = np.dtype(dtype)
    return np.dtype(f"{kind.kind}{max(kind.itemsize, 8)}")


COMBINERS = {
    "sum": Combiner(np.add, add_messages),
    "min": Combiner(np.minimum, min_messages),
    "max": Combiner(np.maximum, max_messages),
}


def combiner(name: object) -> Combiner:
    """The combiner of that name; ConfigError says which there are."""
    if not isinstance(name, str) or name not in COMBINERS:
        raise ConfigError(f"no combiner {name!r}; there are: {', '.join(COMBINERS)}")
    return COMBINERS[name]
