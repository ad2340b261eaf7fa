"""Update rules for the rows of tables: gradients come in, rows move against them. Composed as in optax.

A chain is a line of parts, each of which turns deltas into deltas, and a rule at its end that makes the new rows:
`chain(clip_norm(1.0), adam(0.01))`, `chain(scale_by_adam(), weight_decay(1e-4), scale(-0.01), "add")`.

Pure rules: arrays in, arrays out, with no word about keys, clocks or servers. Every array of a call is of one dtype.
Rows and deltas are of shape (n,) or (n, dim); state columns too, or (n,) where they count by row. Only the state
changes. Parameters are checked when a rule is made, the dtype by `check_dtype`, so that `apply` need not look.
"""

import inspect
import math
import numbers
import reprlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from paracel.errors import ConfigError

Array: TypeAlias = NDArray[Any]
State: TypeAlias = Mapping[str, Array]

#: The most parts of a chain: what comes over the wire is bounded, and so is what may be sent.
MAX_PARTS = 64


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


class _Named:
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


class Part(_Named, ABC):
    """A step of a chain."""

    __slots__ = ()

    #: Stateless and element-wise.
    local: bool
    #: The new deltas are linear in the deltas.
    linear = False

    @abstractmethod
    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        """New deltas; `rows` and `deltas` stay as they are, the arrays of `state` change in place."""


# --- parts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class _Scale(Part):
    name, local, linear = "scale", True, True
    factor: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        return deltas * self.factor


@dataclass(frozen=True, slots=True, repr=False)
class _Clip(Part):
    name, local = "clip", True
    limit: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        return deltas.clip(-self.limit, self.limit)


@dataclass(frozen=True, slots=True, repr=False)
class _ClipNorm(Part):
    name, local = "clip_norm", False
    limit: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        table = _by_row(deltas, 2)
        # summed in float64: the squares of a float32 gradient worth clipping may be more than float32 holds
        norms = np.sqrt(np.einsum("ij,ij->i", table, table, dtype=np.float64))
        shrink = np.divide(self.limit, norms, out=np.ones_like(norms), where=norms > self.limit)
        return deltas * _by_row(shrink.astype(deltas.dtype), deltas.ndim)


@dataclass(frozen=True, slots=True, repr=False)
class _WeightDecay(Part):
    name, local = "weight_decay", True
    rate: float

    def transform(self, rows: Array, deltas: Array, state: State) -> Array:
        return deltas + self.rate * rows


@dataclass(frozen=True, slots=True, repr=False)
class _Trace(Part):
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
class _ScaleByAdagrad(Part):
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
class _ScaleByAdam(Part):
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


# --- rules ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class _Builtin(_Named, Rule):
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
class _Ftrl(_Named, Rule):
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
class _Proximal(_Named, Rule):
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
class _Chain(_Named, Rule):
    name, inputs = "chain", 1
    parts: tuple[Part, ...]
    rule: Rule
    local: bool
    additive: bool
    #: For each part and for the rule: its own name of a column -> the chain's name of it.
    names: tuple[dict[str, str], ...] = field(compare=False)

    @classmethod
    def of(cls, parts: tuple[Part, ...], rule: Rule) -> "_Chain":
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


def chain(*parts: Part | Rule | str) -> Rule:
    """Parts that transform the deltas, one after the other, and then the rule that makes the rows.

    The last may be a Rule or the name of a built-in one; without one it is "add". A chain at the end is taken apart:
    `chain(clip(1.0), sgd(0.1))` is `chain(clip(1.0), scale(-0.1), "add")`. State columns keep their names; one that
    several parts have is named after the part's position too, as "0.trace" and "2.trace".
    Raises ConfigError for anything else, and for more than `MAX_PARTS`.
    """
    pieces: list[Any] = [builtin(part) if isinstance(part, str) else part for part in parts]
    if not pieces or isinstance(pieces[-1], Part):
        pieces.append(builtin("add"))
    if isinstance(pieces[-1], _Chain):
        pieces[-1:] = pieces[-1].pieces()
    *steps, rule = pieces
    wrong = [repr(step) for step in steps if not isinstance(step, Part)]
    if not isinstance(rule, Rule) or not isinstance(rule, _Named):
        wrong.append(repr(rule))
    if wrong:
        allowed = "parts, such as clip(1.0), and as the last a rule, such as 'add', ftrl(0.1), adam(0.1)"
        raise ConfigError(f"chain() with {', '.join(wrong)}; allowed: {allowed}")
    if len(pieces) > MAX_PARTS:
        raise ConfigError(f"chain() of {len(pieces)} parts; allowed: up to {MAX_PARTS}")
    return _Chain.of(tuple(steps), rule) if steps else rule


# --- what users call ------------------------------------------------------------------------------------------------


def sgd(learning_rate: float) -> Rule:
    """Gradient descent: `rows - learning_rate * gradient`."""
    return chain(scale(-_positive("learning_rate", learning_rate)))


def momentum(learning_rate: float, decay: float = 0.9, nesterov: bool = False) -> Rule:
    """Gradient descent along a trace of the gradients (Polyak; Sutskever et al., ICML 2013, for Nesterov's form).

    State: "trace", shaped like the rows.
    """
    return chain(trace(decay, nesterov), sgd(learning_rate))


def adagrad(learning_rate: float, initial: float = 0.1, epsilon: float = 1e-7) -> Rule:
    """AdaGrad, the diagonal form (Duchi, Hazan, Singer, JMLR 2011), its sums of squares beginning at `initial`.

    State: "accumulator", shaped like the rows.
    """
    return chain(scale_by_adagrad(initial, epsilon), sgd(learning_rate))


