"""The compiled loops of the CountMin sketch: over keys, on workers and on servers. Nothing here talks to anybody.

They have a file of their own so that one compiled copy on disk serves all processes: workers and servers import a
job's script under different names, and this file under one.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Counts = NDArray[np.int64]


@numba.njit(inline="always", cache=True)
def mix(key: np.uint64, salt: int) -> np.uint64:
    """The `salt`-th of many hash functions: SplitMix64's, of the key moved by as many golden ratios."""
    bits = key + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@numba.njit(cache=True)
def group_by_server(stream: Keys, server_of_partition: Counts, servers: int) -> tuple[Keys, Counts]:
    """The keys sorted by the server of their partition, and where each server's begin and end."""
    mask = np.uint64(len(server_of_partition) - 1)
    ends = np.zeros(servers + 1, np.int64)
    for key in stream:
        ends[server_of_partition[mix(key, 0) & mask] + 1] += 1
    ends = np.cumsum(ends)
    grouped, at = np.empty_like(stream), ends[:-1].copy()
    for key in stream:
        server = server_of_partition[mix(key, 0) & mask]
        grouped[at[server]] = key
        at[server] += 1
    return grouped, ends


@numba.njit(cache=True)
def add_counts(sketches: Counts, row_of_partition: Counts, stream: Keys) -> int:
    """Count the keys, in `sketches` of shape (rows, depth, width). Returns how many were of no row here."""
    partitions, columns = np.uint64(len(row_of_partition) - 1), np.uint64(sketches.shape[2] - 1)
    strangers = 0
    for key in stream:
        row = row_of_partition[mix(key, 0) & partitions]
        if row < 0:
            strangers += 1
            continue
        for line in range(sketches.shape[1]):
            sketches[row, line, mix(key, line + 1) & columns] += 1
    return strangers


@numba.njit(cache=True)
def least_counts(sketches: Counts, row_of_partition: Counts, stream: Keys) -> Counts:
    """For each key the least of its counters, and how many keys its partition has seen; -1 where no row is here."""
    partitions, columns = np.uint64(len(row_of_partition) - 1), np.uint64(sketches.shape[2] - 1)
    seen = sketches[:, 0].sum(axis=1)
    found = np.full((2, len(stream)), -1)
    for number, key in enumerate(stream):
        row = row_of_partition[mix(key, 0) & partitions]
        if row >= 0:
            found[0, number], found[1, number] = sketches[row, 0, mix(key, 1) & columns], seen[row]
            for line in range(1, sketches.shape[1]):
                found[0, number] = min(found[0, number], sketches[row, line, mix(key, line + 1) & columns])
    return found
