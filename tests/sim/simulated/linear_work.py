"""What one worker does with keys whose whole history is checked."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from paracel.pending import Pending

from .linear import LIST, NUMBER

if TYPE_CHECKING:
    from .worker import Worker

Script = Generator[Pending | float, Any, Any]


def _noted(worker: "Worker", kind: str, key: str, argument: Any, pending: Pending, *, told: bool = True) -> Pending:
    worker.linear.note(worker.party, kind, key, argument, pending, told=told)
    return pending


def _key(worker: "Worker") -> str:
    return worker.rng.choice((NUMBER, LIST))


def _change(worker: "Worker") -> tuple[str, int, str]:
    key = _key(worker)
    return key, worker.rng.randrange(10**6), "add" if key == NUMBER else "append"


def _write(worker: "Worker") -> Script:
    value = worker.rng.randrange(10**6)
    yield _noted(worker, "write", NUMBER, value, worker.session.write([NUMBER], [value]))


def _update(worker: "Worker") -> Script:
    key, value, updater = _change(worker)
    yield _noted(worker, updater, key, value, worker.session.update_multi([key], [value], updater, True))


def _update_later(worker: "Worker") -> Script:
    key, value, updater = _change(worker)
    _noted(worker, updater, key, value, worker.session.update(key, value, updater), told=False)
    worker.send()
    yield from ()


def _remove(worker: "Worker") -> Script:
    key = _key(worker)
    yield _noted(worker, "remove", key, None, worker.session.remove([key]))


def _read(worker: "Worker") -> Script:
    key = _key(worker)
    yield _noted(worker, "read", key, None, worker.session.fetch([key]))


def only_read(worker: "Worker") -> Script:
    """The script of one that only reads."""
    for _ in range(worker.plan.iterations):
        yield from _read(worker)
        yield worker.plan.stall * worker.rng.random()


def only_change(worker: "Worker") -> Script:
    """The script of one that only changes."""
    for _ in range(worker.plan.iterations):
        yield from worker.rng.choice((_write, _update))(worker)
        yield 2 * worker.plan.stall * worker.rng.random()


KINDS = (_read, _read, _update, _update, _update_later, _write, _remove)
