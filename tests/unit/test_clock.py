import pytest
from support.invariants import check_clock, check_clock_seed

from paracel.clock import SspClock


@pytest.mark.parametrize("seed", range(100))
def test_against_the_definition(seed):
    check_clock_seed(seed)


@pytest.mark.parametrize(
    "operations",
    [
        [("read", 1), ("commit", 0, 1), ("commit", 0, 1), ("commit", 1, 1)],
        [("commit", 0, 5), ("read", 2), ("commit", 1, 3), ("commit", 1, 2), ("read", 3), ("read", 4)],
        [("commit", 0, 5), ("read", 3), ("leave", 1), ("enter", 1), ("read", 5), ("read", 6), ("commit", 1, 6)],
        [("leave", 0), ("leave", 1), ("read", 99), ("commit", 0, 7), ("enter", 0), ("read", 8)],
        [("read", 2), ("read", 1), ("read", 2), ("commit", 0, 2), ("commit", 1, 2)],
        [("commit", 2, 1), ("enter", 2), ("leave", 2), ("read", 1)],
    ],
)
def test_by_hand(operations):
    check_clock(2, operations)


def test_released_reads_come_by_need_and_then_by_age():
    clock = SspClock([0])
    for minimum, item in [(2, "late need"), (1, "first"), (1, "second"), (3, "stays")]:
        clock.park(minimum, item)
    assert clock.commit(0, 2) == ["first", "second", "late need"]
    assert clock.parked == 1
    assert clock.commit(0, 2) == []
    assert clock.leave(0) == ["stays"]


def test_nobody_is_waited_for_where_nobody_runs():
    assert SspClock([]).reached(10**9)
    assert SspClock([]).value == 0
    clock = SspClock([0, 1])
    clock.commit(0, 4)
    clock.leave(0)
    assert not clock.reached(1)
    clock.leave(1)
    assert clock.reached(10**9)
    assert clock.value == 4
    assert clock.slowest() == []


def test_a_snapshot_is_not_the_clock_itself():
    clock = SspClock([0])
    clock.clocks[0] = 9
    assert clock.value == clock.clocks[0] == 0
