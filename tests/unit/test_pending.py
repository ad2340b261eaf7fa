import pytest

from paracel.pending import Pending, all_done, gather


def test_filled_once():
    pending = Pending()
    assert (pending.done, pending.error) == (False, None)
    pending.resolve(1)
    pending.resolve(2)
    pending.fail(KeyError("late"))
    assert pending.done
    assert pending.error is None
    assert pending.result() == 1


def test_an_error_is_raised_each_time():
    pending = Pending()
    pending.fail(KeyError("k"))
    pending.resolve(1)
    for _ in range(2):
        with pytest.raises(KeyError):
            pending.result()


@pytest.mark.parametrize("fill", [lambda p: p.resolve(1), lambda p: p.fail(KeyError())])
def test_observed_if_and_only_if_the_outcome_was_asked_for(fill):
    pending = Pending()
    pending.then(lambda p: p.error)
    fill(pending)
    assert not pending.observed
    try:
        pending.result()
    except KeyError:
        assert pending.error
    assert pending.observed


def test_callbacks_run_once_in_order_now_or_later():
    pending, seen = Pending(), []
    pending.then(lambda p: seen.append(("first", p.result())))
    pending.then(lambda _: pending.then(lambda _: seen.append("within")))
    assert seen == []
    pending.resolve(1)
    pending.resolve(1)
    pending.then(lambda _: seen.append("after"))
    assert seen == [("first", 1), "within", "after"]


def test_gather_keeps_the_order_of_the_parts_whatever_order_they_end_in():
    parts = [Pending() for _ in range(3)]
    whole = gather(parts, list)
    for number in (2, 0, 1):
        assert not whole.done
        parts[number].resolve(number)
    assert whole.result() == [0, 1, 2]


def test_gather_ends_when_all_have_with_the_first_error_in_order():
    parts = [Pending() for _ in range(3)]
    whole = gather(parts, list)
    parts[2].fail(KeyError("third"))
    parts[1].fail(ValueError("second"))
    assert not whole.done
    parts[0].resolve(0)
    assert isinstance(whole.error, ValueError)


def test_gather_of_nothing_and_a_combination_that_fails():
    assert gather([], len).result() == 0
    whole = gather([], lambda _: 1 // 0)
    assert isinstance(whole.error, ZeroDivisionError)


def test_all_done_ends_when_all_have_well_or_not():
    parts = [Pending() for _ in range(3)]
    done = Pending()
    done.resolve(1)
    whole = all_done([*parts, done])
    parts[0].fail(KeyError())
    parts[1].resolve(1)
    assert not whole.done
    parts[2].fail(KeyError())
    assert whole.result() is None
    assert all_done([]).done
