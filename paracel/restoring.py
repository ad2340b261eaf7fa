"""A shard made from a checkpoint, of a job that had any number of shards. Reads files, and sends nothing.

Where the job had as many shards, each is what its file says. Where it had not, each takes its own keys out of all
files.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from paracel import checkpoint
from paracel.clock import SspClock
from paracel.ring import shard_owners, slots_of
from paracel.snapshot import Piece
from paracel.tables.keeping import CountMin
from paracel.tables.routes import Router
from paracel.tables.spec import TableSpec


class State(Protocol):
    """What can be made from a checkpoint."""

    number: int
    shards: int
    clock: SspClock[Any]

    def apply(self, changes: Piece, /) -> None:
        """Take what a piece says."""


def restore(state: State, folder: str) -> None:
    """Put into a shard, which is empty, what of a checkpoint belongs to it.

    CheckpointError if the checkpoint is not whole, or has what cannot be made here: then the shard is of no use.
    """
    manifest = checkpoint.read_manifest(folder)
    same = manifest.shards == state.shards
    share = Share(state.number, state.shards, manifest.shards)
    for file in manifest.files:
        if not same or file.shard == state.number:
            with checkpoint.understanding(folder, file):
                for piece in checkpoint.read_shard(folder, file):
                    taken = piece if same else share.of(piece, file.shard)
                    taken.pop("clock", None)  # it has those who ran then
                    state.apply(taken)
    # workers that the older job did not have begin with the least clock
    clocks = {worker: manifest.clocks.get(worker, manifest.clock) for worker in state.clock.clocks}
    running = state.clock.state()[1]
    state.clock.restore([clocks, running, min((clocks[worker] for worker in running), default=manifest.clock)])


class Share:
    """What of the pieces of all shards of a job belongs to one of another number of shards."""

    def __init__(self, shard: int, shards: int, before: int) -> None:
        """The shard `shard` of `shards`; there were as many as `before`."""
        self._shard = shard
        self._now, self._before = shard_owners(shards), shard_owners(before)
        self._tables: dict[str, _TableShare] = {}

    def of(self, piece: Piece, source: int) -> Piece:
        """What of a piece of the shard `source` belongs here."""
        mine = {name: value for name, value in piece.items() if name not in ("entries", "tables")}
        if "entries" in piece:
            keys, values = piece["entries"]
            own = self._now[slots_of(keys)] == self._shard
            pairs = [pair for *pair, chosen in zip(keys, values, own.tolist(), strict=True) if chosen]
            mine["entries"] = [[key for key, _ in pairs], [value for _, value in pairs]]
        if "tables" in piece:
            mine["tables"] = self._of_tables(piece["tables"], source)
        return mine

    def _of_tables(self, tables: Piece, source: int) -> Piece:
        """Each file begins with all tables. What a function returned once for all is not kept: each shard had one."""
        made = [each for each in tables.get("made", ()) if each[0]["name"] not in self._tables]
        for settings, _number in made:
            spec = TableSpec.from_wire(settings)
            routers = Router(spec, self._now), Router(spec, self._before)
            self._tables[spec.name] = _TableShare(self._shard, *routers)
        rows = {name: self._tables[name].of(rows, source) for name, rows in tables.get("rows", {}).items()}
        return {"made": made, "rows": rows}


class _TableShare:
    def __init__(self, shard: int, now: Router, before: Router) -> None:
        self._shard = shard
        self._now, self._before = now, before
        self._counted: CountMin | None = None

    def of(self, changes: Piece, source: int) -> Piece:
        mine: Piece = {"rows": [self._rows(source, *each) for each in changes.get("rows", ())]}
        waiting = [self._waiting(source, *each) for each in changes.get("waiting", ())]
        mine["waiting"] = [each for each in waiting if len(each[2])]
        if changes.get("failure"):
            mine["failure"] = changes["failure"]
        if "admission" in changes:
            mine["admission"] = self._admission(changes["admission"])
        return mine

    def _own(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        own: NDArray[np.bool_] = self._now.owners(keys) == self._shard
        return own

    def _rows(self, source: int, selection: Any, columns: Piece) -> list[Any]:
        """Rows of the shard `source`, of which a range has those of its own keys."""
        keys = self._before.keys_at(source, selection)
        own = self._own(keys)
        return [keys[own], {name: column[own] for name, column in columns.items()}]

    def _waiting(
        self, source: int, clock: int, worker: int, selection: Any, values: list[NDArray[Any]], *others: Any
    ) -> list[Any]:
        """A push that waits for its clock."""
        keys = self._before.keys_at(source, selection)
        own = self._own(keys)
        return [clock, worker, keys[own], [value[own] for value in values], *others]

    def _admission(self, state: list[Any]) -> list[Any]:
        """What all shards so far have counted: the keys of each are others."""
        if self._counted is None:
            self._counted = CountMin()
            self._counted.restore(state)
        else:
            self._counted.merge(state)
        return self._counted.state()
