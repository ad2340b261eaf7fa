"""The copies of one shard, message by message: nothing is answered that is not everywhere."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from support.chain import FILL_BYTES, Chain, check_chain

from paracel import messages as m
from paracel import replication
from paracel.messages import Envelope
from paracel.tables.spec import make_spec


@pytest.fixture(autouse=True)
def _quietly():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def add(key="a", delta=1):
    return m.Update([key], [delta], "add", True)


def value(chain, server, key="a"):
    return chain.replicas[server].shard.store.entries.get(key)


def on_its_way(chain, source, server):
    return list(chain.links.get((source, server), ()))


@pytest.mark.parametrize("seed", range(80))
def test_whatever_happens_all_that_was_answered_is_there_once(seed):
    check_chain(seed)


# --- replies ----------------------------------------------------------------------------------------------------------


def test_alone_it_answers_at_once_and_keeps_nothing():
    chain = Chain(4)
    number = chain.ask(add())
    assert chain.turn(4) == [(number, m.Updated([1], {}, 0))]
    assert not chain.links
    assert chain.primary.shard.store.changed is None, "nobody wants to know what changes"


def test_a_reply_leaves_when_the_only_backup_has_what_was_changed():
    chain = Chain(0, 1)
    number = chain.ask(add())
    assert chain.turn(0) == []
    assert value(chain, 1) is None
    chain.deliver(0, 1)
    assert value(chain, 1) == 1
    assert chain.told == []
    chain.deliver(1, 0)
    assert chain.told == [number]


def test_of_three_the_last_must_have_it_too():
    chain = Chain(0, 1, 2)
    number = chain.ask(add())
    assert chain.turn(0) == []
    chain.deliver(0, 1)
    chain.deliver(1, 2)
    while on_its_way(chain, 1, 0):
        chain.deliver(1, 0)
    assert chain.told == [], "the middle one has it, and that is not enough"
    chain.deliver(2, 1)
    chain.deliver(1, 0)
    assert chain.told == [number]
    assert [value(chain, server) for server in (0, 1, 2)] == [1, 1, 1]


def test_what_is_changed_in_one_turn_travels_as_one_message():
    chain = Chain(0, 1)
    for _ in range(5):
        chain.ask(add())
    chain.turn(0)
    (message,) = on_its_way(chain, 0, 1)
    assert (message.sequence, message.changes["entries"]) == (1, [["a"], [5]])


def test_a_read_does_not_show_what_could_still_be_lost():
    chain = Chain(0, 1)
    update = chain.ask(add())
    read = chain.ask(m.Read(["a"], 0))
    assert chain.turn(0) == []
    chain.pump()
    assert chain.told == [update, read]
    again = chain.ask(m.Read(["a"], 0))
    assert chain.turn(0) == [(again, m.Found([1], [], 0))], "nothing has changed since: at once"


def test_replies_keep_their_order_and_each_waits_for_its_own_turn():
    chain = Chain(0, 1)
    chain.ask(add())
    chain.turn(0)
    chain.ask(add())
    chain.turn(0)
    chain.deliver(0, 1)
    chain.deliver(1, 0)
    assert chain.told == [1]
    chain.pump()
    assert chain.told == [1, 2]


def test_without_a_lease_nothing_is_answered_and_all_of_it_after():
    chain = Chain(0, 1)
    first, read = chain.ask(add()), chain.ask(m.Read(["a"], 0))
    chain.turn(0, leased=False)
    chain.deliver(0, 1)
    chain.arrive(1, 0, chain.links[1, 0].popleft())
    assert chain.turn(0, leased=False) == []
    assert [number for number, _ in chain.turn(0)] == [first, read]


# --- what is lost or comes twice --------------------------------------------------------------------------------------


def test_what_comes_twice_or_late_is_taken_once():
    chain = Chain(0, 1)
    chain.ask(m.Update(["a"], [1], "append", False))
    chain.turn(0)
    chain.ask(m.Update(["a"], [2], "append", False))
    chain.turn(0)
    first, second = on_its_way(chain, 0, 1)
    chain.arrive(0, 1, second)
    assert value(chain, 1) is None, "there is a gap before it"
    chain.arrive(0, 1, first)
    assert value(chain, 1) == [1]
    for message in (first, second, second, first):
        chain.arrive(0, 1, message)
    assert value(chain, 1) == [1, 2]
    assert chain.replicas[1].applied == 2


def test_what_was_lost_is_sent_again_after_two_ticks():
    chain = Chain(0, 1)
    chain.ask(add())
    chain.turn(0)
    lost = chain.links[0, 1].popleft()
    chain.tick()
    assert not on_its_way(chain, 0, 1), "it may be on its way still"
    chain.tick()
    assert on_its_way(chain, 0, 1) == [lost]
    chain.pump()
    assert chain.told == [1]


def test_an_acknowledgement_that_was_lost_is_said_again():
    chain = Chain(0, 1)
    chain.ask(add())
    chain.turn(0)
    chain.deliver(0, 1)
    chain.links[1, 0].clear()
    chain.tick()
    chain.tick()
    chain.pump()
    assert chain.told == [1]
    assert value(chain, 1) == 1


def test_an_acknowledgement_of_those_behind_that_was_lost_is_asked_for():
    chain = Chain(0, 1, 2)
    chain.ask(add())
    chain.turn(0)
    chain.deliver(0, 1)
    chain.deliver(1, 2)
    while on_its_way(chain, 1, 0):
        chain.deliver(1, 0)
    assert not chain.primary.outlet.sent, "the next one has all"
    chain.deliver(2, 1)
    chain.links[1, 0].clear()
    chain.tick()
    chain.pump()
    assert chain.told == [1]


def test_a_backup_that_takes_nothing_is_reported():
    chain = Chain(0, 1)
    chain.ask(add())
    chain.turn(0)
    for tick in range(9):
        assert chain.reports == [m.Behind(0, 0, 1, chain.view)] * max(0, tick - 6)
        chain.tick()
        chain.links[0, 1].clear()
    chain.follow(0)
    chain.turn(0)
    assert chain.told == [1], "they go on without it"


def test_a_backup_that_takes_something_is_not_behind():
    chain = Chain(0, 1)
    for _ in range(20):
        chain.ask(add())
        chain.turn(0)
        chain.ask(add())
        chain.turn(0)
        chain.deliver(0, 1)
        chain.deliver(1, 0)
        chain.tick()
    assert chain.reports == []


# --- other chains -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", [0, 1, 2])
def test_the_next_takes_the_place_of_a_lost_primary_and_knows_what_was_answered(heard):
    chain = Chain(0, 1, 2)
    chain.ask(add())
    chain.pump()
    chain.ask(add())
    chain.turn(0)
    if heard > 0:
        chain.deliver(0, 1)
    if heard > 1:
        chain.deliver(1, 2)
    chain.lose(0)
    chain.follow(1, 2)
    chain.resend()
    chain.ask(add())
    chain.pump()
    assert chain.told == [1, 2, 3]
    assert [value(chain, server) for server in (1, 2)] == [3, 3]
    chain.check_same()


def test_who_was_in_the_middle_tells_what_it_changes_as_the_primary():
    chain = Chain(0, 1, 2)
    chain.lose(0)
    chain.follow(1, 2)
    number = chain.ask(add())
    assert chain.turn(1) == []
    chain.deliver(1, 2)
    assert value(chain, 2) == 1
    chain.deliver(2, 1)
    assert chain.told == [number]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_lost_middle_is_passed_over(stage):
    chain = Chain(0, 1, 2)
    for _ in range(2):
        chain.ask(add())
        chain.turn(0)
    for source, server in [(0, 1), (1, 2), (0, 1)][:stage]:
        chain.deliver(source, server)
    chain.lose(1)
    chain.follow(0, 2)
    chain.pump()
    assert chain.told == [1, 2]
    assert value(chain, 2) == 2
    chain.check_same()


def test_what_only_a_lost_middle_had_is_not_answered_before_the_next_has_it():
    chain = Chain(0, 1, 2)
    chain.ask(add())
    chain.turn(0)
    chain.lose(1)
    chain.follow(0, 2)
    assert chain.turn(0) == []
    chain.deliver(0, 2)
    chain.deliver(2, 0)
    assert chain.told == [1]


def test_changes_are_not_taken_out_of_order_whatever_their_numbers():
    chain = Chain(0, 1)
    chain.ask(add())
    chain.turn(0)
    (message,) = on_its_way(chain, 0, 1)
    chain.arrive(0, 1, replace(message, sequence=2))
    assert (value(chain, 1), chain.replicas[1].applied) == (None, 0)
    chain.pump()
    assert chain.told == [1]


def test_readers_of_rows_are_told_all_anew_by_who_takes_the_place():
    chain, keys = Chain(0, 1), np.array([1, 2], np.uint64)
    chain.ask(m.OpenTable(make_spec("t").to_wire()))
    chain.ask(m.Push("t", -1, 0, keys, b"", None, [np.ones(2, np.float32)], [], [], False))
    first = chain.ask(m.Pull("t", keys, b"", [], [], 0.5, 0, 0))
    chain.pump()
    chain.lose(0)
    chain.follow(1)
    version = chain.client.replies[first].version
    chain.ask(m.Push("t", -1, 0, keys, b"", None, [np.ones(2, np.float32)], [], [], False))
    again = chain.ask(m.Pull("t", keys, b"", [], [], 0.5, version, 0))
    chain.turn(1)
    assert chain.client.replies[again].values[0].tolist() == [2, 2]
    assert chain.client.replies[again].version > version


def test_the_last_is_lost_and_what_waited_for_it_is_answered():
    chain = Chain(0, 1, 2)
    chain.ask(add())
    chain.turn(0)
    chain.deliver(0, 1)
    chain.lose(2)
    chain.follow(0, 1)
    chain.pump()
    assert chain.told == [1]


def test_what_a_lost_primary_sends_late_is_refused():
    chain = Chain(0, 1)
    chain.ask(m.Write(["a"], [1]))
    chain.turn(0)
    (late,) = on_its_way(chain, 0, 1)
    chain.lose(0)
    chain.follow(1)
    chain.arrive(0, 1, late)
    assert value(chain, 1) is None
    assert chain.turn(1) == []
    assert not on_its_way(chain, 1, 0), "nor is it told anything"


def test_what_was_sent_on_an_older_link_is_refused():
    chain = Chain(0, 1, 2)
    chain.ask(m.Write(["a"], [1]))
    chain.turn(0)
    (old,) = on_its_way(chain, 0, 1)
    chain.follow(0, 2, 1)
    chain.follow(0, 1, 2)
    chain.pump()
    assert value(chain, 1) == 1
    chain.ask(m.Write(["a"], [2]))
    chain.pump()
    progress = m.Progress(1, old.link, 99, 99)
    chain.arrive(0, 1, old)
    assert value(chain, 1) == 2
    chain.ask(m.Write(["a"], [3]))
    chain.turn(0)
    chain.arrive(1, 0, progress)
    assert chain.turn(0) == [], "of an older link: it says nothing of this one"
    chain.pump()
    assert chain.told == [1, 2, 3]


def test_who_was_primary_forgets_what_it_had_to_say():
    chain = Chain(0, 1)
    number = chain.ask(add())
    chain.turn(0)
    chain.deliver(0, 1)
    chain.follow(1, 0)
    chain.resend()
    chain.pump()
    assert chain.told == [number]
    assert chain.client.replies[number] == m.Updated([1], {}, 0)
    chain.check_same()
    chain.ask(add())
    chain.pump()
    assert [value(chain, server) for server in (0, 1)] == [2, 2]


def test_a_read_that_waits_is_asked_for_at_the_new_primary():
    chain = Chain(0, 1)
    chain.ask(m.Read(["a"], 1))
    chain.pump()
    assert chain.primary.shard.clock.parked == 1
    chain.follow(1, 0)
    assert chain.replicas[0].shard.clock.parked == 0
    chain.resend()
    assert chain.primary.shard.clock.parked == 1


# --- who joins --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(replication, "PIECE_BYTES", 100)
    monkeypatch.setattr(replication, "FILL_WINDOW", 200)


@pytest.mark.parametrize("chain_before", [(0,), (0, 1)])
def test_who_joins_is_filled_while_the_others_go_on(small_pieces, chain_before):
    chain = Chain(*chain_before)
    chain.ask(m.Write([f"k{n}" for n in range(100)], list(range(100))))
    chain.pump()
    chain.follow(*chain_before, joining=5)
    tail = chain_before[-1]
    steps = 0
    while not chain.reports:
        chain.ask(m.Update([f"k{steps}", "k99"], [1000, 1], "add", False))
        chain.ask(m.Remove([f"k{50 + steps}"]))
        for server in (*chain_before, 5):
            chain.turn(server)
        assert len(on_its_way(chain, tail, 5)) < 12, "no more than a window, and what has changed"
        for link in [link for link, queue in chain.links.items() if queue]:
            chain.deliver(*link)
        chain.tick()
        steps += 1
    assert steps > 5
    assert chain.reports[0] == m.Filled(tail, 0, 5, chain.view)
    chain.follow(*chain_before, 5)
    chain.pump()
    chain.check_same()
    assert len(chain.told) == chain.client.number


def test_once_it_is_filled_nothing_is_answered_that_it_does_not_have():
    chain = Chain(0)
    chain.ask(m.Write(["a"], [1]))
    chain.pump()
    chain.follow(0, joining=1)
    chain.turn(0)
    waits = chain.ask(add())
    assert [number for number, _ in chain.turn(0)] == [waits], "it is not asked while it is being filled"
    chain.pump()
    assert chain.reports == [m.Filled(0, 0, 1, chain.view)]
    held = chain.ask(add())
    assert chain.turn(0) == []
    chain.pump()
    assert chain.told[-1] == held


def test_it_is_not_reported_before_it_has_what_was_changed_meanwhile():
    chain = Chain(0)
    chain.ask(m.Write(["a"], [1]))
    chain.pump()
    chain.follow(0, joining=1)
    chain.turn(0)
    pieces = list(chain.links[0, 1])
    chain.links[0, 1].clear()
    chain.ask(add())
    chain.turn(0)
    for piece in pieces:
        chain.arrive(0, 1, piece)
    chain.turn(1)
    chain.deliver(1, 0)
    assert chain.reports == []
    chain.pump()
    assert chain.reports == [m.Filled(0, 0, 1, chain.view)]


def test_who_fills_is_lost_and_the_one_before_begins_anew(small_pieces):
    chain = Chain(0, 1)
    chain.ask(m.Write([f"k{n}" for n in range(30)], list(range(30))))
    chain.pump()
    chain.follow(0, 1, joining=5)
    chain.turn(1)
    chain.deliver(1, 5)
    chain.lose(1)
    chain.ask(m.Remove(["k0", "k1"]))
    chain.follow(0, joining=5)
    for _ in range(40):
        chain.pump()
        chain.tick()
    assert chain.reports[-1] == m.Filled(0, 0, 5, chain.view)
    chain.follow(0, 5)
    chain.pump()
    chain.check_same()


def test_what_a_server_had_before_it_is_filled_is_void():
    chain = Chain(0, 1)
    chain.ask(m.Write(["old"], [1]))
    chain.pump()
    kept = chain.replicas[1]
    chain.follow(0)
    chain.ask(m.Remove(["old"]))
    chain.ask(m.Write(["new"], [np.arange(5)]))
    chain.pump()
    chain.replicas[1] = kept  # it never heard that it was out of the chain
    chain.follow(0, joining=1)
    chain.pump()
    chain.follow(0, 1)
    chain.pump()
    assert list(value(chain, 1, "new")) == list(range(5))
    assert value(chain, 1, "old") is None
    chain.check_same()


def test_pieces_are_sent_at_a_bounded_rate():
    chain = Chain(0)
    chain.ask(m.Write([f"k{n}" for n in range(20)], [bytes(1 << 20)] * 20))
    chain.pump()
    chain.follow(0, joining=1)
    for tick in range(1, 4):
        chain.pump()
        assert chain.primary.outlet.piece_bytes < (tick + 2) * (2 * FILL_BYTES) + replication.FILL_WINDOW
        assert chain.reports == []
        chain.replicas[0].tick(6, FILL_BYTES)


def test_the_first_piece_does_not_wait_for_the_next_tick():
    chain = Chain(0)
    chain.ask(m.Write(["a"], [1]))
    chain.pump()
    chain.primary._budget.left = 0
    chain.follow(0, joining=1)
    chain.ask(add("b"))
    chain.turn(0)
    pieces = [message.piece for message in on_its_way(chain, 0, 1)]
    assert pieces[:2] == [0, -1], "a change before it could not be taken"


def test_a_copy_that_cannot_be_followed_takes_nothing_more_of_its_link():
    chain = Chain(0, 1)
    chain.ask(add())
    chain.turn(0)
    broken = replace(on_its_way(chain, 0, 1)[0], changes={"tables": {"rows": {"none": {}}}})
    chain.arrive(0, 1, broken)
    chain.pump()
    assert chain.told == []
    assert value(chain, 1) is None
    for _ in range(9):
        chain.tick()
    assert chain.reports[0] == m.Behind(0, 0, 1, chain.view)
    chain.follow(0)
    chain.follow(0, joining=1)
    chain.pump()
    assert value(chain, 1) == 1


# --- who goes ---------------------------------------------------------------------------------------------------------


def test_a_shard_that_drains_takes_no_requests_and_says_when_all_is_everywhere():
    chain = Chain(0, 1)
    first = chain.ask(add())
    chain.turn(0)
    chain.follow(0, 1, target=(1,))
    held = chain.ask(add())
    chain.turn(0)
    assert chain.reports == []
    assert value(chain, 0) == 1
    chain.pump()
    assert chain.told == [first]
    assert chain.reports == [m.Drained(0, 0, chain.view)]
    chain.follow(1)
    chain.resend()
    chain.pump()
    assert chain.told == [first, held]
    assert value(chain, 1) == 2


def test_it_is_not_drained_while_a_reply_is_held():
    chain = Chain(0, 1)
    chain.ask(add())
    chain.turn(0)
    chain.deliver(0, 1)
    chain.follow(0, 1, target=(1, 0))
    chain.arrive(1, 0, chain.links[1, 0].popleft())
    assert chain.turn(0, leased=False) == []
    assert chain.reports == []
    assert [number for number, _ in chain.turn(0)] == [1]
    assert chain.reports == [m.Drained(0, 0, chain.view)]


def test_what_was_held_is_done_if_it_need_not_be_drained_after_all():
    chain = Chain(0, 1)
    chain.follow(0, 1, target=(1, 0))
    held = chain.ask(add())
    chain.pump()
    assert chain.told == []
    chain.follow(0, 1)
    chain.pump()
    assert chain.told == [held]


def test_a_report_that_was_lost_is_made_again():
    chain = Chain(0, 1)
    chain.follow(0, 1, target=(1, 0))
    chain.turn(0)
    chain.turn(0)
    assert chain.reports == [m.Drained(0, 0, chain.view)], "once"
    chain.tick()
    assert chain.reports == [m.Drained(0, 0, chain.view)] * 2
    chain = Chain(0)
    chain.follow(0, joining=1)
    chain.pump()
    chain.tick()
    assert chain.reports == [m.Filled(0, 0, 1, chain.view)] * 2


def test_what_the_coordinator_says_of_workers_reaches_all_copies():
    chain = Chain(0, 1)
    chain.primary.handle(b"coordinator", Envelope(0, 0, 0, m.Leave(1, 9)))
    chain.ask(m.Commit(0, 3))
    chain.pump()
    assert [chain.replicas[server].shard.clock.value for server in (0, 1)] == [3, 3]
