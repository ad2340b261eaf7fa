"""The update rules of tables: each against plain loops over floats, and one table of promises that all of them keep."""

import inspect
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.exact import same

from paracel import optim
from paracel.errors import ConfigError
from paracel.optim import (
    MAX_PARTS,
    Column,
    Part,
    adagrad,
    adam,
    builtin,
    chain,
    clip,
    clip_norm,
    from_wire,
    ftrl,
    momentum,
    proximal,
    scale,
    scale_by_adagrad,
    scale_by_adam,
    sgd,
    trace,
    weight_decay,
)

BUILTINS = {name: builtin(name) for name in ("add", "sub", "mul", "max", "min", "assign")}
FLOAT_RULES = {
    "sgd": sgd(0.1),
    "momentum": momentum(0.1),
    "nesterov": momentum(0.1, 0.8, nesterov=True),
    "adagrad": adagrad(0.3),
    "adam": adam(0.1),
    "adam without memory": adam(0.1, b1=0, b2=0),
    "ftrl": ftrl(0.5, l1=0.6, l2=0.1),
    "proximal": proximal(0.1, l1=2.0, l2=0.5),
    "scale": chain(scale(0.5)),
    "scaled sub": chain(scale(-2), "sub"),
    "scaled max": chain(scale(2), "max"),
    "clip": chain(clip(0.5), sgd(0.1)),
    "clip_norm": chain(clip_norm(0.5), sgd(0.1)),
    "weight_decay": chain(weight_decay(0.2), sgd(0.1)),
    "adamw": chain(scale_by_adam(), weight_decay(0.2), scale(-0.1)),
    "two traces": chain(trace(0.9), clip(1.0), trace(0.5, nesterov=True), scale(-0.1)),
    "clipped ftrl": chain(clip(1.0), scale_by_adagrad(), ftrl(0.5, l1=0.1)),
}
RULES = BUILTINS | FLOAT_RULES
DTYPES = ("float32", "float64")
SHAPES = [(7,), (7, 3), (7, 1), (0,), (0, 3)]

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_dim = pytest.mark.parametrize("dim", [1, 3])


def fresh_state(rule, rows):
    """The state of rows that no push has touched."""
    return {
        name: np.full(rows.shape[:1] if column.per_row else rows.shape, column.initial, rows.dtype)
        for name, column in rule.columns().items()
    }


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# --- promises of all rules ------------------------------------------------------------------------------------------


@every_rule
@each_dtype
@pytest.mark.parametrize("shape", SHAPES)
def test_every_rule_keeps_dtype_and_shape_and_changes_only_the_state(rule, dtype, shape):
    rule.check_dtype(dtype)
    rows, deltas = numbers(shape, dtype), numbers(shape, dtype, seed=1)
    rows.flags.writeable = deltas.flags.writeable = False
    state = fresh_state(rule, rows)
    arrays = dict(state)
    for _ in range(3):
        new = rule.apply(rows, deltas, state)
        assert (new.dtype, new.shape) == (rows.dtype, shape)
        assert np.isfinite(new).all()
        assert not any(np.shares_memory(new, other) for other in (rows, deltas, *arrays.values()))
        rows = new
    for name, column in rule.columns().items():
        assert state[name] is arrays[name]
        assert state[name].dtype == dtype
        assert state[name].shape == (shape[:1] if column.per_row else shape)


@every_rule
def test_every_rule_travels_as_plain_values(rule):
    wire = rule.to_wire()
    assert json.loads(json.dumps(wire)) == wire
    back = from_wire(json.loads(json.dumps(wire)))
    assert (back, hash(back), repr(back)) == (rule, hash(rule), repr(rule))
    assert back.columns() == rule.columns()
    assert same(back.to_wire(), wire)


def test_rules_are_equal_if_and_only_if_their_wire_is():
    for name, rule in RULES.items():
        assert [other for other, each in RULES.items() if each == rule] == [name]
        assert [other for other, each in RULES.items() if each.to_wire() == rule.to_wire()] == [name]


