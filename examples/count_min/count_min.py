"""A CountMin sketch on a table: how often each key of a long stream came, in little memory and never too low.

Cormode and Muthukrishnan 2005, distributed as in Li et al., OSDI 2014, algorithm 4. A row of the table is a whole
sketch, `depth` lines of `width` counters, of the keys of one partition. Workers only send the keys to the server
that has their partition's row; a server function counts them there, and another one answers queries.
"""

import hashlib
import time
from collections import deque
from typing import Any

import numpy as np
from counting import Counts, Keys, add_counts, group_by_server, least_counts

import paracel

IN_FLIGHT = 8  # requests that a worker has open: enough that no server runs dry


# ---- on the servers


def sketches_of(keys: Keys, rows: Counts, shape: list[int]) -> tuple[Counts, Counts]:
    """The server's rows as sketches, and the row of each partition: -1 where another server has it."""
    row_of_partition = np.full(shape[0], -1)
    row_of_partition[keys] = np.arange(len(keys))
    return rows.reshape(-1, *shape[1:]), row_of_partition


@paracel.server_function
def insert(keys: Keys, rows: Counts, state: dict[str, Any], stream: Keys, shape: list[int]) -> None:
    """Count the keys of a stream; the rows of all their partitions must be this server's."""
    sketches, row_of_partition = sketches_of(keys, rows, shape)
    strangers = add_counts(sketches, row_of_partition, stream)
    if strangers:
        raise ValueError(f"{strangers} of {len(stream)} keys are of partitions that another server has")


@paracel.server_function
def query(keys: Keys, rows: Counts, state: dict[str, Any], stream: Keys, shape: list[int]) -> Counts:
    """Estimates and sizes of partitions, shape (2, len(stream)): -1 where another server has the partition."""
    sketches, row_of_partition = sketches_of(keys, rows, shape)
    return least_counts(sketches, row_of_partition, stream)


# ---- on the workers


class Sketch:
    """A CountMin sketch that is spread over the servers: `table` has a row of depth * width counters a partition."""

    def __init__(self, table: Any, depth: int) -> None:
        self.table, self.shape = table, [table.size, depth, table.dim // depth]
        self.server_of_partition = table.shard_of(slice(None))
        self.open: deque[paracel.Task] = deque()

    def warm_up(self) -> None:
        """Have all compiled that `insert` needs, here and on the servers."""
        nothing = np.zeros(0, np.uint64)
        group_by_server(nothing, self.server_of_partition, 1)
        self.table.run(insert, nothing, self.shape).result()

    def insert(self, stream: Keys) -> None:
        """Count the keys: each goes to the server that has its partition. Some of it may be done later."""
        servers = int(self.server_of_partition.max()) + 1
        grouped, ends = group_by_server(stream, self.server_of_partition, servers)
        for server in np.flatnonzero(np.diff(ends)).tolist():
            part = grouped[ends[server] : ends[server + 1]]
            self.open.append(self.table.run(insert, part, self.shape, shard=server))
        self.wait(IN_FLIGHT)

    def wait(self, most: int = 0) -> None:
        """Wait until at most so many requests are open."""
        while len(self.open) > most:
            self.open.popleft().result()

    def query(self, keys: Keys) -> tuple[Counts, Counts]:
        """How often each key came, or more; and how many keys came in its partition."""
        estimates, seen = self.table.run(query, keys, self.shape, merge=np.maximum.reduce).result()
        return estimates, seen


def zipf(count: int, universe: int, exponent: float, random: np.random.Generator) -> Keys:
    """Keys from 1 to `universe`, the probability of key k about k ** -exponent (an exponent above 1)."""
    rest = 1 - exponent
    keys = (1 + random.random(count) * ((universe + 1) ** rest - 1)) ** (1 / rest)
    return np.minimum(keys, universe).astype(np.uint64)


def hash_words(words: list[str]) -> Keys:
    """A key for each word, the same everywhere."""
    distinct = {word: int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) for word in set(words)}
    return np.array([distinct[word] for word in words], np.uint64)


