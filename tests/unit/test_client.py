"""The client as users call it, on a network without sockets."""

import math

import numpy as np
import pytest
from support.cluster import FakeNetwork
from support.invariants import check_client

from paracel.errors import CarryError, ConfigError, FunctionError, KeyNotFound, UpdateError
from paracel.functions import key_filter, server_function, updater


@updater
def keep_larger_half(value, delta):
    return [*value, *delta][-2:]


@key_filter
def short(key):
    return len(key) < 3


@key_filter
def even(_key, value):
    return value % 2 == 0


@server_function
def total(entries, factor=1):
    return factor * sum(entries.values())


@pytest.fixture
def network():
    network = FakeNetwork(3, 2)
    with network.clients():
        yield network


@pytest.fixture
def client(network):
    return network.client()


@pytest.mark.parametrize("seed", range(60))
def test_alone_a_client_sees_a_plain_dict(seed):
    check_client(seed)


# --- missing keys -----------------------------------------------------------------------------------------------


def test_a_missing_key_is_an_error_that_names_it(client):
    with pytest.raises(KeyNotFound) as caught:
        client.read("w")
    assert caught.value.keys == ("w",)
    assert str(caught.value) == "no value for key 'w'; write it first, or read it with default="
    with pytest.raises(KeyError):
        client.read("w")


def test_of_many_keys_all_the_missing_ones_are_named_once_in_order(client):
    client.write_multi({str(number): number for number in range(10)})
    with pytest.raises(KeyNotFound) as caught:
        client.read_multi(["20", "1", "30", "20", "2", "10"])
    assert caught.value.keys == ("20", "30", "10")
    assert "no value for key '20' and 2 more keys" in str(caught.value)


@pytest.mark.parametrize("staleness", [None, 0, math.inf])
def test_a_default_stands_for_a_missing_key_and_not_for_none(network, staleness):
    client = network.client(0, staleness)
    client.write("none", None)
    for _ in range(2):
        assert client.read("none", default=5) is None
        assert client.read("missing", default=5) == 5
        assert client.read("missing", default=None) is None
        assert client.read_multi(["missing", "none", "missing"], default=5) == [5, None, 5]
    assert client.read_multi([]) == []


# --- updates ----------------------------------------------------------------------------------------------------


def test_an_update_of_a_missing_key_writes_the_delta(client):
    assert client.bupdate("w", 5, "mul") == 5
    client.update("v", [1], "extend")
    assert client.read("v") == [1]
    assert client.bupdate("u", 1, "append") == [1]


def test_what_is_given_may_be_changed_after(client):
    delta, values = np.ones(3), {"a": np.ones(3)}
    client.write("w", np.zeros(3))
    tasks = [client.update("w", delta) for _ in range(5)]
    tasks.append(client.update_multi(values))
    delta += 100
    values["a"] += 100
    for task in tasks:
        task.result()
    assert client.read("w").tolist() == [5, 5, 5]
    assert client.read("a").tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [3, 50_000])
def test_what_is_read_may_be_changed(network, size):
    client, other = network.client(), network.client(0, 0)
    client.write("w", np.zeros(size))
    for reader in (client, other):
        array = np.array(reader.read("w"))
        array += 1
        assert reader.read("w")[0] == 0


def test_a_failed_update_leaves_the_value_and_tells_the_servers_traceback(client):
    client.write_multi({"a": 1, "b": "text"})
    with pytest.raises(UpdateError) as caught:
        client.bupdate_multi({"a": 1, "b": 1})
    assert list(caught.value.failures) == ["b"]
    assert "updater 'add' failed, the value of 'b' stays as it was:\nTraceback" in str(caught.value)
    assert "TypeError" in caught.value.failures["b"]
    assert client.read_multi(["a", "b"]) == [2, "text"]


def test_a_task_tells_its_error_each_time_and_waiting_does_not(client):
    client.write("w", "text")
    task = client.update("w", 1)
    task.wait()
    assert task.done()
    for _ in range(2):
        with pytest.raises(UpdateError):
            task.result()
    client.wait_acknowledged()


def test_a_failure_nobody_looked_at_is_raised_by_the_next_commit_and_not_by_the_one_after(network):
    client = network.client(0)
    client.write("w", "text")
    client.update("w", 1)
    with pytest.raises(UpdateError):
        client.commit()
    assert client.clock == 0
    client.commit()
    assert client.clock == 1