def test_the_table_has_all_rules_and_parts():
    members = inspect.getmembers(optim, inspect.isfunction)
    functions = {name for name, each in members if each.__module__ == optim.__name__ and name[0] != "_"}
    travel = {piece[0] for rule in RULES.values() for piece in (rule.to_wire(), *rule.to_wire()[1].get("parts", []))}
    chains = {"sgd", "momentum", "adagrad", "adam"}
    assert chains <= RULES.keys()
    assert functions == travel - BUILTINS.keys() | chains | {"builtin", "from_wire"}


@every_rule
def test_local_if_and_only_if_stateless_and_element_wise(rule):
    rows, deltas = numbers((7, 3), "float64"), numbers((7, 3), "float64", seed=1)
    whole = rule.apply(rows, deltas, fresh_state(rule, rows)).ravel()
    alone = rule.apply(rows.ravel(), deltas.ravel(), fresh_state(rule, rows.ravel()))
    assert rule.local == (not rule.columns() and np.array_equal(whole, alone))
    assert rule.inputs == 1


@every_rule
def test_additive_if_and_only_if_two_deltas_are_one(rule):
    rows, first, second = (numbers(50, "float64", seed) for seed in range(3))
    state = fresh_state(rule, rows)
    after_two = rule.apply(rule.apply(rows, first, state), second, state)
    at_once = rule.apply(rows, first + second, fresh_state(rule, rows))
    assert rule.additive == np.allclose(after_two, at_once)


@every_rule
@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int32", "uint64", "float16", "bool", "complex64", "U3", "O", "M8[s]"]
)
def test_which_dtypes_a_rule_takes(rule, dtype):
    allowed = rule in BUILTINS.values() and np.dtype(dtype).kind in "iuf"
    if allowed:
        rule.check_dtype(dtype)
    else:
        with pytest.raises(ConfigError, match=r"cannot work on dtype .*; allowed: .*float"):
            rule.check_dtype(dtype)


@pytest.mark.parametrize(
    "rule", [sgd(1e-60), sgd(1e60), chain(clip(1e60), "add"), ftrl(0.1, l1=1e-60), adam(0.1, epsilon=1e-60)]
)
def test_a_parameter_must_fit_the_dtype(rule):
    rule.check_dtype("float64")
    with pytest.raises(ConfigError, match=r"cannot work on dtype float32: there .*=.* is -?(0\.0|inf)"):
        rule.check_dtype("float32")


# --- the built-in rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("add", [6, 10, 5]),
        ("sub", [4, 0, 5]),
        ("mul", [5, 25, 0]),
        ("max", [5, 5, 5]),
        ("min", [1, 5, 0]),
        ("assign", [1, 5, 0]),
    ],
)
def test_builtin_rules(name, new, dtype):
    rows, deltas = np.full(3, 5, dtype), np.array([1, 5, 0], dtype)
    assert same(builtin(name).apply(rows, deltas, {}), np.array(new, dtype))
    assert same(builtin(name).apply(rows[:, None], deltas[:, None], {}), np.array(new, dtype)[:, None])


def test_large_integers_stay_exact():
    rows, one = np.array([2**62 + 1, -(2**62) - 1]), np.array([2, -2])
    assert builtin("add").apply(rows, one, {}).tolist() == [2**62 + 3, -(2**62) - 3]


# --- optimisers against plain loops ---------------------------------------------------------------------------------
# One step of one row, lists of floats: `keep` is what the row keeps from step to step. Written from the papers.


def plain_sgd(w, g, keep, lr):
    return [wi - lr * gi for wi, gi in zip(w, g)]


def plain_momentum(w, g, keep, lr, decay, nesterov):
    old = keep.get("trace", [0.0] * len(w))
    keep["trace"] = [decay * ti + gi for ti, gi in zip(old, g)]
    step = [gi + decay * ti for gi, ti in zip(g, keep["trace"])] if nesterov else keep["trace"]
    return [wi - lr * si for wi, si in zip(w, step)]


def plain_adagrad(w, g, keep, lr, initial, epsilon):
    old = keep.get("accumulator", [initial] * len(w))
    keep["accumulator"] = [ai + gi**2 for ai, gi in zip(old, g)]
    return [wi - lr * gi / math.sqrt(ai + epsilon) for wi, gi, ai in zip(w, g, keep["accumulator"])]


