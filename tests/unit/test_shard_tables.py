"""A server's tables, message by message: nothing that comes may end it."""

import numpy as np
import pytest
from support.table_rules import uint64

from paracel import messages as m
from paracel.filters import Compressing, DropZeros, FixedPoint, KeyCaching
from paracel.functions import Functions
from paracel.hashing import digest
from paracel.messages import Envelope
from paracel.shard import Shard
from paracel.tables.keylists import KeyLists
from paracel.tables.spec import function_wire, make_spec

KEYS = uint64([1, 2, 3])
ONES = np.ones(3, np.float32)


class Asker:
    """A peer of a shard that numbers its requests and takes its replies."""

    def __init__(self, shard, name=b"peer"):
        self.shard, self.name, self.number = shard, name, 0

    def send(self, message, number=None):
        if number is None:
            number = self.number = self.number + 1
        self.shard.handle(self.name, Envelope(number, 0, 0, message))
        return number

    def take(self):
        return [(reply.request, reply.message) for name, reply in self.shard.flush() if name == self.name]

    def ask(self, message):
        number = self.send(message)
        return dict(self.take())[number]


def push(table="t", selection=KEYS, values=(ONES,), *, worker=0, clock=0, digest=b"", mask=None, reply=False, **wire):
    filters, metas = wire.get("filters", []), wire.get("metas", [])
    return m.Push(table, worker, clock, selection, digest, mask, list(values), filters, metas, reply)


def pull(table="t", selection=KEYS, *, digest=b"", state=(), filters=(), threshold=None, version=0, min_clock=0):
    return m.Pull(table, selection, digest, list(state), list(filters), threshold, version, min_clock)


def opening(name="t", size=None, dim=1, dtype="float32", **settings):
    return m.OpenTable(make_spec(name, size, dim, dtype, **settings).to_wire())


@pytest.fixture
def shard():
    return Shard(0, 1, 2, Functions())


@pytest.fixture
def peer(shard):
    peer = Asker(shard)
    assert peer.ask(opening()) == m.Opened(1, True)
    assert peer.ask(opening("dense", 10)) == m.Opened(2, True)
    return peer


def rows(reply):
    return reply.values[0].tolist()


# --- tables -----------------------------------------------------------------------------------------------------------


def test_the_same_settings_are_the_same_table_and_others_are_refused(peer):
    assert peer.ask(opening()) == m.Opened(1, False)
    refused = peer.ask(opening(dim=2))
    assert (refused.kind, refused.text) == ("TableError", "table 't' exists with dim=1; it was asked for with dim=2")


def test_list_and_drop(peer):
    peer.ask(push())
    peer.ask(pull())
    listed = peer.ask(m.ListTables()).value
    assert listed["t"] == {
        "settings": make_spec("t").to_wire(), "keys": 3, "bytes": listed["t"]["bytes"], "pushes": 1, "pulls": 1,
    }  # fmt: skip
    assert listed["dense"]["bytes"] == 40
    assert [peer.ask(m.DropTable("t")) for _ in range(2)] == [m.Done(1), m.Done(0)]
    assert peer.ask(pull()).text == "no table 't'; there are: 'dense'"


# --- what may come ----------------------------------------------------------------------------------------------------

ODD = [None, 5, -1, "x", b"x", [], [1], {"a": 1}, np.zeros(3), np.zeros((2, 2), np.uint64), np.array([1, 2, 3])]
SELECTIONS = [*ODD, [0], [1, 2, 3], [2, 0], [-1, 5], [0, 1 << 70], [0.5, 1], [True, 3], ["a", "b"], np.uint64(5)]


@pytest.mark.parametrize("table", ["t", "dense", "none"])
@pytest.mark.parametrize("selection", range(len(SELECTIONS)))
def test_what_are_no_keys_is_refused(peer, table, selection):
    given = SELECTIONS[selection]
    for message in (
        push(table, given),
        pull(table, given),
        push(table, given, digest=b"1" * 16, reply=True) if given is not None else pull(table, given),
    ):
        reply = peer.ask(message)
        assert isinstance(reply, m.Failure), given
        assert reply.kind in ("TableError", "WireError", "ServerFunctionError")
    assert isinstance(peer.ask(pull()), m.Pulled)


