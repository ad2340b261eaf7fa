"""What rules and their parts are, and what they have in common."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from paracel.errors import ConfigError

Array: TypeAlias = NDArray[Any]
State: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Column:
    """An array that a rule keeps beside the rows: how it begins, and whether it has one number a row, shape (n,)."""

    initial: float = 0.0
    per_row: bool = False


class Rule(ABC):
    """Makes new rows of rows, deltas and state."""

    __slots__ = ()

    #: How many value arrays a push has.
    inputs: int
    #: Stateless and element-wise: a client may apply it to its own cached copy.
    local: bool
    #: Applying d1, then d2, is applying d1 + d2.
    additive: bool

    def columns(self) -> dict[str, Column]:
        """The state that it keeps, by name."""
        return {}

    @abstractmethod
    def apply(self, rows: Array, deltas: Any, state: State) -> Array:
        """The new rows, in an array of their own; `rows` and `deltas` stay, the arrays of `state` change in place.

        `deltas` is an array shaped like `rows` and of their dtype, or a tuple of them where `inputs` > 1.
        """

    @abstractmethod
    def to_wire(self) -> list[Any]:
        """`[name, {parameter: value}]`, plain values only."""

    def check_dtype(self, dtype: DTypeLike) -> None:
        """Raise ConfigError unless it can compute with rows of this dtype: any integers or floats, if not said else."""
        if np.dtype(dtype).kind not in "iuf":
            raise ConfigError(f"{self!r} cannot work on dtype {np.dtype(dtype)}; allowed: integers and floats")


class Named:
    """What the parts and rules of this module share: a name, and fields that are the parameters of its function."""

    __slots__ = ()
    name: str

    def parameters(self) -> dict[str, Any]:
        """The parameters by name: its function, called with them, makes an equal one."""
        return {each.name: getattr(self, each.name) for each in fields(cast(Any, self))}

    def to_wire(self) -> list[Any]:
        """`[name, {parameter: value}]`, plain values only."""
        return [self.name, self.parameters()]

    def columns(self) -> dict[str, Column]:
        """The state that it keeps, by name."""
        return {}

    def check_dtype(self, dtype: DTypeLike) -> None:
        """Raise ConfigError unless the dtype is float32 or float64, and can hold the parameters."""
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise ConfigError(f"{self!r} cannot work on dtype {dtype}; allowed: float32, float64")
        for name, value in self.parameters().items():
            with np.errstate(over="ignore", under="ignore"):
                held = float(dtype.type(value))
            if not math.isfinite(held) or (held == 0) != (value == 0):
                raise ConfigError(f"{self!r} cannot work on dtype {dtype}: there {name}={value!r} is {held}")

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.parameters().items())
        return f"{self.name}({given})"


class Part(Named, ABC):
    """A step of a chain."""

    __slots__ = ()

    #: Stateless and element-wise.
    local: bool
    #: The new deltas are linear in the deltas.
    linear = False

    @abstractmethod
    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        """New deltas; `rows` and `deltas` stay as they are, the arrays of `state` change in place."""