def plain_adam(w, g, keep, lr, b1, b2, epsilon):
    keep["count"] = keep.get("count", 0) + 1
    keep["m"] = [b1 * mi + (1 - b1) * gi for mi, gi in zip(keep.get("m", [0.0] * len(w)), g)]
    keep["v"] = [b2 * vi + (1 - b2) * gi**2 for vi, gi in zip(keep.get("v", [0.0] * len(w)), g)]
    new = []
    for wi, mi, vi in zip(w, keep["m"], keep["v"]):
        m_hat = mi / (1 - b1 ** keep["count"])
        v_hat = vi / (1 - b2 ** keep["count"])
        new.append(wi - lr * m_hat / (math.sqrt(v_hat) + epsilon))
    return new


def plain_ftrl(w, g, keep, alpha, beta, l1, l2):
    """Algorithm 1 as it stands: the row of the next round is made from z and n alone."""
    z, n = keep.setdefault("z", [0.0] * len(w)), keep.setdefault("n", [0.0] * len(w))
    new = []
    for i in range(len(w)):
        sigma = (math.sqrt(n[i] + g[i] ** 2) - math.sqrt(n[i])) / alpha
        z[i] += g[i] - sigma * w[i]
        n[i] += g[i] ** 2
        if abs(z[i]) <= l1:
            new.append(0.0)
        else:
            new.append(-1 / ((beta + math.sqrt(n[i])) / alpha + l2) * (z[i] - math.copysign(l1, z[i])))
    return new


def plain_proximal(w, g, keep, lr, l1, l2):
    stepped = [wi - lr * gi for wi, gi in zip(w, g)]
    return [math.copysign(max(abs(u) - lr * l1, 0), u) / (1 + lr * l2) for u in stepped]


def plain_clipped(w, g, keep, limit, lr):
    return plain_sgd(w, [min(max(gi, -limit), limit) for gi in g], keep, lr)


def plain_norm_clipped(w, g, keep, limit, lr):
    norm = math.hypot(*g)
    return plain_sgd(w, [gi * min(1, limit / norm) if norm else 0.0 for gi in g], keep, lr)


def plain_adamw(w, g, keep, lr, b1, b2, epsilon, rate):
    moved = plain_adam(w, g, keep, lr, b1, b2, epsilon)
    return [mi - lr * rate * wi for mi, wi in zip(moved, w)]


def plain_two_traces(w, g, keep):
    outer, inner = keep.setdefault("0.trace", [0.0] * len(w)), keep.setdefault("2.trace", [0.0] * len(w))
    new = []
    for i in range(len(w)):
        outer[i] = 0.9 * outer[i] + g[i]
        clipped = min(max(outer[i], -1.0), 1.0)
        inner[i] = 0.5 * inner[i] + clipped
        new.append(w[i] - 0.1 * (clipped + 0.5 * inner[i]))
    return new


PLAIN = {
    "sgd": (sgd(0.1), plain_sgd, (0.1,)),
    "momentum": (momentum(0.1, 0.8), plain_momentum, (0.1, 0.8, False)),
    "nesterov": (momentum(0.1, 0.8, nesterov=True), plain_momentum, (0.1, 0.8, True)),
    "momentum by default": (momentum(0.1), plain_momentum, (0.1, 0.9, False)),
    "adagrad": (adagrad(0.3, 0.2, 0.01), plain_adagrad, (0.3, 0.2, 0.01)),
    "adagrad by default": (adagrad(0.3), plain_adagrad, (0.3, 0.1, 1e-7)),
    "adam": (adam(0.1, 0.7, 0.95, 0.01), plain_adam, (0.1, 0.7, 0.95, 0.01)),
    "adam by default": (adam(0.1), plain_adam, (0.1, 0.9, 0.999, 1e-8)),
    "adam without memory": (adam(0.1, 0, 0, 1e-4), plain_adam, (0.1, 0, 0, 1e-4)),
    "ftrl": (ftrl(0.5, 0.7, 1.0, 0.3), plain_ftrl, (0.5, 0.7, 1.0, 0.3)),
    "ftrl by default": (ftrl(0.5), plain_ftrl, (0.5, 1.0, 0.0, 0.0)),
    "proximal": (proximal(0.1, 2.0, 0.5), plain_proximal, (0.1, 2.0, 0.5)),
    "proximal by default": (proximal(0.1), plain_proximal, (0.1, 0.0, 0.0)),
    "clip": (chain(clip(0.5), sgd(0.1)), plain_clipped, (0.5, 0.1)),
    "clip_norm": (chain(clip_norm(0.9), sgd(0.1)), plain_norm_clipped, (0.9, 0.1)),
    "adamw": (
        chain(scale_by_adam(), weight_decay(0.2), scale(-0.1)),
        plain_adamw,
        (0.1, 0.9, 0.999, 1e-8, 0.2),
    ),
    "two traces": (RULES["two traces"], plain_two_traces, ()),
}


