"""Which worker reads what: shares of equal size, or chunks that are handed out as workers ask.

Chunks are handed out by an updater on the server that holds their key, so that each is given to one worker. A worker
numbers its requests: one that comes twice has the answer of the first.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Literal, Protocol, TypeAlias

from paracel.comm import Comm
from paracel.errors import ConfigError
from paracel.functions import updater
from paracel.loaders import chunks, plan
from paracel.loading.trading import together
from paracel.partition import ByteRange
from paracel.sources import Source

#: Chunks are small enough that the last ones are done at about the same time, and large enough to be worth asking for.
_CHUNKS_A_WORKER = 32
_LEAST_CHUNK, _MOST_CHUNK = 1 << 16, 16 << 20

_LOADS = count(1)

#: The pieces of a worker as they come: each with its place in the order of the source.
Pieces: TypeAlias = Iterator[tuple[int, ByteRange]]


class Servers(Protocol):
    """What is needed of a client."""

    def write(self, key: str, value: Any) -> None:
        """Set a value."""

    def bupdate(self, key: str, delta: Any, updater: Callable[..., Any]) -> Any:
        """Apply an updater; the new value."""

    def remove(self, key: str) -> bool:
        """Remove a key."""


@updater
def take_chunk(value: dict[str, Any], delta: list[int]) -> dict[str, Any]:
    """Give worker `delta[0]` the next chunk for its request `delta[1]`; -1 when all are given."""
    worker, request = delta
    if value["requests"][worker] == request:
        return value
    is_left = value["next"] < value["chunks"]
    value["requests"][worker] = request
    value["given"][worker] = value["next"] if is_left else -1
    value["next"] += is_left
    return value


class Dispenser:
    """Hands out chunks under a key of its own, which all workers name alike and no other load has."""

    def __init__(self, servers: Servers, key: str, worker: int) -> None:
        self._servers = servers
        self._key = key
        self._worker = worker
        self._request = 0

    @classmethod
    def of_next_load(cls, servers: Servers, worker: int) -> "Dispenser":
        """The dispenser of this process's next load; workers make the same loads, so they count them alike."""
        return cls(servers, f"paracel_load_{next(_LOADS)}", worker)

    def begin(self, workers: int, chunks: int) -> None:
        """Have so many chunks to hand out; called by one worker, before any takes one.

        Workers that were started anew have lost what they had loaded, and begin again, under the same key.
        """
        value = {"chunks": chunks, "next": 0, "requests": [0] * workers, "given": [-1] * workers}
        self._servers.write(self._key, value)

    def take(self) -> int:
        """The number of a chunk that nobody else gets; -1 when there is none left."""
        self._request += 1
        value = self._servers.bupdate(self._key, [self._worker, self._request], take_chunk)
        return int(value["given"][self._worker])

    def end(self) -> None:
        """Forget them; called by one worker, when all have done with them."""
        self._servers.remove(self._key)


Schedule: TypeAlias = Literal["static"] | Dispenser


def check_schedule(schedule: Any) -> None:
    """Raise ConfigError unless it is one."""
    if schedule != "static" and not isinstance(schedule, Dispenser):
        raise ConfigError(
            f"schedule={schedule!r}; allowed: 'static', and in the methods of a paralg 'dynamic' "
            f"(in the functions of paracel.loading, a Dispenser)"
        )


def share(comm: Comm, source: Source) -> list[tuple[int, ByteRange]]:
    """This worker's pieces of the source. Rank 0 looks at the files, so that all cut them at the same places."""
    parts = together(comm, lambda: plan(source, comm.size) if comm.rank == 0 else [])
    told = comm.bcast_json([[_told(piece) for piece in part] for part in parts])
    before = sum(map(len, told[: comm.rank]))
    return [(number, _piece(each)) for number, each in enumerate(told[comm.rank], before)]


def taken(comm: Comm, source: Source, dispenser: Dispenser) -> Pieces:
    """The chunks that this worker gets, as it asks for the next one. Collective at its beginning."""
    pieces = together(comm, lambda: _chunks(source, comm.size) if comm.rank == 0 else [])
    pieces = [_piece(each) for each in comm.bcast_json([_told(piece) for piece in pieces])]
    together(comm, lambda: dispenser.begin(comm.size, len(pieces)) if comm.rank == 0 else None)
    return ((number, pieces[number]) for number in iter(dispenser.take, -1))


def _chunks(source: Source, workers: int) -> list[ByteRange]:
    whole = chunks(source, _MOST_CHUNK)
    size = sum(piece.end - piece.begin for piece in whole) // (workers * _CHUNKS_A_WORKER)
    return whole if size >= _MOST_CHUNK else chunks(source, max(size, _LEAST_CHUNK))


def _told(piece: ByteRange) -> list[Any]:
    return [piece.path, piece.begin, piece.end, piece.whole]


def _piece(told: list[Any]) -> ByteRange:
    return ByteRange(*told)
