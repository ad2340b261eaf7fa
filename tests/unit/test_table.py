"""The handle of a table as users call it: a real client, on servers without sockets."""

import math
import re

import numpy as np
import pytest
from support.cluster import FakeNetwork
from support.table_rules import LOSSLESS, check_commit_tables, check_dependencies, check_table_client

from paracel import optim
from paracel.connection import Connection
from paracel.errors import (
    CarryError,
    ConfigError,
    DependencyError,
    FunctionError,
    ServerFunctionError,
    TableError,
    UpdateError,
)
from paracel.filters import (
    Compressing,
    Custom,
    DropZeros,
    FixedPoint,
    KeyCaching,
    RandomSkip,
    SignificantlyModified,
)
from paracel.functions import server_function, updater
from paracel.tables.keylists import KeyLists
from paracel.task import Task

MOST = (1 << 64) - 1


@updater(state={"steps": 0.0}, inputs=2)
def weighted(rows, deltas, state):
    delta, weight = deltas
    state["steps"] += 1
    return rows + delta * weight


@updater
def fails_at_seven(rows, deltas, state):
    if (deltas == 7).any():
        raise ValueError("it was a seven")
    return rows + deltas


@server_function
def total(keys, rows, state, factor=1):
    return float(rows.sum()) * factor


@server_function
def clear_and_name(keys, rows, state, *arguments):
    rows[:] = 0
    return [keys, *arguments]


@server_function
def refuses(keys, rows, state):
    raise ValueError("no")


@server_function
def count_up(keys, rows, state):
    rows += 1
    return float(rows[0])


def by_key(keys):
    return keys.astype(np.float32) / 2


def halve(values):
    return [value.astype(np.float16) for value in values]


def double(payload):
    return [value.astype(np.float32) for value in payload]


@pytest.fixture(params=[1, 3])
def network(request):
    network = FakeNetwork(request.param, 2)
    with network.clients():
        yield network


@pytest.fixture
def two_servers():
    network = FakeNetwork(2, 2)
    with network.clients():
        yield network


@pytest.fixture
def client(two_servers):
    return two_servers.client()


def pull(table, keys=slice(None), **how):
    return table.pull(keys, **how).result()


def column(table, values):
    """The same number in all of a row."""
    return np.broadcast_to(np.reshape(values, (-1, *[1] * len(table.spec.tail))), (len(values), *table.spec.tail))


# --- all of it, by chance ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_alone_a_client_sees_a_plain_dict_of_rows(seed):
    check_table_client(seed)


@pytest.mark.parametrize("seed", range(25))
def test_with_commits_a_clock_is_applied_once_and_when_it_is_complete(seed):
    check_commit_tables(seed)


@pytest.mark.parametrize("seed", range(15))
def test_a_task_runs_if_and_only_if_those_before_it_went_well(seed):
    check_dependencies(seed)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_says_what_it_is(client):
    table = client.table("w", 5, 3, "float64")
    assert (table.name, table.size, table.dim, table.dtype, table.inputs) == ("w", 5, 3, np.float64, 1)
    assert repr(table) == "<Table 'w', size 5, dim 3, float64>"
    assert repr(client.table("v")) == "<Table 'v', sparse, dim 1, float32>"
    assert pull(table).shape == (5, 3)
    assert pull(client.table("u", 5)).shape == (5,)


def test_one_name_is_one_table_for_all_and_others_are_shown(network):
    first, second = network.client(), network.client()
    first.table("w", 5).push([1], 2)
    assert pull(second.table("w", 5), [1]).tolist() == [2]
    with pytest.raises(TableError, match="table 'w' exists with size=5; it was asked for with size=6"):
        second.table("w", 6)
    with pytest.raises(
        TableError, match=r"exists with updater='add'; it was asked for with updater=chain\(scale_by_adam"
    ):
        second.table("w", 5, updater=optim.adam(0.1))
    with pytest.raises(TableError, match=r"asked for with updater=.*:weighted"):
        first.table("w", 5, updater=weighted)


def test_a_table_that_was_dropped_may_be_another(network):
    first, second = network.client(), network.client()
    table, old = first.table("w", 5), second.table("w", 5)
    first.table("v")
    table.push([1], 3).result()
    table.drop()
    with pytest.raises(TableError, match="no table 'w'; there are: 'v'"):
        pull(table, [1])
    with pytest.raises(TableError, match="no table 'w'; there are: 'v'"):
        table.statistics()
    assert pull(second.table("w", 6, 2, "int64")).tolist() == [[0, 0]] * 6
    assert pull(first.table("w", 6, 2, "int64")).tolist() == [[0, 0]] * 6
    assert old.size == 5


