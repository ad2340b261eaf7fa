"""Rows that only one worker changes, so that every pull of them has exactly one right answer; and sums that are kept.

Stateful rules run on the servers alone; here they are applied to one row after the other.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from paracel import optim
from paracel.errors import ServerFunctionError
from paracel.table import Table

from . import table_settings as settings
from .table_history import Row
from .tables import Script, TableWork, caught
from .tasks import Node

Kind = Callable[["OwnRows"], Script]
OWN = ("assigned", "momentum", "checked", "told")


class _Checked:
    """What the updater of that name makes of rows."""

    inputs = 1

    def columns(self) -> dict[str, optim.Column]:
        return {"pushes": optim.Column()}

    def apply(self, rows: Any, deltas: Any, state: dict[str, Any]) -> Any:
        return settings.checked(rows, deltas, state)


_RULES: dict[str, Any] = {
    "assigned": optim.builtin("assign"),
    "momentum": settings.SETTINGS["momentum"]["updater"],
    "checked": _Checked(),
    "told": optim.builtin("assign"),
}


class OwnRows(TableWork):
    """All that a worker does with tables."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._versions: dict[Row, list[tuple[Any, dict[str, Any]]]] = {}
        self._own = self.job.choice(OWN)

    def calls(self, others: list[Any], writes_only: bool) -> list[Any]:
        """What it does, of few kinds and the same for all workers, so that they meet; now and then something else."""
        groups = self.job.sample(_GROUPS, self.job.randint(1, 2))
        if self.worker.plan.linear:  # servers are lost: what they have to remember then is met more often
            groups.append(self.job.choice(_REMEMBERED))
        kinds = [kind for changes, reads in groups for kind in (changes if writes_only else changes + reads)]
        if self.job.random() < 0.3:
            kinds.append(OwnRows.graph)
        return [partial(kind, self) for kind in kinds] + (others[:1] if self.job.random() < 0.3 else [])

    def _keys(self, table: Table) -> list[int]:
        first = 3 * self.party if table.size is not None else self.party << 60
        return [first, first + 1, first + 2]

    def _version(self, row: Row) -> list[tuple[Any, dict[str, Any]]]:
        """All that the row has been, with its state; a table without the row reads as if it began now."""
        if row not in self._versions:
            spec = settings.spec_of(row[0])
            began = np.zeros((1, *spec.tail), spec.dtype)
            state = {name: np.full_like(began, column.initial) for name, column in _RULES[row[0]].columns().items()}
            self._versions[row] = [(began, state)]
        return self._versions[row]

    def open_own(self) -> Script:
        """A table of own rows, mostly the same one."""
        return (yield from self.open(self._own if self.rng.random() < 0.7 else self.rng.choice(OWN)))

    def push_own(self) -> Script:
        """Push to some of the own keys."""
        table = yield from self.open_own()
        yield from self.perhaps_wait(self._push(table))

    def _push(self, table: Table) -> Node:
        keys = self.rng.sample(self._keys(table), self.rng.randint(1, 3))
        deltas = self._deltas(table, len(keys))
        for key, delta in zip(keys, deltas, strict=True):
            versions = self._version((table.name, key))
            rows, state = versions[-1][0], {name: column.copy() for name, column in versions[-1][1].items()}
            versions.append((_RULES[table.name].apply(rows, delta[None], state), state))
        return self.ask(table.push, np.array(keys, np.uint64), deltas, filters=self.lossless())

    def _deltas(self, table: Table, count: int) -> Any:
        shape = (count,) if table.dim == 1 else (count, table.dim)
        size = int(np.prod(shape))
        return np.array([self.rng.choice((0, 1, 2, 40, 80)) for _ in range(size)], table.dtype).reshape(shape)

    def push_refused(self) -> Script:
        """The updater raises: nothing changes, and it is told about once, here or at the next commit."""
        table = yield from self.open("checked")
        node = Node(fails=True, quiet=False)
        looked_at = self.rng.random() < 0.5
        self.worker.failing += not looked_at
        keys = np.array([self.rng.choice(self._keys(table))], np.uint64)
        self.ask(table.push, keys, settings.POISON, filters=self.lossless(), node=node)
        if looked_at:
            refusal = yield from caught(node.pending, ServerFunctionError)
            assert "refuses its deltas" in str(refusal)

    def pull_own(self) -> Script:
        """Rows of own keys: those of now; of some moment until the reply, if the pull waits or is asked for anew."""
        table = yield from self.open_own()
        named = self.some_staleness()
        if table.name == "momentum" and self.rng.random() < 0.5:
            named["state"] = "trace"
        yield from self.perhaps_wait(self._pull(table, named))

    def pull_told(self) -> Script:
        """Pulls of what has changed significantly, all on their way together, and one more when they have come."""
        table = yield from self.open("told")
        for _ in range(self.rng.randint(2, 3)):
            self._push(table)
            self._pull(table, {"staleness": None})
        yield 0.1 * self.rng.random()
        yield from self.wait(self._pull(table, {"staleness": None}))

    def _pull(self, table: Table, named: dict[str, Any]) -> Node:
        keys, node = self._keys(table), Node()
        near = settings.THRESHOLD if table.name == "told" else 0.0
        filters = (settings.SIGNIFICANT,) if near else self.lossless()
        asked = {key: len(self._version((table.name, key))) - 1 for key in keys}
        waits = self.needed(self.bound(named)) > 0
        refused = self.worker.refused

        def check(result: Any) -> None:
            columns = result if isinstance(result, tuple) else (result,)
            late = waits or refused < self.worker.refused or near  # what was told since is shown
            for at, key in enumerate(keys):
                possible = self._version((table.name, key))[asked[key] : None if late else asked[key] + 1]
                found = [column[at] for column in columns]
                assert any(_same(found, version, near) for version in possible), (
                    f"{table.name} {key}: {found}, {possible}"
                )

        node.on_success = check
        self.pull(node, table, np.array(keys, np.uint64), filters, named)
        return node

    def drop_own(self) -> Script:
        """A table that is dropped and opened again begins anew."""
        name = f"dropped {self.party}"
        spec = settings.make_spec(name, dtype="int64")
        yield self.session.ask_first(spec)
        opened = yield self.session.open_table(spec, 1)
        table = Table(self._owner, self.session, opened, (), ())
        rows = yield table.pull([5, 6]).pending
        assert not rows.any(), f"a new table holds {rows}"
        table.push([5, 6, 6], [1, 2, 3])
        was_there = yield self.session.drop_table(name)
        assert was_there, f"table {name} was not there"

    # --- sums that filters must keep --------------------------------------------------------------------------------

    def push_sums(self) -> Script:
        """Small numbers, which wait here until they are significant."""
        table = yield from self.open("sums")
        keys, listed = self.some_keys(table)
        amounts = [self.rng.randrange(-3, 4) for _ in listed]
        for key, amount in zip(listed, amounts, strict=True):
            self._history.sums[table.name, key] += amount
        node = self.ask(table.push, keys, amounts, filters=(settings.SIGNIFICANT, *self.lossless()))
        yield from self.perhaps_wait(node)

    def push_rounded(self) -> Script:
        """Floats of few bits, of which the rests wait here."""
        table = yield from self.open("rounded")
        keys, listed = self.some_keys(table)
        deltas = np.array([[self.rng.gauss(0, 1), self.rng.gauss(0, 100)] for _ in listed])
        for key, delta in zip(listed, deltas, strict=True):
            self._history.sums[table.name, key] = self._history.sums[table.name, key] + delta
        node = self.ask(table.push, keys, deltas, filters=self.rng.choice(settings.ROUGH))
        yield from self.perhaps_wait(node)

    def rests(self, name: str) -> dict[int, Any]:
        """What waits here for each key of a table."""
        waiting: dict[int, Any] = defaultdict(float)
        if name in self.tables:
            for rests in self.tables[name]._table.state.all_rests():
                for key, rest in zip(*_only(rests.waiting(1)), strict=True):
                    waiting[int(key)] = waiting[int(key)] + rest
        return waiting


