"""The benchmarks run, and their table says what it should. Not how fast: speed is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 110
FIGURES = {
    "small operations": 3,
    "1,000 string keys": 6,
    "float32 arrays": 12,
    "sparse tables": 15,
    "dense table": 2,
    "start and end of a job": 4,
    "checkpoints": 3,
    "pause at a failover": 4,
    "cost of a second copy": 4,
    "copies made anew": 2,
    "a server that joins": 1,
    "PageRank": 9,
}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_a_quick_run_gives_every_figure_with_its_floor(tmp_path: Path) -> None:
    table = tmp_path / "figures.json"
    topics = ["small", "keys", "arrays", "tables", "failover", "jobs", "checkpoints", "pagerank"]
    done = bench("--quick", "--json", str(table), *topics)
    assert done.returncode == 0, done.stderr
    figures = json.loads(table.read_text())["figures"]
    for topic, count in FIGURES.items():
        of_topic = [figure for figure in figures if figure["topic"].startswith(topic)]
        assert len(of_topic) >= count, topic
        assert topic in done.stdout
        for figure in of_topic:
            assert min(figure["value"], figure["floor"], figure["ratio"]) > 0
            assert figure["name"] in done.stdout


@pytest.mark.parametrize("module", [["algorithms", "kmeans", "word_count"], ["loading"]])
def test_tables_of_their_own_have_a_row_for_each_thing(module: list[str]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module[0]}", "--quick", *module[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == {"algorithms": 1 + 2 * 2, "loading": 2 * (1 + 4)}[module[0]]
    figures = [float(cell) for row in rows for cell in row[-2:] if cell[0].isdigit()]
    assert len(figures) >= 8
    assert min(figures) >= 0


def test_the_word_counts_that_are_compared_agree() -> None:
    counts = [
        subprocess.run(
            [sys.executable, "-m", "benchmarks.counting", cutter, processes, "examples/data/kjv.txt"],
            cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=True,
        ).stdout
        for cutter in ("translate", "regex")
        for processes in ("1", "3")
    ]  # fmt: skip
    assert counts[0].startswith("the : ")
    assert counts == [counts[0]] * 4


def test_an_unknown_topic_is_refused() -> None:
    done = bench("smal")
    assert done.returncode == 2
    assert "no topic smal; there are: small, keys, arrays, tables, failover, words, jobs" in done.stderr
