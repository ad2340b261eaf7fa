"""The tables of a simulated job: their settings, their keys, and the functions that servers run on them."""

import math
import random
from typing import Any

import numpy as np

from paracel import functions, optim
from paracel.filters import Compressing, DropZeros, FixedPoint, KeyCaching, SignificantlyModified
from paracel.tables.spec import TableSpec, function_wire, make_spec

from .history import PARTIES
from .table_history import CLOCKS

SIZE = 3 * PARTIES
#: What an updater on the servers refuses.
POISON = 13

_draw = random.Random(0)
SPARSE_KEYS = [0, 1, (1 << 64) - 1, *(_draw.getrandbits(64) for _ in range(9))]

COUNTS = ("dense counts", "sparse counts")
COMMITS = ("dense commits", "sparse commits")
SETTINGS: dict[str, dict[str, Any]] = {
    "dense counts": {"size": SIZE, "dim": PARTIES, "dtype": "int64"},
    "sparse counts": {"dim": PARTIES, "dtype": "int64"},
    "dense commits": {"size": SIZE, "dim": CLOCKS, "dtype": "int64", "apply": "commit"},
    "sparse commits": {"dim": CLOCKS, "dtype": "int64", "apply": "commit"},
    "assigned": {"size": SIZE, "dim": 2, "dtype": "int64", "updater": "assign"},
    "momentum": {"dtype": "float64", "updater": optim.momentum(0.5, 0.5)},
    "checked": {"dtype": "int64", "updater": function_wire("checked")},
    "told": {"size": SIZE, "dim": 2, "dtype": "int64", "updater": "assign"},
    "sums": {"size": SIZE, "dtype": "int64"},
    "rounded": {"dim": 2, "dtype": "float64"},
    "calls": {"size": SIZE, "dim": CLOCKS, "dtype": "int64"},
}

#: What filters a push or a pull may have that must change nothing.
LOSSLESS = (
    (),
    (),
    (KeyCaching(40),),
    (KeyCaching(40),),
    (DropZeros(),),
    (Compressing(),),
    (KeyCaching(40), DropZeros(), Compressing()),
)
THRESHOLD = 5.0
SIGNIFICANT = SignificantlyModified(THRESHOLD)
ROUNDED = (FixedPoint(6),)
ROUGH = (ROUNDED, (KeyCaching(40), *ROUNDED), (SignificantlyModified(0.5), *ROUNDED, Compressing()))
STALENESS = (None, 0, 1, 3, math.inf)


def spec_of(name: str, **changed: Any) -> TableSpec:
    """The settings of one of the tables."""
    return make_spec(name, **{**SETTINGS[name], **changed})


@functions.updater(state={"pushes": 0.0})
def checked(rows: Any, deltas: Any, state: dict[str, Any]) -> Any:
    """Twice the deltas are added, unless one of them is not allowed."""
    if np.any(deltas == POISON):
        raise ValueError("an updater that refuses its deltas")
    state["pushes"] += 1
    return rows + 2 * deltas


def count_once(_keys: Any, rows: Any, _state: Any, clock: int) -> list[int]:
    """Note in the rows that it ran in this clock; which numbers are there now."""
    rows[:, clock] += 1
    return sorted(set(rows[:, clock].tolist()))


def count_keys(_keys: Any, rows: Any, _state: Any, party: int) -> int:
    """Count once more for the party; how many keys."""
    rows[:, party] += 1
    return len(rows)


def refuse(_keys: Any, _rows: Any, _state: Any, number: int) -> None:
    """Never goes well."""
    raise ValueError(f"function {number} does not want to")


def register(known: functions.Functions) -> None:
    """Make servers know all of them."""
    known.add("table_updater", "checked", checked)
    for function in (count_once, count_keys, refuse):
        known.add("table_function", function.__name__, function)
