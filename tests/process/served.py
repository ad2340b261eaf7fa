"""Functions that servers import from this file."""

import time
from collections.abc import Mapping
from typing import Any

import paracel


@paracel.updater
def refuse(value: object, delta: object) -> object:
    raise ValueError(f"no {delta} for {value}")


@paracel.updater
def grow(value: list[int], delta: int) -> list[int]:
    """Far more than any test's memory limit."""
    return value * delta


@paracel.server_function
def count(entries: Mapping[str, Any]) -> int:
    return len(entries)


@paracel.server_function
def slow(entries: Mapping[str, Any], *seconds: float) -> int:
    """One turn that takes so long."""
    time.sleep(sum(seconds))
    return len(entries)
