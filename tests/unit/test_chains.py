"""Where the copies of shards are put: evenly, and with few moves."""

from collections import Counter

import pytest

from paracel.chains import Place, first_chains, is_in_order, wanted_chains
from paracel.errors import WireError


def loads(chains, servers):
    """How many copies each server has."""
    return {server: sum(server in chain for chain in chains) for server in servers}


@pytest.mark.parametrize("servers", range(1, 8))
@pytest.mark.parametrize("replicas", range(1, 5))
def test_a_new_jobs_chains_are_even_and_of_distinct_servers(servers, replicas):
    chains = first_chains(4 * servers, range(servers), replicas)
    length = min(replicas, servers)
    assert all(len(chain) == len(set(chain)) == length for chain in chains)
    assert set(loads(chains, range(servers)).values()) == {4 * length}
    assert set(Counter(chain[0] for chain in chains).values()) == {4}


def test_the_backups_of_one_server_are_spread_over_all_others():
    chains = first_chains(20, [3, 5, 7, 8, 9], 2)
    for server in (3, 5, 7, 8, 9):
        assert len({chain[1] for chain in chains if chain[0] == server}) == 4


def test_without_replicas_each_server_has_its_own_shard():
    assert first_chains(3, [0, 1, 2], 1) == [(0,), (1,), (2,)]


def test_what_is_as_it_should_be_stays():
    for replicas in (1, 2, 3):
        chains = first_chains(12, range(3), replicas)
        assert wanted_chains(chains, range(3), replicas) == chains


def test_what_was_lost_goes_to_those_with_least_and_the_others_stay():
    chains = first_chains(16, range(4), 2)
    left = [tuple(server for server in chain if server != 1) for chain in chains]
    wanted = wanted_chains(left, {0, 2, 3}, 2)
    for before, after in zip(left, wanted, strict=True):
        assert set(before) <= set(after)
        assert len(set(after)) == 2
    assert sorted(loads(wanted, [0, 2, 3]).values()) == [10, 11, 11]


def test_a_server_that_joins_gets_its_share_and_nothing_else_moves():
    chains = first_chains(12, range(3), 2)
    wanted = wanted_chains(chains, range(4), 2)
    for before, after in zip(chains, wanted, strict=True):
        assert set(after) - set(before) <= {3}
    assert loads(wanted, range(4)) == dict.fromkeys(range(4), 6)
    assert Counter(chain[0] for chain in wanted)[3] >= 2, "it answers for some, too"


def test_with_fewer_servers_than_replicas_all_have_all():
    chains = first_chains(8, range(4), 3)
    wanted = wanted_chains(chains, {0, 2}, 3)
    assert all(set(chain) == {0, 2} for chain in wanted)
    again = wanted_chains(wanted, {0, 2, 5}, 3)
    assert all(set(chain) == {0, 2, 5} for chain in again)


def test_nobody_is_left():
    assert wanted_chains([(0,), (1,)], [], 2) == [(), ()]


@pytest.mark.parametrize(
    ("chain", "within", "expected"),
    [
        ((), (1, 2), True),
        ((1, 2), (1, 2), True),
        ((1, 3), (1, 2, 3), True),
        ((3, 1), (1, 2, 3), False),
        ((1, 4), (1, 2, 3), False),
        ((2, 3), (1, 2, 3), True),
    ],
)
def test_what_is_in_order(chain, within, expected):
    assert is_in_order(chain, within) == expected


def test_a_place_travels_as_plain_values():
    for place in (Place(3, (1,)), Place(9, (1, 2), 5, (5, 1), 7)):
        assert Place.from_wire(place.to_wire()) == place
    assert Place(9, (1, 2), 5).members == (1, 2, 5)
    assert Place(9, (1, 2)).members == (1, 2)


@pytest.mark.parametrize("values", [None, 5, [], [1, [], -1, [], 1], [1, ["x"], -1, [], 1], [1, [0], -1, []], "abcde"])
def test_what_is_no_place_is_refused(values):
    with pytest.raises(WireError, match="not a place"):
        Place.from_wire(values)
