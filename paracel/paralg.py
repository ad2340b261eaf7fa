"""The base class of programs: subclass `paralg`, write `solve()`. Paracel's names, over a client and a communicator.

Each worker makes the object and calls `solve()`. Nothing here talks to a socket or to MPI itself.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from numpy.typing import DTypeLike

from paracel import graphs, loaders, loading, output
from paracel.checks import check_count
from paracel.client import Client, Statistics
from paracel.entries import Named
from paracel.errors import ConfigError
from paracel.functions import Kind
from paracel.graphs import Graph
from paracel.launch import job
from paracel.loaders import FilePath, Source
from paracel.loading import Parser
from paracel.table import Table, TableStatistics
from paracel.task import Task

_REQUIRED: Any = object()


class paralg:  # noqa: N801 - Paracel's name
    """A worker of a parallel algorithm.

    `output` is the directory of the dump methods, `rounds` is kept for `solve()`, `staleness` bounds how many
    iterations old a read may be: None reads fresh and waits for nobody, 0 is BSP, s is SSP, `math.inf` eventual.
    Outside of `prun`, `servers` servers (None: one) are started for the ranks of this script. Under a plain `mpiexec`,
    a script without `paracel.main` is best run by `python -m mpi4py`: else a rank that calls `sys.exit` is waited for.

    `solve()` is collective: the workers begin it together and level, whatever ran before, with nothing cached, and
    each leaves the quorum at its end: then nobody waits for it any more. Before the first `solve()` the worker is in
    the quorum, too. Several objects in one process share its clock; each keeps its own staleness.
    """

    def __init__(
        self, output: str = "", rounds: int = 1, staleness: float | None = None, *, servers: int | None = None
    ) -> None:
        check_count("rounds", rounds, 0)
        if servers is not None:
            check_count("servers", servers, 1)
        self._job = job.join(servers)
        self._staleness = staleness
        self._client.staleness = staleness
        self.output = output
        self.rounds = rounds
        self._total_iters: int | None = None
        self._iters = 0
        self._named: dict[str, Named] = {}
        self._grid: tuple[int, int] | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "solve" in cls.__dict__:
            cls.solve = _leaving(cls.__dict__["solve"])  # type: ignore[method-assign]

    def solve(self) -> Any:
        """The program of one worker; to be written."""
        raise TypeError(f"{type(self).__name__} has no solve(): write it in your subclass of paralg")

    # --- who and where ------------------------------------------------------------------------------------

    @property
    def _client(self) -> Client:
        """The process's client, reading as this object does."""
        client = self._job.client
        if client.staleness != self._staleness:
            client.staleness = self._staleness
        return client

    @property
    def worker_id(self) -> int:
        """This worker's number, from 0."""
        return self._job.comm.rank

    @property
    def worker_size(self) -> int:
        """How many workers there are."""
        return self._job.comm.size

    @property
    def server_size(self) -> int:
        """How many servers there are."""
        return self._client.server_size

    @property
    def comm(self) -> Any:
        """The workers' mpi4py communicator; without MPI, a stand-in for one rank."""
        return self._job.comm.mpi

    @property
    def clock(self) -> int:
        """How often this worker has committed; also before its job's workers were started anew.

        So `for i in range(self.clock, rounds): ...; self.iter_commit()` goes on where it was.
        """
        return self._client.clock

    @property
    def restarts(self) -> int:
        """How often the job's workers have been started anew (`prun --max-restarts`)."""
        return self._client.restarts

    @property
    def staleness(self) -> float | None:
        """How many iterations old a read may be."""
        return self._staleness

    def statistics(self) -> Statistics:
        """Where this worker's time went (`times`: compute, communication, waiting), and the servers' counters.

        `times` counts the seconds from the moment when its process began to be a worker; the difference of two is
        what was between them.
        """
        return self._client.statistics()

    # --- reading ------------------------------------------------------------------------------------------

    def paracel_read(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value of a key; `default` if there is none, else KeyNotFound."""
        return self._client.read(key) if default is _REQUIRED else self._client.read(key, default)

    def paracel_read_multi(self, keys: Iterable[str], default: Any = _REQUIRED) -> list[Any]:
        """The values of many keys, in their order."""
        return self._client.read_multi(keys) if default is _REQUIRED else self._client.read_multi(keys, default)

    def paracel_readall(self) -> dict[str, Any]:
        """Every key and value."""
        return self._client.readall()

    def paracel_readall_handle(self, handle: Callable[[dict[str, Any]], object]) -> None:
        """Call `handle` with a dict of every key and value, once for each server."""
        for entries in self._client.readall_by_server():
            handle(entries)

    def paracel_read_special(self, key_filter: Named | None = None) -> dict[str, Any]:
        """The keys and values that a key filter (or the registered one) chooses, on the servers."""
        return self._client.read_special(self._function("read_special", key_filter))

    def paracel_read_special_handle(self, key_filter: Named | None, handle: Callable[[dict[str, Any]], object]) -> None:
        """Call `handle` with a dict of what the filter chooses, once for each server."""
        for entries in self._client.readall_by_server(self._function("read_special", key_filter)):
            handle(entries)

    def paracel_read_topk(self, k: int) -> list[tuple[str, Any]]:
        """The k largest values as (key, value), largest first, ties by key."""
        return self._client.read_topk(k)

    def paracel_read_topk_with_key_filter(self, k: int, key_filter: Named) -> list[tuple[str, Any]]:
        """The same among the keys that a filter chooses."""
        return self._client.read_topk(k, key_filter)

    def paracel_contains(self, key: str) -> bool:
        """Whether a key has a value."""
        return self._client.contains(key)

    def is_cached(self, key: str) -> bool:
        """Whether a read of the key now would be answered from this worker's cache."""
        return self._client.is_cached(key)

    def get_cache(self, key: str) -> Any:
        """The cached value, however old; KeyNotFound if there is none."""
        return self._client.cached(key)

    # --- changing -----------------------------------------------------------------------------------------

    def paracel_write(self, key: str, value: Any) -> None:
        """Set a value."""
        self._client.write(key, value)

    def paracel_write_multi(self, entries: Mapping[str, Any]) -> None:
        """Set many values."""
        self._client.write_multi(entries)

    def paracel_update(self, key: str, delta: Any, updater: Named | None = None) -> Task:
        """Make `updater(value, delta)` the new value, asynchronously; a missing key takes the delta."""
        return self._client.update(key, delta, self._updater("update", updater))

    def paracel_update_multi(self, deltas: Mapping[str, Any], updater: Named | None = None) -> Task:
        """`paracel_update` for many keys: one request to each server."""
        return self._client.update_multi(deltas, self._updater("update", updater))

    def paracel_bupdate(self, key: str, delta: Any, updater: Named | None = None) -> Any:
        """`paracel_update`, but wait for it; returns the new value."""
        return self._client.bupdate(key, delta, self._updater("bupdate", updater))

    def paracel_bupdate_multi(self, deltas: Mapping[str, Any], updater: Named | None = None) -> dict[str, Any]:
        """`paracel_bupdate` for many keys; returns the new values by key."""
        return self._client.bupdate_multi(deltas, self._updater("bupdate", updater))

    def paracel_remove(self, key: str) -> bool:
        """Remove a key; says whether it was there."""
        return self._client.remove(key)

    def paracel_remove_multi(self, keys: Iterable[str]) -> int:
        """Remove keys; says how many were there."""
        return self._client.remove_multi(keys)

    def paracel_remove_special(self, key_filter: Named | None = None) -> int:
        """Remove what a key filter (or the registered one) chooses; says how many."""
        return self._client.remove_special(self._function("remove_special", key_filter))

    # --- functions ----------------------------------------------------------------------------------------

    def paracel_register_update(self, function: Named, name: str | None = None) -> None:
        """Use this updater where `paracel_update` names none: a decorated function, a name, or a file and a name."""
        self._register("update", "updater", function, name)

    def paracel_register_bupdate(self, function: Named, name: str | None = None) -> None:
        """Use this updater where `paracel_bupdate` names none."""
        self._register("bupdate", "updater", function, name)

    def paracel_register_read_special(self, function: Named, name: str | None = None) -> None:
        """Use this key filter where `paracel_read_special` names none."""
        self._register("read_special", "key_filter", function, name)

    def paracel_register_remove_special(self, function: Named, name: str | None = None) -> None:
        """Use this key filter where `paracel_remove_special` names none."""
        self._register("remove_special", "key_filter", function, name)

    def _register(self, use: str, kind: Kind, function: Named, name: str | None) -> None:
        named = function if name is None else f"{function}:{name}"
        self._client.register(kind, named)
        self._named[use] = named

    def _updater(self, use: str, updater: Named | None) -> Named:
        return self._named.get(use, "add") if updater is None else updater

    def _function(self, use: str, key_filter: Named | None) -> Named:
        if key_filter is not None:
            return key_filter
        if use not in self._named:
            raise TypeError(f"paracel_{use} needs a key filter: give one, or call paracel_register_{use} before")
        return self._named[use]

    # --- tables -------------------------------------------------------------------------------------------

    def table(
        self, name: str, size: int | None = None, dim: int = 1, dtype: DTypeLike = "float32", **settings: Any
    ) -> Table:
        """The table of this name, made if it is not there; the settings are those of `Client.table`."""
        return self._client.table(name, size, dim, dtype, **settings)

    def tables(self) -> dict[str, TableStatistics]:
        """All tables of the job, by name: their settings and counters."""
        return self._client.tables()

    # --- checkpoints --------------------------------------------------------------------------------------

    def paracel_checkpoint(self, path: FilePath) -> None:
        """Write all that the servers hold to a folder (or a URL for fsspec) that they and worker 0 can reach.

        All workers call it: what each has changed before is in it, and nothing later. An older checkpoint in the folder
        is replaced once the new one is whole. CheckpointError, in all workers, says what could not be written.
        """
        self.paracel_sync()
        self._job.on_first(lambda: self._client.checkpoint(path))

    def paracel_restore(self, path: FilePath) -> None:
        """Make the servers hold what a checkpoint has, or the newest one in the folder; all workers call it.

        Each worker is at the clock that it had committed then. Tables are to be opened anew. CheckpointError, in all
        workers, names a file that is missing or damaged.
        """
        self.paracel_sync()
        self._job.on_first(lambda: self._client.restore(path))
        if self.worker_id:
            self._client.rejoin()
        self._job.comm.barrier("paracel_restore()")

    # --- iterations ---------------------------------------------------------------------------------------

    def paracel_sync(self) -> None:
        """Wait until this worker's updates are acknowledged and every worker is here."""
        self._client.wait_acknowledged()
        self._job.comm.barrier("paracel_sync()")

    def iter_commit(self) -> None:
        """Finish an iteration: its updates are acknowledged, and count for every reader from now on."""
        self._client.commit()
        self._iters += 1
        self._leave_if_finished()

    def set_total_iters(self, total: int) -> None:
        """Leave the quorum after `total` commits of a `solve()`: faster workers do not wait for this one then."""
        check_count("total", total, 0)
        self._total_iters = total
        self._leave_if_finished()

    def _leave_if_finished(self) -> None:
        if self._total_iters is not None and self._iters >= self._total_iters and self._client.in_quorum:
            self._client.leave()

    def _begin(self, *, anew: bool = False) -> None:
        """Enter the quorum level with all the others; `anew` for the beginning of a `solve()`."""
        client = self._client
        self._job.begin_level()
        if anew:
            self._iters = client.clock - client.begun_at
        client.staleness = self._staleness  # drops what is cached: the clock need not have moved since
        self._job.comm.barrier()
        self._leave_if_finished()

    # --- files --------------------------------------------------------------------------------------------

    def paracel_load(self, source: Source, *, schedule: str = "static") -> list[str]:
        """The lines of this worker's part of the files; each line is in one part.

        `source` is a path, a directory, a glob, a URL, or a list of them. Each worker looks for itself how long the
        files are, so they must not grow meanwhile (`paracel.loading.load_lines` lets worker 0 look for all). With
        `schedule="dynamic"` workers take a chunk at a time, as they ask; all workers call it then.
        """
        return [line for lines in self._parts(source, schedule) for line in lines]

    def paracel_loadall(self, source: Source) -> list[str]:
        """All the lines."""
        return loaders.load_all(source)

    def paracel_sequential_loadall(self, source: Source, handle: Callable[[list[str]], object]) -> None:
        """Call `handle` with all the lines, a part at a time, so that only one part is in memory."""
        for lines in loaders.iter_parts(source, self.worker_size):
            handle(lines)

    def paracel_load_handle(self, source: Source, handle: Callable[[str], object], *, schedule: str = "static") -> None:
        """Call `handle` with each line of this worker's part, as in `paracel_load`.

        With `schedule="dynamic"` a worker whose lines take longer gets fewer; each line is handled once.
        """
        for lines in self._parts(source, schedule):
            for line in lines:
                handle(line)

    def paracel_load_as_matrix(
        self, source: Source, parser: Parser = ",", pattern: str = "fmap", mix: bool = False, **settings: Any
    ) -> loading.Block:
        """This worker's block of a matrix, with `row_ids` and `col_ids`, as `paracel.loading.load_matrix` has it.

        The settings are also its own; `schedule="dynamic"` is one. Collective.
        """
        return loading.load_matrix(self._job.comm, source, parser, pattern, mix=mix, **self._loading(settings, pattern))

    def paracel_load_as_relations(
        self, source: Source, parser: Parser = ",", pattern: str = "fmap", mix: bool = False, **settings: Any
    ) -> loading.Relations:
        """The pairs of ids that this worker owns, with their values, as `paracel.loading.load_relations` has them."""
        settings = self._loading(settings, pattern)
        return loading.load_relations(self._job.comm, source, parser, pattern, mix=mix, **settings)

    def paracel_load_as_graph(
        self, source: Source, parser: Parser = ",", pattern: str = "fmap", *, kind: str = "digraph", **settings: Any
    ) -> Graph:
        """This worker's part of a graph, of a kind of `paracel.graphs`: the edges are `paracel_load_as_relations`."""
        return graphs.make(kind, *self.paracel_load_as_relations(source, parser, pattern, **settings))

    def paracel_load_csv(self, source: Source, parser: Parser = ",", **settings: Any) -> loading.Samples:
        """Dense samples and their labels, as `paracel.loading.load_csv` has them."""
        return loading.load_csv(self._job.comm, source, parser, **self._loading(settings))

    def paracel_load_libsvm(self, source: Source, **settings: Any) -> loading.Samples:
        """Sparse samples and their labels, as `paracel.loading.load_libsvm` has them."""
        return loading.load_libsvm(self._job.comm, source, **self._loading(settings))

    def set_decomp_info(self, layout: str | tuple[int, int]) -> None:
        """Lay the workers out in a grid for `fsmap`: (rows, columns), or as for a pattern."""
        self._grid = loading.process_grid(layout, self.worker_size)

    def get_decomp_info(self) -> tuple[int, int]:
        """The grid of the workers: rows and columns. As for `fmap`, unless it was set."""
        return self._grid or loading.process_grid("fmap", self.worker_size)

    def _loading(self, settings: dict[str, Any], pattern: str = "") -> dict[str, Any]:
        """Settings of a load, with what this object knows."""
        schedule = settings.get("schedule", "static")
        made = settings | {"schedule": self._dispenser() if schedule == "dynamic" else schedule}
        return {"grid": self._grid} | made if pattern == "fsmap" else made

    def _dispenser(self) -> loading.Dispenser:
        return loading.Dispenser.of_next_load(self._client, self.worker_id)

    def _parts(self, source: Source, schedule: str) -> Iterator[list[str]]:
        if schedule == "dynamic":
            return loading.dispensed_lines(self._job.comm, source, self._dispenser())
        if schedule != "static":
            raise ConfigError(f"schedule={schedule!r}; allowed: 'static', 'dynamic'")
        return iter([loaders.load_lines(source, self.worker_id, self.worker_size)])

    def paracel_dump_vector(
        self, values: Iterable[Any], name: str, sep: str = "\n", *, append: bool = False, merge: bool = False
    ) -> None:
        """Write values, joined by `sep`, to the file `<output>/<name><worker>`; with `merge`, all workers' to one.

        Such files of workers that an earlier job had more are removed, unless it is to `append`.
        """
        output.dump_vector(self._job.comm, values, self._folder, name, sep, append=append, merge=merge)

    def paracel_dump_dict(
        self, mapping: Mapping[Any, Any], name: str, sep: str = "\t", *, append: bool = False, merge: bool = False
    ) -> None:
        """Write a line `key<sep>value` for each item, to files as in `paracel_dump_vector`."""
        output.dump_dict(self._job.comm, mapping, self._folder, name, sep, append=append, merge=merge)

    @property
    def _folder(self) -> str:
        return self.output or os.curdir


def _leaving(solve: Callable[..., Any]) -> Callable[..., Any]:
    """`solve` between the beginning and the end of one; within the same object's (`super().solve()`) only itself."""

    @functools.wraps(solve)
    def solve_and_leave(self: paralg, *args: Any, **kwargs: Any) -> Any:
        outer = self._job.solving
        if outer is self:
            return solve(self, *args, **kwargs)
        self._begin(anew=True)
        self._job.solving = self
        try:
            result = solve(self, *args, **kwargs)
        finally:
            self._job.solving = outer
        self._client.leave()
        if isinstance(outer, paralg):
            outer._begin()
        return result

    return cast(Callable[..., Any], solve_and_leave)
