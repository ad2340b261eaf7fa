"""Paracel: a parameter server for Python.

Worker ranks run the user's code; server processes hold consistent-hashed shards of a key-value space, run
registered updaters, and keep an SSP clock that bounds how stale a worker's reads can be.
"""

from paracel import checkpoint, filters, graphs, loading, optim, pregel
from paracel.client import Client, Statistics
from paracel.errors import (
    CarryError,
    CheckpointError,
    ClientClosed,
    ConfigError,
    ConnectionLost,
    CoordinatorLost,
    DependencyError,
    FunctionError,
    KeyNotFound,
    LaunchError,
    LoadError,
    ParacelError,
    RequestError,
    ServerFunctionError,
    ServerLost,
    TableError,
    UpdateError,
    WaitTimeout,
    WireError,
)
from paracel.functions import key_filter, server_function, updater
from paracel.launch.embedded import Cluster, connect
from paracel.paralg import paralg
from paracel.program import main
from paracel.table import Table, TableStatistics
from paracel.task import Task
from paracel.times import Times

__all__ = [
    "CarryError",
    "CheckpointError",
    "Client",
    "ClientClosed",
    "Cluster",
    "ConfigError",
    "ConnectionLost",
    "CoordinatorLost",
    "DependencyError",
    "FunctionError",
    "KeyNotFound",
    "LaunchError",
    "LoadError",
    "ParacelError",
    "RequestError",
    "ServerFunctionError",
    "ServerLost",
    "Statistics",
    "Table",
    "TableError",
    "TableStatistics",
    "Task",
    "Times",
    "UpdateError",
    "WaitTimeout",
    "WireError",
    "checkpoint",
    "connect",
    "filters",
    "graphs",
    "key_filter",
    "loading",
    "main",
    "optim",
    "paralg",
    "pregel",
    "server_function",
    "updater",
]