def test_a_bad_setting_is_named(client):
    for settings in ({"size": 0}, {"updater": "summ"}, {"init": "zero"}, {"push_filters": [5]}, {"dtype": "?"}):
        with pytest.raises(ConfigError):
            client.table("w", **settings)
    for function in (5, lambda rows, deltas, state: rows, total, "m:", len):
        with pytest.raises((FunctionError, ConfigError)):
            client.table("w", updater=function)
    assert client.tables() == {}
    for make in (optim.sgd, optim.momentum):
        with pytest.raises(ConfigError, match=rf"call it: paracel\.optim\.{make.__name__}\(learning_rate\)"):
            client.table("w", updater=make)
    with pytest.raises(ConfigError, match=r"^init=\('normal', 1\.0\) with dtype int32; allowed: float16"):
        client.table("w", dtype="int32", init="normal")


def test_statistics_add_up_over_servers(network):
    client = network.client()
    dense, sparse = client.table("d", 10_000), client.table("s")
    dense.push(slice(None), 1).result()
    sparse.push(range(100), 1).result()
    pull(sparse, range(50))
    found = sparse.statistics()
    servers = len(network.shards)
    assert (found.name, found.keys, found.pushes, found.pulls) == ("s", 100, servers, servers)
    assert found.settings == sparse.spec.to_wire()
    assert found.bytes >= 400
    assert client.tables()["d"].keys == 10_000
    assert client.tables()["d"].bytes == 40_000
    assert client.tables()["d"].traffic == ()


@pytest.mark.parametrize("init", [1.5, "normal", ("uniform", 0.1), by_key])
@pytest.mark.parametrize("size", [None, 30_000])
def test_the_same_model_begins_on_any_number_of_servers(init, size):
    models = []
    for servers in (1, 2, 3):
        with (network := FakeNetwork(servers, 1)).clients():
            table = network.client().table("w", size, init=init, seed=3)
            models.append(pull(table, [7, 0, 29_999, 12_345]).tolist())
            table.push([7], 0.0).result()
            assert pull(table, [7, 0, 29_999, 12_345]).tolist() == models[-1]
    assert models[0] == models[1] == models[2]


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "listed"),
    [
        ([MOST, 0, 1 << 63], [MOST, 0, 1 << 63]),
        ((1 << 63, 1), [1 << 63, 1]),
        (5, [5]),
        (np.uint64(MOST), [MOST]),
        (np.array([3, 1], np.int8), [3, 1]),
        (np.array([1, 9, 2, 9, 3], ">u8")[::2], [1, 2, 3]),
        (range(3), [0, 1, 2]),
        ([], []),
        (np.empty(0), []),
        (np.empty((0, 3), np.int64), []),
    ],
)
def test_whole_numbers_of_any_kind_are_keys(client, keys, listed):
    table = client.table("w", dtype="float64")
    table.push(listed, np.arange(len(listed)) + 1.0)
    assert pull(table, keys).tolist() == [number + 1 for number in range(len(listed))]
    assert len(table.shard_of(keys)) == len(listed)


@pytest.mark.parametrize("size", [None, 10])
@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ([-1], "key -1 of table 'w'; keys begin at 0"),
        ([1.0], "keys are whole numbers in one dimension, not float64"),
        ([True, False], "keys are whole numbers in one dimension, not bool"),
        ([[1, 2]], "not int64 of shape \\(1, 2\\)"),
        (["a"], "keys are whole numbers"),
        (object(), "keys are whole numbers"),
        ([1 << 64], "keys are from 0 to 2\\*\\*64 - 1, and there are 18446744073709551616 to"),
        ([-1, 1 << 63], "keys are from 0 to 2\\*\\*64 - 1, and there are -1 to"),
        ([0.5, 1 << 63], "keys are whole numbers"),
        (1j, "keys are whole numbers"),
    ],
)
def test_what_cannot_be_a_key_is_refused_by_the_caller(client, size, keys, text):
    table = client.table("w", size)
    for use in (table.pull, table.shard_of, lambda k: table.push(k, 1), lambda k: table.run(total, keys=k)):
        with pytest.raises(CarryError, match=text):
            use(keys)


@pytest.mark.parametrize("keys", [[10], [0, MOST], np.array([1 << 63], np.uint64)])
def test_keys_behind_the_end_of_a_dense_table(client, keys):
    with pytest.raises(CarryError, match="which has the keys 0 to 9"):
        client.table("w", 10).pull(keys)


@pytest.mark.parametrize(
    "cut", [slice(None), slice(2, 5), slice(-3, None), slice(8, 100), slice(5, 2), slice(0, 0), slice(None, None, 3),
            slice(None, None, -1), slice(8, 1, -2), slice(np.int64(2), np.int8(4))]
)  # fmt: skip
@pytest.mark.parametrize("dim", [1, 100_000])
def test_slices_of_a_dense_table(client, cut, dim):
    table = client.table("w", 10, dim, "int32")
    count = len(range(10)[cut])
    table.push(slice(None), column(table, np.arange(10)))
    assert pull(table, cut).reshape(count, dim)[:, 0].tolist() == list(range(10))[cut]
    assert table.shard_of(cut).tolist() == table.shard_of(range(10))[cut].tolist()
    table.push(cut, column(table, np.ones(count, int)))
    model = np.arange(10)
    model[cut] += 1
    assert pull(table).reshape(10, -1)[:, -1].tolist() == model.tolist()
    after = table.push_pull(cut, column(table, np.ones(count, int))).result()
    model[cut] += 1
    assert after.reshape(count, dim)[:, 0].tolist() == model[cut].tolist()