class CountMin(paracel.paralg):
    """Counts the words of `input`, or if that is empty `inserts` keys of a Zipf distribution, and checks `probes` keys.

    The sketch has `partitions` parts of `depth` lines of `width` counters; both are powers of two. An estimate is
    never too low, and with probability 1 - exp(-depth) too high by at most e / width of the keys in its partition.
    """

    def __init__(
        self,
        input: str | list[str] = "",
        output: str = "",
        *,
        depth: int = 4,
        width: int = 2048,
        partitions: int = 64,
        inserts: int = 10_000_000,
        universe: int = 10_000_000,
        exponent: float = 1.1,
        batch: int = 200_000,
        probes: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(output=output)
        for name, value in (("width", width), ("partitions", partitions)):
            if value < 1 or value & (value - 1):
                raise ValueError(f"{name} is {value}; allowed: powers of two")
        for name, value, above in (
            ("depth", depth, 0),
            ("universe", universe, 0),
            ("batch", batch, 0),
            ("probes", probes, -1),
            ("exponent", exponent, 1),
            ("inserts", inserts, self.worker_size - 1),  # each worker has some
        ):
            if not value > above:
                raise ValueError(f"{name} is {value}; allowed: numbers above {above}")
        self.input, self.inserts, self.universe, self.exponent = input, inserts, universe, exponent
        self.partitions, self.depth, self.width = partitions, depth, width
        self.batch, self.probes = batch, probes
        self.random = np.random.default_rng([seed, self.worker_id])

    def solve(self) -> None:
        table = self.table("sketch", self.partitions, self.depth * self.width, dtype="int64")
        self.sketch = Sketch(table, self.depth)
        stream = self.load()
        self.sketch.warm_up()
        self.paracel_sync()
        began = time.perf_counter()
        self.feed(stream)
        self.paracel_sync()
        seconds = time.perf_counter() - began
        total = self.comm.allreduce(len(stream))
        self.say(f"keys: {total}")
        self.say(f"seconds: {seconds:.3f}")
        self.say(f"inserts per second: {total / seconds:.4g}")
        self.check(stream)
        if self.worker_id == 0:
            self.compare(stream, total / seconds)

    def load(self) -> Keys:
        """This worker's keys; for a text, also which word a key is."""
        self.names: dict[int, str] = {}
        if not self.input:
            ends = self.inserts * np.arange(self.worker_size + 1) // self.worker_size
            return zipf(int(np.diff(ends)[self.worker_id]), self.universe, self.exponent, self.random)
        words = [word for line in self.paracel_load(self.input) for word in line.split()]
        keys = hash_words(words)
        self.names = dict(zip(keys.tolist(), words))
        return keys

    def feed(self, stream: Keys) -> None:
        for start in range(0, len(stream), self.batch):
            self.sketch.insert(stream[start : start + self.batch])
        self.sketch.wait()

    def check(self, stream: Keys) -> None:
        """Compare estimates with exact counts, for some of the keys that worker 0 has seen."""
        probes = self.comm.bcast(self.choose(stream))
        at = np.minimum(np.searchsorted(probes, stream), len(probes) - 1)
        true = self.comm.allreduce(np.bincount(at[probes[at] == stream], minlength=len(probes)))
        if self.worker_id:
            return
        estimates, seen = self.sketch.query(probes)
        above = estimates - true
        bound = np.e / self.width * seen
        self.say(f"probes: {len(probes)}")
        self.say(f"estimates too low: {np.count_nonzero(above < 0)}")
        self.say(f"mean error: {above.mean():.3f}")
        self.say(f"largest error: {above.max()}")
        self.say(f"share above the bound: {np.mean(above > bound):.5f}")
        for number in np.argsort(-estimates, kind="stable")[:3]:
            key = int(probes[number])
            print(f"{self.names.get(key, key)} came {true[number]} times, estimate {estimates[number]}")
        if self.output:
            self.paracel_dump_dict(dict(zip(probes.tolist(), estimates.tolist())), "estimates_")

    def choose(self, stream: Keys) -> Keys:
        """The three most frequent keys, and others at random; rising."""
        distinct, counts = np.unique(stream, return_counts=True)
        others = self.random.permutation(len(distinct))[: self.probes]
        return distinct[np.union1d(np.argsort(-counts, kind="stable")[:3], others)]

    def compare(self, stream: Keys, rate: float) -> None:
        """How fast one process counts at best, with the same loop over the same batches and nobody to talk to."""
        sketches = np.zeros((self.partitions, self.depth, self.width), np.int64)
        rows, seconds = np.arange(self.partitions), []
        for _ in range(6):  # the first time it is compiled
            began = time.perf_counter()
            for start in range(0, len(stream), self.batch):
                add_counts(sketches, rows, stream[start : start + self.batch])
            seconds.append(time.perf_counter() - began)
        alone = len(stream) / min(seconds)
        self.say(f"inserts per second of one process: {alone:.4g}")
        self.say(f"ratio: {rate / alone:.3f}")

    def say(self, line: str) -> None:
        if self.worker_id == 0:
            print(line)


if __name__ == "__main__":
    paracel.main(CountMin)
