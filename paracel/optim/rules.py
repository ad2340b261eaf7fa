"""What makes new rows: the rules, and chains that end with one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike

from paracel.optim.base import Array, Column, Named, Part, Rule, State


@dataclass(frozen=True, slots=True, repr=False)
class Builtin(Named, Rule):
    """A rule without parameters: see `BUILTINS`."""

    inputs, local = 1, True
    name: str
    additive: bool

    def parameters(self) -> dict[str, Any]:
        return {}

    def apply(self, rows: Array, deltas: Array, state: State) -> Array:
        return BUILTINS[self.name](rows, deltas)

    check_dtype = Rule.check_dtype

    def __repr__(self) -> str:
        return repr(self.name)


BUILTINS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "assign": lambda _rows, deltas: deltas.copy(),
}


@dataclass(frozen=True, slots=True, repr=False)
class Ftrl(Named, Rule):
    """What `ftrl` makes."""

    name, inputs, local, additive = "ftrl", 1, False, False
    alpha: float
    beta: float
    l1: float
    l2: float

    def columns(self) -> dict[str, Column]:
        return {"z": Column(), "n": Column()}

    def apply(self, rows: Array, deltas: Array, state: State) -> Array:
        z, n = state["z"], state["n"]
        root = np.sqrt(n)
        n += deltas * deltas
        new_root = np.sqrt(n)
        z += deltas
        z -= (new_root - root) / self.alpha * rows
        return _soft(-z, self.l1) / ((self.beta + new_root) / self.alpha + self.l2)


@dataclass(frozen=True, slots=True, repr=False)
class Proximal(Named, Rule):
    """What `proximal` makes."""

    name, inputs, local, additive = "proximal", 1, True, False
    learning_rate: float
    l1: float
    l2: float

    def apply(self, rows: Array, deltas: Array, state: State) -> Array:
        new = _soft(rows - self.learning_rate * deltas, self.learning_rate * self.l1)
        new /= 1 + self.learning_rate * self.l2
        return new


def _soft(array: Array, threshold: float) -> Array:
    """Towards 0 by the threshold, and exactly 0, never -0, within it."""
    return cast(Array, array - array.clip(-threshold, threshold))


@dataclass(frozen=True, slots=True, repr=False)
class Chain(Named, Rule):
    """`chain`: the parts transform the deltas, one after the other, and the rule makes the rows."""

    name, inputs = "chain", 1
    parts: tuple[Part, ...]
    rule: Rule
    local: bool
    additive: bool
    #: For each part and for the rule: its own name of a column -> the chain's name of it.
    names: tuple[dict[str, str], ...] = field(compare=False)

    @classmethod
    def of(cls, parts: tuple[Part, ...], rule: Rule) -> "Chain":
        """A chain of these: a state column that several have is named after their positions too."""
        pieces: tuple[Part | Rule, ...] = (*parts, rule)
        own = [tuple(piece.columns()) for piece in pieces]
        times = Counter(name for names in own for name in names)
        return cls(
            parts,
            rule,
            local=rule.local and all(part.local for part in parts),
            additive=rule.additive and all(part.linear for part in parts),
            names=tuple({n: n if times[n] == 1 else f"{at}.{n}" for n in names} for at, names in enumerate(own)),
        )

    def pieces(self) -> tuple[Part | Rule, ...]:
        """The parts and the rule."""
        return (*self.parts, self.rule)

    def parameters(self) -> dict[str, Any]:
        return {"parts": [piece.to_wire() for piece in self.pieces()]}

    def columns(self) -> dict[str, Column]:
        own = zip(self.pieces(), self.names)
        return {names[name]: column for piece, names in own for name, column in piece.columns().items()}

    def apply(self, rows: Array, deltas: Array, state: State) -> Array:
        views = [{own: state[name] for own, name in names.items()} for names in self.names]
        for part, view in zip(self.parts, views):
            deltas = part.transform(rows, deltas, view)
        return self.rule.apply(rows, deltas, views[-1])

    def check_dtype(self, dtype: DTypeLike) -> None:
        for piece in self.pieces():
            piece.check_dtype(dtype)

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.pieces()))})"