@pytest.mark.parametrize("table", ["t", "dense"])
@pytest.mark.parametrize(
    "bad",
    [
        {"values": []},
        {"values": [ONES, ONES]},
        {"values": [np.ones(2, np.float32)]},
        {"values": [np.ones(3)]},
        {"values": [np.ones((3, 1), np.float32)]},
        {"values": [np.float32(1)]},
        {"values": [[1, 2, 3]]},
        {"values": ["abc"]},
        {"values": [b"abc"]},
        {"values": [None]},
        {"values": [np.array(["a", "b", "c"])]},
        {"mask": b""},
        {"mask": b"\xff"},
        {"mask": b"\xe0\x00"},
        {"mask": b"\xc0"},
        {"selection": [0, 5]},
        {"selection": [0, 2], "mask": b"\x00"},
        {"filters": [["none", {}]], "metas": [{}]},
        {"filters": [None], "metas": [{}]},
        {"filters": [["drop_zeros", {}]], "metas": []},
        {"filters": [["drop_zeros", {}]], "metas": [{"count": 1 << 40, "masks": [b"\xff"]}]},
        {"filters": [["drop_zeros", {}]], "metas": ["x"]},
        {"filters": [["drop_zeros", {"x": 1}]], "metas": [{}]},
        {"filters": [DropZeros().to_wire()] * 2, "metas": [{}, 5]},
        {"filters": [Compressing().to_wire()], "metas": [{"keys": 3, "values": [None]}], "selection": b"abc"},
        {"filters": [Compressing().to_wire()], "metas": [{"keys": 3, "values": [["<f4", 1 << 60]]}], "values": [b"a"]},
        {"filters": [FixedPoint(8).to_wire()], "metas": [{"arrays": 5}]},
        {"selection": b"abc"},
    ],
)
def test_a_bad_push_changes_nothing(peer, table, bad):
    peer.ask(push(table))
    reply = peer.ask(push(table, **bad))
    assert isinstance(reply, m.Failure), reply
    assert rows(peer.ask(pull(table))) == [1, 1, 1]
    assert isinstance(peer.ask(push(table)), m.Done)


@pytest.mark.parametrize(
    "bad",
    [
        {"state": ["m"]},
        {"filters": [["none", {}]]},
        {"filters": [5]},
        {"filters": [["random_skip", {}]]},
        {"selection": uint64([99]), "table": "dense"},
    ],
)
def test_a_bad_pull_is_refused(peer, bad):
    assert isinstance(peer.ask(pull(**bad)), m.Failure)


@pytest.mark.parametrize("given", [*ODD, make_spec("t2").to_wire() | {"size": 0}, make_spec("t2").to_wire() | {"x": 1}])
def test_what_is_no_table_is_refused(peer, given):
    reply = peer.ask(m.OpenTable(given))
    assert reply.kind == "ConfigError", reply


@pytest.mark.parametrize("function", ["", "nothing", "os:none", "json:dumps", "no_such_module:f"])
def test_functions_that_are_not_there_are_refused(peer, function):
    assert isinstance(peer.ask(m.RunTable("t", function, [], None, -1, 0)), m.Failure)
    spec = make_spec("t2", updater=function_wire(function))
    assert isinstance(peer.ask(m.OpenTable(spec.to_wire())), m.Failure)
    spec = make_spec("t2", init=function_wire(function))
    assert isinstance(peer.ask(m.OpenTable(spec.to_wire())), m.Failure)


@pytest.mark.parametrize("keys", [*ODD, uint64([1])])
def test_a_key_list_that_is_not_what_it_says_is_dropped(shard, peer, keys):
    shard.handle(b"peer", Envelope(0, 0, 0, m.KeyList(b"1" * 16, keys)))
    assert b"1" * 16 not in shard.tables.key_lists
    assert isinstance(peer.ask(pull()), m.Pulled)


