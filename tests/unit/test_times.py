"""Where the time of a process goes."""

from types import SimpleNamespace

import pytest

from paracel import times
from paracel.times import Stopwatch, Times


@pytest.fixture
def pass_time(monkeypatch):
    """Lets so many seconds pass on a clock that stands still otherwise."""
    now = [100.0]
    monkeypatch.setattr(times, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def passing(seconds):
        now[0] += seconds

    return passing


def test_what_is_neither_communication_nor_waiting_is_compute(pass_time):
    stopwatch = Stopwatch()
    pass_time(4)
    with stopwatch.communicating:
        pass_time(2)
        with stopwatch.communicating:
            pass_time(1)
            with stopwatch.waiting:
                pass_time(8)
        pass_time(16)
    with stopwatch.waiting:
        pass_time(32)
    taken = stopwatch.times()
    assert taken == Times(63, 19, 40)
    assert taken.compute == 4


def test_an_error_ends_what_it_was_within(pass_time):
    stopwatch = Stopwatch()

    def fail():
        with stopwatch.communicating, stopwatch.waiting:
            pass_time(1)
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
    pass_time(2)
    assert stopwatch.times() == Times(3, 0, 1)


def test_times_say_their_shares():
    assert str(Times(10, 2, 5)) == "10.0 s: 30% compute, 20% communication, 50% waiting"
    assert str(Times()) == "0.0 s: 0% compute, 0% communication, 0% waiting"
    assert Times(10, 2, 5) - Times(4, 1, 3) == Times(6, 1, 2)
