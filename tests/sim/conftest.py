"""The simulation is a package beside its tests."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _small_scale() -> Iterator[None]:
    """What simulated jobs need changed in the core; and nobody reads the warnings of a thousand of them."""
    from simulated.cluster import small_scale

    logging.disable(logging.ERROR)
    with small_scale():
        yield
    logging.disable(logging.NOTSET)
