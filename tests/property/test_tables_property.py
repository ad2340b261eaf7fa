"""Tables over whatever hypothesis thinks of, against dicts and plain sums."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.table_rules import (
    check_commit_tables,
    check_commits,
    check_dependencies,
    check_distinct,
    check_index,
    check_key_lists,
    check_placement,
    check_routes,
    check_row_cache,
    check_table_client,
    check_told,
    uint64,
)

from paracel.hashing import mix
from paracel.ring import Ring
from paracel.tables.index import Index
from paracel.tables.keeping import CountMin
from paracel.tables.merge import distinct
from paracel.tables.placement import owners_of_keys
from paracel.tables.storage import Form, SparsePart

SEEDS = st.integers(0, 1 << 32)
ANY_KEY = st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 5), st.integers((1 << 64) - 5, (1 << 64) - 1))
KEYS = st.lists(ANY_KEY, max_size=60)
SERVERS = st.lists(st.integers(0, 20), min_size=1, max_size=5, unique=True)
few = settings(max_examples=25)


@given(seed=SEEDS)
def test_an_index_is_a_dict(seed):
    check_index(seed)


@given(batches=st.lists(KEYS, max_size=6))
def test_rows_are_in_the_order_in_which_keys_came(batches):
    index, model = Index(), {}
    for keys in batches:
        for key in keys:
            model.setdefault(key, len(model))
        assert index.insert(uint64(keys)).tolist() == [model[key] for key in keys]
    assert index.keys().tolist() == list(model)


@given(keys=KEYS, begin=st.integers(0, 1 << 64), end=st.integers(0, 1 << 64))
def test_a_range_of_a_sparse_part_is_the_keys_in_it(keys, begin, end):
    part = SparsePart(Form(np.dtype(np.float32), (), 0))
    part.locate(uint64(keys), create=True)
    begin = min(begin, (1 << 64) - 1)
    found = part.keys()[part.locate((begin, end))]
    assert found.tolist() == sorted({key for key in keys if begin <= key < end})


@few
@given(
    name=st.text(max_size=5),
    size=st.integers(1, 30_000),
    row_bytes=st.sampled_from([1, 2, 4, 8, 24, 1000, 4096, 70_000, 1 << 21]),
    servers=SERVERS,
    ends=st.lists(st.integers(0, 30_100), min_size=2, max_size=6),
)
def test_every_key_of_a_dense_table_is_in_one_place(name, size, row_bytes, servers, ends):
    ends.sort()
    check_placement(name, size, row_bytes, servers, list(pairwise(ends)))


@given(keys=KEYS, servers=SERVERS)
def test_a_sparse_key_is_on_a_server_whatever_other_keys_there_are(keys, servers):
    owners = Ring(servers).owners
    found = owners_of_keys("t", uint64(keys), owners)
    assert set(found.tolist()) <= set(servers)
    assert found.tolist() == [int(owners_of_keys("t", uint64([key]), owners)[0]) for key in keys]


@given(seed=SEEDS)
def test_each_key_goes_once_to_its_server_and_comes_back_to_its_place(seed):
    check_routes(seed)


@given(keys=st.lists(st.one_of(ANY_KEY, st.integers(0, 8)), max_size=40), seed=SEEDS)
def test_repeated_keys_are_summed(keys, seed):
    values = np.random.default_rng(seed).integers(-9, 9, (len(keys), 2))
    check_distinct(uint64(keys), [values, values[:, 0].astype(np.float32)])


@given(keys=st.lists(st.integers(0, 8), min_size=1, max_size=30), seed=SEEDS)
def test_sums_of_floats_are_about_right(keys, seed):
    values = np.random.default_rng(seed).normal(size=len(keys)).astype(np.float32)
    found, (sums,) = distinct(uint64(keys), [values])
    exact = [sum(v for k, v in zip(keys, values.astype(float), strict=True) if k == key) for key in found.tolist()]
    assert np.allclose(sums, exact, atol=1e-5)


@given(seed=SEEDS)
def test_a_clock_is_the_sum_of_its_pushes(seed):
    check_commits(seed)


@given(seed=SEEDS)
def test_a_cached_row_is_used_if_and_only_if_its_clock_suffices(seed):
    check_row_cache(seed)


@given(seed=SEEDS)
def test_a_reader_is_told_if_and_only_if_it_must_be(seed):
    check_told(seed)


@given(batches=st.lists(st.sets(st.integers(0, 40), max_size=20), max_size=15))
def test_a_count_is_never_too_low(batches):
    sketch, model = CountMin(bits=4), dict.fromkeys(range(41), 0)
    for batch in batches:
        for key in batch:
            model[key] += 1
        assert (sketch.add(uint64(batch)) >= [model[key] for key in batch]).all()


@given(numbers=st.sets(st.integers(0, (1 << 64) - 1), max_size=100))
def test_no_two_numbers_have_one_hash(numbers):
    assert len(set(mix(list(numbers)).tolist())) == len(numbers)


@few
@given(seed=SEEDS)
def test_alone_a_client_sees_a_plain_dict_of_rows(seed):
    check_table_client(seed)


@few
@given(seed=SEEDS)
def test_a_clock_is_applied_once_when_it_is_complete(seed):
    check_commit_tables(seed)


@few
@given(seed=SEEDS)
def test_a_task_runs_if_and_only_if_those_before_it_went_well(seed):
    check_dependencies(seed)


@few
@given(seed=SEEDS)
def test_key_lists_on_a_bad_network(seed):
    check_key_lists(seed)