@pytest.mark.parametrize("name", PLAIN)
@each_dtype
@each_dim
def test_optimisers_against_plain_loops(name, dtype, dim):
    """Ten rows pushed now and then, each with a history of its own; one is never pushed, one gets gradients of 0."""
    rule, plain, parameters = PLAIN[name]
    random = np.random.default_rng(7)
    table = np.zeros(10 if dim == 1 else (10, dim), dtype)
    state = fresh_state(rule, table)
    expected, kept = [[0.0] * dim for _ in range(10)], [{} for _ in range(10)]
    for _ in range(12):
        at = random.permutation(9)[: random.integers(1, 9)]
        deltas = random.normal(size=(len(at), *table.shape[1:])).astype(dtype)
        deltas[at == 3] = 0
        part = {key: column[at] for key, column in state.items()}
        table[at] = rule.apply(table[at], deltas, part)
        for key, column in part.items():
            state[key][at] = column
        for row, delta in zip(at, deltas):
            expected[row] = plain(expected[row], np.atleast_1d(delta).astype(float).tolist(), kept[row], *parameters)
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-14}
    np.testing.assert_allclose(table.reshape(10, dim), expected, **tolerance)
    for key, column in state.items():
        for row in range(10):
            if key in kept[row]:
                np.testing.assert_allclose(column[row], np.squeeze(kept[row][key]), **tolerance)
    assert not table[9].any()


@each_dtype
def test_the_first_step_of_adam_is_the_learning_rate_whenever_a_row_comes(dtype):
    rule, rows = adam(0.01), np.zeros((2, 3), dtype)
    state = fresh_state(rule, rows)
    first = {name: column[:1] for name, column in state.items()}
    for _ in range(100):
        rule.apply(rows[:1], np.ones((1, 3), dtype), first)
    rows = rule.apply(rows, np.array([[1, 1, 1], [-5, 9, 70]], dtype), state)
    np.testing.assert_allclose(rows[1], [0.01, -0.01, -0.01], rtol=1e-6)
    assert state["count"].tolist() == [101, 1]


@pytest.mark.parametrize(
    "name", ["sgd", "momentum", "nesterov", "adagrad", "adam", "ftrl by default", "proximal by default"]
)
def test_optimisers_find_a_minimum(name):
    rule = PLAIN[name][0]
    target = np.array([1.0, -0.5, 0.25])
    rows = np.zeros(3)
    state = fresh_state(rule, rows)
    for _ in range(400):
        rows = rule.apply(rows, rows - target, state)
    np.testing.assert_allclose(rows, target, atol=1e-2)


@each_dtype
def test_ftrl_is_exactly_0_if_and_only_if_z_is_within_l1(dtype):
    rule, rows = ftrl(0.5, l1=1.0), np.zeros(200, dtype)
    state = fresh_state(rule, rows)
    zeros = set()
    for seed in range(6):
        rows = rule.apply(rows, numbers(200, dtype, seed), state)
        assert np.array_equal(rows == 0, abs(state["z"]) <= 1)
        assert not np.signbit(rows[rows == 0]).any()
        zeros.add(int((rows == 0).sum()))
    assert min(zeros) > 0
    assert max(zeros) < 200


