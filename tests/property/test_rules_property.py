"""The core's rules over whatever hypothesis thinks of: clock, ring, store and cache against their models."""

import random

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from support.exact import same
from support.invariants import (
    check_cache_seed,
    check_clock,
    check_ring_balance,
    check_ring_moves,
    check_ring_order,
    check_store_seed,
    check_top,
)
from support.strategies import KEYS

from paracel.ring import Ring, slot_of, slots_of
from paracel.store import Store
from paracel.updaters import BUILTINS, Arithmetic
from paracel.values import CarryError, check_values

SEEDS = st.integers(0, 1 << 32)
SERVERS = st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True)
WORKERS = st.integers(0, 4)
CLOCKS = st.one_of(st.integers(0, 6), st.integers(-2, 1 << 40))
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), CLOCKS),
        st.tuples(st.just("commit"), WORKERS, st.integers(0, 6)),
        st.tuples(st.sampled_from(["leave", "enter"]), WORKERS),
    ),
    max_size=40,
)


@given(workers=WORKERS, operations=OPERATIONS)
def test_a_read_is_released_if_and_only_if_all_who_run_have_come_so_far(workers, operations):
    check_clock(workers, operations)


@given(servers=SERVERS, seed=SEEDS)
def test_the_ring_is_the_same_in_whatever_order_servers_came(servers, seed):
    check_ring_order(servers, random.Random(seed))


@given(servers=SERVERS, change=st.integers(0, 50))
def test_a_slot_moves_if_and_only_if_it_must(servers, change):
    assume(set(servers) != {change})
    check_ring_moves(servers, change)


@given(servers=SERVERS)
def test_no_server_has_much_more_than_its_share(servers):
    check_ring_balance(servers)


@given(keys=st.lists(KEYS, max_size=30), servers=SERVERS)
def test_many_keys_go_where_each_goes(keys, servers):
    ring = Ring(servers)
    assert slots_of(keys).tolist() == [slot_of(key) for key in keys]
    routed = {
        at: server for server, at_all in ring.route(keys) for at in (range(len(keys)) if at_all is None else at_all)
    }
    assert routed == {at: ring.shard_of(key) for at, key in enumerate(keys)}


@given(seed=SEEDS)
def test_the_store_is_a_dict_that_never_changes_what_it_handed_out(seed):
    check_store_seed(seed)


@given(seed=SEEDS)
def test_the_largest_values(seed):
    check_top(seed)


@given(seed=SEEDS)
def test_an_entry_is_used_if_and_only_if_its_own_clock_suffices(seed):
    check_cache_seed(seed)


ARITHMETIC = sorted(name for name, rule in BUILTINS.items() if isinstance(rule, Arithmetic))
NUMBERS = st.one_of(st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.integers(-5, 5))


@given(name=st.sampled_from(ARITHMETIC), entries=st.dictionaries(KEYS, st.tuples(NUMBERS, NUMBERS), min_size=8))
def test_many_numbers_at_once_are_updated_as_one_by_one(name, entries):
    together, single = Store(), Store()
    for store in (together, single):
        store.write(list(entries), [value for value, _ in entries.values()])
    deltas = [delta for _, delta in entries.values()]
    failures = together.update(list(entries), deltas, name, BUILTINS[name])
    failed = [
        bool(single.update([key], [delta], name, BUILTINS[name])) for key, delta in zip(entries, deltas, strict=True)
    ]
    assert sorted(failures) == [at for at, bad in enumerate(failed) if bad]
    assert same(dict(together.entries), dict(single.entries))


@given(
    values=st.lists(
        st.one_of(NUMBERS, st.integers(-(1 << 70), 1 << 70), st.text(max_size=2), st.builds(np.int8, st.just(1)))
    )
)
def test_a_list_is_refused_if_and_only_if_a_value_in_it_is(values):
    fits = all(type(value) is not int or -(1 << 63) <= value < 1 << 64 for value in values)
    try:
        check_values([str(at) for at in range(len(values))], values)
        assert fits
    except CarryError:
        assert not fits
