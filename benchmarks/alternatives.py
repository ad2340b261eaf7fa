"""`python -m benchmarks.alternatives`: what people build by hand instead, measured in the same run.

Redis (the program `redis-server` and the package `redis`) and Ray (the package `ray`); one that is not installed is
left out, and said so. Each does what it does best: Redis increments on its server, and pipelines; a Ray actor holds a
dict or an array and adds to it. A ratio above 1 says that paracel is faster.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import paracel
from benchmarks.timing import against, repeated, side_by_side, warmed

BLOCKING = 500
PIPELINED = 20_000
KEYS = {f"key{number}": number for number in range(100_000)}
DENSE = np.ones(1_000_000, np.float32)
ROUNDS = 5
WORKS = (
    "increment, blocking",
    "increments, pipelined",
    "100,000 keys written",
    "100,000 keys read",
    "1e6 floats added",
)

Works = Sequence[Callable[[], object]]


@contextmanager
def paracel_works() -> Iterator[Works]:
    """One server."""
    with paracel.connect(servers=1) as ps:
        ps.write("dense", DENSE)

        def pipelined() -> None:
            repeated(lambda: ps.update("n", 1), PIPELINED)()
            ps.wait_acknowledged()

        yield [
            repeated(lambda: ps.bupdate("n", 1), BLOCKING),
            pipelined,
            lambda: ps.write_multi(KEYS),
            lambda: ps.read_multi(KEYS),
            lambda: ps.bupdate("dense", DENSE),
        ]


@contextmanager
def redis_works() -> Iterator[Works]:
    """One server on a unix socket, nothing on disk. Floats are read, added to here, and written: for one worker."""
    import redis

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "redis.sock")
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            client = redis.Redis(unix_socket_path=path)
            _until_answered(client.ping, redis.ConnectionError)
            client.set("dense", DENSE.tobytes())

            def pipelined() -> None:
                pipe = client.pipeline(transaction=False)
                repeated(lambda: pipe.incrby("n", 1), PIPELINED)()
                pipe.execute()

            def add() -> None:
                raw: Any = client.get("dense")
                client.set("dense", (np.frombuffer(raw, np.float32) + DENSE).tobytes())

            yield [
                repeated(lambda: client.incrby("n", 1), BLOCKING),
                pipelined,
                lambda: client.mset(KEYS),
                lambda: [int(value) for value in client.mget(list(KEYS))],
                add,
            ]
        finally:
            server.terminate()
            server.wait()


@contextmanager
def ray_works() -> Iterator[Works]:
    """One actor."""
    import ray

    class Holder:
        """A dict and an array in a process of their own."""

        def __init__(self) -> None:
            self.values: dict[str, int] = {}
            self.dense = np.zeros_like(DENSE)

        def add(self, key: str, delta: int) -> int:
            """Increment one value."""
            self.values[key] = self.values.get(key, 0) + delta
            return self.values[key]

        def write(self, values: dict[str, int]) -> None:
            """Set many."""
            self.values.update(values)

        def read(self, keys: list[str]) -> list[int]:
            """Get many."""
            return [self.values[key] for key in keys]

        def add_dense(self, delta: Any) -> Any:
            """Add to the array, and send it."""
            self.dense = self.dense + delta
            return self.dense

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        holder: Any = ray.remote(Holder).remote()
        keys = list(KEYS)
        yield [
            repeated(lambda: ray.get(holder.add.remote("n", 1)), BLOCKING),
            lambda: ray.get([holder.add.remote("n", 1) for _ in range(PIPELINED)]),
            lambda: ray.get(holder.write.remote(KEYS)),
            lambda: ray.get(holder.read.remote(keys)),
            lambda: ray.get(holder.add_dense.remote(DENSE)),
        ]
    finally:
        ray.shutdown()


def main() -> None:
    """Print a table for each alternative that is installed."""
    print(f"{'':10}{'what':26}{'paracel':>12}{'other':>12}{'ratio':>8}")
    for name, works, missing in (("Redis", redis_works, _no_redis()), ("Ray", ray_works, _no_module("ray"))):
        if missing:
            print(f"{name:10}left out: {missing} is not installed")
            continue
        with paracel_works() as ours, works() as others:
            pairs = [side_by_side(warmed(pair), ROUNDS) for pair in zip(ours, others, strict=True)]
        for what, (mine, other) in zip(WORKS, pairs, strict=True):
            pair = against(mine, other)
            print(f"{name:10}{what:26}{pair.seconds * 1e3:9.1f} ms{pair.floor * 1e3:9.1f} ms{pair.ratio:8.1f}")


def _no_redis() -> str:
    return "redis-server" if shutil.which("redis-server") is None else _no_module("redis")


def _no_module(name: str) -> str:
    from importlib.util import find_spec

    return "" if find_spec(name) else name


def _until_answered(ping: Callable[[], object], error: type[Exception], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            ping()
            return
        except error:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


if __name__ == "__main__":
    main()
