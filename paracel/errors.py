"""Every exception that paracel raises on purpose. No other module defines one.

ParacelError
├── ConfigError (ValueError)          an option, argument or configuration key that cannot be
│   ├── LoadError                     an input file that cannot be read as asked
│   └── CheckpointError               a checkpoint that cannot be written, or is not whole
├── CarryError (TypeError)            a key or value that cannot be carried to the servers
├── FunctionError (ValueError)        an updater, filter or server function that is not usable
├── KeyNotFound (KeyError)            a read of keys that nobody wrote
├── UpdateError                       an updater raised on a server; the value stayed as it was
├── ServerFunctionError               a key filter, server function or table's updater raised on a server
├── TableError (ValueError)           a table that is not there, or is not as it was asked for
├── DependencyError                   a task that could not run, because one that it comes after failed
├── RequestError                      a server refused a request as malformed or not allowed
│   └── ReadTooOld                    a read whose reply got lost; clients ask anew, and nobody sees it
├── WireError                         bytes that are not a message of this protocol
├── WaitTimeout (TimeoutError)        a wait with a deadline that passed
├── ConnectionLost (ConnectionError)
│   ├── ServerLost                    a server of the job ended or went silent
│   └── CoordinatorLost               the launcher of the job ended, or cannot be reached
├── ClientClosed                      an operation on a closed client
└── LaunchError                       servers or workers that could not be started
"""

from collections.abc import Iterable


class ParacelError(Exception):
    """The root of all of them."""


class ConfigError(ParacelError, ValueError):
    """An option, argument or configuration key is wrong; the text says which are allowed."""


class LoadError(ConfigError):
    """An input file cannot be read as asked."""


class CheckpointError(ConfigError):
    """A checkpoint cannot be written or read; the text names the file and what is wrong with it."""


class CarryError(ParacelError, TypeError):
    """A key or value that cannot be carried; the text names the key and the type."""


class FunctionError(ParacelError, ValueError):
    """An updater, key filter or server function is unknown, or not of the right form."""


class KeyNotFound(ParacelError, KeyError):
    """A key that is on no server. `keys` holds all the missing keys of the request."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(*self.keys[:1])

    def __str__(self) -> str:
        more = f" and {len(self.keys) - 1} more keys" if len(self.keys) > 1 else ""
        return f"no value for key {self.keys[0]!r}{more}; write it first, or read it with default="


class UpdateError(ParacelError):
    """An updater raised on a server. The values of `failures` stayed as they were; other keys were updated.

    `failures` maps each key to the server's traceback text.
    """

    def __init__(self, updater: str, failures: dict[str, str]) -> None:
        self.updater = updater
        self.failures = failures
        key, text = next(iter(failures.items()))
        more = f" (and of {len(failures) - 1} more keys)" if len(failures) > 1 else ""
        super().__init__(f"updater {updater!r} failed, the value of {key!r}{more} stays as it was:\n{text}")


class ServerFunctionError(ParacelError):
    """A key filter, a server function or an updater of a table raised; the text has the server's traceback."""


class TableError(ParacelError, ValueError):
    """A table that is not there, exists with other settings, or does not take what it was given."""


class DependencyError(ParacelError):
    """A task was not run, because one that it comes after failed; `__cause__` is the first failure."""


class RequestError(ParacelError):
    """A server refused a request; the text says why."""


class ReadTooOld(RequestError):
    """The reply of a read got lost, and to repeat it would show what its sender did later. It is asked anew."""


class WireError(ParacelError):
    """Bytes that do not decode to a message of this protocol."""


class WaitTimeout(ParacelError, TimeoutError):
    """A wait with a deadline that passed; the text says for whom and for what."""


class ConnectionLost(ParacelError, ConnectionError):
    """The other side is gone."""


class ServerLost(ConnectionLost):
    """A server of the job ended or went silent, and what it held is gone with it."""


class CoordinatorLost(ConnectionLost):
    """The launcher of the job ended, or cannot be reached."""


class ClientClosed(ParacelError):
    """The client was closed before this operation."""


class LaunchError(ParacelError):
    """Servers or workers could not be started, or did not stay up; the text says which and why."""
