import pytest

from paracel.errors import DependencyError
from paracel.pending import Pending, Steps, all_done, gather, run_after


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


def held(before, started, steps=None, name="task"):
    """One that comes after others; `started` notes its name and its Pending when it begins."""

    def start():
        pending = Pending()
        started.append((name, pending))
        return pending

    return run_after(before, start, steps or Steps())


def test_what_comes_after_others_begins_when_all_have_gone_well():
    parts, started = [Pending() for _ in range(2)], []
    whole = held(parts, started)
    parts[1].resolve(1)
    assert started == []
    parts[0].resolve(2)
    ((_, begun),) = started
    assert not whole.done
    begun.resolve("outcome")
    assert whole.result() == "outcome"
    assert held([], started).done is False
    assert len(started) == 2, "after nothing is now"


@pytest.mark.parametrize("fail_last", [False, True])
def test_after_a_failure_it_does_not_begin_and_names_the_first_cause(fail_last):
    parts, started = [Pending() for _ in range(2)], []
    first = held(parts, started)
    second = held([first], started)
    parts[fail_last].fail(KeyError("first"))
    assert not first.done
    parts[not fail_last].resolve(1)
    assert started == []
    for each in (first, second):
        assert isinstance(each.error, DependencyError)
        assert isinstance(each.error.__cause__, KeyError)
        assert str(each.error) == "not run, since a task before it failed: KeyError: 'first'"


def test_its_own_failure_is_its_own():
    started = []
    whole = held([], started)
    started[0][1].fail(ValueError("own"))
    assert isinstance(whole.error, ValueError)
    broken = run_after([], lambda: 1 // 0, Steps())
    assert isinstance(broken.error, ZeroDivisionError)


@pytest.mark.parametrize("well", [True, False])
def test_a_line_of_thousands_ends_without_a_deep_stack(well):
    steps, first = Steps(), Pending()
    line, begun = [first], []

    def start():
        done = Pending()
        done.resolve(None)
        begun.append(done)
        return done

    for _ in range(5000):
        line.append(run_after([line[-1]], start, steps))
    first.resolve(None) if well else first.fail(KeyError("first"))
    assert all(each.done for each in line)
    assert len(begun) == (5000 if well else 0)
    assert well or line[-1].error.__cause__ is first.error


def test_steps_run_one_by_one_and_go_on_after_one_that_fails():
    steps, seen = Steps(), []

    def outer():
        steps.run(lambda: seen.append("inner"))
        seen.append("outer")

    steps.run(outer)
    assert seen == ["outer", "inner"]
    with pytest.raises(ZeroDivisionError):
        steps.run(lambda: 1 // 0)
    steps.run(lambda: seen.append("later"))
    assert seen[-1] == "later"