# --- functions --------------------------------------------------------------------------------------------------


def test_functions_of_users(client):
    assert client.bupdate("w", [1, 2, 3], keep_larger_half) == [1, 2, 3]
    assert client.bupdate("w", [4], keep_larger_half) == [3, 4]
    client.clear()
    client.write_multi({"a": 1, "bb": 2, "ccc": 4})
    assert client.read_special(short) == {"a": 1, "bb": 2}
    assert client.read_special(even) == {"bb": 2, "ccc": 4}
    assert client.read_topk(1, short) == [("bb", 2)]
    assert sum(client.run(total, 10)) == 70
    assert client.remove_special(even) == 2
    assert client.readall() == {"a": 1}
    name = f"{__name__}:short"
    assert client.register("key_filter", short) == client.register("key_filter", name) == name


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda c: c.bupdate("w", 1, "ad"), FunctionError, "no updater 'ad'"),
        (lambda c: c.bupdate("w", 1, short), FunctionError, "short is a key_filter, and a updater"),
        (lambda c: c.update("w", 1, lambda value, delta: value), FunctionError, "define it at the top level"),
        (lambda c: c.read_special("no_such_module:f"), FunctionError, "importing no_such_module failed"),
        (lambda c: c.register("updater", "math:sqrt"), FunctionError, "must take"),
        (lambda c: c.write("w", {1}), CarryError, "the value for key 'w' cannot be carried: type builtins.set"),
        (lambda c: c.write_multi({"a": 1, "w": 1j}), CarryError, "the value for key 'w'"),
        (lambda c: c.update("w", 1 << 64), CarryError, "more than 64 bits"),
        (lambda c: c.update_multi({"w": object()}), CarryError, "type builtins.object"),
        (lambda c: c.run(total, {1}), CarryError, "cannot be carried"),
        (lambda c: c.read(5), CarryError, "a key must be a str, not int"),
        (lambda c: c.read_multi("abc"), CarryError, "got the one str"),
        (lambda c: c.contains(None), CarryError, "not NoneType"),
        (lambda c: c.remove_multi([b"a"]), CarryError, "not bytes"),
        (lambda c: c.write_multi([("a", 1)]), ConfigError, "expected a dict of keys to values"),
        (lambda c: c.write("server_clock", 1), ConfigError, "can only be read"),
        (lambda c: c.update("server_clock", 1), ConfigError, "can only be read"),
        (lambda c: c.write_multi({"server_clock": 1}), ConfigError, "can only be read"),
        (lambda c: c.read_topk(-1), ConfigError, "k=-1; allowed: whole numbers from 0 on"),
        (lambda c: c.read_topk(True), ConfigError, "k=True"),
        (lambda c: next(c.readall_batches(0)), ConfigError, "size=0; allowed: whole numbers from 1 on"),
        (lambda c: c.commit(), ConfigError, "only a worker commits"),
    ],
)
def test_what_cannot_be_is_refused_here(network, client, call, error, text):
    with pytest.raises(error, match=text):
        call(client)
    assert client.readall() == {}


@pytest.mark.parametrize("staleness", [-1, 1.5, True, "0", math.nan, -math.inf])
def test_what_is_no_staleness(network, client, staleness):
    with pytest.raises(ConfigError, match="allowed: None"):
        network.client(0, staleness)
    with pytest.raises(ConfigError, match="allowed: None"):
        client.staleness = staleness


@pytest.mark.parametrize("staleness", [0, 2, math.inf])
def test_only_a_worker_has_a_staleness(network, client, staleness):
    text = "counts a worker's commits; give worker=, or staleness=None"
    with pytest.raises(ConfigError, match=text):
        network.client(None, staleness)
    with pytest.raises(ConfigError, match=text):
        client.staleness = staleness
    client.staleness = None


# --- clocks -----------------------------------------------------------------------------------------------------


def test_the_servers_clock_is_that_of_the_slowest_worker(network):
    one, other = network.client(0), network.client(1)
    for _ in range(3):
        one.commit()
    other.commit()
    assert [reader.read("server_clock") for reader in (one, other, network.client())] == [1, 1, 1]
    assert (one.clock, other.clock, one.worker_size, one.server_size) == (3, 1, 2, 3)
    other.leave()
    assert one.read("server_clock") == 3
    other.enter()
    assert (other.clock, other.in_quorum) == (3, True)


