"""Word count from the command line to the result, on 100 MB of text: prun beside a serial and a parallel count.

Every time is that of a whole command, from its start to its end: the start of Python, of MPI and of the servers is
in it. The example cuts words with `bytes.translate`; the others do so too, or use the regular expression that it
stands for.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.table import Figure
from benchmarks.timing import against, side_by_side

ROOT = Path(__file__).resolve().parents[1]
TEXT = ROOT / "examples" / "data" / "kjv.txt"
SCRIPT = ROOT / "examples" / "word_count" / "word_count.py"
CORES = 2
#: What prun is compared with: how words are cut, and by how many processes.
OTHERS = {
    "against a pool of 2 processes, same cutting": ("translate", CORES),
    "against a pool of 2 processes, re.findall": ("regex", CORES),
    "against one Counter, same cutting": ("translate", 1),
    "against one Counter, re.findall": ("regex", 1),
}


def measure(quick: bool) -> Iterator[Figure]:
    """prun with two workers and two servers against the four others."""
    megabytes, rounds = (0.2, 1) if quick else (100, 3)
    with tempfile.TemporaryDirectory(prefix="paracel-bench-") as folder:
        text = Path(folder, "text.txt")
        write_text(text, int(megabytes * 1e6))
        config = Path(folder, "config.json")
        config.write_text(json.dumps({"input": str(text), "topk": 10}))
        prun = [str(ROOT / "prun.py"), "-w", str(CORES), "-p", "2", "-c", str(config), str(SCRIPT)]
        commands = {"prun": prun} | {name: _counting(*how, text) for name, how in OTHERS.items()}
        check_equal(commands)
        own, *others = side_by_side([_running(command) for command in commands.values()], rounds)
    for name, floor in zip(OTHERS, others):
        pair = against(own, floor)
        target = 1.0 if OTHERS[name][1] == CORES else None
        yield Figure(f"word count, {megabytes:g} MB", name, pair.seconds, "s", pair.floor, pair.ratio, target)


def write_text(path: Path, size: int) -> None:
    """At least `size` bytes: the verses of the example's text again and again, in another order each time."""
    lines = TEXT.read_text(encoding="utf-8").splitlines(keepends=True)
    order = random.Random(0)
    with path.open("w", encoding="utf-8") as out:
        while size > 0:
            order.shuffle(lines)
            chosen = "".join(lines)[:size]
            out.write(chosen)
            size -= len(chosen)


def run(arguments: list[str]) -> str:
    """What a command of this Python prints; an error if it fails."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=600).stdout


def check_equal(commands: dict[str, list[str]]) -> None:
    """All must find the same words, or their times mean nothing. It also brings the text into the page cache."""
    printed = {name: run(command) for name, command in commands.items()}
    if len(set(printed.values())) != 1:
        raise AssertionError(f"the word counts differ: {printed}")


def _counting(cutter: str, processes: int, text: Path) -> list[str]:
    return ["-m", "benchmarks.counting", cutter, str(processes), str(text)]


def _running(command: list[str]) -> Callable[[], str]:
    return lambda: run(command)
