"""Graphs and matrices of other libraries: imported when somebody asks for them, and looked at before they are read."""

from importlib import import_module
from typing import Any

import numpy as np

from paracel.errors import ConfigError

#: What to install for the libraries that are not always there.
_INSTALL = {"networkx": "networkx", "scipy": "'paracel[matrix]'"}


def library(module: str, asked: str) -> Any:
    """The module; ConfigError if it is not installed says what asked for it, and how to get it."""
    name = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(f"{asked} needs {name}: pip install {_INSTALL[name]}") from error


def coordinates_of(matrix: Any) -> Any:
    """A scipy sparse matrix or array by the rows, columns and values of what it holds; entries of one place added."""
    if not hasattr(matrix, "tocoo"):
        given = type(matrix).__name__
        raise ConfigError(
            f"from_scipy() takes a scipy sparse matrix or array, not {given}; scipy.sparse.coo_array(x) makes one of "
            f"a dense array (pip install {_INSTALL['scipy']})"
        )
    distinct = getattr(matrix, "has_canonical_format", False)
    coordinates = matrix.tocoo(copy=not distinct)  # so that the caller's stays as it is
    if not distinct:
        coordinates.sum_duplicates()
    return coordinates


def check_networkx(graph: Any) -> None:
    """Raise ConfigError unless it is a networkx graph whose nodes can be vertices."""
    if not hasattr(graph, "nodes") or not hasattr(graph, "edges"):
        given = type(graph).__name__
        raise ConfigError(f"from_networkx() takes a networkx graph, not {given} (pip install {_INSTALL['networkx']})")
    for node in graph.nodes:
        if isinstance(node, bool) or not isinstance(node, str | int | np.integer):
            raise ConfigError(
                f"node {node!r} is of type {type(node).__name__}; nodes must be whole numbers, or all text: "
                "networkx.convert_node_labels_to_integers(graph) numbers them"
            )
