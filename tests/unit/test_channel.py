import pytest
from support.invariants import check_exactly_once

from paracel import errors
from paracel.channel import PROBE_PATIENCE, PROBE_SECONDS, RESENDS, Channel, error_of, request_size
from paracel.messages import Contains, Done, Envelope, Failure, Flags, Lost, Parked, Probe, Read, Update, Waiting, Write

VIEW = 7


@pytest.fixture
def channel():
    return Channel(5, 0, "ipc://0")


def ask(channel, count=1):
    return [channel.ask(Contains([str(number)]), VIEW) for number in range(count)]


def reply(number, message=None):
    return Envelope(number, 0, VIEW, message or Done(number))


@pytest.mark.parametrize("seed", range(60))
def test_exactly_once_over_pipes_that_drop_repeat_and_reorder(seed):
    check_exactly_once(seed)


def test_numbers_rise_by_one_and_confirm_what_has_come(channel):
    asked = ask(channel, 3)
    assert [(sent.request, sent.confirmed, sent.view) for _, sent in asked] == [
        (1, 0, VIEW),
        (2, 0, VIEW),
        (3, 0, VIEW),
    ]
    channel.receive(reply(2), VIEW)
    assert channel.confirmed == 0, "2 is here, but not 1"
    channel.receive(reply(1), VIEW)
    assert channel.confirmed == 2
    channel.receive(reply(3), VIEW)
    assert channel.confirmed == 3
    assert ask(channel)[0][1].confirmed == 3


def test_each_reply_goes_to_its_request_once(channel):
    (one, _), (two, _) = ask(channel, 2)
    channel.receive(reply(2, Flags([True])), VIEW)
    assert not one.done
    assert two.result() == Flags([True])
    channel.receive(reply(2, Flags([False])), VIEW)
    channel.receive(reply(99), VIEW)
    assert two.result() == Flags([True])
    channel.receive(reply(1, Failure("FunctionError", "no such")), VIEW)
    assert isinstance(one.error, errors.FunctionError)


def test_what_the_server_never_got_is_sent_again_with_its_number(channel):
    asked = [sent for _, sent in ask(channel, 4)]
    channel.receive(reply(2), VIEW)
    again = channel.receive(reply(0, Lost(2)), VIEW + 1)
    expected = [(2, Read([], 0)), *((sent.request, sent.message) for sent in asked[2:])]
    assert [(sent.request, sent.message) for sent in again] == expected, "what was answered needs only its number"
    assert {sent.view for sent in again} == {VIEW + 1}
    assert channel.receive(reply(0, Lost(9)), VIEW) == []


def test_a_quiet_server_is_asked_about_the_oldest_request(channel):
    assert channel.tick(0.0, VIEW) is None
    ask(channel, 2)
    channel.receive(reply(1), VIEW)
    assert channel.tick(10.0, VIEW) is None, "the quiet begins"
    assert channel.tick(10.0 + PROBE_SECONDS / 2, VIEW) is None
    probe = Envelope(0, 1, VIEW, Probe(2), 5)
    assert channel.tick(10.0 + PROBE_SECONDS, VIEW) == probe
    assert channel.tick(10.0 + 5 * PROBE_SECONDS, VIEW) is None, "one is on its way"
    assert channel.tick(10.0 + PROBE_SECONDS + PROBE_PATIENCE, VIEW) == probe, "or was lost"


def test_a_server_that_answers_is_asked_again_after_the_same_while(channel):
    ask(channel)
    now = 0.0
    for _ in range(3):
        assert channel.tick(now, VIEW) is None
        assert channel.tick(now + PROBE_SECONDS, VIEW) is not None
        channel.receive(reply(0, Waiting(1, 5, 3, [2])), VIEW)
        assert channel.waiting == Waiting(1, 5, 3, [2])
        now += 2 * PROBE_SECONDS
    channel.receive(reply(1), VIEW)
    assert channel.waiting is None
    assert channel.tick(now + 100, VIEW) is None


def test_a_failure_ends_everything(channel):
    asked = ask(channel, 3)
    channel.fail(errors.ServerLost("gone"))
    assert [type(pending.error) for pending, _ in asked] == [errors.ServerLost] * 3
    assert (channel.bytes, channel.outstanding, channel.confirmed) == (0, {}, 3)
    channel.receive(reply(2), VIEW)


def test_what_waits_for_other_workers_is_known_until_it_is_answered_or_asked_elsewhere(channel):
    ask(channel, 3)
    for number in (1, 2, 7):
        channel.receive(reply(0, Parked(number)), VIEW)
    assert channel.parked == {1, 2}, "7 was never asked"
    channel.receive(reply(1), VIEW)
    channel.receive(reply(0, Parked(1)), VIEW)
    assert channel.parked == {2}, "what comes late says nothing"
    channel.move(1, "ipc://1", VIEW)
    assert channel.parked == set()


def test_bytes_on_their_way_are_counted(channel):
    small, large = Contains(["k"]), Write(["k"], [b"x" * 1000])
    channel.ask(small, VIEW)
    channel.ask(large, VIEW)
    assert channel.bytes == request_size(small) + request_size(large)
    channel.receive(reply(1), VIEW)
    assert channel.bytes == request_size(large) >= 1000
    channel.receive(reply(1), VIEW)
    channel.receive(reply(2), VIEW)
    assert channel.bytes == 0
    assert request_size(Update(["k" * 500], [b"x" * 1000], "add", False)) >= 1500


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        *[(name, getattr(errors, name)) for name in ("ConfigError", "FunctionError", "CarryError", "LaunchError")],
        ("ServerFunctionError", errors.ServerFunctionError),
        ("KeyNotFound", errors.RequestError),
        ("UpdateError", errors.RequestError),
        ("Iterable", errors.RequestError),
        ("SystemExit", errors.RequestError),
        ("", errors.RequestError),
    ],
)
def test_a_refusal_is_an_error_of_its_class(kind, expected):
    error = error_of(Failure(kind, "why"))
    assert type(error) is expected
    assert str(error) == "why"


def test_a_server_that_never_gets_a_request_is_given_up(channel):
    (pending, sent), *_ = ask(channel, 2)
    for _ in range(RESENDS):
        assert channel.receive(reply(0, Lost(1)), VIEW)[0].request == sent.request
        assert not pending.done
    filler, later = channel.receive(reply(0, Lost(1)), VIEW)
    assert (filler.request, filler.message) == (1, Read([], 0)), "later requests do not wait for the number"
    assert later.request == 2
    with pytest.raises(errors.RequestError, match="lost the same request 20 times"):
        pending.result()


def test_losses_of_different_requests_do_not_add_up(channel):
    asked = ask(channel, RESENDS + 2)
    for number, (pending, _) in enumerate(asked, 1):
        channel.receive(reply(0, Lost(number)), VIEW)
        assert not pending.done
