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
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from paracel.errors import ConfigError
from paracel.optim.base import Column, Named, Part, Rule
from paracel.optim.parts import Clip, ClipNorm, Scale, ScaleByAdagrad, ScaleByAdam, Trace, WeightDecay
from paracel.optim.rules import BUILTINS, Builtin, Chain, Ftrl, Proximal

__all__ = [
    "BUILTINS",
    "MAX_PARTS",
    "Column",
    "Part",
    "Rule",
    "adagrad",
    "adam",
    "builtin",
    "chain",
    "clip",
    "clip_norm",
    "from_wire",
    "ftrl",
    "momentum",
    "proximal",
    "scale",
    "scale_by_adagrad",
    "scale_by_adam",
    "sgd",
    "trace",
    "weight_decay",
]

#: The most parts of a chain: what comes over the wire is bounded, and so is what may be sent.
MAX_PARTS = 64


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
    if isinstance(pieces[-1], Chain):
        pieces[-1:] = pieces[-1].pieces()
    *steps, rule = pieces
    wrong = [repr(step) for step in steps if not isinstance(step, Part)]
    if not isinstance(rule, Rule) or not isinstance(rule, Named):
        wrong.append(repr(rule))
    if wrong:
        allowed = "parts, such as clip(1.0), and as the last a rule, such as 'add', ftrl(0.1), adam(0.1)"
        raise ConfigError(f"chain() with {', '.join(wrong)}; allowed: {allowed}")
    if len(pieces) > MAX_PARTS:
        raise ConfigError(f"chain() of {len(pieces)} parts; allowed: up to {MAX_PARTS}")
    return Chain.of(tuple(steps), rule) if steps else rule


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
    return Ftrl(_positive("alpha", alpha), _positive("beta", beta), _from_0("l1", l1), _from_0("l2", l2))


def proximal(learning_rate: float, l1: float = 0.0, l2: float = 0.0) -> Rule:
    """A gradient step, then the proximal operator of `learning_rate * (l1 * |w| + l2 / 2 * w**2)`: exact zeros by l1.

    Proximal gradient, Parikh, Boyd, Proximal Algorithms, 2014, sections 4.2 and 6.5.2.
    """
    return Proximal(_positive("learning_rate", learning_rate), _from_0("l1", l1), _from_0("l2", l2))


def scale(factor: float) -> Part:
    """`factor * deltas`."""
    return Scale(_finite("factor", factor))


def clip(limit: float) -> Part:
    """Each number of the deltas into [-limit, limit]."""
    return Clip(_positive("limit", limit))


def clip_norm(limit: float) -> Part:
    """Each row of the deltas shrunk to an L2 norm of at most `limit`."""
    return ClipNorm(_positive("limit", limit))


def weight_decay(rate: float) -> Part:
    """`deltas + rate * rows`: an L2 penalty before an optimiser's part, decoupled decay after it.

    The latter is AdamW (Loshchilov, Hutter, ICLR 2019): `chain(scale_by_adam(), weight_decay(0.01), scale(-0.001))`.
    """
    return WeightDecay(_from_0("rate", rate))


def trace(decay: float, nesterov: bool = False) -> Part:
    """`trace = decay * trace + deltas`, which are the new deltas; with `nesterov` they are `deltas + decay * trace`."""
    if not isinstance(nesterov, bool):
        raise ConfigError(f"nesterov={nesterov!r}; allowed: True, False")
    return Trace(_fraction("decay", decay), nesterov)


def scale_by_adagrad(initial: float = 0.1, epsilon: float = 1e-7) -> Part:
    """`accumulator += deltas**2`; the new deltas are `deltas / sqrt(accumulator + epsilon)`."""
    return ScaleByAdagrad(_from_0("initial", initial), _positive("epsilon", epsilon))


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8) -> Part:
    """The unbiased mean of the deltas over (the root of that of their squares + epsilon), see `adam`."""
    return ScaleByAdam(_fraction("b1", b1), _fraction("b2", b2), _positive("epsilon", epsilon))


def builtin(name: str) -> Rule:
    """The built-in rule of this name: add, sub, mul, max, min or assign. They keep the dtype, integers too."""
    if not isinstance(name, str) or name not in BUILTINS:
        raise ConfigError(f"no rule {reprlib.repr(name)}; allowed: {', '.join(BUILTINS)}")
    return Builtin(name, additive=name in ("add", "sub"))


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
