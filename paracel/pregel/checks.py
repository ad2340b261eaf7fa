"""What a program has to be, and to return: ConfigError says what came and what is wanted. No tables and no workers."""

from typing import Any

import numpy as np

from paracel.comm import Comm
from paracel.errors import ConfigError
from paracel.graphs.compressed import Positions
from paracel.graphs.ids import as_ids, positions_of
from paracel.pregel.messages import combiner
from paracel.pregel.partition import Partition
from paracel.pregel.program import ALL, Array, Some, VertexProgram


def check_program(program: object) -> None:
    """Raise ConfigError unless it is a program that can be run."""
    if isinstance(program, type):
        raise ConfigError(f"the program is the class {program.__name__}; give an object of it: {program.__name__}(...)")
    if not isinstance(program, VertexProgram):
        raise ConfigError(f"the program is {program!r:.80}; allowed: a VertexProgram or PerVertexProgram of pregel")
    for name in (program.combiner, *program.aggregators.values()):
        combiner(name)
    try:
        kind = np.dtype(program.dtype)
    except (TypeError, ValueError):
        kind = np.dtype(object)
    if kind.kind not in "iuf":
        raise ConfigError(f"{_name(program)}.dtype={program.dtype!r}; allowed: whole numbers and floats, as 'float64'")


def check_graph(ranks: Comm, program: VertexProgram, spread: Partition) -> None:
    """Raise ConfigError, in all workers, if the program cannot have this graph. Collective."""
    if program.needs_undirected and spread.directed:
        raise ConfigError(
            f"{_name(program)} was given a digraph, along whose edges it would go one way only; give an "
            'undirected_graph, as paracel_load_as_graph(..., kind="undirected_graph") loads it'
        )
    needed = list(program.needed_ids)
    found = positions_of(as_ids(needed), spread.ids) >= 0
    everywhere = np.any(ranks.allgather_json(found.tolist()), axis=0)
    for id in np.array(needed, object)[~everywhere]:
        kind = "text" if spread.ids.dtype.kind == "U" else "whole numbers"
        raise ConfigError(
            f"no vertex {id!r} for {_name(program)} in this graph; give one of the ids of its {spread.count} vertices, "
            f"which are {kind}"
        )


def begun(program: VertexProgram, returned: Any, n: int) -> Array:
    """The values that `initial` returned, one for each of n vertices."""
    wanted = f"return numbers of shape ({n},), one for each vertex of this worker, or one number for all"
    values = numbers(returned, f"{_name(program)}.initial returned", wanted)
    if values.ndim and len(values) != n:
        raise ConfigError(f"{_name(program)}.initial returned shape {values.shape}; {wanted}")
    return np.broadcast_to(values, (n, *values.shape[1:])).copy()


def computed(program: VertexProgram, returned: Any, before: Array) -> tuple[Array, Any]:
    """The values that `compute` returned, which replace those before, and the messages, unchecked."""
    name, n = _name(program), len(before)
    wanted = (
        f"return a tuple (values, messages): values of shape {before.shape}, one for each active vertex, and messages, "
        f"which are None, or of shape ({n},), one for each active vertex, or pregel.EdgeMessages"
    )
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ConfigError(f"{name}.compute returned {_described(returned)}; {wanted}")
    values = numbers(returned[0], f"{name}.compute returned values,", wanted)
    if values.shape != before.shape:
        raise ConfigError(f"{name}.compute returned values of shape {values.shape}; {wanted}")
    if not np.can_cast(values.dtype, before.dtype, "same_kind"):
        raise ConfigError(
            f"{name}.compute returned values of {values.dtype}, and initial had returned {before.dtype}, which does "
            "not hold them; begin with floats, as 0.0, if they are to be floats"
        )
    return values, returned[1]


def messages(program: VertexProgram, given: Any, count: int, sender: str) -> tuple[Some, Array]:
    """Of messages that `compute` returned, one for each of `count` senders: which are not masked, and these."""
    wanted = f"return {count}, shape ({count},): one for each {sender}"
    unmasked = given.data if isinstance(given, np.ma.MaskedArray) else given
    values = numbers(unmasked, f"{_name(program)}.compute returned messages,", wanted)
    if values.shape != (count,):
        raise ConfigError(f"{_name(program)}.compute returned messages of shape {values.shape}; {wanted}")
    if count and not np.can_cast(values.dtype, program.dtype, "same_kind"):
        raise ConfigError(
            f"{_name(program)}.compute returned messages of {values.dtype}, and the program's dtype is "
            f"{np.dtype(program.dtype)}, which does not hold them; give the class another dtype, or convert them"
        )
    values, mask = values.astype(program.dtype, copy=False), np.ma.getmask(given)
    if mask is np.ma.nomask:
        return ALL, values
    return np.flatnonzero(~mask), values[~mask]


def positions(program: VertexProgram, given: Any, count: int) -> Positions:
    """The `edges` of `EdgeMessages`, among `count` of them."""
    wanted = f"whole numbers from 0, below {count}, the positions of edges in vertices.weights, in one dimension"
    found = numbers(given, f"{_name(program)}.compute returned EdgeMessages with edges,", f"allowed: {wanted}")
    whole = found.dtype.kind in "iu" or not found.size
    if found.ndim != 1 or not whole or (found.size and not 0 <= found.min() <= found.max() < count):
        raise ConfigError(f"{_name(program)}.compute returned EdgeMessages with edges={given!r:.80}; allowed: {wanted}")
    return found.astype(np.int64, copy=False)


def numbers(given: Any, what: str, wanted: str) -> Array:
    """What a program gave as an array of numbers; ConfigError tells `what` it was, and what is `wanted`."""
    try:
        array = np.asarray(given)
    except ValueError:  # of rows that are not all as long
        array = np.asarray(None)
    if array.dtype.kind not in "biufc":
        raise ConfigError(f"{what} {_described(given)}; {wanted}")
    return array


def _described(given: Any) -> str:
    if isinstance(given, np.ndarray):
        return f"an array of {given.dtype}, shape {given.shape}"
    return f"a tuple of {len(given)}" if isinstance(given, tuple) else f"{given!r:.80}"


def _name(program: VertexProgram) -> str:
    return type(program).__name__