def test_ftrl_minimises_the_sum_it_is_defined_by():
    """Equation 1 of McMahan et al.: w = argmin g.w + 1/2 sum of sigma_s (w - w_s)**2 + l1 |w| + l2 / 2 w**2."""
    alpha, beta, l1, l2 = 0.5, 1.0, 0.4, 0.3
    rule, rows = ftrl(alpha, beta, l1, l2), np.zeros(1)
    state = fresh_state(rule, rows)
    gradients = numbers(5, "float64", 3)
    centres, sigmas, squares = [], [], 0.0
    for at, gradient in enumerate(gradients):
        centres.append(rows[0])
        # the rate of round t is alpha / (beta + sqrt(n)), and the sigmas up to it sum to its inverse
        squares += gradient**2
        sigmas.append((beta + math.sqrt(squares)) / alpha - sum(sigmas))
        rows = rule.apply(rows, np.array([gradient]), state)
        grid = np.linspace(-3, 3, 600_001)
        cost = gradients[: at + 1].sum() * grid + l1 * abs(grid) + l2 / 2 * grid**2
        cost += sum(sigma / 2 * (grid - centre) ** 2 for sigma, centre in zip(sigmas, centres))
        assert abs(rows[0] - grid[cost.argmin()]) < 2e-5


def test_proximal_minimises_what_it_says():
    rate, l1, l2 = 0.5, 0.8, 0.6
    rows, deltas = numbers(20, "float64"), numbers(20, "float64", 1)
    new = proximal(rate, l1, l2).apply(rows, deltas, {})
    grid = np.linspace(-5, 5, 100_001)
    for u, w in zip(rows - rate * deltas, new):
        cost = (grid - u) ** 2 / 2 + rate * (l1 * abs(grid) + l2 / 2 * grid**2)
        assert abs(w - grid[cost.argmin()]) < 1e-4
    assert 0 < (new == 0).sum() < 20
    assert not np.signbit(new[new == 0]).any()


# --- parts and chains -----------------------------------------------------------------------------------------------


@each_dtype
def test_clip_norm_of_gradients_that_explode_or_vanish(dtype):
    rule = chain(clip_norm(5.0))
    deltas = np.array([[3e30, 4e30], [0, 0], [3, 4], [-30, 40], [1e-30, 0]], dtype)
    new = rule.apply(np.zeros_like(deltas), deltas, {})
    np.testing.assert_allclose(new, [[3, 4], [0, 0], [3, 4], [-3, 4], [1e-30, 0]], rtol=1e-6)
    np.testing.assert_allclose(rule.apply(np.zeros(2, dtype), np.array([-7, 2], dtype), {}), [-5, 2])


def test_the_optimisers_are_chains():
    assert sgd(0.1) == chain(scale(-0.1), "add") == chain(scale(-0.1), builtin("add")) == chain(scale(-0.1))
    assert momentum(0.1, 0.8, nesterov=True) == chain(trace(0.8, nesterov=True), scale(-0.1))
    assert adagrad(0.1, 0.2, 0.3) == chain(scale_by_adagrad(0.2, 0.3), scale(-0.1))
    assert adam(0.1, 0.2, 0.3, 0.4) == chain(scale_by_adam(0.2, 0.3, 0.4), scale(-0.1))
    assert adam(0.1) != adam(0.1, b1=0.8)
    assert chain(scale(-1.0)) != chain(scale(-1.0), "sub")
    assert repr(chain(clip(1), sgd(0.1))) == "chain(clip(limit=1.0), scale(factor=-0.1), 'add')"


def test_a_chain_at_the_end_of_a_chain_is_taken_apart():
    assert chain(clip(1.0), chain(trace(0.9), sgd(0.1))) == chain(clip(1.0), trace(0.9), scale(-0.1), "add")
    assert chain(ftrl(0.1)) == ftrl(0.1)
    assert chain("max") == builtin("max")
    assert chain() == builtin("add")


@each_dim
def test_a_chain_is_its_parts_one_after_the_other(dim):
    parts, rule = [clip(0.8), scale_by_adam(), weight_decay(0.1), trace(0.5), clip_norm(0.7), scale(-0.3)], ftrl(0.5)
    whole = chain(*parts, rule)
    rows = numbers((5, dim), "float64")
    state = fresh_state(whole, rows)
    states = [fresh_state(piece, rows) for piece in (*parts, rule)]
    by_hand = rows
    for seed in range(4):
        deltas = numbers((5, dim), "float64", seed)
        rows = whole.apply(rows, deltas, state)
        for part, own in zip(parts, states):
            deltas = part.transform(by_hand, deltas, own)
        by_hand = rule.apply(by_hand, deltas, states[-1])
        assert np.array_equal(rows, by_hand)


