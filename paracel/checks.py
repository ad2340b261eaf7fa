"""Checks of arguments that several doors share."""

from paracel.errors import ConfigError


def check_staleness(staleness: object, worker: int | None) -> None:
    """Raise ConfigError unless it is None or, of a worker, a whole number from 0 on, or infinity."""
    whole = isinstance(staleness, int) and not isinstance(staleness, bool) and staleness >= 0
    if staleness is not None and not whole and staleness != float("inf"):
        raise ConfigError(f"staleness={staleness!r}; allowed: None (fresh), 0 (BSP), a whole number, math.inf")
    if staleness is not None and worker is None:
        raise ConfigError(f"staleness={staleness!r} counts a worker's commits; give worker=, or staleness=None")


def check_count(name: str, count: object, least: int) -> None:
    """Raise ConfigError unless it is a whole number from `least` on."""
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise ConfigError(f"{name}={count!r}; allowed: whole numbers from {least} on")
