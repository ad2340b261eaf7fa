import numpy as np
import pytest
from support.table_rules import uint64

from paracel.tables import keeping
from paracel.tables.keeping import Admission, CountMin, Expiry, Recency
from paracel.tables.storage import Form, SparsePart


@pytest.fixture
def part():
    return SparsePart(Form(np.dtype(np.float32), (), 0))


def keys_of(part):
    return sorted(part.keys().tolist())


def test_counts_are_never_too_low():
    sketch, rng, model = CountMin(bits=6), np.random.default_rng(0), {}
    for _ in range(30):
        keys = rng.choice(200, 20, replace=False).astype(np.uint64)
        for key in keys.tolist():
            model[key] = model.get(key, 0) + 1
        assert (sketch.add(keys) >= [model[key] for key in keys.tolist()]).all()


def test_a_sketch_grows_with_what_it_counts_and_few_strangers_are_let_in():
    sketch, rng = CountMin(bits=10), np.random.default_rng(0)
    again = rng.integers(1 << 63, size=500).astype(np.uint64)
    before = sketch.add(again)
    taken = [sketch.add(rng.integers(1 << 63, size=1000).astype(np.uint64)) >= 2 for _ in range(40)]
    assert (sketch.add(again) > before).all(), "what was counted is not forgotten"
    assert np.mean(taken) < 0.1
    assert sketch.nbytes == 4 * (1 << 18) * 2


def test_counts_are_exact_where_there_is_room():
    sketch = CountMin()
    keys = np.arange(3000, dtype=np.uint64) << np.uint64(40)
    for number in range(1, 4):
        assert (sketch.add(keys) == number).all()
    assert sketch.add(uint64([])).tolist() == []


@pytest.mark.parametrize("pushes", [2, 3])
def test_a_key_is_let_in_with_its_nth_push(part, pushes):
    admission = Admission(pushes)
    for number in range(1, pushes + 2):
        assert admission.admit(uint64([7, 0, (1 << 64) - 1]), part).tolist() == [number >= pushes] * 3
    assert admission.admit(uint64([7, 8]), part).tolist() == [True, False]
    part.locate(uint64([8]), create=True)
    assert admission.admit(uint64([8]), part).tolist() == [True], "it has a row"


@pytest.mark.parametrize("clocks", [1, 3])
def test_a_row_stays_for_so_many_clocks(part, clocks):
    expiry = Expiry(part, clocks)
    expiry.touch(part.locate(uint64([1, 2]), create=True))
    for clock in range(1, 6):
        expiry.touch(part.locate(uint64([2, 9])))
        expiry.advance(clock)
        expiry.touch(part.locate(uint64([2, 9])))
        assert keys_of(part) == ([1, 2] if clock <= clocks else [2])
    expiry.advance(100)
    assert keys_of(part) == []


def test_a_new_row_counts_as_touched(part):
    expiry = Expiry(part, 1)
    expiry.advance(10)
    part.locate(uint64([4]), create=True)
    expiry.advance(11)
    assert keys_of(part) == [4]


def test_off_by_default(part):
    expiry, recency = Expiry(part, None), Recency(part, None)
    places = part.locate(uint64(range(50)), create=True)
    for keeper in (expiry, recency):
        keeper.touch(places)
    expiry.advance(1000)
    recency.evict()
    assert part.count == 50
    assert not part.has("touched")
    assert not part.has("used")


def test_the_least_recently_used_rows_go(part):
    recency = Recency(part, 3)
    for key in (5, 6, 7):
        recency.touch(part.locate(uint64([key]), create=True))
        recency.evict()
    recency.touch(part.locate(uint64([5, 77])))
    recency.touch(part.locate(uint64([8, 9]), create=True))
    recency.evict()
    assert keys_of(part) == [5, 8, 9]
    recency.touch(slice(0, 1))
    recency.touch(part.locate(uint64([1, 2, 3, 4]), create=True))
    recency.evict()
    assert keys_of(part) == [1, 2, 3]


def test_a_large_bound_gives_up_more_at_once(part, monkeypatch):
    monkeypatch.setattr(keeping, "SLACK_FROM", 32)
    recency = Recency(part, 32)
    for key in range(40):
        recency.touch(part.locate(uint64([key]), create=True))
        recency.evict()
        assert part.count <= 32
        assert key in keys_of(part)
    assert keys_of(part) == list(range(40 - part.count, 40))
    assert part.count >= 30
