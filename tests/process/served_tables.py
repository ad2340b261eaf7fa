"""What servers do with tables: updaters, initial values, functions and filters that they import from this file."""

import time
from typing import Any

import numpy as np

import paracel


@paracel.updater(state={"times": 0.0})
def counted(rows: Any, deltas: Any, state: Any) -> Any:
    """Adds, and counts how often."""
    state["times"] += 1
    return rows + deltas


@paracel.updater(state={"largest": -1.0}, inputs=2)
def weighted(rows: Any, deltas: Any, state: Any) -> Any:
    values, weights = deltas
    np.maximum(state["largest"], weights, out=state["largest"])
    return rows - values * weights


@paracel.updater
def refuse(rows: Any, deltas: Any, state: Any) -> Any:
    """Takes what is above 0 only, and says so."""
    if (deltas <= 0).any():
        raise ValueError(f"no delta of {deltas.min()} for {len(rows)} rows")
    return rows + deltas


@paracel.updater
def too_short(rows: Any, deltas: Any, state: Any) -> Any:
    return rows[:-1]


@paracel.updater
def complex_rows(rows: Any, deltas: Any, state: Any) -> Any:
    return rows + 1j


@paracel.updater
def spoils_its_input(rows: Any, deltas: Any, state: Any) -> Any:
    rows[:] = -1
    return rows


@paracel.updater
def gives_the_deltas(rows: Any, deltas: Any, state: Any) -> Any:
    return deltas


def by_key(keys: Any) -> Any:
    return (keys % np.uint64(100)).astype(np.float32)


def unlucky(keys: Any) -> Any:
    if (keys == 13).any():
        raise ValueError("13 is unlucky")
    return np.full(len(keys), 5.0)


def one_too_many(keys: Any) -> Any:
    return np.zeros(len(keys) + 1)


@paracel.server_function
def total(keys: Any, rows: Any, state: Any) -> float:
    return float(rows.sum(dtype="float64"))


@paracel.server_function
def multiply(keys: Any, rows: Any, state: Any, factor: float) -> int:
    rows *= factor
    return len(keys)


@paracel.server_function
def listed(keys: Any, rows: Any, state: Any, names: Any) -> Any:
    return keys, rows, [state[name] for name in names]


@paracel.server_function
def fail(keys: Any, rows: Any, state: Any) -> None:
    raise KeyError("nothing here")


@paracel.server_function
def hand_out_a_type(keys: Any, rows: Any, state: Any) -> type:
    return int


@paracel.server_function
def span(keys: Any, rows: Any, state: Any) -> tuple[int, int]:
    """When it began and ended, by the clock of the host. It adds 1 to its rows."""
    began = time.monotonic_ns()
    rows += 1
    return began, time.monotonic_ns()


def halve(values: list[Any]) -> list[Any]:
    """Half as many bytes: for whole numbers that are not large."""
    return [value.astype(np.float16) for value in values]


def unhalve(payload: list[Any]) -> list[Any]:
    return [value.astype(np.float32) for value in payload]


def unhalve_badly(payload: list[Any]) -> list[Any]:
    """Fine for the samples that it is tried with, and wrong for others."""
    return [value.astype(np.float32)[:4] for value in payload]
