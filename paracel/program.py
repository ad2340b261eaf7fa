"""`paracel.main`: a program's object from a configuration file and arguments. Prints only errors of usage."""

import argparse
import inspect
import json
import keyword
import math
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from paracel.comm import world
from paracel.errors import ConfigError
from paracel.functions import Process
from paracel.paralg import paralg

#: What people write for a staleness that JSON spells Infinity or null.
_PYTHON_NAMES = {"inf": math.inf, "math.inf": math.inf, "None": None}
#: How a setting of a type is written; what is annotated with these alone is never a text.
_AS_JSON = {"bool": "true or false", "int": "whole numbers", "float": "numbers", "None": "null"}

Algorithm = TypeVar("Algorithm", bound=paralg)


def main(algorithm: type[Algorithm], argv: Sequence[str] | None = None) -> Algorithm | None:
    """Make `algorithm(**settings)`, call its `solve()`, and return it.

    The settings are those of the JSON file of `-c` (or of `prun -c`), and then `name=value` arguments; a value is
    read as JSON where it is JSON (or `inf`, `None`), unless the parameter is annotated as str. A name that the
    constructor does not have ends the program with a message. A rank that calls `sys.exit` with an error ends them
    all. On a server that imports the script this does nothing, and returns None.
    """
    if Process.is_server:
        return None
    try:
        settings = read_settings(algorithm, sys.argv[1:] if argv is None else argv)
    except ConfigError as error:
        comm = world()
        if comm.rank == 0:
            print(f"{sys.argv[0]}: {error}", file=sys.stderr, flush=True)
        comm.barrier()
        raise SystemExit(2) from None
    try:
        made = algorithm(**settings)
        made.solve()
    except SystemExit as end:
        _end_all(end.code)
        raise
    return made


def _end_all(code: object) -> None:
    """End the other ranks too, if this one ends with an error: they would wait for it for ever."""
    comm = world()
    if not code or comm.size == 1:
        return
    if not isinstance(code, int):
        print(code, file=sys.stderr)
    comm.abort(code if isinstance(code, int) else 1)


def read_settings(algorithm: type[paralg], argv: Sequence[str]) -> dict[str, Any]:
    """The keyword arguments for the constructor. Raises ConfigError."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(algorithm), allow_abbrev=False)
    parser.add_argument("-c", "--cfg_file", default=os.environ.get("PARACEL_CONFIG"), help="a JSON file of settings")
    parser.add_argument("settings", nargs="*", metavar="name=value", help=_usage(algorithm))
    given = parser.parse_intermixed_args(argv)
    settings = _from_file(given.cfg_file) if given.cfg_file else {}
    parameters = inspect.signature(algorithm).parameters
    for text in given.settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"argument {text!r} is not of the form name=value")
        settings[_python_name(name)] = _value(value, parameters.get(_python_name(name)))
    _check_names(algorithm, settings)
    _check_texts(parameters, settings)
    return settings


def _from_file(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the configuration {path} is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"the configuration {path} must be a JSON object of names and values")
    return {_python_name(name): value for name, value in settings.items()}


def _python_name(name: str) -> str:
    """`lambda` is a setting of Paracel's that no Python parameter can be called; it is `lambda_`."""
    return name + "_" if keyword.iskeyword(name) else name


def _value(text: str, parameter: inspect.Parameter | None) -> Any:
    if parameter is not None and parameter.annotation in (str, "str"):
        return text
    if text in _PYTHON_NAMES:
        return _PYTHON_NAMES[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_names(algorithm: type[paralg], settings: dict[str, Any]) -> None:
    parameters = inspect.signature(algorithm).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = [name for name in settings if name not in parameters]
    if unknown:
        near = get_close_matches(unknown[0], parameters, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no setting {unknown[0]!r}; {algorithm.__name__} has {', '.join(parameters)}.{meant}")
    needed = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [name for name in needed if name not in settings]
    if missing:
        raise ConfigError(f"{algorithm.__name__} needs {', '.join(missing)}: give name=value, or -c FILE")


def _check_texts(parameters: Mapping[str, inspect.Parameter], settings: dict[str, Any]) -> None:
    """Raise ConfigError for a str where a number or a bool belongs: `False` is not JSON, and would count as true."""
    for name in parameters.keys() & settings.keys():
        kinds = _kinds(parameters[name])
        if isinstance(settings[name], str) and kinds <= _AS_JSON.keys() and kinds != {"None"}:
            allowed = ", ".join(form for kind, form in _AS_JSON.items() if kind in kinds)
            raise ConfigError(f"{name}={settings[name]!r} is a text; values are JSON, and here allowed: {allowed}")


def _kinds(parameter: inspect.Parameter) -> set[str]:
    """The types that a parameter is annotated with; without an annotation, bool where that is its default's."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return {"bool"} if isinstance(parameter.default, bool) else {"any"}
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return {kind.strip() for kind in text.split("|")}


def _usage(algorithm: type[paralg]) -> str:
    text = "settings: " + ", ".join(map(str, inspect.signature(algorithm).parameters.values()))
    return text.replace("%", "%%")  # argparse formats it
