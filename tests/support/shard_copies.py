"""A shard beside copies of it that hear only what it tells, as those on other servers would."""

import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np

from paracel import messages as m
from paracel import optim, store, wire
from paracel.functions import Functions, server_function, updater
from paracel.hashing import digest
from paracel.messages import READS, Envelope, Message
from paracel.shard import Shard
from paracel.tables.spec import function_wire, make_spec
from support.exact import fingerprint
from support.table_copies import assert_same, carried, holdings
from support.table_rules import uint64

KEYS = list("abcdefg")
HERE = "support.shard_copies"
SHARDS = 2


@updater
def stretch(value, delta):
    return value + delta


@updater(state={"m": 0.0})
def heavy(rows, deltas, state):
    state["m"] = state["m"] * 0.5 + deltas
    return rows + state["m"]


@server_function
def halve(keys, rows, state):
    rows //= 2
    return len(keys)


@server_function
def keys_of(entries):
    return sorted(entries)


def state_of(shard: Shard) -> dict[str, Any]:
    """All that others must have too, but for the replies."""
    tables = shard.tables._tables
    return {
        "entries": {key: fingerprint(value) for key, value in sorted(shard.store.entries.items())},
        "clock": shard.clock.state(),
        "entered": shard._entered,
        "attempts": shard._attempts,
        "tables": {name: (table.spec, table.number) for name, table in sorted(tables.items())},
        "made": shard.tables._made,
        "rows": {name: holdings(table, ("touched", "used")) for name, table in sorted(tables.items())},
        "results": {of: kept for of, kept in shard.tables._results.items() if kept},
    }


