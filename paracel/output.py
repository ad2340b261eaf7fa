"""Results as text files, one for each rank or one for all: `<output>/<name><rank>`.

Paracel's formats: a vector's values joined by a separator and ended by a newline; a mapping as lines `k<TAB>v`,
with a list written `a|b` and a list of pairs `id:score|id:score`. Numbers are written so that they read back
equal; text is written as it is, UTF-8, unescaped. Nothing here knows servers or clients.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from paracel.comm import Comm
from paracel.errors import ParacelError
from paracel.folders import replacing

T = TypeVar("T")


def dump_vector(
    comm: Comm,
    values: Iterable[Any],
    output: str | os.PathLike[str],
    name: str,
    sep: str = "\n",
    *,
    append: bool = False,
    merge: bool = False,
) -> None:
    """Write `values` joined by `sep`, and a newline; an empty vector writes an empty file.

    Each rank writes `<output>/<name><rank>`. With `merge`, all ranks call this together, and rank 0 writes what
    they all have, in the order of the ranks, to `<output>/<name>0`; it is there when the call returns in any
    rank, and an error in one rank is raised in all. Missing directories are made. A new file appears whole or
    not at all, and those of higher ranks, which an earlier job of more ranks has left, are removed (unless `name` ends
    with a digit); with `append`, files are added to, and none is removed.
    """
    _dump(comm, lambda: _vector_text(values, sep), os.path.join(output, name), append, merge)


def dump_dict(
    comm: Comm,
    mapping: Mapping[Any, Any],
    output: str | os.PathLike[str],
    name: str,
    sep: str = "\t",
    *,
    append: bool = False,
    merge: bool = False,
) -> None:
    """Write a line `key<sep>value` for each item of `mapping`, in its order; files as in `dump_vector`."""
    _dump(comm, lambda: _dict_text(mapping, sep), os.path.join(output, name), append, merge)


def _vector_text(values: Iterable[Any], sep: str) -> str:
    listed = [_text(value) for value in _plain(values)]
    return sep.join(listed) + "\n" if listed else ""


def _dict_text(mapping: Mapping[Any, Any], sep: str) -> str:
    return "".join(f"{_text(key)}{sep}{_text(value)}\n" for key, value in mapping.items())


def _text(value: Any, sep: str = "|") -> str:
    value = _plain(value)
    if isinstance(value, list | tuple):
        return sep.join(_text(item, ":") for item in value)
    return str(value)


def _plain(value: Any) -> Any:
    """Python's own numbers for numpy's, whose repr names their type."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _dump(comm: Comm, render: Callable[[], str], prefix: str, append: bool, merge: bool) -> None:
    if merge:
        _write_merged(comm, render, f"{prefix}0", append)
    else:
        _write(f"{prefix}{comm.rank}", [_encoded(render)], append)
    if comm.rank == 0 and not append:
        _remove_older(prefix, 1 if merge else comm.size)


def _remove_older(prefix: str, ranks: int) -> None:
    """Remove the files that ranks from number `ranks` on have written: else `prefix*` would be of two jobs.

    After a name that ends with a digit it cannot be told what of the number is the rank: then nothing is removed.
    """
    folder, name = os.path.split(prefix)
    if name[-1:].isdecimal():
        return
    for file in os.listdir(folder or "."):
        number = file.removeprefix(name)
        if file.startswith(name) and number.isdecimal() and number == str(int(number)) and int(number) >= ranks:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, file))


def _write_merged(comm: Comm, render: Callable[[], str], path: str, append: bool) -> None:
    data, error = _attempt(lambda: _encoded(render))
    _agree(comm, error)
    pieces = comm.gather_pieces(data or b"")
    if comm.rank == 0:
        _, error = _attempt(lambda: _write(path, (piece for _, piece in pieces), append))
    for _ in pieces:  # the other ranks send; rank 0 takes what a failed write left, or they would wait for ever
        pass
    _agree(comm, error)


def _encoded(render: Callable[[], str]) -> bytes:
    return render().encode("utf-8", "surrogatepass")  # a key may hold a lone surrogate


def _attempt(action: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return action(), None
    except Exception as error:
        return None, error


def _agree(comm: Comm, error: Exception | None) -> None:
    """Raise in every rank if one of them has an `error`, so that none goes on to wait for one that gave up."""
    problems = comm.allgather_json(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for rank, problem in enumerate(problems):
        if problem is not None:
            raise ParacelError(f"rank {rank} could not write its output: {problem}")


def _write(path: str, pieces: Iterable[bytes | bytearray], append: bool) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if append:
        with open(path, "ab") as file:
            file.writelines(pieces)
        return
    with replacing(path) as file:
        file.writelines(pieces)
