"""How wrong versions of the protocol are made."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

Mutant = Callable[[], AbstractContextManager[Any]]


def instead(owner: Any, name: str, make: Callable[[Any], Any]) -> Mutant:
    """A mutant in which `owner.name` is `make(what it was)`."""
    return lambda: mock.patch.object(owner, name, make(owner.__dict__[name]))


def nothing(_right: Any) -> Callable[..., None]:
    """In place of something that acts."""
    return lambda *_arguments, **_named: None