def test_slices_of_a_sparse_table(client):
    table = client.table("w", dtype="int64", updater=optim.builtin("add"))
    keys = [MOST, 5, 0, 1 << 63]
    table.push(keys, [1, 2, 3, 4])
    found, rows = pull(table)
    assert (found.tolist(), rows.tolist()) == (sorted(keys), [3, 2, 4, 1])
    found, rows = pull(table, slice(1, MOST))
    assert (found.tolist(), rows.tolist()) == ([5, 1 << 63], [2, 4])
    assert [part.tolist() for part in pull(table, slice(6, 7))] == [[], []]
    assert [part.tolist() for part in pull(table, slice(1 << 64, None))] == [[], []]
    table.push(slice(MOST - 1, None), [10, 10])
    assert pull(table, [MOST, MOST - 1]).tolist() == [11, 10]


@pytest.mark.parametrize("cut", [slice(-1, 5), slice(0, 5, 2), slice(5, 2), slice(0, (1 << 64) + 1)])
def test_slices_that_a_sparse_table_does_not_have(client, cut):
    with pytest.raises(CarryError, match="begin:end, from 0 to"):
        client.table("w").pull(cut)


@pytest.mark.parametrize("cut", [slice(0.5, 5), slice("a", None)])
@pytest.mark.parametrize("size", [None, 10])
def test_slices_of_no_whole_numbers(client, size, cut):
    with pytest.raises(TypeError):
        client.table("w", size).pull(cut)


def test_a_push_of_an_endless_slice_is_refused(client):
    with pytest.raises(CarryError, match="each of which needs a value"):
        client.table("w").push(slice(None), 1)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dim", "values", "expected"),
    [
        (1, [1, 2, 3], [1, 2, 3]),
        (1, 5, [5, 5, 5]),
        (1, [5], [5, 5, 5]),
        (2, 5, [[5, 5]] * 3),
        (2, [1, 2], [[1, 2]] * 3),
        (2, [[1, 2]], [[1, 2]] * 3),
        (2, [[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5, 6]]),
        (3, [1, 2, 3], [[1, 2, 3]] * 3),
    ],
)
@pytest.mark.parametrize("size", [None, 9])
def test_one_number_or_row_is_for_all_keys(client, size, dim, values, expected):
    table = client.table("w", size, dim)
    table.push([4, 2, 8], values)
    assert pull(table, [4, 2, 8]).tolist() == expected


@pytest.mark.parametrize(
    ("dim", "values"),
    [
        (1, [1, 2]),
        (1, [[1], [2], [3]]),
        (1, []),
        (2, [1, 2, 3]),
        (2, [[1], [2], [3]]),
        (2, np.zeros((2, 3))),
        (3, [1, 2]),
    ],
)
def test_values_of_another_shape_are_refused(client, dim, values):
    table = client.table("w", 9, dim)
    with pytest.raises(CarryError, match="for 3 keys of table 'w'; allowed: "):
        table.push([4, 2, 8], values)
    with pytest.raises(CarryError, match="allowed"):
        table.push_pull(slice(1, 4), values)


@pytest.mark.parametrize(
    ("dtype", "values", "fits"),
    [
        ("float32", np.ones(2, np.float64), True),
        ("float32", [1, 2], True),
        ("float32", [True, False], True),
        ("float32", [1j, 2], False),
        ("float32", ["a", "b"], False),
        ("float32", [None, 1], False),
        ("int32", [1, -2], True),
        ("int32", [1.0, 2.0], False),
        ("int8", [127, -128], True),
        ("int8", [128, 0], False),
        ("uint8", [255, 0], True),
        ("uint8", [-1, 0], False),
        ("int64", np.array([1 << 63, 0], np.uint64), False),
        ("int64", np.array([1, 0], np.uint64), True),
        ("uint64", np.array([MOST, 1], np.uint64), True),
        ("uint64", np.array([-1, 1], np.int8), False),
        ("float16", np.array([1, 2], np.float64), True),
    ],
)
def test_values_that_do_not_fit_the_dtype_are_refused(client, dtype, values, fits):
    table = client.table("w", 5, dtype=dtype)
    if fits:
        table.push([1, 2], values)
        assert pull(table, [1, 2]).tolist() == np.asarray(values).tolist()
        assert pull(table).dtype == dtype
    else:
        whole = dtype[0] in "iu" and np.asarray(values).dtype.kind in "iu"
        text = f": {np.iinfo(dtype).min} to {np.iinfo(dtype).max}" if whole else "; cast them first"
        with pytest.raises(CarryError, match=f"table 'w', which has {dtype}{text}"):
            table.push([1, 2], values)


