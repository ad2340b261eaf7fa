import pytest

from paracel.errors import WaitTimeout
from paracel.pending import Pending
from paracel.task import Task


class Waiter:
    """Fills what is waited for with an answer."""

    def __init__(self, pending, answer=None):
        self.pending, self.answer, self.calls = pending, answer, []

    def look(self):
        self.calls.append("look")
        if self.answer == "at a look":
            self.pending.resolve(self.answer)

    def wait(self, pending, timeout):
        assert pending is self.pending
        self.calls.append(timeout)
        if self.answer is None:
            raise WaitTimeout("no reply")
        if isinstance(self.answer, Exception):
            pending.fail(self.answer)
        else:
            pending.resolve(self.answer)


def test_done_looks_and_does_not_wait():
    waiter = Waiter(Pending())
    task = Task(waiter.pending, waiter)
    assert not task.done()
    waiter.answer = "at a look"
    assert task.done()
    assert task.done()
    assert waiter.calls == ["look", "look"]


@pytest.mark.parametrize("timeout", [None, 0, 2.5])
def test_a_wait_goes_to_the_connection(timeout):
    waiter = Waiter(Pending(), 7)
    Task(waiter.pending, waiter).wait(timeout)
    assert waiter.calls == [timeout]
    waiter = Waiter(Pending(), 7)
    assert Task(waiter.pending, waiter).result(timeout) == 7
    assert waiter.calls == [timeout]


def test_wait_does_not_raise_the_error_and_result_does():
    waiter = Waiter(Pending(), KeyError("k"))
    task = Task(waiter.pending, waiter)
    task.wait()
    assert task.done()
    assert not waiter.pending.observed
    with pytest.raises(KeyError):
        task.result()
    assert waiter.pending.observed


def test_a_deadline_that_passes():
    waiter = Waiter(Pending())
    with pytest.raises(WaitTimeout):
        Task(waiter.pending, waiter).result(1)


def test_what_a_task_shows():
    for settle, shown in ((lambda p: None, "under way"), (lambda p: p.resolve(1), "done"), (_fail, "failed")):
        pending = Pending()
        settle(pending)
        assert repr(Task(pending, None)) == f"<Task {shown}>"


def _fail(pending):
    pending.fail(ValueError())