def test_columns_have_plain_names_unless_two_parts_have_the_same():
    shaped = Column()
    assert momentum(0.1).columns() == {"trace": shaped}
    assert adagrad(0.1, initial=0.3).columns() == {"accumulator": Column(0.3)}
    assert adam(0.1).columns() == {"m": shaped, "v": shaped, "count": Column(per_row=True)}
    assert ftrl(0.1).columns() == chain(clip(1.0), ftrl(0.1)).columns() == {"z": shaped, "n": shaped}
    twice = chain(trace(0.9), clip(1.0), trace(0.5), scale_by_adagrad(), momentum(0.1))
    assert list(twice.columns()) == ["0.trace", "2.trace", "accumulator", "4.trace"]
    for rule in RULES.values():
        pieces = [from_wire(["chain", {"parts": [piece]}]) for piece in rule.to_wire()[1].get("parts", [])]
        if pieces:
            assert len(rule.columns()) == sum(len(piece.columns()) for piece in pieces)


@pytest.mark.parametrize(
    "parts",
    [
        ("add", scale(1.0)),
        (sgd(0.1), clip(1.0)),
        (ftrl(0.1), "add"),
        (ftrl(0.1), sgd(0.1)),
        (scale(1.0), lambda rows: rows),
        (None,),
        (0.1, scale(1.0)),
        ([scale(1.0)],),
    ],
)
def test_only_the_last_part_makes_rows(parts):
    with pytest.raises(ConfigError, match=r"chain\(\) with .*; allowed: parts, such as clip"):
        chain(*parts)


def test_chains_have_a_longest():
    longest = chain(*[scale(1.0)] * (MAX_PARTS - 1))
    assert from_wire(longest.to_wire()) == longest
    with pytest.raises(ConfigError, match=f"chain.. of {MAX_PARTS + 1} parts; allowed: up to {MAX_PARTS}"):
        chain(scale(1.0), longest)


# --- what is refused ------------------------------------------------------------------------------------------------

NOT_NUMBERS = [math.nan, math.inf, -math.inf, "0.1", None, True, 1j, [0.1], np.array([0.1]), 10**400]
POSITIVE, FROM_0, FRACTION = [0, -0.1], [-0.1], [-0.1, 1, 1.5]


@pytest.mark.parametrize(
    ("make", "name", "wrong"),
    [
        (sgd, "learning_rate", POSITIVE),
        (momentum, "learning_rate", POSITIVE),
        (lambda x: momentum(0.1, x), "decay", FRACTION),
        (adagrad, "learning_rate", POSITIVE),
        (lambda x: adagrad(0.1, initial=x), "initial", FROM_0),
        (lambda x: adagrad(0.1, epsilon=x), "epsilon", POSITIVE),
        (adam, "learning_rate", POSITIVE),
        (lambda x: adam(0.1, b1=x), "b1", FRACTION),
        (lambda x: adam(0.1, b2=x), "b2", FRACTION),
        (lambda x: adam(0.1, epsilon=x), "epsilon", POSITIVE),
        (ftrl, "alpha", POSITIVE),
        (lambda x: ftrl(0.1, beta=x), "beta", POSITIVE),
        (lambda x: ftrl(0.1, l1=x), "l1", FROM_0),
        (lambda x: ftrl(0.1, l2=x), "l2", FROM_0),
        (proximal, "learning_rate", POSITIVE),
        (lambda x: proximal(0.1, l1=x), "l1", FROM_0),
        (lambda x: proximal(0.1, l2=x), "l2", FROM_0),
        (scale, "factor", []),
        (clip, "limit", POSITIVE),
        (clip_norm, "limit", POSITIVE),
        (weight_decay, "rate", FROM_0),
        (trace, "decay", FRACTION),
    ],
)
def test_parameters_are_checked_when_a_rule_is_made(make, name, wrong):
    for value in wrong + NOT_NUMBERS:
        with pytest.raises(ConfigError, match=rf"^{name}=.*; allowed: (finite )?numbers"):
            make(value)
    allowed = {0, 0.5, 1, 2, -0.1} - set(wrong) - ({2} if wrong is FRACTION else set())
    for value in allowed:
        make(value)


