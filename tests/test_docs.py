"""The documents: their code runs, their links lead somewhere, and what they name exists."""

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

import paracel
from paracel.cli import parse

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(p for p in ROOT.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_placeholder_is_left(page: Path) -> None:
    assert "@@" not in page.read_text(encoding="utf-8")


@pytest.mark.process
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "w = [ 1. -2.  3.]"),
        (1, "2\n[1, 2] [('b', 2)] None"),
        (2, "<Client worker 1 of 2, 1 servers>"),
        (4, "[-0.1  0.1]\n(3, 8)"),
    ],
)
def test_code_of_the_readme_runs(number: int, expected: str, tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text(code_blocks(README)[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def as_program(text: str) -> str:
    """A page's code as one file: what servers import stands first, the rest is the main part."""
    definitions, main = ["import numpy as np", "import paracel"], []
    for block in code_blocks(text):
        algorithm = re.match(r"class (\w+)\(paracel.paralg\)", block)
        imported = algorithm or "@paracel." in block or block.startswith("def ")
        (definitions if imported else main).append(block)
        if algorithm:
            main.append(f"{algorithm[1]}(rounds=20, staleness=0).solve()\n")
    guarded = indent("\n".join([*main, "ps.close()"]), "    ")
    return "\n".join(definitions) + '\nif __name__ == "__main__":\n' + guarded


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_descent_of_the_page_on_tables_gives_the_same_with_any_number_of_workers(workers: int, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    (block,) = [block for block in code_blocks(page) if block.startswith("class Descent")]
    script = tmp_path / "descent.py"
    end = 'if __name__ == "__main__":\n    paracel.main(Descent)\n'
    script.write_text(f"import numpy as np\nimport paracel\n\n{block}\n{end}", encoding="utf-8")
    (command,) = re.findall(r"prun -w 2 (-p 2 descent.py .*)", page)
    done = subprocess.run(
        [sys.executable, str(ROOT / "prun.py"), "-w", str(workers), *command.split()],
        capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[0. 1. 2.]"] * workers


@pytest.mark.process
def test_code_of_the_page_on_tables_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    expected = [comment for line in page.splitlines() for comment in re.findall(r"^\s*print\(.*\)  # (\S.*)", line)]
    assert len(expected) >= 8
    script = tmp_path / "page.py"
    script.write_text(as_program(page), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert len(printed) == len(expected)
    for line, comment in zip(printed, expected, strict=True):
        numbers = re.findall(r"-?\d+\.?\d*", comment.partition(";")[0])
        assert re.findall(r"-?\d+\.?\d*", line) == numbers, (line, comment)


@pytest.mark.process
def test_code_of_the_page_on_loading_runs(tmp_path: Path) -> None:
    blocks = code_blocks((ROOT / "docs" / "loading.md").read_text(encoding="utf-8"))
    expected = re.findall(r"^print\(.*\)  # (.*)$", "".join(blocks), re.MULTILINE)
    assert len(expected) >= 7
    script = tmp_path / "page.py"
    script.write_text("\n".join([*blocks, "print(Counting().solve())"]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    words = re.compile(r"[\w.'-]+")  # an array of several lines is one line there
    assert words.findall(done.stdout) == words.findall(" ".join([*expected, "3"]))


def test_public_names_are_in_order_and_documented() -> None:
    assert paracel.__all__ == sorted(paracel.__all__)
    assert [name for name in paracel.__all__ if not getattr(paracel, name).__doc__] == []


def test_options_in_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    helped = capsys.readouterr().out
    lines = [line for line in README.splitlines() if "prun " in line]
    used = {option for line in lines for option in re.findall(r"(?<=\s)--?[a-z_-]+", line)}
    assert used
    assert [option for option in used if option not in helped] == []


def test_methods_in_the_migration_page_exist() -> None:
    page = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    right = [row.split("|")[2] for row in page.splitlines() if row.startswith("|") and row.count("|") >= 3]
    names = {name for cell in right for name in re.findall(r"\b(paracel_\w+|iter_commit|set_total_iters)\(", cell)}
    assert names
    assert [name for name in names if not hasattr(paracel.paralg, name)] == []


def test_configurations_of_the_examples_are_json() -> None:
    configs = list((ROOT / "examples").rglob("*.json"))
    assert configs
    for config in configs:
        assert isinstance(json.loads(config.read_text(encoding="utf-8")), dict)
