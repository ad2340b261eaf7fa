"""Where shards are, step by step: nothing is lost on the way."""

import pytest
from support.placing import check_placing

from paracel import messages as m
from paracel.assignment import Assignment
from paracel.chains import Place


def placed(chains, replicas=2, servers=None):
    """An assignment whose chains are these, as they should be."""
    assignment = Assignment(len(chains), replicas)
    assignment.places = [Place(1, chain) for chain in chains]
    assignment.plan(servers or {server for chain in chains for server in chain}, (), 1)
    return assignment


@pytest.fixture
def pair():
    """One shard on the servers 0 and 1, while server 2 has nothing."""
    assignment = placed([(0, 1)])
    assert assignment.places == [Place(1, (0, 1))]
    return assignment


def lose(assignment, server, view, others):
    assignment.lose(server, view)
    assignment.plan(others, {server}, view)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_nothing_is_lost_that_need_not_be_and_it_settles(seed):
    check_placing(seed)


def test_the_first_plan_is_the_ring_of_all_servers():
    assignment = Assignment(3, 2)
    assignment.plan({0, 1, 2}, (), 4)
    assert assignment.places == [Place(4, (0, 1)), Place(4, (1, 2)), Place(4, (2, 0))]
    assert assignment.broken(()) == []


def test_a_lost_backup_is_made_anew_behind_the_chain(pair):
    lose(pair, 1, 2, {0, 2})
    assert pair.places == [Place(2, (0,), 2, (), 2)]
    assert not pair.filled(m.Filled(0, 0, 2, 1), 3), "of an older view"
    assert not pair.filled(m.Filled(1, 0, 2, 2), 3), "not who fills it"
    assert not pair.filled(m.Filled(0, 0, 1, 2), 3), "not who is filled"
    assert not pair.filled(m.Filled(0, 7, 2, 2), 3), "no such shard"
    assert pair.filled(m.Filled(0, 0, 2, 2), 3)
    assert pair.places == [Place(3, (0, 2))]


def test_of_a_lost_primary_the_next_takes_the_place(pair):
    lose(pair, 0, 2, {1, 2})
    assert pair.places == [Place(2, (1,), 2, (), 2)]


def test_who_fills_is_lost_and_the_new_last_begins_anew():
    assignment = placed([(0, 1)], 3, {0, 1, 2})
    assert assignment.places == [Place(1, (0, 1), 2, (), 1)]
    lose(assignment, 1, 5, {0, 2})
    assert assignment.places == [Place(5, (0,), 2, (), 5)], "`since` says that what was sent before is void"


def test_who_is_filled_is_lost_and_another_is_taken(pair):
    lose(pair, 1, 2, {0, 2, 3})
    lose(pair, 2, 3, {0, 3})
    assert pair.places == [Place(3, (0,), 3, (), 3)]


def test_what_is_lost_with_all_its_copies_keeps_nobody_busy():
    assignment = placed([(0, 1), (1, 0)])
    lose(assignment, 0, 2, {1, 2})
    assignment.lose(1, 3)
    assignment.plan({2}, {0, 1}, 3)
    assert assignment.broken({0, 1}) == [0, 1]
    assert assignment.places == [Place(3, (1,)), Place(3, (1,))]
    assert not assignment.has(2)


def test_when_only_leaving_servers_are_left_they_keep_what_they_have():
    assignment = placed([(0,), (1,)], 1)
    assignment.plan({0}, (), 2)
    assert assignment.places[1] == Place(2, (1,), 0, (), 2)
    assignment.lose(0, 3)
    assignment.plan((), {0}, 3)
    assert assignment.places[1] == Place(3, (1,))
    assignment.plan({2}, {0}, 4)
    assert assignment.places[1] == Place(4, (1,), 2, (), 4)


def test_a_shard_moves_by_filling_draining_and_then_the_new_chain():
    assignment = placed([(0,)], 1)
    assignment.plan({1}, (), 2)
    assert assignment.places == [Place(2, (0,), 1, (), 2)]
    assert assignment.filled(m.Filled(0, 0, 1, 2), 3)
    assert assignment.places == [Place(3, (0, 1), target=(1,))], "two copies, of which one is to go once all is there"
    assert not assignment.drained(m.Drained(1, 0, 3), 4), "not the primary"
    assert not assignment.drained(m.Drained(0, 0, 2), 4), "of an older view"
    assert assignment.drained(m.Drained(0, 0, 3), 4)
    assert assignment.places == [Place(4, (1,))]
    assert not assignment.has(0)
    assert not assignment.drained(m.Drained(1, 0, 4), 5), "nothing is to be drained"


@pytest.mark.parametrize("gone", [0, 1])
def test_who_is_lost_while_a_shard_drains_is_not_drained_to(gone):
    assignment = placed([(0,)], 1)
    assignment.plan({1}, (), 2)
    assignment.filled(m.Filled(0, 0, 1, 2), 3)
    lose(assignment, gone, 4, {1} - {gone})
    assert assignment.places == [Place(4, (1 - gone,))]


def test_a_chain_that_only_loses_its_end_is_not_drained():
    assignment = placed([(0, 1, 2)], 3)
    assignment.plan({0, 1}, (), 2)
    assert assignment.places == [Place(2, (0, 1))]


def test_who_is_behind_goes_and_is_filled_again(pair):
    assert not pair.behind(m.Behind(0, 0, 0, 1), 2), "a primary is not behind"
    assert not pair.behind(m.Behind(0, 0, 5, 1), 2)
    assert not pair.behind(m.Behind(0, 0, 1, 0), 2)
    assert pair.behind(m.Behind(0, 0, 1, 1), 2)
    assert pair.places == [Place(2, (0,), 1, (), 2)]
    assert pair.behind(m.Behind(0, 0, 1, 2), 3), "while it is filled, too"
    assert pair.places == [Place(3, (0,), 1, (), 3)]


def test_each_server_fills_and_is_filled_with_one_shard_at_a_time():
    assignment = placed([(0, 1), (1, 0), (0, 1), (1, 0)])
    assignment.plan({0, 1, 2, 3}, (), 2)
    filling = [place for place in assignment.places if place.joining >= 0]
    assert len(filling) == 2
    for number, place in enumerate(assignment.places):
        if place.joining >= 0:
            assert assignment.filled(m.Filled(place.chain[-1], number, place.joining, 2), 3)
            break
    assert [place.joining >= 0 for place in assignment.places].count(True) == 2, "then comes the next"


def test_a_fill_that_is_not_wanted_any_more_ends(pair):
    lose(pair, 1, 2, {0, 2})
    pair.plan({0, 3}, {1}, 3)
    assert pair.places == [Place(3, (0,), 3, (), 3)]
