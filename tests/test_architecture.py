"""The rules of the house that no other tool states: arrows, one library in one file, a name for every message."""

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import paracel
from paracel import messages as m
from paracel.messages import TAGS
from paracel.shard import HANDLERS
from paracel.wire import decode, encode

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(Path(paracel.__file__).parent.rglob("*.py"))
#: The one file that may import a library.
HOMES = {"zmq": "transport.py", "mpi4py": "comm.py", "msgpack": "wire.py", "xxhash": "hashing.py"}
#: Code that runs what it is given, or that unpickles.
BANNED = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}

#: Stand-ins for a class of another library, where its methods are documented.
MIRRORS = {"SerialComm"}


def by_path(check: Callable[[Path], None]) -> Callable[[], None]:
    """One test of all files; a failure names the file."""

    def test() -> None:
        for source in SOURCES:
            try:
                check(source)
            except AssertionError as error:
                error.add_note(f"in {source.relative_to(ROOT)}")
                raise

    test.__doc__ = check.__doc__
    return test


@cache
def tree_of(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))


def imports_of(source: Path) -> set[str]:
    """The top-level packages that a file imports, wherever in it."""
    nodes = list(ast.walk(tree_of(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in plain | from_}


def module_of(source: Path) -> object:
    name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    return importlib.import_module(name.removesuffix(".__init__"))


def test_arrows_point_down():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout


def test_every_module_has_a_layer():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert contract["exhaustive"]
    layered = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    top = {path.stem for path in SOURCES if path.parent.name == "paracel"}
    top |= {path.parent.name for path in SOURCES if path.name == "__init__.py" and path.parent.name != "paracel"}
    assert layered == top - {"__init__"}


@by_path
def test_one_library_one_file(source):
    assert {name for name in HOMES if name in imports_of(source)} <= {
        name for name, home in HOMES.items() if source.name == home
    }


@by_path
def test_nothing_unpickles_or_runs_what_it_is_given(source):
    assert not imports_of(source) & BANNED
    calls = [node.func for node in ast.walk(tree_of(source)) if isinstance(node, ast.Call)]
    assert not [call.id for call in calls if isinstance(call, ast.Name) and call.id in ("eval", "exec", "compile")]
    keywords = [word for node in ast.walk(tree_of(source)) if isinstance(node, ast.Call) for word in node.keywords]
    assert not [word for word in keywords if word.arg == "allow_pickle"]


@by_path
def test_every_file_says_what_it_is_for(source):
    text = ast.get_docstring(tree_of(source))
    assert text


def public_members(module: object) -> list[tuple[str, object]]:
    """Public functions and classes that a module defines, and the public methods of these."""
    found = []
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(member) or inspect.isclass(member):
            found.append((name, member))
        if inspect.isclass(member):
            found += [(f"{name}.{n}", f) for n, f in vars(member).items() if callable(f) or isinstance(f, property)]
    return [(name, member) for name, member in found if not name.rpartition(".")[2].startswith("_")]


@by_path
def test_every_public_function_says_what_it_promises(source):
    if source.name == "__main__.py":
        return
    module = module_of(source)
    silent = [name for name, member in public_members(module) if not inspect.getdoc(member)]
    assert [name for name in silent if name.partition(".")[0] not in MIRRORS] == []


@by_path
def test_nothing_is_left_to_be_done(source):
    text = source.read_text(encoding="utf-8")
    assert not [word for word in ("TODO", "FIXME", "XXX", "NotImplementedError") if word in text]


@by_path
def test_files_are_of_a_size_to_read(source):
    """Code lines: not blank, not comments, not docstrings."""
    text = source.read_text(encoding="utf-8").splitlines()
    documented = [
        node.body[0]
        for node in ast.walk(tree_of(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
        and isinstance(node.body[0].value.value, str)
    ]
    inside = {line for node in documented for line in range(node.lineno, node.end_lineno + 1)}
    code = [
        line
        for at, line in enumerate(text, 1)
        if at not in inside and line.strip() and not line.strip().startswith("#")
    ]
    assert len(code) <= 300


@by_path
def test_the_library_neither_prints_nor_sets_up_logging(source):
    talks = {"cli.py", "monitor.py", "program.py"}
    if source.name in talks or "launch" in source.parts:
        return
    calls = [ast.unparse(node.func) for node in ast.walk(tree_of(source)) if isinstance(node, ast.Call)]
    assert "print" not in calls
    assert "logging.basicConfig" not in calls or source.name == "server.py"  # which is a process of its own


# --- messages ---------------------------------------------------------------------------------------------------

CLASSES = [
    kind
    for kind in vars(m).values()
    if isinstance(kind, type) and issubclass(kind, m.Message) and kind is not m.Message
]
#: Answered once their file is written.
ANSWERED_LATER = {m.Save}
UNNUMBERED = {m.Probe, m.GetStatistics, m.Forget, m.Leave, m.KeyList}
EMPTY = {int: 0, float: 0.0, str: "", bytes: b"", bool: False, list: [], dict: {}}


def some(kind: type[m.Message]) -> m.Message:
    """A message with nothing in its fields."""
    hints = [getattr(hint, "__origin__", hint) for hint in kind.__annotations__.values()]
    return kind(*[EMPTY.get(hint) for hint in hints])


def test_every_message_has_a_tag():
    assert set(CLASSES) == set(TAGS.values())


def test_every_request_has_a_handler_and_nothing_else_has():
    requests = {kind for tag, kind in TAGS.items() if tag < 32}
    assert set(HANDLERS) | UNNUMBERED | ANSWERED_LATER == requests
    assert UNNUMBERED - set(HANDLERS) == {m.Probe, m.Forget, m.KeyList}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_message_can_be_sent(kind):
    assert decode(encode(m.Envelope(1, 0, 0, some(kind)))).message == some(kind)


def test_what_errors_promise_exists():
    from paracel import errors

    tree = errors.__doc__
    drawn = {
        line.replace("│", " ").replace("├──", " ").replace("└──", " ").split()[0]
        for line in tree.splitlines()[3:]
        if line
    }
    defined = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and kind.__module__ == errors.__name__
    }
    assert defined == drawn | {"ParacelError"}
