"""The plainest possible versions of what the core does, to compare it with. Slow on purpose, and obvious."""

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_RULES = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@dataclass
class NaiveClock:
    """The SSP clock by its definition: the least of the clocks of those who run."""

    clocks: dict[int, int]
    running: set[int] = field(default_factory=set)
    waiting: list[tuple[int, int]] = field(default_factory=list)  # what is needed, and a number that grows

    def __post_init__(self) -> None:
        self.running = set(self.clocks)

    @property
    def value(self) -> int:
        counted = [clock for worker, clock in self.clocks.items() if worker in self.running]
        return min(counted) if counted else max(self.clocks.values(), default=0)

    def reached(self, minimum: int) -> bool:
        return not self.running or all(self.clocks[worker] >= minimum for worker in self.running)

    def commit(self, worker: int, clock: int) -> list[int]:
        if worker in self.clocks and clock > self.clocks[worker]:
            self.clocks[worker] = clock
        return self.release()

    def leave(self, worker: int) -> list[int]:
        self.running -= {worker}
        return self.release()

    def enter(self, worker: int) -> int:
        if worker in self.clocks and worker not in self.running:
            self.clocks[worker] = max(self.clocks.values())
            self.running |= {worker}
        return self.clocks.get(worker, 0)

    def release(self) -> list[int]:
        free = sorted(item for item in self.waiting if self.reached(item[0]))
        self.waiting = [item for item in self.waiting if item not in free]
        return [number for _, number in free]


def plain_update(value: Any, delta: Any, updater: str) -> Any:
    """A built-in updater on a value that is there, written out. Raises where it does not fit."""
    if updater == "assign":
        return copy.deepcopy(delta)
    if updater in ("append", "extend", "union", "merge_add"):
        return _container_update(copy.deepcopy(value), copy.deepcopy(delta), updater)
    if isinstance(value, np.ndarray):
        return _array_update(value, delta, updater)
    if isinstance(delta, np.ndarray):
        return _RULES[updater](value, delta)
    if updater in ("max", "min"):
        return {"max": max, "min": min}[updater](value, delta)
    new = {"add": lambda: value + delta, "sub": lambda: value - delta, "mul": lambda: value * delta}[updater]()
    if type(new) is int and not -(1 << 63) <= new < 1 << 64:
        raise OverflowError("more than 64 bits")
    return new


def first(delta: Any, updater: str) -> Any:
    """What an update of a missing key writes: the delta, and lists where the updater keeps lists."""
    if updater == "append":
        return [delta]
    return list(delta) if updater in ("extend", "union") and isinstance(delta, tuple) else delta


def _array_update(value: Any, delta: Any, updater: str) -> Any:
    new = _RULES[updater](value, delta)
    if value.ndim and new.shape != value.shape:
        raise ValueError("the shape changed")
    if new.dtype.kind not in "biufc":
        _refuse()
    return new.astype(value.dtype) if np.can_cast(new.dtype, value.dtype, "same_kind") else new


def _container_update(value: Any, delta: Any, updater: str) -> Any:
    if updater == "append":
        return (value if isinstance(value, list) else _refuse()) + [delta]
    if updater == "merge_add":
        if not (isinstance(value, dict) and isinstance(delta, dict)):
            _refuse()
        merged = {k: value[k] + delta[k] if k in delta else value[k] for k in value}
        return merged | {k: v for k, v in delta.items() if k not in value}
    if updater == "union" and isinstance(value, dict):
        return value | (delta if isinstance(delta, dict) else _refuse())
    if not isinstance(value, list) or not isinstance(delta, list | tuple):
        _refuse()
    joined = value + list(delta)
    return joined if updater == "extend" else [item for at, item in enumerate(joined) if item not in joined[:at]]


def _refuse() -> Any:
    raise TypeError("does not fit")


class SerialModel:
    """One dict that everybody shares: what a job without servers would hold."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}

    def update(self, key: str, delta: Any, updater: str) -> bool:
        """Apply it; says whether it went well. A missing key takes the delta."""
        try:
            if key in self.entries:
                self.entries[key] = plain_update(self.entries[key], delta, updater)
            else:
                self.entries[key] = first(copy.deepcopy(delta), updater)
        except Exception:
            return False
        return True

    def top(self, count: int) -> list[tuple[str, Any]]:
        """The largest values, ties by key."""
        by_key = sorted(self.entries.items())
        return sorted(by_key, key=lambda item: item[1], reverse=True)[:count]