def test_what_is_cached(network):
    one, other = network.client(0, 1), network.client(1, 1)
    one.write("w", 1)
    assert not one.is_cached("w")
    with pytest.raises(KeyNotFound):
        one.cached("w")
    one.read("w")
    assert (one.is_cached("w"), one.cached("w"), one.read_clock) == (True, 1, 0)
    other.write("w", 2)
    for _ in range(2):
        one.commit()
        other.commit()
    assert (one.is_cached("w"), one.cached("w")) == (False, 1)
    assert one.read("w") == 2
    assert one.read_clock == 2
    one.staleness = 1
    with pytest.raises(KeyNotFound):
        one.cached("w")
    assert not network.client().is_cached("w")


@pytest.mark.parametrize(
    "read",
    [
        lambda c: c.read("w"),
        lambda c: c.read_multi(["w"]),
        lambda c: c.readall(),
        lambda c: c.read_special(short),
        lambda c: c.read_topk(1),
        lambda c: list(c.readall_batches(5)),
    ],
    ids=["read", "read_multi", "readall", "read_special", "read_topk", "readall_batches"],
)
def test_every_kind_of_read_waits_if_and_only_if_someone_is_too_far_behind(network, read):
    one, other = network.client(0, 1), network.client(1, 1)
    one.write("w", 1)
    one.commit()
    read(one)
    one.commit()
    one.staleness = 1  # forget what is cached
    with pytest.raises(AssertionError, match="waits for ever"):
        read(one)
    other.commit()
    assert read(one)


# --- the end ----------------------------------------------------------------------------------------------------


def test_close_may_be_called_twice_and_leaves_the_quorum(network):
    client = network.client(0)
    client.update("w", 1)
    client.close()
    client.close()
    assert client.closed
    assert network.client().read("w") == 1
    assert all(0 not in shard.clock.slowest() for shard in network.shards.values())


def test_the_first_error_is_the_one_to_see(network):
    def work():
        with network.client(0) as client:
            client.write("w", "text")
            client.update("w", 1)
            raise LookupError("first")

    with pytest.raises(LookupError, match="first"):
        work()


def test_an_update_that_failed_unseen_is_told_when_closing(network):
    client = network.client(0)
    client.write("w", "text")
    client.update("w", 1)
    with pytest.raises(UpdateError):
        client.close()
    assert client.closed


def test_the_clock_that_a_read_is_valid_for(network):
    one, other = network.client(0, 2), network.client(1, 2)
    one.write("w", 1)
    one.commit()
    other.commit()
    for read in (lambda: one.read("w"), one.readall, lambda: one.read_topk(1)):
        one._session.last_read_clock = -1
        read()
        assert one.read_clock == 1
    other.commit()
    one.commit()
    assert one.read("w") == 1
    assert one.read_clock == 1, "from the cache: as old as the entry"


def test_the_clock_among_other_keys(network):
    client, *others = [network.client(worker) for worker in range(2)]
    client.write("w", 5)
    for each in (client, *others):
        each.commit()
    assert client.read_multi(["server_clock", "w", "server_clock"]) == [1, 5, 1]
    assert client.read_multi(["server_clock", "gone"], default=None) == [1, None]
    assert client.contains("server_clock")


def test_batches_leave_nothing_in_the_cache(network):
    client = network.client(0, 3)
    client.write_multi({str(number): number for number in range(10)})
    assert sum(len(batch) for batch in client.readall_batches(3)) == 10
    assert not any(client.is_cached(str(number)) for number in range(10))


def test_an_earlier_failure_says_that_it_is_one(network):
    client = network.client(0)
    client.write("w", "text")
    client.update("w", 1)
    with pytest.raises(UpdateError) as caught:
        client.commit()
    assert caught.value.__notes__ == [
        "Of an update whose task nobody has looked at.",
        "No commit was made: commit again.",
    ]
    assert client.clock == 0
    client.commit()
    assert client.clock == 1
    assert repr(client) == "<Client worker 0 of 2, 3 servers>"
