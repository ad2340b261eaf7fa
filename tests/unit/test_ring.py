import random

import pytest
from support.invariants import (
    check_ring_balance,
    check_ring_is_the_same_everywhere,
    check_ring_moves,
    check_ring_order,
)

from paracel.ring import SLOTS, Ring, in_parts, pick, slot_of, slots_of


@pytest.mark.parametrize("servers", [[0], [0, 1], [2, 5, 9], list(range(8))])
def test_the_same_for_everyone(servers):
    check_ring_order(servers, random.Random(1))


def test_the_same_everywhere_and_for_ever():
    check_ring_is_the_same_everywhere()


@pytest.mark.parametrize("servers", [1, 2, 3, 5, 8, 16])
def test_balance(servers):
    check_ring_balance(list(range(servers)))


@pytest.mark.parametrize(("servers", "change"), [([0], 1), ([0, 1], 2), ([1, 2, 3], 0), (list(range(7)), 7)])
def test_only_what_must_move_moves(servers, change):
    check_ring_moves(servers, change)


def test_no_shards_are_refused():
    with pytest.raises(ValueError, match="at least one shard"):
        Ring([])


@pytest.mark.parametrize("servers", [[3], [0, 1], [0, 1, 2, 3]])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 500])
def test_a_route_takes_each_key_to_its_server_in_order(servers, count):
    ring = Ring(servers)
    keys = [f"key \ud800 {number % 400}" for number in range(count)]
    seen = []
    routes = ring.route(keys)
    assert len({server for server, _ in routes}) == len(routes)
    for server, positions in routes:
        own = range(count) if positions is None else positions
        assert positions is None or len(routes) > 1
        assert list(own) == sorted(own)
        assert all(ring.shard_of(keys[at]) == server for at in own)
        assert pick(keys, positions) == [keys[at] for at in own]
        seen += own
    assert sorted(seen) == list(range(count))


def test_slots_of_many_keys_are_those_of_each():
    keys = ["", "a", "\u00e9", "\U0001f600", "\udfff", "x" * 70_000]
    assert slots_of(keys).tolist() == [slot_of(key) for key in keys]
    assert slots_of([]).tolist() == []
    assert all(0 <= slot < SLOTS for slot in slots_of([str(number) for number in range(5000)]))


@pytest.mark.parametrize("most", [1, 3, 1000])
@pytest.mark.parametrize("servers", [1, 3])
def test_parts_of_routes_hold_every_position_once(servers, most):
    keys = [str(number) for number in range(100)]
    ring = Ring(range(servers))
    parts = in_parts(ring.route(keys), len(keys), most)
    placed = [(key, server) for server, positions in parts for key in pick(keys, positions)]
    assert sorted(placed) == sorted((key, ring.shard_of(key)) for key in keys)
    assert all(len(pick(keys, positions)) <= max(most, 1) for _, positions in parts)
    first = [server for server, _ in parts[:servers]]
    assert sorted(first) == list(range(servers)), "every server has something to do at once"
