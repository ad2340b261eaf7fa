"""What a table is: its settings, checked when they are given, and how two tables of one name differ. No rows here."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from paracel import optim
from paracel.checks import check_count
from paracel.errors import ConfigError, TableError
from paracel.optim import Rule
from paracel.tables.initial import Initial
from paracel.tables.initial import from_wire as initial_from_wire
from paracel.tables.initial import make as make_initial
from paracel.tables.keeping import MOST_COUNT
from paracel.values import check_key

APPLY = ("push", "commit")
#: So that a server never multiplies sizes beyond 64 bits.
MOST_ROWS = 1 << 48
#: So that the list of a dense table's blocks is small.
MOST_BYTES = 1 << 42
MOST_DIM = 1 << 24
FUNCTION = "function"
_OPTIMISERS = (optim.sgd, optim.momentum, optim.adagrad, optim.adam, optim.ftrl, optim.proximal)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """The settings of a table, as plain values. `init` and `updater` are wire forms, or ["function", reference].

    `size` None makes it sparse. Rows have shape (dim,), and with `dim` 1 are single numbers.
    """

    name: str
    size: int | None
    dim: int
    dtype: str
    init: list[Any]
    seed: int
    updater: list[Any]
    apply: str
    admit_after: int
    expire_after: int | None
    max_rows: int | None

    @property
    def tail(self) -> tuple[int, ...]:
        """The shape of one row."""
        return () if self.dim == 1 else (self.dim,)

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return self.dim * np.dtype(self.dtype).itemsize

    def to_wire(self) -> dict[str, Any]:
        """Plain values by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_wire(cls, data: Any) -> "TableSpec":
        """The reverse. Raises ConfigError for anything that no table can be."""
        names = {each.name for each in fields(cls)}
        if not isinstance(data, dict) or data.keys() != names:
            raise ConfigError(f"not the settings of a table; they are: {', '.join(sorted(names))}")
        return make_spec(**{**data, "init": _Given(data["init"]), "updater": _Given(data["updater"])})

    def check_same(self, asked: "TableSpec") -> None:
        """Raise TableError, showing both, unless these settings are the same."""
        ours, theirs = self.to_wire(), asked.to_wire()
        different = [name for name in ours if ours[name] != theirs[name]]
        if different:
            there = ", ".join(f"{name}={_shown(name, ours[name])}" for name in different)
            here = ", ".join(f"{name}={_shown(name, theirs[name])}" for name in different)
            raise TableError(f"table {self.name!r} exists with {there}; it was asked for with {here}")


@dataclass(frozen=True, slots=True)
class _Given:
    """A setting that is in its wire form already."""

    wire: Any


def make_spec(
    name: str,
    size: int | None = None,
    dim: int = 1,
    dtype: DTypeLike = "float32",
    *,
    init: Any = 0.0,
    seed: int = 0,
    updater: Any = "add",
    apply: str = "push",
    admit_after: int = 1,
    expire_after: int | None = None,
    max_rows: int | None = None,
) -> TableSpec:
    """The settings, checked; ConfigError says what is wrong with one."""
    check_key(name)
    if size is not None:
        _check_between("size", size, 1, MOST_ROWS)
    _check_between("dim", dim, 1, MOST_DIM)
    _check_between("seed", seed, 0, (1 << 63) - 1)
    kind = _checked_dtype(dtype)
    if size is not None and size * dim * kind.itemsize > MOST_BYTES:
        raise ConfigError(f"size={size} with dim={dim} and dtype={kind.name} is more than {MOST_BYTES >> 40} TiB")
    if apply not in APPLY:
        raise ConfigError(f"apply={apply!r}; allowed: {', '.join(map(repr, APPLY))}")
    _check_keeping(size, admit_after, expire_after, max_rows)
    return TableSpec(
        name, size, dim, kind.name, _initial_wire(init, kind), seed, _updater_wire(updater, kind), apply,
        admit_after, expire_after, max_rows,
    )  # fmt: skip


