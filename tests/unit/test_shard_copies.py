"""A shard and its copies, which hear only what it tells."""

import numpy as np
import pytest
from support.exact import fingerprint
from support.shard_copies import Asker, check_shard_copies, state_of
from support.table_copies import assert_same, carried
from support.table_rules import uint64

from paracel import messages as m
from paracel.functions import Functions
from paracel.messages import Envelope
from paracel.shard import Shard
from paracel.store import Store
from paracel.tables.spec import make_spec
from paracel.values import FRAME_BYTES

HERE = "support.shard_copies"


def new_shard():
    return Shard(0, 1, 2, Functions())


@pytest.fixture
def shard():
    shard = new_shard()
    shard.begin_serving(1)
    shard.watch()
    return shard


@pytest.fixture
def copy():
    return new_shard()


@pytest.fixture
def asker():
    return Asker(b"peer")


def ask(shard, asker, *messages):
    """The replies to these requests."""
    for message in messages:
        shard.handle(asker.name, asker.ask(message))
    return [reply.message for _, reply in shard.flush()]


def tell(shard, *copies):
    changes = carried(shard.take_changes())
    for copy in copies:
        copy.apply(changes)
    return changes


def filled(shard, most_bytes=100):
    copy = new_shard()
    for piece in shard.pieces(most_bytes):
        copy.apply(carried(piece))
    return copy


def pull(table="t"):
    return m.Pull(table, uint64([1, 2]), b"", [], [], None, 0, 0)


def opening(**settings):
    return m.OpenTable(make_spec("t", None, 1, "float64", **settings).to_wire())


@pytest.mark.parametrize("seed", range(50))
def test_whoever_hears_of_all_changes_has_the_same_and_can_go_on(seed):
    check_shard_copies(seed)


def test_nothing_is_told_of_reads(shard, asker):
    ask(shard, asker, m.Read(["a"], 0), m.Scan(None, False, 0), m.Contains(["a"]))
    assert shard.take_changes() == {}


def test_what_is_not_watched_is_not_told(copy, asker):
    ask(copy, asker, m.Write(["a"], [1]))
    assert "entries" not in copy.take_changes()


def test_of_a_key_that_changes_often_its_value_is_told_once(shard, copy, asker):
    ask(shard, asker, m.Write(["a", "b"], [1, 2]), m.Update(["a"], [1], "add", True), m.Remove(["b"]))
    changes = tell(shard, copy)
    assert (changes["entries"], changes["gone"]) == ([["a"], [2]], ["b"])
    assert dict(copy.store.entries) == {"a": 2}


@pytest.mark.parametrize("count", [3, FRAME_BYTES])
def test_what_was_told_does_not_change_after(shard, asker, count):
    ask(shard, asker, m.Write(["w"], [np.zeros(count)]), m.Update(["w"], [np.ones(count)], "add", False))
    changes = shard.take_changes()
    as_told = fingerprint(changes)
    ask(shard, asker, *[m.Update(["w"], [np.ones(count)], "add", False)] * 2)
    assert fingerprint(changes) == as_told


@pytest.mark.parametrize("count", [3, FRAME_BYTES])
def test_who_takes_the_place_does_not_change_what_it_has_to_pass_on(shard, copy, asker, count):
    """Else a server behind it could have an update and not know of the request, and do it again."""
    ask(shard, asker, m.Write(["w"], [np.zeros(count)]), m.Enter(0), opening(apply="commit"))
    ask(shard, asker, m.Push("t", 0, 0, uint64([1]), b"", None, [np.ones(1)], [], [], False))
    changes = tell(shard, copy)
    as_told = fingerprint(changes)
    copy.begin_serving(2)
    copy.watch()
    ask(copy, asker, *[m.Update(["w"], [np.ones(count)], "add", False)] * 2)
    copy.handle(b"other", Envelope(1, 0, 2, m.Enter(1)))
    ask(copy, asker, m.Commit(0, 1), m.Leave(1))
    assert copy.store.entries["w"].tolist() == [2] * count
    assert fingerprint(changes) == as_told


def test_a_request_that_was_answered_is_not_done_again_by_the_copy(shard, copy, asker):
    (reply,) = ask(shard, asker, m.Update(["a"], [5], "add", True))
    tell(shard, copy)
    copy.begin_serving(2)
    copy.handle(asker.name, Envelope(1, 0, 2, m.Update(["a"], [5], "add", True)))
    assert [envelope.message for _, envelope in copy.flush()] == [reply]
    assert copy.store.entries["a"] == 5


def test_a_request_of_which_the_copy_has_not_heard_is_done(shard, copy, asker):
    ask(shard, asker, m.Update(["a"], [5], "add", True))
    copy.begin_serving(2)
    copy.handle(asker.name, Envelope(1, 0, 2, m.Update(["a"], [5], "add", True)))
    assert copy.store.entries["a"] == 5


def test_a_change_that_waited_for_its_clock_is_done_once_by_whoever_has_the_place_then(shard, copy, asker):
    ask(shard, asker, opening(), m.Push("t", 0, 0, uint64([1, 2]), b"", None, [np.full(2, 4.0)], [], [], False))
    waits = m.RunTable("t", f"{HERE}:halve", [], None, -1, 1)
    assert ask(shard, asker, waits) == [m.Parked(asker.number)]
    number = asker.number
    ask(shard, asker, m.Write(["a"], [1]))  # behind it, and answered
    tell(shard, copy)
    copy.begin_serving(2)
    copy.watch()
    for _ in range(2):
        copy.handle(asker.name, Envelope(number, 0, 2, waits))
    for worker, name in enumerate((b"one", b"two")):
        copy.handle(name, Envelope(1, 0, 2, m.Commit(worker, 1)))
    copy.handle(asker.name, Envelope(number, 0, 2, waits))
    results = [reply.message for _, reply in copy.flush() if reply.request == number and reply.message != m.Done(0)]
    assert results == [m.Result(2)] * 2, "the second from what is stored"
    assert ask(copy, Asker(b"reader"), pull())[0].values[0].tolist() == [2, 2]


