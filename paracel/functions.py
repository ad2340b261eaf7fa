"""Updaters, key filters and server functions: the built-in ones, the decorators, and how a name finds its function.

Names travel, code does not. A function's name on the wire is a built-in's name (`add`) or a reference
`source:function`, where source is an importable module or the path of a Python file that the servers can read.
Everything about a function is checked when it is registered, so that no later call can fail for its form.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal, TypeVar, overload

from paracel.checks import check_count
from paracel.errors import FunctionError
from paracel.updaters import BUILTINS

Kind = Literal[
    "updater", "key_filter", "server_function", "table_updater", "table_function", "initial", "encoder", "decoder"
]
Function = TypeVar("Function", bound=Callable[..., Any])

_ARGUMENTS: Mapping[str, tuple[tuple[int, ...], str]] = {
    "updater": ((2,), "(value, delta)"),
    "key_filter": ((1, 2), "(key) or (key, value)"),
    "server_function": ((1,), "(entries, *arguments)"),
    "table_updater": ((3,), "(rows, deltas, state)"),
    "table_function": (tuple(range(3, 16)), "(keys, rows, state, *arguments)"),
    "initial": ((1,), "(keys)"),
    "encoder": ((1,), "(values)"),
    "decoder": ((1,), "(payload)"),
}
#: The kinds that a decorator's function may be: over keys and values, or over tables.
_DECORATED: Mapping[str, tuple[Kind, ...]] = {
    "updater": ("updater", "table_updater"),
    "key_filter": ("key_filter",),
    "server_function": ("server_function", "table_function"),
}
_LIBRARY = os.path.dirname(__file__) + os.sep
_MARK = "__paracel_kind__"
_STATE = "__paracel_state__"
_INPUTS = "__paracel_inputs__"


class Process:
    """What kind of process this is. A server that imports a job's script must not run the job."""

    is_server = False


@overload
def updater(function: Function) -> Function: ...


@overload
def updater(*, state: Mapping[str, float] | None = None, inputs: int = 1) -> Callable[[Function], Function]: ...


def updater(function: Any = None, *, state: Mapping[str, float] | None = None, inputs: int = 1) -> Any:
    """Mark an updater: `f(value, delta) -> value` of a key, or `f(rows, deltas, state) -> rows` of a table.

    One of a key should be pure: arrays come read-only, lists and dicts as copies. When it raises, the value stays.
    One of a table gets arrays, (n,) or (n, dim), for n distinct keys: `deltas` is a tuple of arrays if a push has
    several `inputs`; `state` maps each name of `state=`, which says how it begins, to an array shaped like rows, to be
    changed in place. When it raises, nothing of the push is done.
    """
    if function is None:
        return functools.partial(updater, state=state, inputs=inputs)
    marked = _mark(function, "updater")
    columns = {str(name): float(initial) for name, initial in (state or {}).items()}
    if (columns or inputs != 1) and not _accepts(function, 3):
        raise FunctionError(
            f"updater {function.__qualname__} has state= or inputs=, and must take (rows, deltas, state)"
        )
    check_count("inputs", inputs, 1)
    setattr(marked, _STATE, columns)
    setattr(marked, _INPUTS, inputs)
    return marked


def table_state(function: Callable[..., Any]) -> tuple[dict[str, float], int]:
    """What a table's updater keeps for each row, with how it begins; and how many value arrays a push has."""
    return dict(getattr(function, _STATE, {})), int(getattr(function, _INPUTS, 1))


def key_filter(function: Function) -> Function:
    """Mark `function(key) -> bool` or `function(key, value) -> bool` as a key filter."""
    return _mark(function, "key_filter")


def server_function(function: Function) -> Function:
    """Mark a function to be run on servers: `f(entries, *arguments)`, or `f(keys, rows, state, *arguments)` of a table.

    `entries` is a read-only mapping of the keys and values that one server holds. Of a table come the server's own
    keys, uint64, its rows, and a dict of state arrays; rows and state may be changed in place.
    """
    return _mark(function, "server_function")


def _mark(function: Function, kind: str) -> Function:
    kinds = _DECORATED[kind]
    if not callable(function) or not any(_has_form(function, each) for each in kinds):
        check_form(function, kinds[0], " or ".join(_ARGUMENTS[each][1] for each in kinds))
    setattr(function, _MARK, kind)
    return function


def _has_form(function: Callable[..., Any], kind: Kind) -> bool:
    return any(_accepts(function, count) for count in _ARGUMENTS[kind][0])