@pytest.mark.parametrize("size", [None, 9])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("rule", ["add", "max", "assign"])
def test_repeated_keys_are_summed(client, size, dim, rule):
    table = client.table("w", size, dim, "int64", updater=rule)
    keys, values = [5, 1, 5, 5, 2], column(table, np.array([1, 2, 3, 4, 5]))
    table.push(keys, values)
    assert pull(table, [5, 1, 2, 0]).reshape(4, dim)[:, -1].tolist() == [8, 2, 5, 0]
    after = table.push_pull(keys, values).result()
    assert after.shape == (5, *table.spec.tail)
    factor = 2 if rule == "add" else 1
    assert after.reshape(5, dim)[:, 0].tolist() == [8 * factor, 2 * factor, 8 * factor, 8 * factor, 5 * factor]


def test_a_repeated_key_counts_as_one_push_for_admission(client):
    table = client.table("w", admit_after=2)
    table.push([5, 5, 5], 1).result()
    assert table.statistics().keys == 0
    table.push([5, 5], 1).result()
    assert (table.statistics().keys, pull(table, [5]).tolist()) == (1, [2])


@pytest.mark.parametrize("after", [False, True])
def test_what_is_given_may_be_changed_after(network, after):
    client = network.client(0, 0)
    table = client.table("w", 100_000, dtype="float64")
    first = [client.table("v").push([1], 1)] if after else []
    keys, values, argument = np.array([5, 99_999], np.uint64), np.ones(2), np.ones(3)
    tasks = [
        table.push(keys, values, after=first),
        table.push_pull(keys, values, after=first),
        table.pull(keys, after=first),
        table.run(clear_and_name, argument, keys=keys, after=first),
    ]
    keys[:], values[:], argument[:] = 0, 9, 9
    results = [task.result() for task in tasks]
    assert results[1].tolist() == results[2].tolist() == [2, 2]
    assert sorted(key for result in results[3] for key in result[0].tolist()) == [5, 99_999]
    assert all(result[1].tolist() == [1, 1, 1] for result in results[3])
    assert pull(table, [0, 5]).tolist() == [0, 2], "the cached rows; a function's changes come with the next clock"


def test_what_is_pulled_may_be_changed(network):
    for client in (network.client(), network.client(0, 0)):
        table = client.table("w", 20_000, dtype="float64")
        for keys in ([1], [1, 19_999, 1], slice(None)):
            for _ in range(2):
                rows = pull(table, keys)
                assert (rows == 0).all()
                rows += 1


def test_state_and_several_inputs(network):
    client = network.client(0, 0)
    table = client.table("w", 10, updater=weighted)
    table.push([1, 2, 1], [1, 1, 1], [1, 10, 3])
    rows, steps = pull(table, [2, 1, 0], state=("steps",))
    assert (rows.tolist(), steps.tolist()) == ([10, 2 * 4, 0], [1, 1, 0])
    assert [part.tolist() for part in pull(table, [], state="steps")] == [[], []]
    with pytest.raises(CarryError, match="takes 2 value arrays in a push, not 1"):
        table.push([1], 1)
    with pytest.raises(TableError, match="keeps no state 'm'"):
        pull(table, [1], state="m")
    sparse = client.table("s", updater=weighted)
    sparse.push([9, 3], 1, 2)
    assert [part.tolist() for part in pull(sparse, state=["steps"])] == [[3, 9], [2, 2], [1, 1]]


def test_a_rule_of_optim_moves_rows(client):
    table = client.table("w", 5, 2, "float64", updater=optim.sgd(0.5), init=1)
    table.push([1], [[1, 2]])
    assert pull(table, [1, 0]).tolist() == [[0.5, 0], [1, 1]]


def test_an_updater_that_fails_fails_its_task_and_changes_nothing(client):
    table = client.table("w", updater=fails_at_seven)
    good, bad = table.push([1], 2), table.push([1, 5], 7)
    good.result()
    with pytest.raises(ServerFunctionError, match="it was a seven") as caught:
        bad.result()
    first, *frames = str(caught.value).splitlines()
    assert re.fullmatch(r"updater '.*:fails_at_seven' failed, the rows of table 'w' stay as they were:", first)
    assert [line.strip() for line in frames if "File" in line] == [frames[1].strip()]
    assert "in fails_at_seven" in frames[1], "the user's frames alone"
    assert pull(table, [1, 5]).tolist() == [2, 0]
    assert table.statistics().keys == 1


# --- one server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 100_000])
def test_what_is_for_one_server_stays_there(network, size):
    client = network.client(0, 2)
    table = client.table("w", size, dtype="float64")
    keys = np.arange(0, 100_000, 1000)
    owners = table.shard_of(keys)
    assert pull(table, keys).tolist() == [0] * 100
    table.push(keys, np.ones(100), shard=0)
    expected = (owners == 0).astype(float)
    assert pull(table, keys).tolist() == expected.tolist(), "as cached"
    assert pull(table, keys, staleness=None).tolist() == expected.tolist()
    found, rows = pull(table, keys, shard=0)
    assert (found.tolist(), rows.tolist()) == (keys[owners == 0].tolist(), [1] * int((owners == 0).sum()))
    found, rows = table.push_pull(keys, 1, shard=0).result()
    assert (found.tolist(), set(rows.tolist())) == (keys[owners == 0].tolist(), {2.0})
    assert len(table.run(total, shard=0).result()) == 1
    with pytest.raises(ConfigError, match="shard=9; the table has the shards"):
        table.pull(keys, shard=9)


