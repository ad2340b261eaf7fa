"""The client: what users call. It checks arguments, asks the session, and waits; nothing here touches a socket."""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from numpy.typing import DTypeLike

from paracel import checkpointing
from paracel import messages as m
from paracel.checks import check_staleness
from paracel.connection import Connection
from paracel.entries import Entries
from paracel.errors import ConfigError, ConnectionLost, ParacelError
from paracel.open_tables import Tables
from paracel.table import Filters, Table, TableStatistics
from paracel.times import Stopwatch, Times

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a client can say of itself and of the servers: seconds since it was made, and counters since they began."""

    times: Times
    servers: list[m.Statistics]


class Client(Entries):
    """A connection to the servers of one job.

    `worker` makes it one of the job's workers: it takes part in the quorum and may commit. `staleness` None reads
    fresh values and never waits for others; 0 is BSP; s > 0 is SSP; `math.inf` reads what is cached while newer
    values are fetched behind it. Only a worker can have a staleness. `timeout` bounds, in seconds, every wait for a
    reply; None waits for as long as the server lives.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str = "",
        worker: int | None = None,
        staleness: float | None = None,
        timeout: float | None = None,
        on_close: Callable[[], None] | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        check_staleness(staleness, worker)
        self.address = address
        self.key = key
        self._on_close = on_close
        self._in_quorum = False
        super().__init__(Connection(address, key, worker, staleness, timeout, stopwatch=stopwatch))
        self._tables = Tables(self._connection, self.register)
        try:
            self.enter()
        except BaseException:
            self._connection.close()
            raise

    # --- who and where ------------------------------------------------------------------------------------

    @property
    def worker(self) -> int | None:
        """The worker's number, None outside the quorum."""
        return self._session.worker

    @property
    def worker_size(self) -> int:
        """How many workers the job has."""
        return self._session.view.workers

    @property
    def server_size(self) -> int:
        """How many servers the job has now."""
        return len(self._session.view.servers)

    @property
    def shard_size(self) -> int:
        """Into how many shards all keys are divided."""
        return len(self._session.channels)

    def __repr__(self) -> str:
        who = "observer" if self.worker is None else f"worker {self.worker} of {self.worker_size}"
        return f"<Client {who}, {self.server_size} servers{', closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._connection.closed

    @property
    def in_quorum(self) -> bool:
        """Whether others wait for this worker's commits."""
        return self._in_quorum

    @property
    def clock(self) -> int:
        """How often this worker has committed."""
        return self._session.clock

    @property
    def staleness(self) -> float | None:
        """How many iterations old a read may be."""
        return self._session.staleness

    @staleness.setter
    def staleness(self, staleness: float | None) -> None:
        check_staleness(staleness, self.worker)
        self._session.staleness = staleness
        self._session.forget_cached()

    # --- tables -------------------------------------------------------------------------------------------

    def table(
        self,
        name: str,
        size: int | None = None,
        dim: int = 1,
        dtype: DTypeLike = "float32",
        *,
        init: Any = 0.0,
        seed: int = 0,
        updater: Any = "add",
        apply: str = "push",
        admit_after: int = 1,
        expire_after: int | None = None,
        max_rows: int | None = None,
        push_filters: Filters = (),
        pull_filters: Filters = (),
    ) -> Table:
        """The table of this name, made if it is not there; TableError, showing both, if it has other settings.

        With `size` it is dense, with the keys 0 to size - 1; without, sparse: any uint64 (which needs numba). A row is
        `dim` numbers of the dtype. It begins as `init` says: a number; "normal" or "uniform", or a pair of these and
        a scale (a function of key and `seed` alone); or a function `f(keys) -> rows`. `updater` is a built-in one (add,
        sub, mul, max, min, assign), a rule of `paracel.optim`, or a function `f(rows, deltas, state) -> rows`. With
        `apply="commit"` the pushes of one clock are summed over all workers, and the updater is called once, when all
        have committed that clock. A key of a sparse table has a row from its `admit_after`-th push on (what came
        before is dropped), until nobody has pushed or pulled it for `expire_after` clocks, or it is the least
        recently used of more than `max_rows` on its server. Filters are those of `paracel.filters`, in the order of
        their work; they are this client's, not the table's.
        """
        return self._tables.open(
            name, push_filters, pull_filters, size=size, dim=dim, dtype=dtype, init=init, seed=seed, updater=updater,
            apply=apply, admit_after=admit_after, expire_after=expire_after, max_rows=max_rows,
        )  # fmt: skip

    def tables(self) -> dict[str, TableStatistics]:
        """All tables of the job, by name: their settings and counters."""
        return self._tables.statistics()

    # --- the clock ----------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Finish an iteration: wait until this worker's updates are acknowledged, then raise its clock everywhere.

        Raises the error of an update that failed and that nobody has looked at. Then it has not committed: the clock
        is as it was, and the next call commits, unless something else has failed.
        """
        if self.worker is None:
            raise ConfigError("only a worker commits; connect with worker=0, 1, ... to be one")
        try:
            self.wait_acknowledged()
        except ParacelError as error:
            error.add_note("No commit was made: commit again.")
            raise
        with self._connection.lock:
            self._session.commit()
            self._connection.advance()

    def wait_acknowledged(self, timeout: float | None = None) -> None:
        """Wait until every update of this client is on the servers. Raises the error of one that failed unseen."""
        with self._connection.lock:
            self._connection.wait(self._connection.start(self._session.acknowledged), timeout)
            failed = self._session.unobserved_failure()
        if failed is not None:
            try:
                failed.result()
            except ParacelError as error:
                error.add_note("Of an update whose task nobody has looked at.")
                raise

    def leave(self) -> None:
        """Leave the quorum: nobody waits for this worker any more, even if an update's error is raised here."""
        self._leave()

    def _leave(self, *ignored: type[ParacelError]) -> None:
        try:
            self.wait_acknowledged()
        except ParacelError:
            with contextlib.suppress(ParacelError):  # the first error is the one to show
                self._leave_quorum()
            raise
        with contextlib.suppress(*ignored):
            self._leave_quorum()

    def _leave_quorum(self) -> None:
        if self._in_quorum:
            self._run(self._session.leave)
            self._in_quorum = False

    def enter(self, level: int = -1) -> None:
        """Be in the quorum again, level with the fastest worker; `level` is that of `Session.enter`."""
        if self.worker is not None:
            self._run(partial(self._session.enter, level))
            self._in_quorum = True

    @property
    def begun_at(self) -> int:
        """The clock at which all workers were level when this one entered last."""
        return self._session.level

    @property
    def restarts(self) -> int:
        """How often the job's workers have been started anew (`prun --max-restarts`)."""
        return max(0, self._session.attempt - 1)

    def statistics(self) -> Statistics:
        """Where this client's time went, and the counters of each server that answers for something."""
        times = self._connection.stopwatch.times()
        told = self._run(lambda: self._session.ask_all(m.GetStatistics(), list))  # each is asked once for each shard
        return Statistics(times, list({each.server: each for each in told}.values()))

    # --- checkpoints --------------------------------------------------------------------------------------

    def checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write all that the servers hold to a folder that they all, and this process, can reach; or a URL for fsspec.

        Each shard is written as it is at one moment, and serves meanwhile; so that it is the same moment for all,
        nobody else should change anything (`paralg.paracel_checkpoint` sees to it). An older checkpoint in the folder
        is replaced once the new one is whole. CheckpointError says what could not be written.
        """
        checkpointing.save(self._connection, path)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Make the servers hold what a checkpoint has, or the newest one in the folder, and nothing else.

        Workers are at the clocks that they had committed then. Tables are to be opened anew. CheckpointError names a
        file that is missing or damaged; then nothing has changed. Every server reads the folder for itself.
        """
        checkpointing.restore(self._connection, path)
        self.rejoin()

    def rejoin(self) -> None:
        """Somebody has restored a checkpoint: forget what was read, and be at the clock that the servers have."""
        self._session.forget_cached()
        self._session.tables.clear()
        self.enter()

    # --- closing ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Wait for the updates on their way, leave the quorum, and close. May be called twice.

        Raises the error of an update that failed unseen. A server that is lost matters only if that lost one.
        """
        if self.closed or self._connection.forked:
            return
        try:
            self._leave(ConnectionLost)
        finally:
            self._connection.close()
            if self._on_close:
                self._on_close()

    def abandon(self) -> None:
        """Close after a failure. Where workers are started anew, this one stays in the quorum: none goes on without it.

        Elsewhere it is `close`, and an error of that is not raised.
        """
        if self._session.attempt and not self.closed and not self._connection.forked:
            self._connection.abandon()
            return
        try:
            self.close()
        except (ParacelError, KeyboardInterrupt):  # the first error is the one to show
            logger.debug("closing after an error", exc_info=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if kind is None or (isinstance(error, SystemExit) and not error.code):
            self.close()
        else:
            self.abandon()