class Asker:
    """A client of the shard: it numbers its requests, and confirms replies some time after they came."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.number = self.confirmed = 0
        self.sent: dict[int, Message] = {}
        self.replies: dict[int, Message] = {}

    def ask(self, message: Message) -> Envelope:
        self.number += 1
        self.sent[self.number] = message
        return Envelope(self.number, self.confirmed, 1, message)

    def take(self, reply: Envelope) -> None:
        if reply.request:
            self.replies[reply.request] = reply.message

    def confirm(self) -> None:
        while self.confirmed + 1 in self.replies:
            self.confirmed += 1


class ShardCopies:
    """One shard that some clients use, a copy from the start, and one that is being filled."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.shard, self.copy = self._made(), self._made()
        self.new: Shard | None = None
        self.filling: Iterator[Any] = iter(())
        self.askers = [Asker(b"one"), Asker(b"two")]
        self.clocks = [0, 0]
        self.told: list[tuple[Any, Any]] = []
        self.shard.begin_serving(1)
        self.shard.watch()

    def _made(self) -> Shard:
        return Shard(1, SHARDS, 2, Functions())

    def step(self) -> None:
        """Requests of some clients, and now and then something of what has changed."""
        tell: list[Callable[[], Any]] = [self.tell, self.fill, self.begin_filling]
        self.rng.choice([self.ask] * 12 + [self.unnumbered, self.confirm, *tell])()

    def finish(self) -> None:
        """All has been told; then a copy takes the shard's place, and nothing is missing and nothing is done twice."""
        while self.new is not None and self.fill():
            pass
        self.tell()
        for copy in [self.copy] + ([self.new] if self.new is not None else []):
            self._check_same(copy)
        self.take_over(self.rng.choice([self.copy, self.new or self.copy]))

    def take_over(self, copy: Shard) -> None:
        """All requests that may be unanswered come again, to the copy."""
        before = state_of(copy)
        copy.begin_serving(2)
        copy.watch()
        waiting = {(asker.name, n) for asker in self.askers for n in asker.sent if n not in asker.replies}
        for asker in self.askers:
            for number in range(asker.confirmed + 1, asker.number + 1):
                answered = number in asker.replies
                message = asker.sent[number]
                repeated = m.Read([], 0) if answered and type(message) in READS else message
                copy.handle(asker.name, Envelope(number, asker.confirmed, 2, repeated))
        replies = {(name, reply.request): reply.message for name, reply in copy.flush() if reply.request}
        for asker in self.askers:
            for number, reply in asker.replies.items():
                if number > asker.confirmed and type(asker.sent[number]) not in READS:
                    assert fingerprint_of(replies[asker.name, number]) == fingerprint_of(reply), number
        for name, number in waiting & set(replies):
            message = replies[name, number]
            assert isinstance(message, m.Failure), "what waits for the clock here waits there too"
            assert message.kind == "ReadTooOld", "or is a read that is asked anew"
        assert_same(state_of(copy), before)
        for changes, as_told in self.told:
            assert fingerprint(changes) == as_told, "what was told is still to be passed on, and has changed"

    def _check_same(self, copy: Shard) -> None:
        assert_same(state_of(copy), state_of(self.shard))
        ours, theirs = self.shard.inbox._peers, copy.inbox._peers
        for name, peer in ours.items():
            if peer.replies:
                assert name in theirs
                ours_kept, theirs_kept = (
                    {n: fingerprint_of(reply) for n, reply in each.replies.items() if n > peer.confirmed}
                    for each in (peer, theirs[name])
                )
                assert ours_kept == theirs_kept
                assert max(peer.replies) < theirs[name].next <= peer.next

    # --- copies -------------------------------------------------------------------------------------------------------

    def tell(self) -> None:
        for name, reply in self.shard.flush():
            next(asker for asker in self.askers if asker.name == name).take(reply)
        changes = self.shard.take_changes()
        if not changes:
            return
        told = carried(changes)
        self.told.append((told, fingerprint(told)))
        self.copy.apply(told)
        if self.new is not None:
            self.new.apply(told)
        self._check_same(self.copy)
        assert self.shard.take_changes() == {}, "told once"

    def begin_filling(self) -> None:
        self.tell()
        self.new = self._made()
        self.filling = self.shard.pieces(self.rng.choice([1, 100, 1 << 20]))
        self.fill()

    def fill(self) -> bool:
        self.tell()
        piece = next(self.filling, None)
        if piece is not None and self.new is not None:
            self.new.apply(carried(piece))
        return piece is not None

    # --- requests -----------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        asker = self.rng.choice(self.askers)
        kinds = [self.entries] * 4 + [self.clock, self.functions, self.tables, self.rows, self.rows, self.rows]
        message = self.rng.choice(kinds)(asker)
        self.shard.handle(asker.name, asker.ask(message))
        if isinstance(message, m.Push) and message.selection is None:
            self.shard.handle(asker.name, Envelope(0, 0, 1, m.KeyList(message.digest, self.listed)))

    def confirm(self) -> None:
        self.rng.choice(self.askers).confirm()

    def unnumbered(self) -> None:
        """A client that is new comes, and goes; the coordinator says that a worker is gone."""
        name = b"passing"
        self.shard.handle(name, Envelope(1, 0, 1, m.Write(["z"], [self.rng.random()])))
        if self.rng.random() < 0.5:
            self.tell_passing()
        self.shard.handle(name, Envelope(0, 0, 1, m.Forget()))
        if self.rng.random() < 0.1:
            self.shard.handle(b"coordinator", Envelope(0, 0, 9, m.Leave(1, 9)))
        self.tell_passing()

    def tell_passing(self) -> None:
        passing = Asker(b"passing")
        self.askers.append(passing)
        self.tell()
        self.askers.remove(passing)

    def _value(self) -> Any:
        rng = self.rng
        return rng.choice(
            [rng.randint(-9, 9), rng.random(), np.arange(3.0), np.arange(40.0), [1, np.ones(2)], {"a": 1}, "text", None]
        )

    def entries(self, _asker: Asker) -> Message:
        rng, keys = self.rng, self.rng.choices(KEYS, k=self.rng.randint(1, 3))
        values = [self._value() for _ in keys]
        return rng.choice(
            [
                m.Write(keys, values),
                m.Update(keys, values, rng.choice(["add", "append", "assign", f"{HERE}:stretch"]), rng.random() < 0.5),
                m.Update(KEYS * 2, [1] * 2 * len(KEYS), "add", rng.random() < 0.5),
                m.Update(KEYS, [1] * len(KEYS), "add", rng.random() < 0.5),
                m.Remove(keys),
                m.RemoveChosen(None) if rng.random() < 0.1 else m.Contains(keys),
                m.Read(keys, 0),
                m.Scan(None, False, rng.randint(0, 3)),
            ]
        )

    def clock(self, asker: Asker) -> Message:
        worker = self.askers.index(asker)
        what = self.rng.random()
        if what < 0.8:
            self.clocks[worker] += 1
            return m.Commit(worker, self.clocks[worker])
        return m.Leave(worker) if what < 0.87 else m.Enter(worker)

    def functions(self, _asker: Asker) -> Message:
        return self.rng.choice(
            [
                m.Load("updater", f"{HERE}:stretch"),
                m.Load("server_function", f"{HERE}:keys_of"),
                m.Run(f"{HERE}:keys_of", []),
                m.Load("updater", "no.such:module"),
            ]
        )

    def tables(self, _asker: Asker) -> Message:
        name = self.rng.choice("tu")
        settings: dict[str, Any] = {
            "updater": self.rng.choice(["add", optim.momentum(0.5), function_wire(f"{HERE}:heavy")]),
            "apply": self.rng.choice(["push", "commit"]),
        }
        size = self.rng.choice([None, 5000])
        keeping = {} if size else {"admit_after": self.rng.choice([1, 2]), "expire_after": self.rng.choice([None, 2])}
        spec = make_spec(name, size, 1, "float64", **settings, **keeping)
        return m.DropTable(name) if self.rng.random() < 0.2 else m.OpenTable(spec.to_wire())

    def rows(self, asker: Asker) -> Message:
        rng, name = self.rng, self.rng.choice("tu")
        worker = self.askers.index(asker)
        keys = self.listed = uint64(dict.fromkeys(rng.choices([*range(12), *range(4000, 4010)], k=rng.randint(0, 6))))
        values = [np.array(rng.choices(range(-9, 9), k=len(keys)), np.float64)]
        selection = None if rng.random() < 0.3 else keys
        hashed = digest(keys) if selection is None else b""
        return rng.choice(
            [
                m.Push(name, worker, self.clocks[worker], selection, hashed, None, values, [], [], rng.random() < 0.5),
                m.Push(name, -1, 0, keys, b"", None, values, [], [], False),
                m.Pull(name, keys, b"", [], [], rng.choice([None, 0.5]), 0, 0),
                m.RunTable(name, f"{HERE}:halve", [], None, rng.choice([-1, self.clocks[worker]]), rng.randint(0, 2)),
                m.RunTable(name, f"{HERE}:halve", [], keys, -1, 0),
            ]
        )


def fingerprint_of(message: Message) -> Any:
    """What compares messages to the bit."""
    return type(message), tuple(fingerprint(getattr(message, name)) for name in type(message).__slots__)


def check_shard_copies(seed: int) -> None:
    """Whatever clients do, a copy has the same entries, rows, clock and replies; and takes the place of the other."""
    with patch.object(wire, "FRAME_BYTES", 64), patch.object(store, "FRAME_BYTES", 64):
        run = ShardCopies(random.Random(seed))
        for _ in range(60):
            run.step()
        run.finish()