def _only(waiting: tuple[Any, list[Any]]) -> tuple[Any, Any]:
    keys, arrays = waiting
    return keys, arrays[0] if arrays else keys


def _same(found: list[Any], version: tuple[Any, dict[str, Any]], near: float) -> bool:
    """Whether what was pulled, a row and perhaps state, is a version of it, or near enough."""
    wanted = [version[0][0], *version[1].values()][: len(found)]
    return all(np.allclose(one, other, rtol=1e-12, atol=near) for one, other in zip(found, wanted, strict=True))


#: Kinds of work that meet each other, by what is changed and what is read.
_GROUPS: tuple[tuple[tuple[Kind, ...], tuple[Kind, ...]], ...] = (
    ((OwnRows.push_counts, OwnRows.push_counts), (OwnRows.pull_counts, OwnRows.pull_counts)),
    ((OwnRows.push_counts, OwnRows.run_counts, OwnRows.graph), (OwnRows.pull_counts, OwnRows.wait_for_any)),
    ((OwnRows.push_commits,), (OwnRows.pull_commits,)),
    ((OwnRows.push_own, OwnRows.push_own, OwnRows.push_refused), (OwnRows.pull_own, OwnRows.pull_told)),
    ((OwnRows.push_sums, OwnRows.push_rounded), (OwnRows.open_contested, OwnRows.drop_own)),
    ((OwnRows.run_once,), (OwnRows.wait_for_any,)),
)
_REMEMBERED = (_GROUPS[2], _GROUPS[5])