def adam(learning_rate: float, b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8) -> Rule:
    """Adam (Kingma, Ba, ICLR 2015, algorithm 1), each row with a step count of its own.

    A row that is not pushed does not move and its moments do not decay; its bias correction waits with it.
    State: "m", "v", shaped like the rows, and "count", one number a row.
    """
    return chain(scale_by_adam(b1, b2, epsilon), sgd(learning_rate))


def ftrl(alpha: float, beta: float = 1.0, l1: float = 0.0, l2: float = 0.0) -> Rule:
    """FTRL-proximal by coordinate (McMahan et al., KDD 2013, algorithm 1). Rows should begin at 0, as there.

    Rows are exactly 0 where |z| <= l1. State: "z", "n", shaped like the rows.
    """
    return _Ftrl(_positive("alpha", alpha), _positive("beta", beta), _from_0("l1", l1), _from_0("l2", l2))


def proximal(learning_rate: float, l1: float = 0.0, l2: float = 0.0) -> Rule:
    """A gradient step, then the proximal operator of `learning_rate * (l1 * |w| + l2 / 2 * w**2)`: exact zeros by l1.

    Proximal gradient, Parikh, Boyd, Proximal Algorithms, 2014, sections 4.2 and 6.5.2.
    """
    return _Proximal(_positive("learning_rate", learning_rate), _from_0("l1", l1), _from_0("l2", l2))


def scale(factor: float) -> Part:
    """`factor * deltas`."""
    return _Scale(_finite("factor", factor))


def clip(limit: float) -> Part:
    """Each number of the deltas into [-limit, limit]."""
    return _Clip(_positive("limit", limit))


def clip_norm(limit: float) -> Part:
    """Each row of the deltas shrunk to an L2 norm of at most `limit`."""
    return _ClipNorm(_positive("limit", limit))


def weight_decay(rate: float) -> Part:
    """`deltas + rate * rows`: an L2 penalty before an optimiser's part, decoupled decay after it.

    The latter is AdamW (Loshchilov, Hutter, ICLR 2019): `chain(scale_by_adam(), weight_decay(0.01), scale(-0.001))`.
    """
    return _WeightDecay(_from_0("rate", rate))


def trace(decay: float, nesterov: bool = False) -> Part:
    """`trace = decay * trace + deltas`, which are the new deltas; with `nesterov` they are `deltas + decay * trace`."""
    if not isinstance(nesterov, bool):
        raise ConfigError(f"nesterov={nesterov!r}; allowed: True, False")
    return _Trace(_fraction("decay", decay), nesterov)


def scale_by_adagrad(initial: float = 0.1, epsilon: float = 1e-7) -> Part:
    """`accumulator += deltas**2`; the new deltas are `deltas / sqrt(accumulator + epsilon)`."""
    return _ScaleByAdagrad(_from_0("initial", initial), _positive("epsilon", epsilon))


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8) -> Part:
    """The unbiased mean of the deltas over (the root of that of their squares + epsilon), see `adam`."""
    return _ScaleByAdam(_fraction("b1", b1), _fraction("b2", b2), _positive("epsilon", epsilon))


def builtin(name: str) -> Rule:
    """The built-in rule of this name: add, sub, mul, max, min or assign. They keep the dtype, integers too."""
    if not isinstance(name, str) or name not in BUILTINS:
        raise ConfigError(f"no rule {reprlib.repr(name)}; allowed: {', '.join(BUILTINS)}")
    return _Builtin(name, additive=name in ("add", "sub"))


# --- what is checked ------------------------------------------------------------------------------------------------


def _number(name: str, given: object, allowed: str, holds: Callable[[float], bool]) -> float:
    """A plain float, which does not widen float32 arrays as a numpy scalar would."""
    try:
        number = float(given) if isinstance(given, numbers.Real) and not isinstance(given, bool) else math.nan
    except OverflowError:
        number = math.nan
    if not holds(number):
        raise ConfigError(f"{name}={reprlib.repr(given)}; allowed: {allowed}")
    return number


_finite = partial(_number, allowed="finite numbers", holds=math.isfinite)
_positive = partial(_number, allowed="finite numbers above 0", holds=lambda number: 0 < number < math.inf)
_from_0 = partial(_number, allowed="finite numbers from 0 on", holds=lambda number: 0 <= number < math.inf)
_fraction = partial(_number, allowed="numbers from 0 to below 1", holds=lambda number: 0 <= number < 1)

_PARTS = (scale, clip, clip_norm, weight_decay, trace, scale_by_adagrad, scale_by_adam)
_MAKERS: dict[str, Callable[..., Part | Rule]] = {make.__name__: make for make in (*_PARTS, ftrl, proximal)}


def from_wire(data: object) -> Rule:
    """The rule that `to_wire` was called on. Raises ConfigError for anything else."""
    match data:
        case [str(name), {"parts": [*parts], **rest}] if name == "chain" and not rest and len(parts) <= MAX_PARTS:
            rule: Part | Rule = chain(*map(_one_from_wire, parts))
        case _:
            rule = _one_from_wire(data)
    if not isinstance(rule, Rule):
        raise ConfigError(f"{rule!r} makes no rows: it is a part of a chain")
    return rule


def _one_from_wire(data: object) -> Part | Rule:
    """A part, or a rule that is no chain."""
    match data:
        case [str(name), {**parameters}] if name in BUILTINS and not parameters:
            return builtin(name)
        case [str(name), {**parameters}] if name in _MAKERS:
            maker = _MAKERS[name]
            if parameters.keys() == inspect.signature(maker).parameters.keys():
                return maker(**cast(dict[str, Any], parameters))
    raise ConfigError(f"no rule or part is {reprlib.repr(data)}; allowed: what to_wire() of one gives")
