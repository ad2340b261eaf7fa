"""Several workers, as threads: what they load together is the same for any number of them, and so is what they say."""

import json
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from paracel import loaders
from paracel.comm import Comm, SerialComm
from paracel.errors import ConfigError, LoadError
from paracel.loading import Dispenser, chunks, load_csv, load_lines, load_matrix, load_relations
from paracel.loading.chunks import take_chunk

RAGGED = "1,2,3\n4,5,6\n7,8,9\n10,11,12\n13,14,15\n16,17,18\n1,2\n3,4\n5,6\n"


class Board:
    """Where threads leave what the others are to read."""

    def __init__(self, size):
        self.size = size
        self.notes = [None] * size
        self.turn = threading.Barrier(size, timeout=20)


class Thread(Comm):
    """One of several threads as a rank."""

    __slots__ = ("_board",)

    def __init__(self, rank, board):
        super().__init__(SerialComm())
        self.rank, self.size, self._board = rank, board.size, board

    def barrier(self, name=""):
        self._board.turn.wait()

    def _all(self, note):
        self._board.notes[self.rank] = note
        self.barrier()
        notes = list(self._board.notes)
        self.barrier()
        return notes

    def allgather_json(self, obj):
        return [json.loads(note) for note in self._all(json.dumps(obj))]

    def bcast_json(self, obj, root=0):
        return self.allgather_json(obj)[root]

    def alltoallv(self, items, counts):
        cuts = np.cumsum([0, *counts])
        parts = [items[begin:end] for begin, end in pairwise(cuts)]
        return np.concatenate([theirs[self.rank] for theirs in self._all(parts)])


class Servers:
    """The one key of a load."""

    def __init__(self):
        self._lock = threading.Lock()
        self.value = None

    def write(self, _key, value):
        self.value = value

    def bupdate(self, _key, delta, updater):
        assert updater is take_chunk
        with self._lock:
            self.value = updater(self.value, delta)
            return json.loads(json.dumps(self.value))

    def remove(self, _key):
        self.value = None
        return True


def everyone(workers, load, *, schedule="static", **settings):
    """What the load gives to each of so many workers, or the error that it raises there."""
    board, servers = Board(workers), Servers()

    def one(rank):
        given = Dispenser(servers, "load", rank) if schedule == "dynamic" else schedule
        try:
            return load(Thread(rank, board), schedule=given, **settings)
        except (ConfigError, LoadError) as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(workers)))


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "in.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(chunks, "_LEAST_CHUNK", 16)
    monkeypatch.setattr(loaders, "_BLOCK", 64)


def rows_of(path, workers, pattern, **settings):
    """All rows by their ids, and how many lines were skipped, of which all workers say the same."""
    blocks = everyone(workers, partial(load_matrix, source=path, pattern=pattern, on_error="skip"), **settings)
    (skipped,) = {block.skipped for block in blocks}
    (width,) = {block.matrix.shape[1] for block in blocks}
    rows = [pair for block in blocks for pair in zip(block.row_ids.tolist(), block.matrix.tolist(), strict=True)]
    return sorted(rows), skipped, width


@pytest.mark.parametrize("schedule", ["static", "dynamic"])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_most_lines_of_all_workers_say_how_many_fields_there_are(file, workers, schedule):
    path = file(RAGGED)
    found = everyone(workers, partial(load_csv, source=path, on_error="skip"), schedule=schedule)
    rows = [row for features, labels in found for row in np.column_stack([features, labels]).tolist()]
    assert sorted(rows) == [[first, first + 1, first + 2] for first in range(1, 18, 3)]
    assert {samples.skipped for samples in found} == {3}


@pytest.mark.parametrize("schedule", ["static", "dynamic"])
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("pattern", ["linesplit", "fvec"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_are_those_of_a_plain_reader(file, workers, schedule, pattern, seed):
    source = random.Random(seed)
    lines = [",".join(source.choices(["1", "2.5", "x", "3"], (5, 5, 1, 5), k=source.choice([2, 3, 3, 5, 6])))
             for _ in range(40)]  # fmt: skip
    lines = [f"{number}{line}" if line[0] != "x" else line for number, line in enumerate(lines, 10)]
    counts = Counter(line.count(",") + 1 for line in lines)
    width = max(counts, key=lambda each: (counts[each], each))
    begin = 0 if pattern == "linesplit" else 1
    kept = [line.split(",") for line in lines if line.count(",") + 1 == width and "x" not in line.split(",")[begin:]]
    rows = [list(map(float, fields[begin:])) for fields in kept]
    ids = [fields[0] for fields in kept]
    if all(each.isdigit() for each in ids):
        ids = list(map(int, ids))
    expected = sorted(zip(ids, rows, strict=True)) if begin else list(enumerate(rows))
    text = "\n".join(lines)
    assert rows_of(file(text), workers, pattern, schedule=schedule) == (expected, 40 - len(kept), width - begin)


@pytest.mark.parametrize("workers", [1, 2])
def test_of_two_widths_as_frequent_the_greater_counts(file, workers):
    for text in ("1,2\n1,2\n1,2,3\n1,2,3\n", "1,2,3\n1,2,3\n1,2\n1,2\n"):
        assert rows_of(file(text), workers, "linesplit") == ([(0, [1, 2, 3]), (1, [1, 2, 3])], 2, 3)


@pytest.mark.parametrize("schedule", ["static", "dynamic"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_line_of_another_width_is_named_alike(file, workers, schedule):
    path = file(RAGGED)
    told = f"{str(path)!r}, line 7: '1,2': expected 3 fields, as in most lines read (fields are separated by ',')"
    for error in everyone(workers, partial(load_matrix, source=path, pattern="linesplit"), schedule=schedule):
        assert isinstance(error, LoadError)
        assert str(error).endswith(told)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_all_tell_of_the_first_worker_that_could_not_load(file, workers):
    path = file("\n" + "1,2\n" * 100)
    errors = everyone(workers, partial(load_relations, source=path, parser=";"))
    told = f"{str(path)!r}, line 2: '1,2': expected two ids, and a value perhaps; with mix=True, an id and items"
    told += " (fields are separated by ';')"
    assert [str(error) for error in errors] == [told, *[f"worker 0 could not load its part: {told}"] * (workers - 1)]


@pytest.mark.parametrize("schedule", ["static", "dynamic"])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_header_is_passed_over_wherever_files_are_cut(tmp_path, workers, schedule, ending):
    paths = [tmp_path / name for name in ("a", "b", "empty", "short")]
    header = f"x,y{ending}{'long, ' * 20}{ending}{ending}"
    for path in paths[:2]:
        path.write_text(header + "".join(f"{path.name},{number}{ending}" for number in range(9)), newline="")
    paths[2].write_text("")
    paths[3].write_text("x,y")
    load = partial(load_relations, source=paths, skip_header=3)
    found = [pair for part in everyone(workers, load, schedule=schedule) for pair in zip(part.first, part.second)]
    assert sorted(found) == [(name, number) for name in "ab" for number in range(9)]


def test_schedules_are_checked_everywhere(file):
    path = file("1,2\n")
    allowed = "allowed: 'static', and in the methods of a paralg 'dynamic' .in the functions of paracel.loading, a Disp"
    for load in (load_matrix, load_relations, load_csv, load_lines):
        with pytest.raises(ConfigError, match=f"schedule='dynamc'; {allowed}"):
            load(None, path, schedule="dynamc")
