import functools
import sys
import textwrap
from pathlib import Path

import pytest

import paracel
from paracel.errors import FunctionError
from paracel.functions import Functions, Process, check_form, key_filter, reference, server_function, updater
from paracel.updaters import BUILTINS


@updater
def top_level(value, delta):
    return value + delta


@key_filter
def of_key(key):
    return key == "a"


@key_filter
def of_key_and_value(key, value):
    return value == key


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job's script of a given text, and its modules forgotten after."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(text, name="job.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


# --- the decorators -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "good", "bad"),
    [
        (updater, [lambda v, d: v, lambda v, d, s: v, lambda *a: a], [lambda v: v, lambda v, d, s, x: v, lambda: 1]),
        (key_filter, [lambda k: 1, lambda k, v: 1, lambda *a: 1], [lambda: 1, lambda a, b, c: 1, lambda *, k: 1]),
        (server_function, [lambda e: 1, lambda e, *a: 1, lambda k, r, s: 1], [lambda: 1, lambda e, x: 1]),
    ],
)
def test_the_form_is_checked_when_marked(mark, good, bad):
    for function in good:
        assert mark(function) is function
    for function in bad:
        with pytest.raises(FunctionError, match="must take"):
            mark(function)


def test_a_marked_function_is_still_a_function():
    assert top_level(1, 2) == 3


@pytest.mark.parametrize(
    ("function", "text"), [(5, "not a function but a int"), (of_key, "of_key is a key_filter, and a updater")]
)
def test_what_is_not_an_updater(function, text):
    with pytest.raises(FunctionError, match=text):
        check_form(function, "updater")


def test_functions_in_c_are_taken_at_their_word():
    check_form(max, "updater")


# --- references -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_built_in_names_are_their_own_reference(name):
    assert reference(name, "updater") == name


def test_a_function_of_a_module_is_its_module_and_name():
    assert reference(top_level, "updater") == f"{__name__}:top_level"
    assert reference(functools.lru_cache, "key_filter") == "functools:lru_cache"


def test_a_function_of_the_script_is_its_file_and_name(job, monkeypatch):
    path = job("def f(value, delta):\n    return value\n")
    space = {"__name__": "__main__"}
    exec(compile(Path(path).read_text(encoding="utf-8"), path, "exec"), space)
    assert reference(space["f"], "updater") == f"{path}:f"


def test_a_file_and_a_name_become_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert reference("job.py:f", "key_filter") == f"{tmp_path}/job.py:f"
    assert reference("some dir:x/job.py:f", "updater") == f"{tmp_path}/some dir:x/job.py:f"
    assert reference("package.module:Class.f", "updater") == "package.module:Class.f"


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("ad", "updater", r"no updater 'ad'; built in: add, append, .* Did you mean 'add'\?"),
        ("add", "key_filter", "no key_filter 'add'; others are given as a decorated function or 'file.py:function'"),
        ("", "updater", "no updater ''"),
        (":f", "updater", "no updater ':f'"),
        ("job.py:", "updater", "no updater 'job.py:'"),
    ],
)
def test_names_that_lead_nowhere(name, kind, text):
    with pytest.raises(FunctionError, match=text):
        reference(name, kind)


def test_a_function_that_a_server_could_not_find_is_refused():
    def inner(value, delta):
        return value

    for function in (inner, lambda value, delta: value, functools.partial(top_level)):
        with pytest.raises(FunctionError, match="define it at the top level of a file"):
            reference(function, "updater")
    space = {"__name__": "__main__"}
    exec("def typed(value, delta): return value", space)
    with pytest.raises(FunctionError, match="typed at a prompt or in a notebook"):
        reference(space["typed"], "updater")


# --- what a process knows ---------------------------------------------------------------------------------------


def test_built_in_updaters_are_known():
    known = Functions()
    assert {name: known.get("updater", name) for name in BUILTINS} == BUILTINS
    known.load("updater", "add")


def test_a_function_is_known_by_kind_and_name():
    known = Functions()
    known.add("updater", "f:top", top_level)
    assert known.get("updater", "f:top") is top_level
    with pytest.raises(FunctionError, match="no key_filter 'f:top'"):
        known.get("key_filter", "f:top")
    with pytest.raises(FunctionError, match="a key_filter, and a server_function was asked for"):
        known.add("server_function", "f:key", of_key)


def test_filters_are_called_with_what_they_take():
    known = Functions()
    for name, function in [("one", of_key), ("two", of_key_and_value)]:
        known.add("key_filter", name, function)
    assert [known.filter("one")("a", 1), known.filter("one")("b", 1)] == [True, False]
    assert [known.filter("two")("a", 1), known.filter("two")("a", "a")] == [False, True]


def test_a_file_is_imported_once_and_its_main_part_does_not_run(job):
    path = job(
        """
        import helper
        RUNS = []
        RUNS.append(__name__)
        def double(value, delta):
            return helper.twice(value)
        class Rules:
            @staticmethod
            def triple(value, delta):
                return 3 * value
        if __name__ == "__main__":
            raise SystemExit("the job ran on a server")
        """
    )
    job("def twice(value):\n    return 2 * value\n", "helper.py")
    known = Functions()
    for name in (f"{path}:double", f"{path}:Rules.triple", f"{path}:double"):
        known.load("updater", name)
    assert known.get("updater", f"{path}:double")(4, 0) == 8
    assert known.get("updater", f"{path}:Rules.triple")(4, 0) == 12
    (module,) = [module for module in sys.modules.values() if getattr(module, "__file__", None) == str(path)]
    assert len(module.RUNS) == 1


def test_paracel_main_in_a_script_does_nothing_on_a_server(job, monkeypatch):
    monkeypatch.setattr(Process, "is_server", True)
    path = job(
        """
        import paracel
        class Job(paracel.paralg):
            def solve(self):
                raise SystemExit("the job ran on a server")
        @paracel.updater
        def keep(value, delta):
            return value
        paracel.main(Job)
        """
    )
    Functions().load("updater", f"{path}:keep")


@pytest.mark.parametrize(
    ("text", "name", "error"),
    [
        ("x = 1", "f", "has no 'f'; it has: no functions"),
        ("def g(a, b): pass\ndef f(): pass", "h", "has no 'h'; it has: f, g"),
        ("def f(a): pass", "f", r"updater f\(a\) must take \(value, delta\)"),
        ("f = None", "f", "has no 'f'"),
        ("f = 5", "f", "not a function but a int"),
        ("1 // 0", "f", "failed: ZeroDivisionError: integer division"),
        ("raise SystemExit(3)", "f", "failed: SystemExit: 3"),
        ("def f(:", "f", "failed: SyntaxError"),
    ],
)
def test_files_that_do_not_do(job, text, name, error):
    path = job(text)
    for _ in range(2):
        with pytest.raises(FunctionError, match=error):
            Functions().load("updater", f"{path}:{name}")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("/nowhere/job.py:f", "no file /nowhere/job.py on this host"),
        ("no_such_module_here:f", "importing no_such_module_here failed: ModuleNotFoundError"),
        ("nothing", "importing  failed"),
        ("math:nothing", "math has no 'nothing'"),
    ],
)
def test_sources_that_are_not_there(name, error):
    with pytest.raises(FunctionError, match=error):
        Functions().load("updater", name)


def test_the_decorators_are_public():
    assert (paracel.updater, paracel.key_filter, paracel.server_function) == (updater, key_filter, server_function)
