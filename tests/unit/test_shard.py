"""A server's brain, request by request."""

import numpy as np
import pytest

from paracel import messages as m
from paracel.functions import Functions
from paracel.messages import Envelope
from paracel.shard import HANDLERS, Shard
from paracel.values import FRAME_BYTES


class Asker:
    """A peer of a shard that numbers its requests and takes its replies."""

    def __init__(self, shard, name=b"peer"):
        self.shard, self.name, self.number, self.replies = shard, name, 0, {}

    def send(self, message, number=None, confirmed=0):
        """Send a request without looking for its reply; returns its number."""
        if number is None:
            number = self.number = self.number + 1
        self.shard.handle(self.name, Envelope(number, confirmed, 0, message))
        return number

    def take(self):
        """The replies of this turn that are for this peer, as (number, message)."""
        return [(reply.request, reply.message) for name, reply in self.shard.flush() if name == self.name]

    def ask(self, message):
        """The reply of one request."""
        number = self.send(message)
        return dict(self.take())[number]


@pytest.fixture
def shard():
    return Shard(3, 4, 2, Functions())


@pytest.fixture
def peer(shard):
    return Asker(shard)


# --- requests -----------------------------------------------------------------------------------------------


def test_write_read_contains_remove(peer):
    assert peer.ask(m.Read(["a"], 0)) == m.Found([None], [0], 0)
    assert peer.ask(m.Write(["a", "b"], [1, None])) == m.Done(2)
    assert peer.ask(m.Read(["b", "x", "a", "a"], 0)) == m.Found([None, None, 1, 1], [1], 0)
    assert peer.ask(m.Contains(["a", "x", "b"])) == m.Flags([True, False, True])
    assert peer.ask(m.Remove(["a", "x", "a"])) == m.Flags([True, False, False])
    assert peer.ask(m.Scan(None, False, 0)) == m.Entries(["b"], [None], 0)
    assert peer.ask(m.RemoveChosen(None)) == m.Done(1)
    assert peer.ask(m.RemoveChosen(None)) == m.Done(0)


def test_updates_of_missing_keys_and_failures(peer):
    assert peer.ask(m.Update(["a", "a", "b"], [1, 2, [3]], "add", True)) == m.Updated([3, 3, [3]], {}, 0)
    answer = peer.ask(m.Update(["a", "b", "a"], [1, 1, 1], "add", True))
    assert answer.values == [5, [3], 5]
    assert list(answer.failures) == [1]
    assert "TypeError: can only concatenate list" in answer.failures[1]
    assert "_update_one" not in answer.failures[1].splitlines()[0]
    assert peer.ask(m.Update(["a"], [1], "add", False)) == m.Updated([], {}, 0)


def test_a_value_that_cannot_be_carried_is_not_kept(shard, peer):
    shard.functions.add("updater", "f:bad", lambda value, _delta: {value})
    peer.ask(m.Write(["a"], [1 << 63]))
    assert "more than 64 bits" in peer.ask(m.Update(["a"], [1 << 63], "add", False)).failures[0]
    assert "type builtins.set" in peer.ask(m.Update(["a"], [1], "f:bad", False)).failures[0]
    assert peer.ask(m.Read(["a"], 0)).values == [1 << 63]


def test_scans_with_and_without_filters(shard, peer):
    shard.functions.add("key_filter", "f:a", lambda key: key.startswith("a"))
    shard.functions.add("key_filter", "f:big", lambda _key, value: value > 1)
    peer.ask(m.Write(["a1", "a2", "b1"], [1, 2, 3]))
    assert peer.ask(m.Scan("f:a", False, 0)) == m.Entries(["a1", "a2"], [1, 2], 0)
    assert peer.ask(m.Scan("f:big", True, 0)) == m.Entries(["a2", "b1"], [], 0)
    assert peer.ask(m.Top(2, None, 0)) == m.Entries(["b1", "a2"], [3, 2], 0)
    assert peer.ask(m.Top(9, "f:a", 0)) == m.Entries(["a2", "a1"], [2, 1], 0)
    assert peer.ask(m.RemoveChosen("f:big")) == m.Done(2)
    assert peer.ask(m.Scan(None, True, 0)) == m.Entries(["a1"], [], 0)


