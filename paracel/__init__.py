"""Paracel: a parameter server for Python.

Worker ranks run the user's code; server processes hold consistent-hashed shards of a key-value space, run
registered updaters, and keep an SSP clock that bounds how stale a worker's reads can be.
"""

from paracel.functions import key_filter, server_function, updater
from paracel.launch.embedded import connect

__all__ = ["connect", "key_filter", "server_function", "updater"]
