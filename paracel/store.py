"""The keys and values that one server holds, and updates of them. No messages here.

What has been handed to a reply is never changed after. Small arrays are copied when they are handed out; large
ones travel by reference, so they are lent: the next update makes a new array instead of writing into the old one.
No other kind of value is ever changed in place.
"""

import heapq
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import numpy as np

from paracel.errors import RequestError
from paracel.updaters import BUILTINS, Arithmetic, first_value
from paracel.values import FRAME_BYTES, check_value, guarded, size_of, too_wide

_NUMBERS = frozenset({int, float})


class _Missing:
    """The type of what stands for no value."""


_MISSING: Any = _Missing()


class Store:
    """A dict of values with bulk operations that keep the rules above."""

    def __init__(self) -> None:
        self._data: dict[str, Any] = {}
        self._lent: set[str] = set()
        #: Which keys were changed since they were last asked for; None: nobody wants to know.
        self.changed: set[str] | None = None

    def _note(self, keys: Iterable[str]) -> None:
        if self.changed is not None:
            self.changed.update(keys)

    def take_changes(self) -> tuple[list[str], list[Any], list[str]]:
        """Keys that were changed, their values, and the keys that are gone; then nothing is changed any more."""
        changed, self.changed = self.changed or set(), set()
        keys = [key for key in changed if key in self._data]
        return keys, self.read(keys)[0], [key for key in changed if key not in self._data]

    def pieces(self, most_bytes: int) -> Iterator[tuple[list[str], list[Any]]]:
        """All keys and values, in pieces of about so many bytes. The store may change in between."""
        keys = iter(list(self._data))
        while chosen := self._next_piece(keys, most_bytes):
            yield chosen, self.read(chosen)[0]

    def _next_piece(self, keys: Iterator[str], most_bytes: int) -> list[str]:
        chosen: list[str] = []
        size = 0
        for key in keys:
            if key in self._data:
                chosen.append(key)
                size += len(key) + size_of(self._data[key])
                if size >= most_bytes:
                    break
        return chosen

    @property
    def entries(self) -> Mapping[str, Any]:
        """A read-only view of what is held."""
        return MappingProxyType(self._data)

    def guarded_entries(self) -> Mapping[str, Any]:
        """What is held, as a user's function may see it."""
        return GuardedEntries(self._data)

    def read(self, keys: Sequence[str]) -> tuple[list[Any], list[int]]:
        """The values of the keys, None where there is none, and the positions of the missing ones."""
        values = list(map(self._data.get, keys, repeat(_MISSING)))
        kinds = set(map(type, values))
        missing: list[int] = []
        if _Missing in kinds:
            missing = [at for at, value in enumerate(values) if value is _MISSING]
            for at in missing:
                values[at] = None
        return (self._lend(keys, values) if np.ndarray in kinds else values), missing

    def select(self, chosen: Callable[[str, Any], bool] | None) -> tuple[list[str], list[Any]]:
        """All keys and values, or those that the filter chooses."""
        if chosen is None:
            keys, values = list(self._data), list(self._data.values())
        else:
            pairs = [(k, v) for k, v in self._data.items() if chosen(k, guarded(v))]
            keys, values = [k for k, _ in pairs], [v for _, v in pairs]
        return keys, self._lend(keys, values)

    def top(self, count: int, chosen: Callable[[str, Any], bool] | None) -> tuple[list[str], list[Any]]:
        """The `count` largest values, largest first, ties by key."""
        pairs = [(k, v) for k, v in self._data.items() if chosen is None or chosen(k, guarded(v))]
        best = largest(pairs, count)
        keys, values = [k for k, _ in best], [v for _, v in best]
        return keys, self._lend(keys, values)

    def write(self, keys: Sequence[str], values: Sequence[Any]) -> None:
        """Set values, whatever was there."""
        self._note(keys)
        self._data.update(zip(keys, values, strict=True))
        if self._lent:
            self._lent.difference_update(keys)

    def put_shared(self, keys: Sequence[str], values: Sequence[Any]) -> None:
        """Set values that are on their way to others, too: none of them is ever changed."""
        self.write(keys, values)
        self._lent.update(key for key, value in zip(keys, values, strict=True) if type(value) is np.ndarray)

    def update(
        self, keys: Sequence[str], deltas: Sequence[Any], name: str, function: Callable[..., Any]
    ) -> dict[int, str]:
        """Apply an updater to every key, in order. A key whose updater raises stays as it is.

        Returns the traceback text of each update that failed, by its position: a key may come more than once.
        """
        self._note(keys)
        if self._update_plain(keys, deltas, function) is not None:
            return {}
        return self._update_each(keys, deltas, name, function)

    def update_and_read(
        self, keys: Sequence[str], deltas: Sequence[Any], name: str, function: Callable[..., Any]
    ) -> tuple[list[Any], dict[int, str]]:
        """`update`, and then `read`: the values that the keys have now, and what failed."""
        self._note(keys)
        news = self._update_plain(keys, deltas, function)
        if news is not None:
            return news, {}
        failures = self._update_each(keys, deltas, name, function)
        return self.read(keys)[0], failures

    def _update_each(
        self, keys: Sequence[str], deltas: Sequence[Any], name: str, function: Callable[..., Any]
    ) -> dict[int, str]:
        failures: dict[int, str] = {}
        for at, (key, delta) in enumerate(zip(keys, deltas, strict=True)):
            try:
                self._update_one(key, delta, name, function)
            except (Exception, SystemExit) as error:
                failures[at] = _users_part(error)
        return failures

    def remove(self, keys: Sequence[str]) -> list[bool]:
        """Remove keys; says of each whether it was there."""
        self._note(keys)
        self._lent.difference_update(keys)
        return [self._data.pop(key, _MISSING) is not _MISSING for key in keys]

    def clear(self) -> int:
        """Remove everything; returns how many keys there were."""
        count = len(self._data)
        self._note(self._data)
        self._data.clear()
        self._lent.clear()
        return count

    def _lend(self, keys: Sequence[str], values: list[Any]) -> list[Any]:
        """The values as a reply may hold them."""
        if np.ndarray not in set(map(type, values)):
            return values
        large = [k for k, v in zip(keys, values) if type(v) is np.ndarray and v.nbytes >= FRAME_BYTES]
        self._lent.update(large)
        return [v.copy() if type(v) is np.ndarray and v.nbytes < FRAME_BYTES else v for v in values]

    def _update_plain(
        self, keys: Sequence[str], deltas: Sequence[Any], function: Callable[..., Any]
    ) -> list[Any] | None:
        """The fast path: the new values if all are plain numbers and every key comes once, else None."""
        if not isinstance(function, Arithmetic) or len(keys) < 8:
            return None
        try:
            news = self._plain_results(keys, deltas, function.scalar)
        except Exception:  # one by one, it will be seen which key it is
            return None
        kinds = set(map(type, news))
        if not kinds <= _NUMBERS or too_wide(news, kinds):
            return None
        entries = dict(zip(keys, news))
        if len(entries) != len(keys):  # a key came twice, and both times found the same old value
            return None
        self._data.update(entries)
        return news

    def _plain_results(self, keys: Sequence[str], deltas: Sequence[Any], rule: Callable[[Any, Any], Any]) -> list[Any]:
        olds = map(self._data.get, keys, repeat(_MISSING))
        try:
            return list(map(rule, olds, deltas))
        except TypeError:  # a key without a value, perhaps: it takes the delta
            olds = map(self._data.get, keys, repeat(_MISSING))
            return [delta if old is _MISSING else rule(old, delta) for old, delta in zip(olds, deltas)]

    def _update_one(self, key: str, delta: Any, name: str, function: Callable[..., Any]) -> None:
        value = self._data.get(key, _MISSING)
        if value is _MISSING:
            self._data[key] = first_value(name, delta)
            return
        if isinstance(function, Arithmetic):
            new = function(value, delta, in_place=key not in self._lent)
        elif name in BUILTINS:
            new = function(value, delta)
        else:
            new = function(guarded(value), guarded(delta))
        if new is value:
            return
        if type(new) not in _NUMBERS or type(new) is int:
            check_value(key, new)
        self._data[key] = new
        self._lent.discard(key)
        if type(new) is np.ndarray and name not in BUILTINS:
            self._lent.add(key)  # the user's function may have kept it


def largest(pairs: Sequence[tuple[str, Any]], count: int) -> list[tuple[str, Any]]:
    """The pairs with the `count` largest values, largest first, ties by key, NaN last.

    Raises RequestError if they have no order.
    """
    try:
        ordered = [pair for pair in pairs if pair[1] == pair[1]]  # all but NaN
        head = heapq.nlargest(count, map(itemgetter(1), ordered))
        by_key = sorted(pair for pair in ordered if head and pair[1] >= head[-1])
        best = sorted(by_key, key=itemgetter(1), reverse=True)
        if len(ordered) < len(pairs):
            best += sorted((pair for pair in pairs if pair[1] != pair[1]), key=itemgetter(0))
        return best[:count]
    except (TypeError, ValueError) as error:  # of arrays, ValueError
        raise RequestError(f"these values have no order ({error}); choose keys by a filter") from error


def _users_part(error: BaseException) -> str:
    """The traceback below the store's own frames."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()


class GuardedEntries(Mapping[str, Any]):
    """The entries as a user's function may see them: arrays read-only, containers as copies."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._entries = entries

    def __getitem__(self, key: str) -> Any:
        return guarded(self._entries[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
