"""Programs of one worker, on a network without sockets: every method of paralg."""

import math

import pytest
from support.cluster import FakeNetwork

import paracel
from paracel.comm import Comm, SerialComm
from paracel.errors import ConfigError, KeyNotFound, UpdateError
from paracel.functions import key_filter, updater
from paracel.launch import job


@updater
def twice(value, delta):
    return value + 2 * delta


@key_filter
def in_a(key):
    return key.startswith("a")


class Program(paracel.paralg):
    def solve(self):
        return self.clock, self._client.in_quorum


@pytest.fixture
def client(monkeypatch):
    network = FakeNetwork(2, 1)
    monkeypatch.delenv("PARACEL_COORDINATOR", raising=False)
    with network.clients():
        client = network.client(0)
        monkeypatch.setattr(job, "_job", job.Job(Comm(SerialComm()), client))
        yield client


def test_who_and_where(client):
    made = Program("out", 3, 2)
    assert (made.worker_id, made.worker_size, made.server_size, made.clock) == (0, 1, 2, 0)
    assert (made.output, made.rounds, made.staleness) == ("out", 3, 2)
    assert made.comm.Get_size() == 1


def test_reading(client):
    made = Program(staleness=0)
    made.paracel_write("a", 1)
    made.paracel_write_multi({"ab": 3, "b": 2})
    assert (made.paracel_read("a"), made.paracel_read("x", None)) == (1, None)
    assert made.paracel_read_multi(["b", "a"]) == [2, 1]
    assert made.paracel_read_multi(["b", "x"], 0) == [2, 0]
    assert made.paracel_readall() == {"a": 1, "ab": 3, "b": 2}
    assert made.paracel_read_special(in_a) == {"a": 1, "ab": 3}
    assert made.paracel_read_topk(2) == [("ab", 3), ("b", 2)]
    assert made.paracel_read_topk_with_key_filter(1, in_a) == [("ab", 3)]
    assert (made.paracel_contains("a"), made.paracel_contains("x")) == (True, False)
    assert (made.is_cached("a"), made.is_cached("x"), made.get_cache("a")) == (True, False, 1)
    for missing in (made.paracel_read, made.get_cache):
        with pytest.raises(KeyNotFound):
            missing("x")
    parts = []
    made.paracel_readall_handle(parts.append)
    made.paracel_read_special_handle(in_a, parts.append)
    assert len(parts) == 4
    assert {**parts[0], **parts[1]} == {"a": 1, "ab": 3, "b": 2}
    assert {**parts[2], **parts[3]} == {"a": 1, "ab": 3}


def test_changing(client):
    made = Program()
    made.paracel_update("a", 1).result()
    made.paracel_update("a", 1, twice)
    made.paracel_update_multi({"a": 1, "b": 1}).result()
    assert made.paracel_bupdate("a", 1, "max") == 4
    assert made.paracel_bupdate_multi({"a": 1, "b": 1}, twice) == {"a": 6, "b": 3}
    assert (made.paracel_remove("a"), made.paracel_remove("a")) == (True, False)
    made.paracel_write_multi({"a": 1, "ab": 1, "c": 1})
    assert made.paracel_remove_multi(["c", "x"]) == 1
    assert made.paracel_remove_special(in_a) == 2
    assert made.paracel_readall() == {"b": 3}


def test_registered_functions_are_used_where_none_is_named(client):
    made = Program()
    made.paracel_write_multi({"a": 1, "b": 1})
    for needs in (made.paracel_read_special, made.paracel_remove_special):
        with pytest.raises(TypeError, match="needs a key filter"):
            needs()
    made.paracel_register_update(twice)
    made.paracel_register_bupdate(__file__, "twice")
    made.paracel_register_read_special(in_a)
    made.paracel_register_remove_special(in_a)
    made.paracel_update("a", 1).result()
    assert made.paracel_bupdate("a", 1) == 5
    assert made.paracel_bupdate("a", 1, "add") == 6
    assert made.paracel_read_special() == {"a": 6}
    assert made.paracel_remove_special() == 1


def test_files(client, tmp_path):
    (tmp_path / "in").write_text("one\ntwo\n")
    made = Program(str(tmp_path / "out"))
    lines = ["one", "two"]
    seen = []
    made.paracel_load_handle(tmp_path / "in", seen.append)
    made.paracel_sequential_loadall(tmp_path / "in", seen.extend)
    assert made.paracel_load(tmp_path / "in") == made.paracel_loadall(tmp_path / "in") == lines
    assert seen == lines * 2
    made.paracel_dump_vector([1, 2], "v_", ",")
    made.paracel_dump_dict({"k": 1}, "d_", merge=True)
    made.paracel_dump_dict({"l": 2}, "d_", append=True, merge=True)
    written = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert written == {"v_0": "1,2\n", "d_0": "k\t1\nl\t2\n"}


# --- solve ------------------------------------------------------------------------------------------------------


def test_every_solve_is_in_the_quorum_and_leaves_it(client):
    one, other = Program(), Program()
    assert client.in_quorum
    for made in (one, other, one):
        assert made.solve() == (0, True)
        assert not client.in_quorum


def test_commits_are_counted_for_each_solve(client):
    seen = []

    class Two(paracel.paralg):
        def solve(self):
            self.set_total_iters(2)
            for _ in range(3):
                seen.append(client.in_quorum)
                self.iter_commit()

    Two().solve()
    Two().solve()
    assert seen == [True, True, False] * 2
    assert client.clock == 6


def test_each_object_reads_with_its_own_staleness(client):
    eventual, fresh = Program(staleness=math.inf), Program()
    eventual.paracel_write("k", 1)
    eventual.paracel_read("k")
    assert (eventual.is_cached("k"), fresh.is_cached("k")) == (True, False)
    assert (eventual.staleness, fresh.staleness) == (math.inf, None)


def test_a_solve_begins_with_nothing_cached(client):
    made = Program(staleness=0)
    made.paracel_write("k", 1)
    made.paracel_read("k")
    made.solve()
    assert not made.is_cached("k")


def test_a_solve_within_another_gives_the_quorum_back(client):
    class Inner(Program):
        def solve(self):
            return super().solve()

    class Outer(paracel.paralg):
        def solve(self):
            self.set_total_iters(2)
            self.iter_commit()
            inner = Inner(staleness=1).solve()
            return inner, client.in_quorum, client.staleness, self._iters

    assert Outer(staleness=0).solve() == ((1, True), True, 0, 1)
    assert not client.in_quorum


def test_an_update_that_failed_unseen_is_raised_at_the_end_of_solve(client):
    class Failing(paracel.paralg):
        def solve(self):
            self.paracel_write("k", "text")
            self.set_total_iters(1)
            self.iter_commit()
            self.paracel_update("k", 1)

    with pytest.raises(UpdateError):
        Failing().solve()


@pytest.mark.parametrize("settings", [{"rounds": -1}, {"staleness": -1}, {"servers": 0}, {"servers": 3}])
def test_what_the_constructor_refuses(client, settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))}="):
        Program(**settings)


def test_the_servers_that_there_are_may_be_named(client):
    assert Program(servers=2).server_size == 2


def test_a_program_without_solve(client):
    with pytest.raises(TypeError, match="has no solve"):
        paracel.paralg().solve()
    made = Program()
    made.paracel_update("k", 1)
    made.paracel_sync()
    assert made.paracel_readall() == {"k": 1}
