import numpy as np
import pytest
from support.table_rules import uint64

from paracel.filters import FixedPoint, SignificantlyModified
from paracel.tables.senderstate import Rests, SenderState, Traffic
from paracel.tables.spec import make_spec


@pytest.mark.parametrize("size", [None, 100])
@pytest.mark.parametrize("dim", [1, 2])
def test_rests_are_kept_by_key_and_array(size, dim):
    rests = Rests(make_spec("t", size, dim))
    keys = uint64([7, 3])
    tail = () if dim == 1 else (2,)
    assert rests.read(keys, 1).tolist() == np.zeros((2, *tail)).tolist()
    rests.write(keys, 1, np.full((2, *tail), 2.0))
    rests.write(uint64([3, 4]), 0, np.full((2, *tail), 1.0))
    assert rests.read(uint64([3, 7, 9]), 1).reshape(3, -1)[:, 0].tolist() == [2, 2, 0]
    found, (first, second) = rests.waiting(2)
    waiting = {key: (a.tolist(), b.tolist()) for key, a, b in zip(found.tolist(), first, second, strict=True)}
    one, two, none = (np.full(tail, value).tolist() for value in (1.0, 2.0, 0.0))
    assert waiting == {7: (none, two), 3: (one, two), 4: (one, none)}
    assert len(rests.waiting(2)[0]) == 0, "it was taken out"


def test_nothing_waits_at_first():
    rests = Rests(make_spec("t", 1 << 40))
    keys, values = rests.waiting(1)
    assert (len(keys), values) == (0, [])
    rests = Rests(make_spec("t", 5))
    rests.read(uint64([1]), 0)
    assert len(rests.waiting(1)[0]) == 0


def test_each_filter_has_its_own_memory():
    state = SenderState(make_spec("t", 5))
    fixed, significant = FixedPoint(8), SignificantlyModified(0.5)
    first, second = state.rests([fixed, significant])
    first.write(uint64([1]), 0, np.ones(1))
    assert second.read(uint64([1]), 0).tolist() == [0]
    assert state.rests([FixedPoint(8)])[0] is first
    assert state.all_rests() == [first, second]
    assert state.told(0.5) is state.told(0.5) is not state.told(0.25)


def test_bytes_are_counted_by_direction_and_name():
    state = SenderState(make_spec("t"))
    state.count("push", "all", 10, 4)
    state.count("push", "all", 1, 1)
    state.count("pull", "all", 5, 5)
    assert state.traffic() == (Traffic("push", "all", 11, 5), Traffic("pull", "all", 5, 5))