def test_a_filter_that_fails_removes_nothing(shard, peer):
    shard.functions.add("key_filter", "f:fails", lambda key, value: 1 // value > 0)
    peer.ask(m.Write(["a", "b"], [1, 0]))
    for message in (m.RemoveChosen("f:fails"), m.Scan("f:fails", False, 0), m.Top(1, "f:fails", 0)):
        answer = peer.ask(message)
        assert answer.kind == "ServerFunctionError"
        assert "ZeroDivisionError" in answer.text
    assert len(shard.store.entries) == 2


@pytest.mark.parametrize(
    ("message", "kind", "text"),
    [
        (m.Update(["a"], [1], "summ", False), "FunctionError", "no updater 'summ'; built in: add, append"),
        (m.Scan("nothing", False, 0), "FunctionError", "no key_filter 'nothing'"),
        (m.Run("nothing", []), "FunctionError", "no server_function 'nothing'"),
        (m.Load("updater", "no_such_module:f"), "FunctionError", "importing no_such_module failed"),
        (m.Load("gadget", "math:sqrt"), "FunctionError", "no kind of function 'gadget'"),
        (m.Load("updater", "math:sqrt"), "FunctionError", "must take (value, delta)"),
        (m.Found([], [], 0), "RequestError", "a server does not take Found"),
        (m.Join(0, "", 1), "RequestError", "a server does not take Join"),
        (m.GetStatistics(), "RequestError", "a shard is not a server"),
        (m.Statistics(0, 0, 0, 0, 0, 5, 0, 0, {}, {}), "RequestError", "a server does not take Statistics"),
    ],
)
def test_refusals(peer, message, kind, text):
    answer = peer.ask(message)
    assert answer.kind == kind
    assert text in answer.text
    assert peer.ask(m.Contains(["a"])) == m.Flags([False]), "and it goes on"


def test_server_functions(shard, peer):
    def weigh(entries, factor=1):
        return sum(entries[key] for key in entries) * factor

    shard.functions.add("server_function", "f:weigh", weigh)
    shard.functions.add("server_function", "f:set", set)
    peer.ask(m.Write(["a", "b"], [1, 2]))
    assert peer.ask(m.Run("f:weigh", [])) == m.Result(3)
    assert peer.ask(m.Run("f:weigh", [10])) == m.Result(30)
    assert "TypeError" in peer.ask(m.Run("f:weigh", [1, 2])).text
    assert "the result of 'f:set' cannot be carried: type builtins.set" in peer.ask(m.Run("f:set", [])).text


# --- nothing that a reply refers to ever changes --------------------------------------------------------------


@pytest.mark.parametrize("count", [3, FRAME_BYTES])
@pytest.mark.parametrize(
    "message",
    [
        m.Read(["w"], 0),
        m.Scan(None, False, 0),
        m.Top(1, None, 0),
        m.Update(["w"], [1], "add", True),
        m.Run("f:entry", []),
        m.Run("f:part", []),
        m.Run("f:nested", []),
    ],
    ids=lambda message: f"{type(message).__name__} {getattr(message, 'name', '')}",
)
def test_a_reply_stays_what_it_was(shard, peer, count, message):
    shard.functions.add("server_function", "f:entry", lambda entries: entries["w"])
    shard.functions.add("server_function", "f:part", lambda entries: entries["w"][1:])
    shard.functions.add("server_function", "f:nested", lambda entries: [{"w": entries["w"]}])
    peer.ask(m.Write(["w"], [np.zeros(count)]))
    peer.ask(m.Update(["w"], [1], "add", False))
    peer.send(message)
    ((_, reply),) = peer.take()
    text = repr(reply)
    peer.ask(m.Update(["w"], [np.ones(count)], "add", False))
    peer.ask(m.Update(["w"], [np.ones(count)], "mul", False))
    assert repr(reply) == text


# --- numbers --------------------------------------------------------------------------------------------------


def test_a_repeated_change_gets_the_stored_reply_and_is_not_run_again(shard, peer):
    number = peer.send(m.Update(["a"], [1], "add", True))
    (first,) = peer.take()
    peer.send(m.Update(["a"], [1], "add", True), number)
    assert peer.take() == [first]
    assert shard.store.entries["a"] == 1
    assert shard.inbox.duplicates == 1
    peer.send(m.Contains(["a"]), confirmed=number)
    peer.take()
    peer.send(m.Update(["a"], [1], "add", True), number)
    assert peer.take() == [], "the reply was confirmed: it has come"
    assert shard.store.entries["a"] == 1


def test_a_repeated_read_is_read_again(shard, peer):
    number = peer.send(m.Read(["a"], 0))
    Asker(shard, b"other").ask(m.Write(["a"], [5]))
    peer.take()
    peer.send(m.Read(["a"], 0), number)
    assert peer.take() == [(number, m.Found([5], [], 0))]


def test_a_repeated_read_does_not_show_what_its_sender_did_later(peer):
    number = peer.send(m.Read(["a"], 0))
    peer.ask(m.Write(["a"], [5]))
    peer.take()
    peer.send(m.Read(["a"], 0), number)
    assert peer.take() == [(number, m.Failure("ReadTooOld", "this read is too old to be repeated"))]


def test_requests_run_in_order_whatever_the_order_of_arrival(shard, peer):
    peer.send(m.Update(["a"], [3], "append", False), 3)
    peer.send(m.Update(["a"], [2], "append", False), 2)
    assert peer.take() == []
    peer.send(m.Update(["a"], [1], "append", False), 1)
    assert [number for number, _ in peer.take()] == [1, 2, 3]
    assert shard.store.entries["a"] == [1, 2, 3]


def test_peers_have_numbers_of_their_own(shard, peer):
    other = Asker(shard, b"other")
    assert peer.ask(m.Write(["a"], [1])) == m.Done(1)
    assert other.ask(m.Update(["a"], [1], "add", True)) == m.Updated([2], {}, 0)


def test_a_probe_says_what_became_of_a_request(shard, peer):
    def probe(request):
        peer.send(m.Probe(request), 0)
        return peer.take()

    assert probe(1) == [(0, m.Lost(1))]
    update = peer.send(m.Update(["a"], [1], "add", True))
    (answer,) = peer.take()
    assert probe(update) == [answer], "the stored reply"
    read = peer.send(m.Read(["a"], 0))
    peer.take()
    assert probe(read) == [(0, m.Lost(read))], "to be asked again"
    waiting = peer.send(m.Read(["a"], 1))
    assert peer.take() == [(0, m.Parked(waiting))]
    assert probe(waiting) == [(0, m.Waiting(waiting, 1, 0, [0, 1]))]
    assert probe(waiting + 2) == [(0, m.Lost(waiting + 1))]


def test_who_says_goodbye_is_forgotten(shard, peer):
    peer.ask(m.Write(["a"], [1]))
    waiting = peer.send(m.Read(["a"], 1))
    peer.take()
    peer.send(m.Forget(), 0)
    assert peer.take() == []
    other = Asker(shard, b"other")
    other.ask(m.Leave(0))
    other.send(m.Leave(1))
    assert [name for name, _ in shard.flush()] == [b"other"], "nothing for who is gone"
    peer.send(m.Probe(waiting), 0)
    assert peer.take() == [(0, m.Lost(1))]


def test_requests_and_operations_are_counted(shard, peer):
    peer.ask(m.Write(["a", "b"], [1, 2]))
    peer.ask(m.Commit(1, 4))
    peer.send(m.Read(["a"], 3))
    assert (shard.requests, shard.operations) == (2, 3), "not what waits"
    peer.ask(m.Commit(0, 3))
    assert (shard.requests, shard.operations) == (4, 5)


def test_replies_name_their_shard(shard):
    shard.handle(b"peer", Envelope(1, 0, 0, m.Write(["a"], [1]), 3))
    shard.handle(b"peer", Envelope(0, 0, 0, m.Probe(9), 3))
    assert [reply.shard for _, reply in shard.flush()] == [3, 3]


# --- the clock --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [m.Read(["a"], 2), m.Scan(None, False, 2), m.Top(1, None, 2)])
def test_reads_that_need_a_later_clock_wait_for_the_commit_that_reaches_it(peer, message):
    peer.ask(m.Commit(0, 5))
    number = peer.send(message)
    assert peer.take() == [(0, m.Parked(number))], "told at once"
    assert peer.ask(m.Commit(1, 1)) == m.Done(0)
    commit = peer.send(m.Commit(1, 2))
    (released, done) = peer.take()
    assert released[0] == number
    assert released[1].clock == 2
    assert done == (commit, m.Done(0))


def test_a_waiting_read_sees_what_came_while_it_waited_and_holds_nobody_up(shard, peer):
    other = Asker(shard, b"other")
    waits = peer.send(m.Read(["a"], 1))
    assert peer.ask(m.Write(["b"], [1])) == m.Done(1), "the same peer goes on"
    other.ask(m.Update(["a"], [7], "add", False))
    peer.send(m.Commit(0, 1))
    other.send(m.Commit(1, 1))
    assert dict(peer.take())[waits] == m.Found([7], [], 1)


def test_the_coordinator_takes_a_dead_worker_out(shard, peer):
    peer.ask(m.Commit(0, 1))
    waits = peer.send(m.Read(["a"], 1))
    shard.handle(b"coordinator", Envelope(0, 0, 0, m.Leave(1)))
    assert peer.take()[1:] == [(waits, m.Found([None], [0], 1))]


def test_a_worker_that_entered_again_stays_although_the_coordinator_said_before_that_it_was_gone(shard, peer):
    shard.handle(b"again", Envelope(1, 0, 5, m.Enter(1)))
    waits = peer.send(m.Read(["a"], 1))
    peer.ask(m.Commit(0, 1))
    shard.handle(b"coordinator", Envelope(0, 0, 0, m.Leave(1, 4)))
    assert peer.take() == []
    shard.handle(b"coordinator", Envelope(0, 0, 0, m.Leave(1, 5)))
    assert peer.take() == [(waits, m.Found([None], [0], 1))]


def test_entering_says_how_far_the_worker_was(peer):
    peer.ask(m.Commit(0, 3))
    assert peer.ask(m.Enter(0)).clock == 3
    assert peer.ask(m.Enter(1)).clock == 0
    peer.ask(m.Leave(1))
    assert peer.ask(m.Enter(1)).clock == 3
    assert peer.ask(m.Enter(9)).clock == 0


def test_a_repeated_read_that_waits_is_kept_once(shard, peer):
    number = peer.send(m.Read(["a"], 1))
    peer.send(m.Read(["a"], 1), number)
    assert shard.clock.parked == 1
    peer.ask(m.Leave(0))
    peer.send(m.Leave(1))
    assert [n for n, _ in peer.take()].count(number) == 1


def test_every_handler_gives_a_message(shard, peer):
    """Whatever a handler does with odd numbers, it answers, and the server goes on."""
    odd = {int: -1, str: "", bytes: b"", bool: False, list: [], float: 0.0}
    for kind in HANDLERS:
        given = [odd.get(getattr(hint, "__origin__", hint)) for hint in kind.__annotations__.values()]
        assert isinstance(peer.ask(kind(*given)), m.Message)