def test_keys_that_the_server_does_not_have(two_servers):
    table = two_servers.client().table("w")
    foreign = [key for key in range(100) if table.shard_of([key])[0] == 1]
    found, rows = pull(table, foreign, shard=0)
    assert (found.tolist(), rows.tolist()) == ([], [])
    assert table.run(total, keys=foreign, shard=0).result() == []
    assert table.push(foreign, 1, shard=0).result() is None


# --- functions --------------------------------------------------------------------------------------------------------


def test_a_function_runs_on_every_server_over_its_own_part(network):
    table = network.client().table("w", 100_000, dtype="float64")
    table.push(slice(None), 1)
    assert len(table.run(total).result()) == len(network.shards)
    assert table.run(total, 2, merge=sum).result() == 200_000
    assert table.run(total, keys=[1, 99_999], merge=sum).result() == 2
    assert table.run(total, keys=slice(10, 90_000), merge=sum).result() == 89_990
    assert table.run(total, keys=[], merge=sum).result() == 0
    table.run(clear_and_name, keys=[5]).result()
    assert table.run(total, merge=sum).result() == 99_999
    with pytest.raises(ServerFunctionError, match="ValueError: no"):
        table.run(refuses).result()
    with pytest.raises(CarryError):
        table.run(total, object())
    with pytest.raises(FunctionError):
        table.run(weighted)
    with pytest.raises(ZeroDivisionError):
        table.run(total, merge=lambda parts: 1 // 0).result()


def test_once_per_clock(network):
    clients = [network.client(worker, 5) for worker in range(2)]
    tables = [client.table("w", 1) for client in clients]
    for clock in range(1, 4):
        assert [table.run(count_up, merge=max, shard=int(table.shard_of(0)[0]), once_per_clock=True).result()
                for table in tables] == [clock, clock]  # fmt: skip
        for client in clients:
            client.commit()
    with pytest.raises(ConfigError, match="once_per_clock counts a worker's commits"):
        network.client().table("w", 1).run(count_up, once_per_clock=True)


# --- clocks and the cache ---------------------------------------------------------------------------------------------


def test_commit_tables_are_for_workers(client):
    with pytest.raises(ConfigError, match="connect with worker=0"):
        client.table("w", 5, apply="commit").push([1], 1)


def test_rows_are_cached_for_as_long_as_their_clock_allows(two_servers):
    one, two = (two_servers.client(worker, 1) for worker in range(2))
    table, other = one.table("w", 9), two.table("w", 9)

    def pulls():
        return one.tables()["w"].pulls

    assert pull(table, [1, 2]).tolist() == [0, 0]
    other.push([1], 5).result()
    before = pulls()
    assert pull(table, [2, 1]).tolist() == [0, 0]
    assert pulls() == before
    assert pull(table, [1, 3]).tolist() == [0, 0], "only what is not there is asked for"
    assert pulls() == before + 1
    assert pull(table, [1], staleness=None).tolist() == [5]
    for client in (one, two):
        client.commit()
    assert pull(table, [1]).tolist() == [0], "one iteration old"
    for client in (one, two):
        client.commit()
    assert pull(table, [1]).tolist() == [5]
    one.staleness = 0
    assert pull(table, [1]).tolist() == [5]
    assert one.read_clock == 2
    assert pull(table, []).tolist() == []
    assert one.read_clock == 0


def test_eventual_reads_ask_for_newer_rows_once_after_a_commit(two_servers):
    one, two = two_servers.client(0, math.inf), two_servers.client()
    table, other = one.table("w", 9), two.table("w", 9)
    pull(table, [1])
    other.push([1], 5).result()
    before = two.tables()["w"].pulls
    for _ in range(3):
        assert pull(table, [1]).tolist() == [0]
    assert two.tables()["w"].pulls == before
    one.commit()
    assert pull(table, [1]).tolist() == [0]
    table.push([1], 1).result()
    assert pull(table, [1]).tolist() == [6]
    assert two.tables()["w"].pulls == before + 1


def test_a_push_that_the_server_refuses_is_not_in_the_cache(two_servers):
    one, two = two_servers.client(0, 9), two_servers.client()
    table = one.table("w", 9)
    pull(table, [1])
    two.table("w", 9).drop()
    bad = table.push([1], 5)
    with pytest.raises(TableError):
        bad.result()
    two.table("w", 9)
    assert pull(table, [1]).tolist() == [0]


def test_a_staleness_that_cannot_be(two_servers):
    table = two_servers.client(0).table("w", 9)
    with pytest.raises(ConfigError, match="staleness=-1"):
        table.pull([1], staleness=-1)
    with pytest.raises(ConfigError, match="counts a worker's commits"):
        two_servers.client().table("w", 9).pull([1], staleness=1)


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_tasks_of_others_are_refused(two_servers):
    one, two = two_servers.client(), two_servers.client()
    task = one.table("w", 5).push([1], 1)
    with pytest.raises(ConfigError, match="a task of another client"):
        two.table("w", 5).push([1], 1, after=[task])


def test_after_is_a_list_of_tasks(client):
    table = client.table("w", 5)
    task = table.push([1], 1)
    for after in (task, [None], [task, 1], {task}):
        for ask in (lambda after=after: table.push([1], 1, after=after), lambda after=after: table.pull(after=after)):
            with pytest.raises(ConfigError, match=r"after=.*; allowed: a list of tasks, as in after=\[task\]"):
                ask()
    assert pull(table, [1], after=(task,)).tolist() == [1]


def test_a_failure_goes_on_across_tables_and_names_the_first_cause(network):
    client = network.client()
    one, two = client.table("a", 100_000, updater=fails_at_seven), client.table("b")
    first = one.push([1], 7)
    second = two.push([1], 1, after=[first])
    third = one.run(total, after=[second, two.push([2], 1)])
    last = two.pull([1, 2], after=[third])
    for task in (second, third, last):
        with pytest.raises(
            DependencyError, match="not run, since a task before it failed: ServerFunctionError"
        ) as caught:
            task.result()
        assert "it was a seven" in str(caught.value)
        assert isinstance(caught.value.__cause__, ServerFunctionError)
    assert pull(two, [1, 2]).tolist() == [0, 1]


def test_a_line_of_thousands(two_servers):
    table = two_servers.client().table("w", 5, dtype="int64")
    task = table.push([1], 1)
    for _ in range(3000):
        task = table.push([1], 1, after=[task])
    task.result()
    assert pull(table, [1]).tolist() == [3001]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("what", ["push", "push_pull", "run"])
def test_a_failure_that_nobody_looked_at_is_raised_at_the_commit_and_only_then(two_servers, what, after):
    client = two_servers.client(0)
    table = client.table("w", 9, updater=fails_at_seven)
    before = [table.push([2], 1)] if after else []
    ask = {
        "push": lambda: table.push([1], 7, after=before),
        "push_pull": lambda: table.push_pull([1, 1, 2], 7, after=before),
        "run": lambda: table.run(refuses, after=before),
    }[what]
    ask()
    with pytest.raises(ServerFunctionError) as caught:
        client.commit()
    assert caught.value.__notes__
    client.commit()
    with pytest.raises(ServerFunctionError):
        ask().result()
    client.commit()
    assert client.clock == 2


def test_what_was_never_run_is_not_lost_without_a_word(two_servers):
    client = two_servers.client(0)
    table = client.table("w", 9)
    bad = table.pull([1], state="none")
    table.push([1], 1, after=[bad])
    with pytest.raises(TableError):
        bad.result()
    with pytest.raises(DependencyError, match="keeps no state 'none'"):
        client.commit()


def test_a_task_is_a_task(two_servers):
    task = two_servers.client().table("w", 5).push([1], 1)
    assert isinstance(task, Task)
    assert isinstance(task.waiter, Connection)
    assert task.done()
    assert not issubclass(TableError, UpdateError)


# --- message filters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filters", LOSSLESS, ids=str)
@pytest.mark.parametrize("size", [None, 50_000])
@pytest.mark.parametrize("ranged", [False, True])
def test_lossless_filters_change_nothing(network, size, ranged, filters):
    table = network.client().table("w", size, 2, push_filters=filters, pull_filters=filters)
    keys = slice(100, 45_000) if ranged and size else np.arange(100, 45_000, 7)
    count = len(range(50_000)[keys]) if isinstance(keys, slice) else len(keys)
    values = np.arange(2 * count, dtype=np.float32).reshape(-1, 2) % 5
    values[::3] = 0
    table.push(keys, values)
    assert (pull(table, keys) == values).all()
    assert (table.push_pull(keys, values).result() == 2 * values).all()
    if ranged and size is None:
        found, rows = pull(table, slice(200, 40_000))
        inside = (keys >= 200) & (keys < 40_000)
        assert found.tolist() == keys[inside].tolist()
        assert (rows == 2 * values[inside]).all()


SELECTING = [SignificantlyModified(2.5), RandomSkip(0.4, seed=1)]


@pytest.mark.parametrize("selecting", SELECTING, ids=str)
@pytest.mark.parametrize("more", [[], [KeyCaching()], [DropZeros(), Compressing()]], ids=str)
@pytest.mark.parametrize("size", [None, 50_000])
@pytest.mark.parametrize("keys", [slice(5, 40_000), "list", "repeated"])
def test_a_push_pull_gives_the_rows_of_all_its_keys_whatever_filters_leave_out(network, size, selecting, more, keys):
    client = network.client()
    table = client.table("w", size, dtype="float64")
    given = (
        {"list": np.arange(300, 600), "repeated": np.array([3, 1, 3, 2])}.get(keys, keys)
        if isinstance(keys, str)
        else keys
    )
    count = 39_995 if isinstance(given, slice) else len(given)
    listed = range(5, 40_000) if isinstance(given, slice) else given
    values = np.arange(count) % 5.0
    for _ in range(3):
        rows = table.push_pull(given, values, filters=[selecting, *more]).result()
        assert rows.shape == (count,)
        assert (rows == pull(table, listed)).all()


def test_what_is_not_significant_waits_and_is_flushed(network):
    client = network.client(0, 3)
    table = client.table("w", 100_000, dtype="float64", push_filters=[SignificantlyModified(1.5)])
    pull(table, [1, 2])
    table.push([1, 2], [1, 2])
    assert pull(table, [1, 2], staleness=None).tolist() == [0, 2]
    table.push([1, 2], [1, 1])
    assert pull(table, [1, 2], staleness=None).tolist() == [2, 2]
    table.flush().result()
    for staleness in (None, 3):
        assert pull(table, [1, 2], staleness=staleness).tolist() == [2, 3]
    table.flush().result()
    assert pull(table, [1, 2]).tolist() == [2, 3]


def test_rounding_adds_up_to_what_was_pushed(network):
    table = network.client().table("w", None, dtype="float64", push_filters=[FixedPoint(4)])
    total = np.zeros(100)
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.normal(size=100)
        table.push(np.arange(100), values)
        total += values
    assert np.abs(pull(table, np.arange(100)) - total).max() < 1.5
    table.flush().result()
    assert np.allclose(pull(table, np.arange(100)), total)


@pytest.mark.parametrize("size", [None, 50_000])
@pytest.mark.parametrize("more", [[], [KeyCaching()], [Compressing()]], ids=str)
@pytest.mark.parametrize("keys", [slice(0, 40_000), np.arange(0, 40_000, 13)], ids=["range", "list"])
def test_pulls_of_what_has_changed_are_never_further_off_than_the_threshold(network, size, more, keys):
    client, other = network.client(), network.client()
    filters = [SignificantlyModified(1.0), *more]
    table, writer = client.table("w", size, pull_filters=filters), other.table("w", size)
    rng = np.random.default_rng(0)
    for _ in range(6):
        writer.push(np.arange(0, 40_000, 13), rng.normal(size=3077)).result()
        rows, exact = pull(table, keys), pull(writer, keys)
        if isinstance(rows, tuple):
            assert rows[0].tolist() == exact[0].tolist()
            rows, exact = rows[1], exact[1]
        assert np.abs(rows - exact).max() <= 1.0
    pull(table, keys, staleness=None)


def test_a_users_filter(network):
    filters = [Custom(halve, double)]
    table = network.client().table("w", 50_000, push_filters=filters, pull_filters=filters)
    table.push([1, 49_999], [0.5, 0.1])
    assert pull(table, [1, 49_999]).tolist() == [0.5, float(np.float16(0.1))]


def test_filters_of_the_wrong_direction_or_kind(client):
    table = client.table("w", 9)
    with pytest.raises(ConfigError, match="is not for a pull; it is for: push"):
        table.pull([1], filters=[RandomSkip(0.5)])
    with pytest.raises(ConfigError, match="'lz4' is no message filter"):
        table.push([1], 1, filters=["lz4"])
    for ask in (lambda: client.table("v", push_filters=KeyCaching()), lambda: table.push([1], 1, filters=KeyCaching())):
        with pytest.raises(ConfigError, match=r"filters of a push are KeyCaching\(.*\); allowed: a list of filters"):
            ask()


def test_workers_draw_their_own_random_numbers(two_servers):
    tables = [two_servers.client(worker).table("w", 1000, dtype="float64") for worker in range(2)]
    seen = []
    for table in tables:
        before = pull(table)
        table.push(slice(None), 1, filters=[RandomSkip(0.5)])
        seen.append((pull(table) - before).tolist())
    assert seen[0] != seen[1]


# --- traffic ----------------------------------------------------------------------------------------------------------


def traffic(table):
    return {(each.direction, each.name): (each.bytes_in, each.bytes_out) for each in table.statistics().traffic}


def test_bytes_of_plain_pushes_and_pulls(client):
    table = client.table("w")
    table.push([1, 2, 3], 1)
    pull(table, [1, 2])
    assert traffic(table)["push", "all"] == (36, 36)
    (bytes_in, bytes_out) = traffic(table)["pull", "all"]
    assert bytes_in == bytes_out == 24, "keys and rows"


def test_bytes_that_key_caching_saves(network):
    servers = len(network.shards)
    table = network.client().table("w", push_filters=[KeyCaching()])
    keys = np.arange(1000)
    table.push(keys, 1)
    assert traffic(table)["push", "key_caching"] == (12_000, 12_000)
    table.push(keys, 1)
    saved = 8000 - 16 * servers
    assert traffic(table)["push", "key_caching"] == traffic(table)["push", "all"] == (24_000, 24_000 - saved)
    assert pull(table, keys).tolist() == [2] * 1000


def test_bytes_that_a_chain_saves_are_counted_one_by_one(two_servers):
    table = two_servers.client().table("w", 100_000, push_filters=[DropZeros(), FixedPoint(8), Compressing()])
    values = np.zeros(100_000, np.float32)
    values[::10] = 1
    table.push(slice(None), values)
    counted = traffic(table)
    assert counted["push", "all"][0] == counted["push", "drop_zeros"][0] == 400_000 + 32
    assert 40_000 + 12_500 <= counted["push", "drop_zeros"][1] < 53_000
    assert counted["push", "fixed_point"][0] == 40_000 + 32
    assert counted["push", "compressing"][1] < counted["push", "fixed_point"][1] < 11_000
    assert counted["push", "all"][1] < 16_000


def test_servers_that_forget_key_lists_ask_for_them(network):
    client, filters = network.client(), [KeyCaching()]
    table = client.table("w", dtype="int64", push_filters=filters, pull_filters=filters)
    lists = [np.arange(at, at + 50) for at in range(3)]
    for _ in range(3):
        for keys in lists:
            table.push(keys, 1)
        for shard in network.shards.values():
            shard.tables.key_lists = KeyLists(1)
    assert pull(table, lists[1]).tolist() == [6] + [9] * 48 + [6]


def test_a_push_that_a_filter_refuses_reaches_no_server(client):
    table = client.table("w", size=100_000, push_filters=[SignificantlyModified(0.5), FixedPoint(8)])
    owners = table.shard_of(slice(None))
    keys = [int(np.flatnonzero(owners == server)[0]) for server in (0, 1)]
    for values in ([1.0, math.nan], [math.nan, 1.0]):
        with pytest.raises(ValueError, match="finite"):
            table.push(keys, values)
    table.push(keys, [0.25, 0.25]).result()
    table.flush().result()
    assert table.pull(keys).result().tolist() == [0.25, 0.25], "neither sent nor kept"


@pytest.mark.parametrize("dtype", ["int32", "uint8"])
@pytest.mark.parametrize("one", [FixedPoint(8), RandomSkip(0.5)])
def test_filters_of_floats_are_refused_for_whole_numbers(client, dtype, one):
    with pytest.raises(ConfigError, match="needs float"):
        client.table("w", 10, dtype=dtype, push_filters=[one])
    assert client.tables() == {}
    with pytest.raises(ConfigError, match="needs float"):
        client.table("w", 10, dtype=dtype).push([1], 1, filters=[one])


def test_what_came_through_other_filters_is_not_cached(two_servers):
    ps = two_servers.client(worker=0, staleness=1)
    table = ps.table("w", 4)
    table.push(slice(None), [0.0, 0.1, 0.77, 1.0]).result()
    rough = table.pull(filters=[FixedPoint(1, error_feedback=False)]).result()
    assert set(rough.tolist()) == {0.0, 1.0}
    assert table.pull().result() == pytest.approx([0.0, 0.1, 0.77, 1.0])


@server_function
def one_more(keys, rows, state):
    rows += 1
    return keys.tolist()


def test_a_function_gets_each_key_once(client):
    table = client.table("w")
    seen = table.run(one_more, keys=[5, 3, 5]).result()
    assert sorted(key for of_server in seen for key in of_server) == [3, 5]
    assert table.pull([3, 5]).result().tolist() == [1, 1]


def test_a_commit_does_not_wait_for_what_held_pulls_wait_for(two_servers):
    """The pull is sent, and waits for another worker's commit; a commit of one's own need not."""
    ps = two_servers.client(worker=0, staleness=0)
    table = ps.table("w", 4)
    ps.commit()
    waiting = table.pull([1], staleness=0, after=[table.push([1], 1.0)])
    ps.commit()  # in this network, a wait that has no end is an error
    assert not waiting.done()


def test_a_key_that_a_clock_could_not_take_is_refused_at_once(two_servers):
    old, new = two_servers.client(worker=0), two_servers.client()
    stale = old.table("w", 100, apply="commit")
    new.table("w", 100, apply="commit").drop()
    new.table("w", 10, apply="commit")
    with pytest.raises(TableError, match="has the keys 0 to 9"):
        stale.push([99], 1.0).result()
    old.commit()
    assert new.table("w", 10, apply="commit").pull().result().tolist() == [0] * 10


def test_a_table_that_was_dropped_and_made_again_is_another(two_servers):
    """With the same settings too: what was cached, told and kept back of the old one is not of it."""
    one, other = two_servers.client(worker=0, staleness=3), two_servers.client()
    how = {"pull_filters": [SignificantlyModified(0.5)], "push_filters": [SignificantlyModified(2.0)]}
    old = one.table("w", **how)
    old.push([1], 5.0).result()
    old.push([1], 1.0).result()  # kept back
    assert pull(old, [1]).tolist() == [5]
    other.table("w").drop()
    other.table("w").push([1], 100.0).result()
    new = one.table("w", **how)
    assert pull(new, [1]).tolist() == [100]
    new.flush().result()
    assert pull(other.table("w"), [1]).tolist() == [100]
