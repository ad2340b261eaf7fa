"""Paracel: a parameter server for Python.

Worker ranks run the user's code; server processes hold consistent-hashed shards of a key-value space, run
registered updaters, and keep an SSP clock that bounds how stale a worker's reads can be.
"""

from paracel.client import Client
from paracel.errors import (
    CarryError,
    ClientClosed,
    ConfigError,
    ConnectionLost,
    CoordinatorLost,
    FunctionError,
    KeyNotFound,
    LaunchError,
    LoadError,
    ParacelError,
    RequestError,
    ServerFunctionError,
    ServerLost,
    UpdateError,
    WaitTimeout,
    WireError,
)
from paracel.functions import key_filter, server_function, updater
from paracel.launch.embedded import connect
from paracel.paralg import paralg
from paracel.program import main
from paracel.task import Task

__all__ = [
    "CarryError",
    "Client",
    "ClientClosed",
    "ConfigError",
    "ConnectionLost",
    "CoordinatorLost",
    "FunctionError",
    "KeyNotFound",
    "LaunchError",
    "LoadError",
    "ParacelError",
    "RequestError",
    "ServerFunctionError",
    "ServerLost",
    "Task",
    "UpdateError",
    "WaitTimeout",
    "WireError",
    "connect",
    "key_filter",
    "main",
    "paralg",
    "server_function",
    "updater",
]