def test_other_parameters():
    with pytest.raises(ConfigError, match="nesterov=1; allowed: True, False"):
        trace(0.9, nesterov=1)
    for name in ("summ", "append", "ftrl", None, ["add"]):
        with pytest.raises(ConfigError, match=r"no rule .*; allowed: add, sub, mul, max, min, assign"):
            builtin(name)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, Fraction, int])
def test_numbers_of_other_types_do_not_widen_the_rows(kind):
    rule = chain(clip(kind(2)), weight_decay(kind(1)), sgd(kind(1)))
    assert rule == chain(clip(2.0), weight_decay(1.0), sgd(1.0))
    rows = np.ones(3, "float32")
    assert rule.apply(rows, rows, {}).dtype == "float32"


ADD, SCALE = ["add", {}], ["scale", {"factor": 1.0}]


@pytest.mark.parametrize(
    "data",
    [
        None,
        "add",
        [],
        ["add"],
        ["add", {}, {}],
        ["add", []],
        ["add", {"x": 1}],
        ["append", {}],
        ["sgd", {"learning_rate": 0.1}],
        ["builtin", {"name": "add"}],
        ["from_wire", {"data": ADD}],
        [["add"], {}],
        [b"add", {}],
        {"add": {}},
        [np.zeros(2), {}],
        ["ftrl", {"alpha": np.zeros(2), "beta": 1.0, "l1": 0.0, "l2": 0.0}],
        ["chain", {"parts": np.zeros(2)}],
        ["chain", {"parts": [np.zeros(2), np.zeros(2)]}],
        SCALE,
        ["ftrl", {"alpha": 0.1}],
        ["ftrl", {"alpha": 0.1, "beta": 1.0, "l1": 0.0, "l2": -1.0}],
        ["ftrl", {"alpha": 0.1, "beta": 1.0, "l1": 0.0, "l2": 0.0, "l3": 0.0}],
        ["ftrl", {"alpha": 0.1, "beta": 1.0, "l1": 0.0, 2: 0.0}],
        ["ftrl", {"alpha": [[]], "beta": 1.0, "l1": 0.0, "l2": 0.0}],
        ["chain", {}],
        ["chain", []],
        ["chain", {"parts": None}],
        ["chain", {"parts": "add"}],
        ["chain", {"parts": {"add": {}}}],
        ["chain", {"parts": [SCALE, "add"]}],
        ["chain", {"parts": [ADD, SCALE]}],
        ["chain", {"parts": [SCALE, ADD], "names": []}],
        ["chain", {"parts": [SCALE, ["chain", {"parts": [SCALE, ADD]}]]}],
        ["chain", {"parts": [SCALE] * MAX_PARTS + [ADD]}],
        ["chain", {"parts": [SCALE] * 10**6}],
    ],
    ids=lambda data: repr(data)[:60],
)
def test_what_comes_over_the_wire_is_not_trusted(data):
    with pytest.raises(ConfigError) as caught:
        from_wire(data)
    assert len(str(caught.value)) < 1000


def test_the_wire_does_not_nest():
    data = ADD
    for _ in range(100_000):
        data = ["chain", {"parts": [data]}]
    with pytest.raises(ConfigError):
        from_wire(data)
    while data is not ADD:  # or it is freed recursively
        data = data[1]["parts"].pop()


WORDS = st.sampled_from(
    ["add", "chain", "parts", "scale", "factor", "clip", "limit", "ftrl", "trace", "decay", "nesterov"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.binary(max_size=3)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))


@given(TREES | st.tuples(WORDS, st.dictionaries(WORDS, TREES, max_size=2)).map(list))
def test_anything_may_come_over_the_wire(data):
    try:
        rule = from_wire(data)
    except ConfigError:
        return
    assert not isinstance(rule, Part)
    assert from_wire(rule.to_wire()) == rule
