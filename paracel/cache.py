"""What one worker has read: values, each with the clock it is valid for. No messages here.

An entry may be used while its clock is at least the clock that the worker needs now. The worker's own updates are
applied to its entries too, so that it reads its own writes; an update that cannot be applied here drops the entry.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paracel.values import copy_value, guarded

Updater = Callable[[Any, Any], Any]


@dataclass(slots=True)
class Entry:
    """A value, the server clock it is valid for, the own clock when it was asked for, and a refresh under way."""

    value: Any
    clock: int
    asked: int
    refreshing: bool = False
    replay: list[tuple[Updater | None, Any]] = field(default_factory=list)


class Cache:
    """Entries by key."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def clock_of(self, key: str) -> int | None:
        """The clock that the entry is valid for; None without an entry."""
        entry = self._entries.get(key)
        return entry.clock if entry else None

    def fresh(self, key: str, needed: int) -> bool:
        """Whether there is an entry whose clock is at least `needed`."""
        entry = self._entries.get(key)
        return entry is not None and entry.clock >= needed

    def value(self, key: str) -> Any:
        """A copy of the cached value; KeyError without an entry."""
        return copy_value(self._entries[key].value)

    def put(self, key: str, value: Any, clock: int, asked: int) -> None:
        """Keep a copy of what was read. A refresh that is under way is older, and will not be kept."""
        self._entries[key] = Entry(copy_value(value), clock, asked)

    def finish_refresh(self, key: str, value: Any, clock: int, asked: int) -> None:
        """Keep what a refresh brought, with the own updates since it was asked for applied again.

        Unless the entry was dropped or replaced meanwhile: then something newer is known.
        """
        old = self._entries.get(key)
        if old is None or not old.refreshing:
            return
        self.put(key, value, clock, asked)
        for updater, delta in old.replay:
            self.update(key, delta, updater)

    def write(self, keys: Sequence[str], values: Sequence[Any]) -> None:
        """Own writes replace what is cached; they make no new entries."""
        if not self._entries:
            return
        for key, value in zip(keys, values, strict=True):
            entry = self._entries.get(key)
            if entry is not None:
                entry.value = copy_value(value)
                if entry.refreshing:
                    entry.replay.append((None, copy_value(value)))

    def update(self, key: str, delta: Any, updater: Updater | None) -> None:
        """Apply an own update to the entry, if there is one; `updater` None replaces the value."""
        entry = self._entries.get(key)
        if entry is None:
            return
        if entry.refreshing:
            entry.replay.append((updater, copy_value(delta)))
        try:
            entry.value = copy_value(updater(guarded(entry.value), guarded(delta)) if updater else delta)
        except Exception:  # the server will say what is wrong with it; here the value is unknown now
            del self._entries[key]

    def drop(self, keys: Iterable[str]) -> None:
        """Forget entries."""
        for key in keys:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def start_refresh(self, key: str, asked: int) -> bool:
        """Whether a newer value is to be asked for: once after each of the worker's commits, one at a time."""
        entry = self._entries.get(key)
        if entry is None or entry.refreshing or entry.asked >= asked:
            return False
        entry.refreshing = True
        return True
