"""Copies of tables and shards, chains of them, and where they are put: over whatever hypothesis thinks of."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain import check_chain
from support.placing import check_placing
from support.shard_copies import check_shard_copies
from support.table_copies import check_table_copies

SEEDS = st.integers(0, 1 << 32)


@pytest.fixture(scope="module", autouse=True)
def _quietly():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=60)
@given(seed=SEEDS)
def test_copies_of_tables_are_the_same(seed):
    check_table_copies(seed)


@settings(max_examples=60)
@given(seed=SEEDS)
def test_copies_of_shards_are_the_same_and_can_go_on(seed):
    check_shard_copies(seed)


@settings(max_examples=200)
@given(seed=SEEDS)
def test_chains_lose_nothing_that_was_answered_and_do_nothing_twice(seed):
    check_chain(seed)


@settings(max_examples=200)
@given(seed=SEEDS)
def test_shards_are_moved_without_loss_and_settle(seed):
    check_placing(seed)