def _check_between(name: str, given: object, least: int, most: int) -> None:
    check_count(name, given, least)
    if isinstance(given, int) and given > most:
        raise ConfigError(f"{name}={given}; allowed: whole numbers from {least} to {most}")


def _check_keeping(size: int | None, admit_after: int, expire_after: int | None, max_rows: int | None) -> None:
    _check_between("admit_after", admit_after, 1, int(MOST_COUNT))
    for name, given in (("expire_after", expire_after), ("max_rows", max_rows)):
        if given is not None:
            check_count(name, given, 1)
    if size is not None and (admit_after, expire_after, max_rows) != (1, None, None):
        raise ConfigError("admit_after, expire_after and max_rows are for sparse tables; a dense one has all its rows")


def _checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype).newbyteorder("=")
    except (TypeError, ValueError, SyntaxError) as error:  # numpy's for '(1,'
        raise ConfigError(f"dtype={dtype!r} is no dtype: {error}") from None
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise ConfigError(f"dtype={kind.name}; allowed: integers and floats of at most 64 bits")
    return kind


def _initial_wire(init: Any, kind: np.dtype[Any]) -> list[Any]:
    if isinstance(init, _Given) and _is_function(init.wire):
        return list(init.wire)
    initial = initial_from_wire(init.wire) if isinstance(init, _Given) else make_initial(init)
    initial.check_dtype(kind)
    return initial.to_wire()


def _updater_wire(updater: Any, kind: np.dtype[Any]) -> list[Any]:
    if isinstance(updater, _Given):
        if _is_function(updater.wire):
            return list(updater.wire)
        rule = optim.from_wire(updater.wire)
    else:
        rule = updater if isinstance(updater, Rule) else _builtin(updater)
    rule.check_dtype(kind)
    return rule.to_wire()


def _builtin(name: object) -> Rule:
    """The built-in rule; of a name that is none, ConfigError says what may be meant."""
    if name in optim.BUILTINS or not isinstance(name, str):
        return optim.builtin(name)  # type: ignore[arg-type]
    meant = {each: repr(each) for each in optim.BUILTINS}
    meant |= {make.__name__: call_of(make) for make in _OPTIMISERS}
    near = get_close_matches(name, meant, 1)
    hint = f" Did you mean {meant[near[0]]}?" if near else ""
    raise ConfigError(f"no updater {name!r}; built in: {', '.join(optim.BUILTINS)}.{hint}")


def call_of(make: Callable[..., Any]) -> str:
    """How a rule is made, with the first parameter of its function, as in `paracel.optim.sgd(learning_rate)`."""
    return f"{make.__module__}.{make.__name__}({next(iter(signature(make).parameters))})"


def function_wire(reference: str) -> Any:
    """The setting that stands for a user's function."""
    return _Given([FUNCTION, reference])


def _is_function(wire: Any) -> bool:
    return isinstance(wire, list) and len(wire) == 2 and wire[0] == FUNCTION and isinstance(wire[1], str)


def function_of(wire: Any) -> str | None:
    """The reference in a setting that is a user's function; None of a built-in one."""
    return str(wire[1]) if _is_function(wire) else None


def rule_of(spec: TableSpec, find: Callable[[str], Rule]) -> Rule:
    """The rule of a table's updater; `find` makes that of a user's function."""
    reference = function_of(spec.updater)
    return optim.from_wire(spec.updater) if reference is None else find(reference)


def initial_of(spec: TableSpec) -> Initial:
    """How a built-in initial value is made."""
    return initial_from_wire(spec.init)


def _shown(name: str, setting: Any) -> str:
    """A setting as its user wrote it, more or less."""
    reference = function_of(setting)
    if reference is not None:
        return reference
    return repr({"updater": optim.from_wire, "init": initial_from_wire}.get(name, lambda same: same)(setting))
