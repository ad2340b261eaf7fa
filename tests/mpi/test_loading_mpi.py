import gzip
import json
import os
import pty
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

# Few columns for each row, so that workers have different ones.
PAIRS = [(f"r{number % 13}", f"c{number % 13 // 2 + number % 2}ü", number % 5 + 0.5) for number in range(91)]
ROWS = [[float(number), number / 7] for number in range(200)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pairs").write_text("".join(f"{a},{b}:{value}\n" for a, b, value in PAIRS), encoding="utf-8")
    # The last part has the only id that is no integer, so that all have to write theirs as text.
    (tmp_path / "ints").write_text("".join(f"{number},{number + 1}\n" for number in range(100)) + "x,1\n")
    (tmp_path / "few").write_text("7,8\n")
    (tmp_path / "empty").write_text("\n\n")
    lines = [",".join(map(repr, row)) + "\n" for row in ROWS]
    (tmp_path / "rows1").write_text("".join(lines[:30]))
    (tmp_path / "rows2.gz").write_bytes(gzip.compress("".join(lines[30:60]).encode()))
    (tmp_path / "rows3").write_text("".join(lines[60:]))
    (tmp_path / "svm").write_text("1 1:1\n" * 50 + "-1 9:2\n")
    (tmp_path / "bad").write_text("1,2\n" * 50 + "oh\n" + "3,4\n" * 10)
    (tmp_path / "uneven").write_text("1,2\n" * 50 + "1,2,3\n" * 50)
    return tmp_path


def flat(lists):
    return [item for each in lists for item in each]


def lines_of(folder):
    texts = [(folder / "rows1").read_text(), gzip.decompress((folder / "rows2.gz").read_bytes()).decode()]
    return [line for text in [*texts, (folder / "rows3").read_text()] for line in text.splitlines()]


def loaded(ended, folder, n):
    assert ended.status == 0
    everyone = json.loads(ended.stdout)
    assert len(everyone) == n
    grids = {"fmap": (n, 1), "smap": (1, n), "fset": (n, 1), "fsmap": tuple(everyone[0]["grid"])}
    for pattern, grid in grids.items():
        check_blocks([seen[pattern] for seen in everyone], grid)
    triples = [list(zip(*seen["relations"], strict=True)) for seen in everyone]
    assert Counter(map(tuple, flat(triples))) == Counter(PAIRS)
    owners = {a: rank for rank, part in enumerate(triples) for a, _, _ in part}
    assert all(owners[a] == rank for rank, part in enumerate(triples) for a, _, _ in part)
    check_rows(everyone, folder)
    check_the_rest(everyone, n)


def check_blocks(blocks, grid):
    """Together they have all entries, each once; ids are those of the grid's row and column."""
    expected = Counter()
    for a, b, value in PAIRS:
        expected[a, b] += value
    entries = [tuple(entry) for block in blocks for entry in block["entries"]]
    assert sorted(entries) == sorted((a, b, value) for (a, b), value in expected.items())
    for rank, block in enumerate(blocks):
        row, column = divmod(rank, grid[1])
        assert block["rows"] == blocks[row * grid[1]]["rows"]
        assert block["columns"] == blocks[column]["columns"]
    rows = [blocks[row * grid[1]]["rows"] for row in range(grid[0])]
    columns = [blocks[column]["columns"] for column in range(grid[1])]
    assert sorted(flat(rows)) == sorted({a for a, _, _ in PAIRS})
    assert sorted(flat(columns)) == sorted({b for _, b, _ in PAIRS})


def check_rows(everyone, folder):
    lines = lines_of(folder)
    rows = [list(map(float, line.split(","))) for line in lines]
    for schedule in ("static", "dynamic"):
        parts = [seen[f"linesplit_{schedule}"] for seen in everyone]
        placed = sorted((place, row) for ids, part in parts for place, row in zip(ids, part, strict=True))
        assert placed == list(enumerate(rows))
        parts = [seen[f"fvec_{schedule}"] for seen in everyone]
        assert all(ids == sorted(ids) for ids, _ in parts)
        owned = sorted((key, *row) for ids, part in parts for key, row in zip(ids, part, strict=True))
        named = [line.split(",")[0] for line in lines]
        assert owned == sorted((name, *row[1:]) for name, row in zip(named, rows, strict=True))
        assert Counter(flat(seen[f"lines_{schedule}"] for seen in everyone)) == Counter(lines)
    same = [[seen["fvec_static"], seen["fvec_dynamic"]] for seen in everyone]
    assert all(static == dynamic for static, dynamic in same)


def check_the_rest(everyone, n):
    texts = [seen["ints"]["rows"] for seen in everyone]
    assert sorted(flat(texts)) == sorted([*map(str, range(100)), "x"])
    assert [sum(map(len, seen["few"]["entries"])) for seen in everyone].count(3) == 1
    assert all(seen["few"]["columns"] == [8] for seen in everyone)
    assert all(seen["empty"] == {"rows": [], "columns": [], "entries": []} for seen in everyone)
    assert {tuple(seen["svm"][0])[1] for seen in everyone} == {9}
    assert [sum(sums) for sums in zip(*[seen["svm"][1] for seen in everyone])] == [50, *[0] * 7, 2]
    assert [seen["skipped"] for seen in everyone] == [1] * n
    for seen in everyone:
        bad, none, uneven = seen["errors"]
        assert "bad', line 51: 'oh': expected two ids" in bad
        assert "no such file" in none
        assert "uneven', line 1: '1,2': expected 3 fields, as in most lines read" in uneven
        assert seen["left"] == {}
    others = [seen["errors"][0].startswith("worker ") for seen in everyone]
    assert others.count(False) == 1


@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_pattern_and_schedule(mpirun, folder, n):
    loaded(mpirun(n, "loading.py", folder), folder, n)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_all_workers_leave_out_the_same(mpirun, tmp_path, n):
    (tmp_path / "ragged").write_text("".join(f"{at},{at},{at}\n" for at in range(6)) + "1,2\n3,4\n5,6\n")
    header = "who,whom\n" + "made of,long,lines" * 9 + "\n\n"
    for name in "ab":
        (tmp_path / f"headed{name}").write_text(header + "".join(f"{name},{at}\n  # {at},{at}\n" for at in range(9)))
    (tmp_path / "svm").write_text("0 labels\n# made\n" + "".join(f"{at} 0:{at} 2:1 # {at}:\n" for at in range(9)))
    ended = mpirun(n, "loading_skips.py", tmp_path)
    assert ended.status == 0, ended.stderr
    everyone = json.loads(ended.stdout)
    assert len(everyone) == n
    expected = {
        "ragged": [([at, at], at, 3) for at in range(6)],
        "headed": sorted((name, at, 0) for name in "ab" for at in range(9)),
        "svm": [([at, 0, 1], at, 0) for at in range(9)],
        "columns": sorted([*[([at], at, 0) for at in range(1, 6)], ([2], 1, 0), ([4], 3, 0), ([6], 5, 0)]),
    }
    for schedule in ("static", "dynamic"):
        for name, rows in expected.items():
            parts = [seen[schedule][name] for seen in everyone]
            assert sorted((*row, skipped) for *columns, skipped in parts for row in zip(*columns, strict=True)) == rows


def traded(ended, n):
    assert ended.status == 0
    assert json.loads(ended.stdout) == [{"right": [[True] * 3] * 6, "nothing": 0}] * n


@pytest.mark.parametrize("n", [1, 2, 4])
def test_arrays_go_to_their_ranks(mpirun, n):
    traded(mpirun(n, "trade.py"), n)


@pytest.fixture
def terminal():
    """Both ends of one."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("at_terminal", "lines"), [(True, 1), (False, 0)])
def test_prun_at_a_terminal_has_worker_0_tell_of_a_long_load(tmp_path, terminal, at_terminal, lines):
    (tmp_path / "data.csv").write_text("1,2\n" * 1000)
    project = Path(__file__).parents[2]
    program = project / "tests/mpi/programs/loading_progress.py"
    ended = subprocess.run(
        [sys.executable, project / "prun.py", "-p", "1", "-w", "2", program, f"input={tmp_path / 'data.csv'}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal[1] if at_terminal else subprocess.PIPE,
        env=os.environ | {"PARACEL_PROGRESS": "1", "TERM": "dumb"}, text=True, timeout=60, check=False,
    )  # fmt: skip
    seen = os.read(terminal[0], 1 << 16).decode() if at_terminal else ended.stderr
    assert ended.returncode == 0, seen
    assert ended.stdout == f"PARACEL_PROGRESS={'1' if at_terminal else None}.\n" * 2
    assert seen.count("loading data.csv: 100 % of 0 MB, ") == seen.count("loading") == lines


def test_openmpi(openmpirun):
    traded(openmpirun(2, "trade.py"), 2)
