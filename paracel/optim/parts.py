"""The parts of chains: each turns deltas into deltas."""

import math
from dataclasses import dataclass

import numpy as np

from paracel.optim.base import Array, Column, Part, State


@dataclass(frozen=True, slots=True, repr=False)
class Scale(Part):
    """What `scale` makes."""

    name, local, linear = "scale", True, True
    factor: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        return deltas * self.factor


@dataclass(frozen=True, slots=True, repr=False)
class Clip(Part):
    """What `clip` makes."""

    name, local = "clip", True
    limit: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        return deltas.clip(-self.limit, self.limit)


@dataclass(frozen=True, slots=True, repr=False)
class ClipNorm(Part):
    """What `clip_norm` makes."""

    name, local = "clip_norm", False
    limit: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        table = _by_row(deltas, 2)
        # summed in float64: the squares of a float32 gradient worth clipping may be more than float32 holds
        norms = np.sqrt(np.einsum("ij,ij->i", table, table, dtype=np.float64))
        shrink = np.divide(self.limit, norms, out=np.ones_like(norms), where=norms > self.limit)
        return deltas * _by_row(shrink.astype(deltas.dtype), deltas.ndim)


@dataclass(frozen=True, slots=True, repr=False)
class WeightDecay(Part):
    """What `weight_decay` makes."""

    name, local = "weight_decay", True
    rate: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        return deltas + self.rate * rows


@dataclass(frozen=True, slots=True, repr=False)
class Trace(Part):
    """What `trace` makes."""

    name, local = "trace", False
    decay: float
    nesterov: bool

    def columns(self) -> dict[str, Column]:
        return {"trace": Column()}

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        kept = state["trace"]
        kept *= self.decay
        kept += deltas
        return deltas + self.decay * kept if self.nesterov else kept


@dataclass(frozen=True, slots=True, repr=False)
class ScaleByAdagrad(Part):
    """What `scale_by_adagrad` makes."""

    name, local = "scale_by_adagrad", False
    initial: float
    epsilon: float

    def columns(self) -> dict[str, Column]:
        return {"accumulator": Column(self.initial)}

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        accumulator = state["accumulator"]
        accumulator += deltas * deltas
        return deltas / np.sqrt(accumulator + self.epsilon)


@dataclass(frozen=True, slots=True, repr=False)
class ScaleByAdam(Part):
    """What `scale_by_adam` makes."""

    name, local = "scale_by_adam", False
    b1: float
    b2: float
    epsilon: float

    def columns(self) -> dict[str, Column]:
        return {"m": Column(), "v": Column(), "count": Column(per_row=True)}

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        m, v, count = state["m"], state["v"], state["count"]
        count += 1  # float32 stays at 2**24 from there on, where the bias has long been 0
        m *= self.b1
        m += (1 - self.b1) * deltas
        v *= self.b2
        v += (1 - self.b2) * (deltas * deltas)
        return (m / _unbias(self.b1, count, m.ndim)) / (np.sqrt(v / _unbias(self.b2, count, v.ndim)) + self.epsilon)


def _unbias(decay: float, count: Array, ndim: int) -> Array:
    """1 - decay**count for each row, without the cancellation that costs float32 half its digits."""
    exponent = count * (math.log(decay) if decay else -math.inf)
    return _by_row(-np.expm1(exponent), ndim)


def _by_row(column: Array, ndim: int) -> Array:
    """An array with at least this many axes (1 or 2), so that (n,) broadcasts along rows of (n, dim)."""
    return column[:, None] if column.ndim < ndim else column
