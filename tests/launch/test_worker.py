"""What runs in a worker before its script, in a process of its own and without MPI."""

import json
import os
import resource
import subprocess
import sys

import pytest

from paracel import wire
from paracel.launch.survey import python_path
from paracel.messages import Goodbye
from paracel.transport import Listener

SECONDS = 60.0


@pytest.fixture
def coordinator():
    """A socket in the coordinator's place."""
    listener = Listener("tcp://127.0.0.1:*")
    yield listener
    listener.close()


@pytest.fixture
def run(tmp_path, coordinator):
    """Run a script of this text as a worker, in tmp_path."""

    def run(text: str, *arguments: str, options: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        folder = tmp_path / "the scripts"
        folder.mkdir()
        (folder / "script.py").write_text(text)
        environment = {**os.environ, "PARACEL_COORDINATOR": coordinator.address, "PYTHONPATH": python_path()}
        return subprocess.run(
            [sys.executable, "-m", "paracel.launch.worker", *options, "the scripts/script.py", *arguments],
            cwd=tmp_path, env=environment, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip

    return run


def goodbyes(coordinator: Listener) -> list[int]:
    """The workers that have said goodbye; the worker's process has ended, so what it sent is on its way or here."""
    found = []
    while coordinator.wait(1.0 if not found else 0.0):
        while (received := coordinator.receive()) is not None:
            message = wire.decode(received[1]).message
            assert isinstance(message, Goodbye)
            found.append(message.worker)
    return found


def test_names_arguments_and_paths_are_those_of_a_script(run, tmp_path):
    text = "import json, sys\nprint(json.dumps([__name__, __file__, sys.argv[1:], sys.path[0]]))"
    done = run(text, "a b", "-x", "--memory-mb", "3")
    script = tmp_path / "the scripts" / "script.py"
    assert json.loads(done.stdout) == ["__main__", str(script), ["a b", "-x", "--memory-mb", "3"], str(script.parent)]


def test_the_limit_holds_and_an_allocation_beyond_it_raises(run):
    text = "import resource\nprint(resource.getrlimit(resource.RLIMIT_DATA))\nb'x' * (1 << 30)"
    done = run(text, options=("--memory-mb", "500"))
    assert done.stdout == f"{(500 << 20, 500 << 20)}\n"
    assert done.returncode == 1
    assert done.stderr.endswith("MemoryError\nworker 0 may have 500 MB of data memory: --mem_limit 500\n")


@pytest.mark.parametrize(("text", "options"), [("raise MemoryError", ()), ("1 / 0", ("--memory-mb", "500"))])
def test_the_limit_is_named_only_where_it_was_the_reason(run, text, options):
    assert "--mem_limit" not in run(text, options=options).stderr


def test_without_a_limit_there_is_the_users(run):
    done = run("import resource\nprint(resource.getrlimit(resource.RLIMIT_DATA))")
    assert done.stdout == f"{resource.getrlimit(resource.RLIMIT_DATA)}\n"


def test_the_input_is_at_its_end(run):
    assert run("import sys\nprint(repr(sys.stdin.read()), repr(sys.stdin.buffer.read()))").stdout == "'' b''\n"


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("pass", 0, [0]),
        ("import sys; sys.exit()", 0, [0]),
        ("import sys; sys.exit(0)", 0, [0]),
        ("import sys; sys.exit(3)", 3, []),
        ("raise ValueError", 1, []),
        ("import os; os._exit(0)", 0, []),
    ],
)
def test_a_worker_says_goodbye_if_and_only_if_its_script_came_to_its_end(run, coordinator, text, status, says):
    assert run(text).returncode == status
    assert goodbyes(coordinator) == says


def test_a_traceback_begins_with_the_script(run, tmp_path):
    done = run("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('x') from error\n")
    script = tmp_path / "the scripts" / "script.py"
    assert done.stderr.count("Traceback") == 2
    assert "runpy" not in done.stderr
    assert f'File "{script}", line 4, in <module>' in done.stderr
    assert done.stderr.endswith("ValueError: x\n")


def test_of_an_error_that_the_library_raises_only_the_scripts_frames_are_shown(run):
    done = run(
        "import paracel\ntry:\n    paracel.connect(servers=0)\nexcept paracel.ConfigError as error:\n    raise\n"
    )
    assert done.stderr.count(", line ") == 1
    assert "line 3, in <module>" in done.stderr
    assert "paracel.errors.ConfigError: servers=0" in done.stderr


def test_of_other_errors_all_frames_are_shown(run):
    done = run("import json\njson.loads('{')\n")
    assert "json/decoder.py" in done.stderr


def test_a_script_that_does_not_compile_is_shown(run):
    done = run("def f(:\n")
    assert done.returncode == 1
    assert 'script.py", line 1' in done.stderr
    assert "SyntaxError" in done.stderr