# --- key lists --------------------------------------------------------------------------------------------------------

HASH = digest(KEYS)


def test_a_request_with_an_unknown_list_waits_for_it_and_others_behind_it(shard, peer):
    first = peer.send(push(selection=None, digest=HASH))
    second = peer.send(pull())
    assert peer.take() == [(0, m.UnknownKeys(first, HASH))], "asked for once"
    shard.handle(b"peer", Envelope(0, 0, 0, m.Probe(first)))
    assert peer.take() == [(0, m.UnknownKeys(first, HASH))], "and again when asked after"
    shard.handle(b"peer", Envelope(0, 0, 0, m.KeyList(HASH, KEYS)))
    (one, done), (two, pulled) = peer.take()
    assert (one, two, done, rows(pulled)) == (first, second, m.Done(3), [1, 1, 1])


def test_each_of_two_requests_gets_its_list_without_being_asked_after(shard, peer):
    other = uint64([7, 8, 9])
    first = peer.send(push(selection=None, digest=HASH))
    second = peer.send(push(selection=None, digest=digest(other)))
    assert peer.take() == [(0, m.UnknownKeys(first, HASH))]
    shard.handle(b"peer", Envelope(0, 0, 0, m.KeyList(HASH, KEYS)))
    assert peer.take() == [(first, m.Done(3)), (0, m.UnknownKeys(second, digest(other)))]


def test_a_list_that_came_with_a_request_is_known_to_all(shard, peer):
    peer.ask(push(digest=HASH))
    other = Asker(shard, b"other")
    assert rows(other.ask(pull(selection=None, digest=HASH))) == [1, 1, 1]


def test_a_pull_that_waits_for_the_clock_keeps_its_list(shard, peer):
    peer.ask(push(digest=HASH))
    number = peer.send(pull(selection=None, digest=HASH, min_clock=1))
    assert peer.take() == [(0, m.Parked(number))]
    shard.tables.key_lists = KeyLists(1)
    peer.send(m.Commit(0, 1))
    peer.send(m.Commit(1, 1))
    assert rows(dict(peer.take())[number]) == [1, 1, 1]


def test_a_repeated_pull_whose_list_is_forgotten_asks_for_it(shard, peer):
    peer.ask(push(digest=HASH))
    number = peer.send(pull(selection=None, digest=HASH))
    (first,) = peer.take()
    shard.tables.key_lists = KeyLists(1)
    peer.send(pull(selection=None, digest=HASH), number)
    assert peer.take() == [(0, m.UnknownKeys(number, HASH))]
    shard.handle(b"peer", Envelope(0, 0, 0, m.KeyList(HASH, KEYS)))
    peer.send(pull(selection=None, digest=HASH), number)
    ((again, reply),) = peer.take()
    assert (again, rows(reply)) == (number, rows(first[1]))


# --- clocks and functions ---------------------------------------------------------------------------------------------


def commit(peer, clock=1):
    for worker in (0, 1):
        peer.send(m.Commit(worker, clock))


