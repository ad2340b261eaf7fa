import numpy as np
import pytest
from support.table_rules import check_placement, uint64

from paracel.ring import Ring
from paracel.tables.placement import Blocks, DensePlaces, owners_of_keys, table_hash

OWNERS = Ring([0, 1, 2]).owners


def test_where_keys_are_does_not_change_with_versions():
    assert table_hash("w") == 12820276749491607921
    keys = uint64([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1 << 63, (1 << 64) - 1])
    assert owners_of_keys("w", keys, OWNERS).tolist() == [2, 2, 2, 0, 2, 1, 2, 1, 0, 0, 2, 1]
    blocks = Blocks.of("w", 10_000_000, 4)
    assert (blocks.shift, blocks.count) == (17, 77)
    assert blocks.owners(OWNERS)[:20].tolist() == [2, 2, 2, 0, 2, 1, 2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("size", "row_bytes", "shift", "count"),
    [
        (1, 4, 12, 1),
        (5000, 4, 12, 2),
        (100_000, 8, 11, 49),
        (10**6, 4, 13, 123),
        (10**6, 64, 13, 123),
        (10**9, 4, 18, 3815),
        (10, 2 << 20, 0, 10),
        (10, 1 << 20, 0, 10),
        (1 << 40, 1, 20, 1 << 20),
    ],
)
def test_blocks_are_neither_small_nor_large(size, row_bytes, shift, count):
    blocks = Blocks.of("w", size, row_bytes)
    assert (blocks.shift, blocks.count) == (shift, count)


def test_tables_of_other_names_are_elsewhere():
    keys = np.arange(1000, dtype=np.uint64)
    apart = owners_of_keys("w", keys, OWNERS) != owners_of_keys("v", keys, OWNERS)
    assert 500 < apart.sum() < 800


@pytest.mark.parametrize("servers", [[0], [0, 1], [3, 1, 7], list(range(9))])
@pytest.mark.parametrize(("size", "row_bytes"), [(1, 4), (4096, 4), (4097, 4), (50_000, 8), (100, 40_000)])
def test_every_key_is_in_one_place_on_one_server(servers, size, row_bytes):
    ends = [0, 1, 4095, 4096, 4097, size // 2, size - 1, size, size + 5000]
    check_placement("w", size, row_bytes, servers, [(begin, end) for begin in ends for end in ends if begin <= end])


def test_a_server_without_blocks_holds_nothing():
    places = DensePlaces(Blocks.of("w", 5, 4), np.empty(0, np.int64))
    assert (places.count, places.keys().tolist(), places.span(0, 5)) == (0, [], slice(0, 0))
    assert places.places(uint64([0, 4])).tolist() == [-1, -1]
    assert places.places(uint64([])).tolist() == []


def test_the_key_of_every_place():
    for server in range(3):
        blocks = Blocks.of("w", 50_000, 8)
        places = DensePlaces(blocks, np.flatnonzero(blocks.owners(OWNERS) == server))
        assert [places.key_at(place) for place in range(0, places.count, 97)] == places.keys()[::97].tolist()
