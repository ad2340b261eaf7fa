"""Chunks that are handed out."""

from collections import Counter
from itertools import count

import pytest
from support.cluster import FakeNetwork

import paracel
from paracel.comm import Comm, SerialComm
from paracel.errors import ConfigError, LoadError
from paracel.launch import job
from paracel.loaders import load_all
from paracel.loading import chunks
from paracel.loading.chunks import Dispenser, take_chunk


class Program(paracel.paralg):
    def solve(self):
        return None


@pytest.fixture
def client(monkeypatch):
    network = FakeNetwork(2, 1)
    monkeypatch.delenv("PARACEL_COORDINATOR", raising=False)
    with network.clients():
        client = network.client(0)
        monkeypatch.setattr(job, "_job", job.Job(Comm(SerialComm()), client))
        yield client


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "_LEAST_CHUNK", 10)
    monkeypatch.setattr(chunks, "_MOST_CHUNK", 50)


def test_every_chunk_goes_to_one_worker(client):
    dispensers = [Dispenser(client, "load", worker) for worker in range(3)]
    dispensers[0].begin(3, 10)
    taken = [dispensers[turn].take() for turn in (0, 0, 1, 2, 1, 0, 0, 2, 2, 1, 0, 1, 2)]
    assert taken == [*range(10), -1, -1, -1]
    assert [dispenser.take() for dispenser in dispensers] == [-1, -1, -1]
    dispensers[0].end()
    assert client.readall() == {}


def test_a_request_that_comes_twice_takes_one_chunk():
    value = {"chunks": 3, "next": 0, "requests": [0, 0], "given": [-1, -1]}
    seen = []
    for worker, request in [(0, 1), (0, 1), (1, 1), (0, 1), (1, 1), (0, 2), (0, 2), (1, 2), (1, 2), (0, 3)]:
        value = take_chunk(value, [worker, request])
        seen.append(value["given"][worker])
    assert seen == [0, 0, 1, 0, 1, 2, 2, -1, -1, -1]
    assert value["next"] == 3


def test_workers_that_are_started_anew_load_all_again(client, monkeypatch):
    for taken_before in (2, 3, 1):
        monkeypatch.setattr(chunks, "_LOADS", count(7))  # as in a new process
        dispenser = Dispenser.of_next_load(client, 0)
        dispenser.begin(1, 2)
        assert [dispenser.take() for _ in range(taken_before)] == [0, 1, -1][:taken_before]
    assert list(client.readall()) == ["paracel_load_7"]


def test_the_dynamic_schedule_loads_every_line_once(client, tmp_path, small_chunks):
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{number},{number % 7}\n" for number in range(500)))
    program, lines = Program(), []
    program.paracel_load_handle(path, lines.append, schedule="dynamic")
    assert lines == load_all(path) == program.paracel_load(path, schedule="dynamic") == program.paracel_load(path)
    block = program.paracel_load_as_matrix(path, pattern="linesplit", schedule="dynamic")
    assert block.row_ids.tolist() == block.matrix[:, 0].tolist() == list(range(500))
    relations = program.paracel_load_as_relations(path, schedule="dynamic")
    assert Counter(relations.second.tolist()) == Counter(number % 7 for number in range(500))
    assert program.paracel_load_csv(path, schedule="dynamic").labels.tolist() == [number % 7 for number in range(500)]
    assert client.readall() == {}


def test_a_load_that_fails_leaves_nothing_on_the_servers(client, tmp_path, small_chunks):
    path = tmp_path / "in.txt"
    path.write_text("1,2\n" * 100 + "oh\n")
    with pytest.raises(LoadError, match="line 101: 'oh'"):
        Program().paracel_load_as_matrix(path, schedule="dynamic")
    assert client.readall() == {}


def test_the_chunks_of_packed_files_are_the_files(client, tmp_path, small_chunks):
    import gzip

    for name in "abc":
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(f"{name}\n".encode() * 1000))
    assert Program().paracel_load(tmp_path, schedule="dynamic") == load_all(tmp_path)


def test_methods_of_paralg(client, tmp_path):
    (tmp_path / "svm").write_text("1 2:3\n")
    (tmp_path / "csv").write_text("1,2,3\n")
    program = Program()
    assert program.paracel_load_libsvm(tmp_path / "svm").features.toarray().tolist() == [[0, 3]]
    assert program.paracel_load_csv(tmp_path / "csv").labels.tolist() == [3]
    assert program.paracel_load_as_matrix(tmp_path / "csv", mix=True).matrix.toarray().tolist() == [[1, 1]]
    assert program.get_decomp_info() == (1, 1)
    program.set_decomp_info("fsmap")
    program.set_decomp_info((1, 1))
    assert program.paracel_load_as_matrix(tmp_path / "csv", ",", "fsmap").matrix.shape == (1, 1)
    with pytest.raises(ConfigError, match=r"grid of \(2, 2\) for 1 workers"):
        program.set_decomp_info((2, 2))
    with pytest.raises(ConfigError, match="schedule='greedy'; allowed: 'static', 'dynamic'"):
        program.paracel_load(tmp_path / "csv", schedule="greedy")
    with pytest.raises(LoadError, match="no such file"):
        program.paracel_load(tmp_path / "none", schedule="dynamic")