def test_an_updater_that_fails_at_the_end_of_a_clock_is_named_to_all_who_come(shard, peer):
    shard.functions.add("table_updater", "f:bad", lambda rows, deltas, state: 1 // 0)
    peer.ask(opening("late", 10, apply="commit", updater=function_wire("f:bad")))
    assert peer.ask(push("late")) == m.Done(3)
    number = peer.send(pull("late", min_clock=1))
    commit(peer)
    failed = dict(peer.take())[number]
    for reply in (failed, peer.ask(push("late")), peer.ask(pull("late"))):
        assert reply.kind == "TableError"
        assert reply.text.startswith("the updater of table 'late' failed at the end of a clock:\nTraceback")
        assert "ZeroDivisionError" in reply.text
        assert reply.text.count("File ") == 1, "the user's frames alone"
    assert rows(peer.ask(pull())) == [0, 0, 0], "other tables go on"
    assert not peer.ask(opening("late", 10, apply="commit", updater=function_wire("f:bad"))).made
    assert peer.ask(m.ListTables()).value["late"]["pushes"] == 1
    commit(peer, 2)
    assert rows(peer.ask(pull(min_clock=2))) == [0, 0, 0], "and so does the clock"
    assert peer.ask(m.DropTable("late")) == m.Done(1)


def test_a_function_runs_once_for_a_clock(shard, peer):
    calls = []
    shard.functions.add("table_function", "f:count", lambda keys, rows, state: calls.append(1) or len(calls))
    for _ in range(2):
        assert peer.ask(m.RunTable("t", "f:count", [], None, 0, 0)) == m.Result(1)
    assert peer.ask(m.RunTable("t", "f:count", [], None, 1, 0)) == m.Result(2)
    assert peer.ask(m.RunTable("dense", "f:count", [], None, 1, 0)) == m.Result(3)
    assert peer.ask(m.RunTable("t", "f:count", [], None, -1, 0)) == m.Result(4)
    commit(peer)
    assert peer.ask(m.RunTable("t", "f:count", [], None, 1, 0)) == m.Result(2)
    commit(peer, 2)
    assert shard.tables._results == {("t", "f:count"): {}, ("dense", "f:count"): {}}, "nobody asks for those any more"
    refused = peer.ask(m.RunTable("t", "f:count", [], None, 1, 0))
    assert (refused.kind, refused.text) == ("TableError", "f:count for clock 1, and all have committed that one")
    assert len(calls) == 4, "not run again for who comes too late"


def test_a_function_that_fails_runs_once_for_its_clock_too(shard, peer):
    """What it changed before stays changed, so that it must not run again."""
    runs = []

    def fails(keys, rows, state):
        runs.append(1)
        raise ValueError("at the first")

    shard.functions.add("table_function", "f:s", fails)
    first = peer.ask(m.RunTable("t", "f:s", [], None, 0, 0))
    assert (first.kind, "at the first" in first.text) == ("ServerFunctionError", True)
    assert first.text.startswith("function 'f:s' failed on table 't':\nTraceback")
    assert first.text.count("File ") == 1, "the user's frames alone"
    assert peer.ask(m.RunTable("t", "f:s", [], None, 0, 0)) == first
    assert len(runs) == 1


def test_results_are_copies_and_are_carried_or_refused(shard, peer):
    shard.functions.add("table_function", "f:rows", lambda keys, rows, state: rows)
    shard.functions.add("table_function", "f:set", lambda keys, rows, state: {1})
    peer.ask(push())
    result = peer.ask(m.RunTable("t", "f:rows", [], None, -1, 0))
    peer.ask(push())
    assert result.value.tolist() == [1, 1, 1]
    refused = peer.ask(m.RunTable("t", "f:set", [], None, -1, 0))
    assert (refused.kind, "the result of 'f:set'" in refused.text) == ("CarryError", True)


def test_random_rounding_of_replies_goes_on(shard, peer):
    wire = FixedPoint(4, seed=3).to_wire()
    peer.ask(push(selection=np.arange(200, dtype=np.uint64), values=[np.linspace(0, 1, 200, dtype=np.float32)]))
    replies = [peer.ask(pull(selection=np.arange(200, dtype=np.uint64), filters=[wire])) for _ in range(2)]
    assert replies[0].values[0].tobytes() != replies[1].values[0].tobytes()


def test_a_push_with_a_mask_answers_with_all_its_keys(peer):
    reply = peer.ask(push(mask=b"\xa0", values=[np.ones(2, np.float32)], reply=True))
    assert rows(reply) == [1, 0, 1]
    reply = peer.ask(push("dense", [2, 4], mask=b"\x20", values=[np.ones(1, np.float32)], reply=True))
    assert rows(reply) == [0, 0, 1]


def test_a_shard_without_the_filters_name_takes_key_caching_as_nothing(peer):
    assert rows(peer.ask(push(filters=[KeyCaching().to_wire()], metas=[{}], reply=True))) == [1, 1, 1]