def check_form(function: Any, kind: Kind, form: str = "") -> None:
    """Raise FunctionError, naming the form, unless the function can be called as its kind is."""
    name = getattr(function, "__qualname__", repr(function))
    if not callable(function):
        raise FunctionError(f"{name} is not a function but a {type(function).__name__}")
    marked = getattr(function, _MARK, None)
    if marked is not None and kind not in _DECORATED[marked]:
        raise FunctionError(f"{name} is a {marked}, and a {kind} was asked for")
    if not _has_form(function, kind):
        raise FunctionError(f"{kind} {name}{inspect.signature(function)} must take {form or _ARGUMENTS[kind][1]}")


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a function in C that has no signature to look at
        return True
    return True


def reference(function: str | Callable[..., Any], kind: Kind) -> str:
    """The name under which a function travels. Accepts a built-in's name, `file.py:function`, or a function."""
    if isinstance(function, str):
        return _text_reference(function, kind)
    check_form(function, kind)
    name = getattr(function, "__qualname__", "")
    if "<" in name or not name:
        raise FunctionError(
            f"{kind} {name or function!r} is defined inside a function, so that a server cannot find it; "
            f"define it at the top level of a file"
        )
    return f"{_source_of(function, name)}:{name}"


def _source_of(function: Callable[..., Any], name: str) -> str:
    module = str(getattr(function, "__module__", "__main__"))
    if module != "__main__":
        return str(module)
    path = str(inspect.unwrap(function).__code__.co_filename)
    if not os.path.isfile(path):
        raise FunctionError(
            f"{name} was typed at a prompt or in a notebook ({path}); code does not travel, so put it into a "
            f"file and import it from there"
        )
    return os.path.abspath(path)


def _text_reference(text: str, kind: Kind) -> str:
    if kind == "updater" and text in BUILTINS:
        return text
    source, colon, name = text.rpartition(":")
    if not colon or not source or not name:
        raise FunctionError(_unknown(text, kind, BUILTINS if kind == "updater" else ()))
    return f"{os.path.abspath(source) if _is_path(source) else source}:{name}"


def _is_path(source: str) -> bool:
    return source.endswith(".py") or os.sep in source


def _unknown(name: str, kind: Kind, known: Any) -> str:
    near = difflib.get_close_matches(name, known, 1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    built_in = f"; built in: {', '.join(sorted(known))}" if known else ""
    return f"no {kind} {name!r}{built_in}; others are given as a decorated function or 'file.py:function'.{meant}"


class Functions:
    """The functions that one process knows, by kind and name."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Callable[..., Any]] = {}
        self._known.update({("updater", name): function for name, function in BUILTINS.items()})

    def add(self, kind: Kind, name: str, function: Callable[..., Any]) -> None:
        """Register a function that is at hand."""
        check_form(function, kind)
        self._known[kind, name] = function

    def load(self, kind: Kind, name: str) -> None:
        """Register a function by its reference, importing its module or file. Raises FunctionError."""
        if (kind, name) in self._known:
            return
        source, _, attribute = name.rpartition(":")
        module = _import(source)
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        if found is None:
            offered = sorted(
                n
                for n, f in vars(module).items()
                if kind in _DECORATED.get(getattr(f, _MARK, ""), (kind,)) and callable(f)
            )
            raise FunctionError(f"{source} has no {attribute!r}; it has: {', '.join(offered) or 'no functions'}")
        self.add(kind, name, found)

    def names(self) -> list[list[str]]:
        """Kind and name of all that are not built in."""
        return [[kind, name] for kind, name in self._known if ":" in name]

    def get(self, kind: Kind, name: str) -> Callable[..., Any]:
        """The function of that name. Raises FunctionError, naming what there is."""
        try:
            return self._known[kind, name]
        except KeyError:
            known = sorted(known for of, known in self._known if of == kind)
            raise FunctionError(_unknown(name, kind, known)) from None

    def filter(self, name: str) -> Callable[[str, Any], bool]:
        """The key filter of that name, as one that takes key and value."""
        function = self.get("key_filter", name)
        if _accepts(function, 2):
            return function
        return lambda key, _value: function(key)


def users_part(error: BaseException) -> str:
    """The traceback of what a user's function raised, from its own first frame on: none of the library's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_LIBRARY):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames, limit=-8)).rstrip()


def _import(source: str) -> ModuleType:
    """Import a module by name or a file by path; a file under a name that is not `__main__`."""
    try:
        return _import_file(source) if _is_path(source) else importlib.import_module(source)
    except FunctionError:
        raise
    except (Exception, SystemExit) as error:
        raise FunctionError(f"importing {source} failed: {type(error).__name__}: {error}") from error


def _import_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise FunctionError(f"no file {path} on this host ({os.uname().nodename}); servers read it by its path")
    name = f"paracel_job_{hashlib.sha256(path.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FunctionError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
