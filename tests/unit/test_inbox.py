import pytest

from paracel.inbox import LAST, UNCONFIRMED_BYTES, WINDOW, Inbox
from paracel.messages import Contains, Done, Envelope, Found, Probe, Read, Write

A, B = b"a", b"b"


def request(number, confirmed=0, message=None):
    return Envelope(number, confirmed, 0, message or Write([], []))


def taken(inbox, envelope, sender=A):
    return [ready.request for ready in inbox.take(sender, envelope)]


@pytest.fixture
def inbox():
    return Inbox()


def test_requests_are_taken_in_order_each_once(inbox):
    assert taken(inbox, request(2)) == []
    assert taken(inbox, request(3)) == []
    assert taken(inbox, request(2)) == []
    assert taken(inbox, request(1)) == [1, 2, 3]
    assert [taken(inbox, request(number)) for number in (1, 2, 3)] == [[], [], []]
    assert taken(inbox, request(4)) == [4]
    assert taken(inbox, request(1), B) == [1], "another's numbers are its own"
    assert (inbox.expected(A), inbox.expected(B), inbox.expected(b"nobody")) == (5, 2, 1)


def test_a_request_is_noted_before_the_next_is_taken(inbox):
    taken(inbox, request(2))
    seen = []
    for ready in inbox.take(A, request(1)):
        seen.append((ready.request, inbox.is_running(A, 1), inbox.is_running(A, 2)))
        inbox.answered(A, ready, Done(0))
    assert seen == [(1, True, False), (2, False, True)]


@pytest.mark.parametrize("number", [-5, WINDOW + 1, 1 << 60])
def test_numbers_far_off_are_not_kept(inbox, number):
    assert taken(inbox, request(number)) == []
    assert taken(inbox, request(1)) == [1]
    assert inbox.expected(A) == 2


def test_the_end_of_the_window_is_kept(inbox):
    assert taken(inbox, request(WINDOW)) == []
    assert inbox.expected(A) == 1


def test_repeated_if_and_only_if_taken_before(inbox):
    taken(inbox, request(1))
    taken(inbox, request(3))
    assert [inbox.is_repeated(A, number) for number in (1, 2, 3, 4)] == [True, False, False, False]
    assert not inbox.is_repeated(B, 1)
    assert inbox.duplicates == 1


@pytest.mark.parametrize("message", [Read([], 0), Contains([])])
def test_replies_of_reads_are_not_kept(inbox, message):
    taken(inbox, request(1, message=message))
    assert inbox.answered(A, request(1, message=message), Found([], [], 0))
    assert inbox.stored(A, 1) is None
    assert not inbox.is_running(A, 1)


def test_replies_are_kept_until_they_are_confirmed(inbox):
    for number in (1, 2, 3):
        taken(inbox, request(number))
        assert inbox.answered(A, request(number), Done(number))
    assert [inbox.stored(A, number) for number in (1, 2, 3)] == [Done(1), Done(2), Done(3)]
    taken(inbox, Envelope(0, 2, 0, Probe(3)))
    assert [inbox.stored(A, number) for number in (1, 2, 3)] == [None, None, Done(3)]
    assert inbox.stored(B, 3) is None


def test_who_does_not_take_replies_is_not_served_further(inbox):
    large = b"x" * (UNCONFIRMED_BYTES // 2)
    for number in (1, 2):
        (ready,) = inbox.take(A, request(number, message=Read([], 0)))
        inbox.answered(A, ready, Found([large], [], 0))
    assert taken(inbox, request(3)) == []
    assert taken(inbox, request(1), B) == [1], "others are"
    assert taken(inbox, Envelope(0, 1, 0, Probe(3))) == [3]


def test_a_read_that_is_repeated_is_counted_once(inbox):
    large = b"x" * (UNCONFIRMED_BYTES - 1000)
    (ready,) = inbox.take(A, request(1, message=Read([], 0)))
    for _ in range(3):
        inbox.answered(A, ready, Found([large], [], 0))
    assert taken(inbox, request(2)) == [2]


def test_who_is_forgotten_starts_anew(inbox):
    taken(inbox, request(1))
    inbox.answered(A, request(1), Done(1))
    inbox.forget(A)
    inbox.forget(A)
    assert inbox.stored(A, 1) is None
    assert not inbox.answered(A, request(1), Done(1))
    assert taken(inbox, Envelope(0, 9, 0, Probe(1))) == []
    assert taken(inbox, request(1)) == [1]


def test_a_request_that_lacks_something_holds_up_its_sender_alone():
    known = set()
    inbox = Inbox(lambda message: set(getattr(message, "keys", ())) <= known)
    assert taken(inbox, request(1, message=Write(["a"], [1]))) == []
    assert taken(inbox, request(2)) == []
    assert taken(inbox, request(1), B) == [1]
    assert inbox.in_want(A).request == 1
    assert (inbox.in_want(B), inbox.in_want(b"nobody"), list(inbox.resume(b"nobody"))) == (None, None, [])
    assert not inbox.is_running(A, 1)
    assert not inbox.is_repeated(A, 1)
    assert list(inbox.resume(A)) == []
    known.add("a")
    assert inbox.in_want(A) is None
    assert [ready.request for ready in inbox.resume(A)] == [1, 2]
    assert list(inbox.resume(A)) == []


def test_what_was_confirmed_is_not_waited_for_however_much_it_is(inbox):
    assert taken(inbox, request(1)) == [1]
    assert taken(inbox, Envelope(0, (1 << 40) - 1, 0, Probe(1))) == []
    assert taken(inbox, request(1 << 40, (1 << 40) - 1)) == [1 << 40]
    assert taken(inbox, Envelope(0, 1 << 70, 0, Probe(1))) == []
    assert inbox.expected(A) == LAST + 1


def test_a_request_below_all_numbers_is_nothing_that_was_not_answered(inbox):
    assert inbox.was_answered(b"nobody", -1)
    assert not inbox.was_answered(b"nobody", 1)
