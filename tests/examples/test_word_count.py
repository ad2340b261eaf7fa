"""Word count against a serial Counter on the same text, for many numbers of workers and servers."""

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/word_count/word_count.py"
CONFIG = "examples/word_count/word_count.json"
TEXT = ROOT / "examples/data/kjv.txt"
HANDLE = "handle_file=examples/word_count/handle.py"


def serial(text: str) -> Counter[str]:
    return Counter(re.findall(r"[-a-zA-Z0-9_]+", text))


def listing(counts: Counter[str], k: int) -> str:
    """What the program prints for these counts."""
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:k]
    return "".join(f"{word} : {count}\n" for word, count in top)


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    found = serial(TEXT.read_text())
    assert (found.total(), len(found), found["the"]) == (791_399, 13_519, 62_057)
    return found


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("word_count_program", ROOT / SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("workers", "servers"), [(1, 3), (2, 2), (4, 4)])
def test_top_ten_equals_a_serial_count_under_prun(run, counts, workers, servers):
    done = run.prun(workers, servers, "-c", CONFIG, SCRIPT)
    assert (done.status, done.out) == (0, listing(counts, 10)), done.err


def test_alone_without_a_launcher_and_the_output_file_holds_what_was_printed(run, counts, tmp_path):
    done = run.python(SCRIPT, "-c", CONFIG, "topk=25", f"output={tmp_path}/out")
    assert (done.status, done.out) == (0, listing(counts, 25)), done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["wc_0"]
    assert (tmp_path / "out/wc_0").read_text() == listing(counts, 25).replace(" : ", "\t")


def test_under_mpiexec_with_embedded_servers_and_one_output_file(run, counts, tmp_path):
    done = run.mpiexec(2, SCRIPT, "-c", CONFIG, f"output={tmp_path}/out")
    assert (done.status, done.out) == (0, listing(counts, 10)), done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["wc_0"]
    assert (tmp_path / "out/wc_0").read_text() == listing(counts, 10).replace(" : ", "\t")


def test_functions_by_file_and_name_as_in_paracel(run, counts):
    functions = ["update_function=wc_updater", "filter_function=wc_filter"]
    done = run.prun(2, 2, "-c", CONFIG, SCRIPT, HANDLE, *functions)
    capitals = Counter({word: count for word, count in counts.items() if word[0].isupper()})
    assert (done.status, done.out) == (0, listing(capitals, 10)), done.err


def test_one_update_per_word_counts_the_same(run, tmp_path):
    lines = TEXT.read_text().splitlines(keepends=True)[:60]
    text = tmp_path / "part.txt"
    text.write_text("".join(lines))
    done = run.prun(2, 2, SCRIPT, f"input={text}", "method=slow", "topk=2000")
    assert (done.status, done.out) == (0, listing(serial("".join(lines)), 2000)), done.err


def test_odd_text_and_ties(run, tmp_path):
    """Words in several scripts and files, blank lines, other line ends, and more equals than places."""
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(b"b a\r\n\r\n-_- a-b_c 7\n\nna\xc3\xafve caf\xc3\xa9\tx\x0by theta theta\n")
    second.write_text("d c\n\nB A b")
    done = run.prun(2, 2, SCRIPT, f"input={tmp_path}/*.txt", "topk=7")
    text = "b a -_- a-b_c 7 na ve caf x y theta theta d c B A b"
    assert (done.status, done.out) == (0, listing(Counter(text.split()), 7)), done.err


def test_cutting_into_words_equals_the_regular_expression(program):
    text = "".join(chr(code) for code in range(1, 0x250)) + " it's well-known_ \ud800 \U0001f600 ٣ é_é"
    lines = text.split("\n")
    assert program.words_of(lines) == re.findall(r"[-a-zA-Z0-9_]+", text)
    batches = [word for words in program.batches_of(lines * 3000) for word in words]
    assert batches == program.words_of(lines) * 3000


def test_wrong_configuration_is_told_in_words(run, tmp_path):
    config = tmp_path / "wrong.json"
    config.write_text('{"input": "examples/data/kjv.txt", "top_k": 3}')
    cases = [
        (["-c", CONFIG, "imput=x.txt"], "imput", "input"),
        (["-c", CONFIG, "method=fast"], "'fast'", "'batch'", "'slow'"),
        (["-c", CONFIG, "filter_function=wc_filter"], "handle_file"),
        (["-c", str(config)], "top_k", "topk"),
    ]
    run.check_told(SCRIPT, cases)


def test_wrong_input_ends_the_job(run):
    done = run.prun(2, 1, "-c", CONFIG, SCRIPT, "input=no/such/file.txt")
    assert done.status != 0
    assert done.out == ""
    assert "no/such/file.txt" in done.err
