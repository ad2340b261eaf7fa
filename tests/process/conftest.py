"""Real servers and clients, and the proof that nothing of them is left."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from real import Programs, Surroundings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("process")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    """A temporary directory of the test's own; afterwards no process, socket or shared memory may be left."""
    tmp_path_factory.getbasetemp()  # pytest's own is elsewhere
    around = Surroundings()
    with around.entered(monkeypatch):
        yield around
        around.check_nothing_left()


@pytest.fixture
def programs(surroundings: Surroundings) -> Iterator[Programs]:
    """Starts Python programs; those that still run at the end of the test are ended."""
    with Programs(surroundings) as started:
        yield started
