"""What is done with keys and values through a connection: arguments are checked, asked for, and waited for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from paracel import messages as m
from paracel.checks import check_count
from paracel.connection import Connection
from paracel.errors import ConfigError, KeyNotFound
from paracel.functions import Kind, reference
from paracel.store import largest
from paracel.task import Task
from paracel.updaters import BUILTINS
from paracel.values import check_key, check_keys, check_tree, check_value, check_values, copy_value

CLOCK_KEY = "server_clock"
#: How often a run of single updates looks for replies.
_POLL_UPDATES = 64
_REQUIRED: Any = object()

Named = str | Callable[..., Any]


class Entries:
    """The keys and values of one job."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session = connection.session
        self._run = connection.run
        self._loaded: set[tuple[str, str]] = set()
        self._updates = 0

    # --- reading ------------------------------------------------------------------------------------------

    def read(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value of a key; `default` if there is none, else KeyNotFound.

        `"server_clock"` reads the least of the servers' clocks.
        """
        if key == CLOCK_KEY:
            return self._run(self._session.read_clock)
        values, missing = self._run(lambda: self._session.read([check_key(key)]))
        if not missing:
            return values[0]
        if default is _REQUIRED:
            raise KeyNotFound([key])
        return default

    def read_multi(self, keys: Iterable[str], default: Any = _REQUIRED) -> list[Any]:
        """The values of many keys, in their order. One request to each server, all at once."""
        listed = check_keys(keys)
        values, missing = self._run(lambda: self._session.read(listed))
        if not missing:
            return list(values)
        if CLOCK_KEY in missing:
            clock = self._run(self._session.read_clock)
            values = [clock if key == CLOCK_KEY else value for key, value in zip(listed, values, strict=True)]
            missing.discard(CLOCK_KEY)
        if missing and default is _REQUIRED:
            raise KeyNotFound(dict.fromkeys(key for key in listed if key in missing))
        return [default if key in missing else value for key, value in zip(listed, values, strict=True)]

    def readall(self) -> dict[str, Any]:
        """Every key and value."""
        return _merged(self._scan(None))

    def readall_by_server(self, key_filter: Named | None = None) -> Iterator[dict[str, Any]]:
        """Every key and value, or those that the filter chooses: one dict for each server."""
        for entries in self._scan(key_filter):
            yield dict(zip(entries.keys, entries.values, strict=True))

    def readall_batches(self, size: int, key_filter: Named | None = None) -> Iterator[dict[str, Any]]:
        """The same in dicts of at most `size` keys. A key that is there all the time comes exactly once."""
        check_count("size", size, 1)
        for entries in self._scan(key_filter, keys_only=True):
            for start in range(0, len(entries.keys), size):
                keys = entries.keys[start : start + size]
                values, missing = self._run(partial(self._session.fetch, keys))
                yield {key: value for key, value in zip(keys, values, strict=True) if key not in missing}

    def read_special(self, key_filter: Named) -> dict[str, Any]:
        """The keys and values that a key filter chooses, on the servers."""
        return _merged(self._scan(key_filter))

    def read_topk(self, k: int, key_filter: Named | None = None) -> list[tuple[str, Any]]:
        """The k largest values as (key, value), largest first, ties by key. Each server sends its own k."""
        check_count("k", k, 0)
        name = self._filter_name(key_filter)
        message = m.Top(k, name, self._session.min_clock)
        parts: list[m.Entries] = self._run(lambda: self._session.ask_entries(message))
        return largest([pair for part in parts for pair in zip(part.keys, part.values, strict=True)], k)

    def contains(self, key: str) -> bool:
        """Whether a key has a value."""
        flags: list[bool] = self._run(lambda: self._session.contains([check_key(key)]))
        return flags[0] or key == CLOCK_KEY

    def _scan(self, key_filter: Named | None, keys_only: bool = False) -> list[m.Entries]:
        message = m.Scan(self._filter_name(key_filter), keys_only, self._session.min_clock)
        parts: list[m.Entries] = self._run(lambda: self._session.ask_entries(message))
        return parts

    # --- changing -----------------------------------------------------------------------------------------

    def write(self, key: str, value: Any) -> None:
        """Set a value."""
        check_value(_writable(key), value)
        self._run(lambda: self._session.write([key], [value]))

    def write_multi(self, entries: Mapping[str, Any]) -> None:
        """Set many values. One request to each server, all at once."""
        keys, values = _pairs(entries)
        self._run(lambda: self._session.write(keys, values))

    def update(self, key: str, delta: Any, updater: Named = "add") -> Task:
        """Ask the server to make `updater(value, delta)` the new value; a missing key takes the delta.

        Asynchronous: updates travel together, and are on the servers when the task is done, or after the next
        read, commit or `wait_acknowledged` of this client.
        """
        check_value(_writable(key), delta)
        with self._connection.lock:
            self._connection.check_usable()
            name = self._updater_name(updater)
            pending = self._session.update(key, copy_value(delta), name)
            self._updates += 1
            if self._session.outbox or self._updates % _POLL_UPDATES == 0:
                self._connection.advance()
                self._connection.respect_credit()
        return Task(pending, self._connection)

    def update_multi(self, deltas: Mapping[str, Any], updater: Named = "add") -> Task:
        """`update` for many keys. One request to each server, all at once."""
        return self._update_multi(deltas, updater)

    def bupdate(self, key: str, delta: Any, updater: Named = "add") -> Any:
        """`update`, but wait for it; returns the new value."""
        check_value(_writable(key), delta)
        name = self._updater_name(updater)
        return self._run(lambda: self._session.update_multi([key], [delta], name, True))[0]

    def bupdate_multi(self, deltas: Mapping[str, Any], updater: Named = "add") -> dict[str, Any]:
        """`bupdate` for many keys; returns the new values by key."""
        keys, values = _pairs(deltas)
        name = self._updater_name(updater)
        return dict(zip(keys, self._run(lambda: self._session.update_multi(keys, values, name, True)), strict=True))

    def remove(self, key: str) -> bool:
        """Remove a key; says whether it was there."""
        return self.remove_multi([key]) == 1

    def remove_multi(self, keys: Iterable[str]) -> int:
        """Remove keys; says how many were there."""
        listed = check_keys(keys)
        return sum(self._run(lambda: self._session.remove(listed)))

    def remove_special(self, key_filter: Named) -> int:
        """Remove what a key filter chooses; says how many."""
        name = self._filter_name(key_filter)
        count: int = self._run(lambda: self._session.remove_chosen(name))
        return count

    def clear(self) -> int:
        """Remove everything; says how many keys there were."""
        count: int = self._run(lambda: self._session.remove_chosen(None))
        return count

    def _update_multi(self, deltas: Mapping[str, Any], updater: Named) -> Task:
        keys, values = _pairs(deltas)
        with self._connection.lock:
            self._connection.check_usable()
            name = self._updater_name(updater)
            pending = self._session.update_multi(keys, list(map(copy_value, values)), name, False)
            self._connection.advance()
            self._connection.respect_credit()
        return Task(pending, self._connection)

    # --- functions ----------------------------------------------------------------------------------------

    def run(self, function: Named, *arguments: Any) -> list[Any]:
        """Run a server function on every server over its own entries; the results by server."""
        check_tree(list(arguments))
        message = m.Run(self.register("server_function", function), list(arguments))
        return [reply.value for reply in self._run(lambda: self._session.ask_all(message, list))]

    def register(self, kind: Kind, function: Named) -> str:
        """Make the servers know a function, and check it there; returns its name. FunctionError says what is wrong."""
        name = reference(function, kind)
        with self._connection.lock:
            if (kind, name) not in self._loaded and not (kind == "updater" and name in BUILTINS):
                if callable(function):
                    self._session.functions.add(kind, name, function)
                else:
                    self._session.functions.load(kind, name)
                self._run(lambda: self._session.ask_all(m.Load(kind, name), list))
                self._loaded.add((kind, name))
        return name

    def _updater_name(self, updater: Named) -> str:
        return updater if updater == "add" else self.register("updater", updater)

    def _filter_name(self, key_filter: Named | None) -> str | None:
        return None if key_filter is None else self.register("key_filter", key_filter)

    # --- what was read ------------------------------------------------------------------------------------

    def is_cached(self, key: str) -> bool:
        """Whether a read of the key now would be answered from the cache."""
        cache = self._session.cache
        return self._session.staleness is not None and cache.fresh(key, self._session.min_clock)

    def cached(self, key: str) -> Any:
        """The cached value, however old; KeyNotFound if there is none."""
        if key not in self._session.cache:
            raise KeyNotFound([key])
        return self._session.cache.value(key)

    @property
    def read_clock(self) -> int:
        """The server clock that the last read is valid for: it has all updates of the iterations before."""
        return self._session.last_read_clock


def _writable(key: str) -> str:
    if check_key(key) == CLOCK_KEY:
        raise ConfigError(f"the key {CLOCK_KEY!r} is the servers' clock, and can only be read")
    return key


def _pairs(entries: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    if not isinstance(entries, Mapping):
        raise ConfigError(f"expected a dict of keys to values, and was given a {type(entries).__name__}")
    keys, values = check_keys(entries), list(entries.values())
    if CLOCK_KEY in entries:
        _writable(CLOCK_KEY)
    check_values(keys, values)
    return keys, values


def _merged(parts: Iterable[m.Entries]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in parts:
        whole.update(zip(part.keys, part.values, strict=True))
    return whole
