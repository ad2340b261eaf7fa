import numpy as np
import pytest
from support.table_rules import check_routes, uint64

from paracel.ring import Ring
from paracel.tables.routes import Router, gathered
from paracel.tables.spec import make_spec


def router(servers, size=None, dim=1):
    return Router(make_spec("t", size, dim, "float64"), Ring(servers).owners)


@pytest.mark.parametrize("seed", range(150))
def test_each_key_goes_once_to_its_server_and_comes_back_to_its_place(seed):
    check_routes(seed)


@pytest.mark.parametrize("size", [None, 10])
def test_no_keys_go_nowhere(size):
    assert router([0, 1], size).route(uint64([])) == []


def test_empty_ranges_go_nowhere_but_of_sparse_tables_to_all():
    assert router([0, 1], 10).route((3, 3)) == []
    assert [(r.shard, r.selection, r.positions) for r in router([4, 2]).route((1, 1 << 64))] == [
        (2, (1, 1 << 64), None),
        (4, (1, 1 << 64), None),
    ]


@pytest.mark.parametrize("servers", [[0], [0, 1, 2]])
def test_what_is_cut_is_the_servers_own(servers):
    keys, values = uint64([5, 3, 9]), np.ones(3)
    routes = router(servers).route(keys)
    parts = [route.cut(values) for route in routes]
    keys[:], values[:] = 0, 0
    assert sorted(key for route in routes for key in route.selection.tolist()) == [3, 5, 9]
    assert all((part == 1).all() for part in parts)


def test_what_is_put_together_may_be_written_to():
    one = np.zeros(3)
    one.flags.writeable = False
    (whole,) = gathered(router([0]).route(uint64([1, 2, 3])), [[one]], 3)
    whole += 1
    assert one.tolist() == [0, 0, 0]