def test_a_read_that_waited_is_asked_anew(shard, copy, asker):
    assert ask(shard, asker, m.Read(["a"], 1)) == [m.Parked(1)]
    ask(shard, asker, m.Write(["a"], [1]))
    tell(shard, copy)
    copy.begin_serving(2)
    copy.handle(asker.name, Envelope(1, 0, 2, m.Read(["a"], 1)))
    ((_, reply),) = copy.flush()
    assert (reply.request, reply.message.kind) == (1, "ReadTooOld")


def test_numbers_of_reads_that_were_answered_elsewhere_are_passed_over(shard, copy, asker):
    ask(shard, asker, m.Write(["a"], [1]), *[m.Read(["a"], 0)] * 5)
    tell(shard, copy)
    copy.begin_serving(2)
    copy.handle(asker.name, Envelope(7, 6, 2, m.Update(["a"], [1], "add", True)))
    assert [(reply.request, reply.message.values) for _, reply in copy.flush()] == [(7, [2])]


def test_who_said_goodbye_is_forgotten_everywhere(shard, copy, asker):
    ask(shard, asker, m.Write(["a"], [1]))
    tell(shard, copy)
    shard.handle(asker.name, Envelope(0, 0, 1, m.Forget()))
    tell(shard, copy)
    assert copy.inbox.senders() == shard.inbox.senders() == []


def test_the_clock_and_who_entered_in_which_view(shard, copy, asker):
    ask(shard, asker, m.Enter(0), m.Commit(0, 3), m.Leave(1))
    tell(shard, copy)
    assert (copy.clock.value, copy.clock.clocks) == (3, {0: 3, 1: 0})
    copy.begin_serving(2)
    copy.handle(b"coordinator", Envelope(0, 0, 2, m.Leave(0, 0)))
    assert copy.clock.slowest() == [0], "what was said of it before it entered is older"


def test_functions_are_loaded_and_one_that_cannot_be_is_named(shard, copy, asker, caplog):
    ask(shard, asker, m.Load("updater", f"{HERE}:stretch"))
    changes = tell(shard, copy)
    assert copy.functions.get("updater", f"{HERE}:stretch")
    changes["functions"].append(["updater", "no_such_module:f"])
    new_shard().apply(changes)
    assert "a copy of shard 0 will be without a function" in caplog.records[0].getMessage()


def test_a_function_that_ran_for_its_clock_does_not_run_again_in_another_copy(shard, copy, asker):
    once = m.RunTable("t", f"{HERE}:halve", [], None, 0, 0)
    push = m.Push("t", -1, 0, uint64([1, 2]), b"", None, [np.full(2, 8.0)], [], [], False)
    ask(shard, asker, opening(), push, once)
    late = filled(shard)
    tell(shard, copy)
    for other in (copy, late):
        other.begin_serving(2)
        reader = Asker(b"reader")
        assert ask(other, reader, once) == [m.Result(2)]
        assert ask(other, reader, pull())[0].values[0].tolist() == [4, 4]


def test_the_result_of_a_table_that_was_dropped_is_not_the_result_of_the_next_one(shard, copy, asker):
    once = m.RunTable("t", f"{HERE}:halve", [], None, 0, 0)
    push = m.Push("t", -1, 0, uint64([1, 2]), b"", None, [np.full(2, 8.0)], [], [], False)
    ask(shard, asker, opening(), push, once, m.DropTable("t"), opening())
    tell(shard, copy)
    copy.begin_serving(2)
    assert ask(copy, Asker(b"reader"), once) == [m.Result(0)]


def test_a_table_that_is_made_after_others_were_dropped_has_another_number(shard, copy, asker):
    ask(shard, asker, opening(), m.DropTable("t"), opening(), m.DropTable("t"))
    late = filled(shard)
    tell(shard, copy)
    for other in (copy, late):
        other.begin_serving(2)
        assert ask(other, Asker(b"other"), opening()) == [m.Opened(3, True)]


def test_pieces_go_on_although_what_they_are_of_changes(shard, asker):
    ask(shard, asker, m.Write([f"k{n}" for n in range(50)], list(range(50))), opening())
    keys = np.arange(50, dtype=np.uint64)
    ask(shard, asker, m.Push("t", -1, 0, keys, b"", None, [np.ones(50)], [], [], False))
    copy = new_shard()
    shard.take_changes()
    for number, piece in enumerate(shard.pieces(60)):
        copy.apply(carried(piece))
        ask(shard, asker, m.Remove([f"k{number}"]), m.Update(["k49"], [1], "add", False))
        if number == 8:
            ask(shard, asker, m.DropTable("t"), opening(admit_after=2))
        tell(shard, copy)
    assert number > 9
    assert_same(state_of(copy), state_of(shard))


def test_entries_that_a_restored_checkpoint_has_replaced_are_not_told_any_more(shard, asker):
    ask(shard, asker, m.Write([f"k{n}" for n in range(50)], list(range(50))))
    entries = [piece for piece in shard.pieces(60) if "entries" in piece]
    assert len(entries) > 5
    pieces = (piece for piece in shard.pieces(60) if "entries" in piece)
    next(pieces)
    shard.store = Store()  # as `restore` does; the copy will read the same files
    assert list(pieces) == []
