"""Sessions and shards together, over whatever hypothesis thinks of: requests, order, staleness, one client alone."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from support.cluster import Cluster, entries_of
from support.invariants import (
    LIMITS,
    Job,
    check_acknowledged,
    check_client,
    check_exactly_once,
    check_order,
    check_staleness,
)

from paracel.channel import Channel
from paracel.inbox import Inbox
from paracel.messages import Done, Envelope, Lost, Write

SEEDS = st.integers(0, 1 << 32)


class Pipe:
    """A channel and an inbox alone; what is on its way between them arrives, is lost, or comes again."""

    def __init__(self, count: int) -> None:
        self.channel, self.inbox = Channel(0, 0, ""), Inbox()
        self.ran: list[int] = []
        self.asked = [self.channel.ask(Write([str(number)], [number]), 1) for number in range(count)]
        self.upwards = [envelope for _, envelope in self.asked]
        self.downwards: list[Envelope] = []

    def arrive(self, envelope: Envelope) -> None:
        """A request reaches the inbox."""
        stored = self.inbox.stored(b"peer", envelope.request)
        if self.inbox.is_repeated(b"peer", envelope.request) and stored:
            self.downwards.append(Envelope(envelope.request, 0, 0, stored))
        for ready in self.inbox.take(b"peer", envelope):
            self.ran.append(ready.message.values[0])
            self.inbox.answered(b"peer", ready, Done(ready.request))
            self.downwards.append(Envelope(ready.request, 0, 0, Done(ready.request)))

    def move(self, upwards: bool, at: int, what: str) -> None:
        """Something happens to one of the messages that are on their way."""
        queue = self.upwards if upwards else self.downwards
        if not queue:
            return
        envelope = queue[at % len(queue)]
        if what != "repeat":
            queue.remove(envelope)
        if what != "lose":
            self.arrive(envelope) if upwards else self.channel.receive(envelope, 1)


MOVES = st.tuples(st.booleans(), st.integers(0, 99), st.sampled_from(["deliver", "repeat", "lose"]))


@given(count=st.integers(0, 12), moves=st.lists(MOVES, max_size=40))
def test_every_request_is_run_once_in_order_whatever_the_pipe_does(count, moves):
    pipe = Pipe(count)
    for move in moves:
        pipe.move(*move)
    channel, ran, asked = pipe.channel, pipe.ran, pipe.asked
    assert ran == list(range(len(ran)))
    for number, (pending, _) in enumerate(asked, 1):
        assert pending.done == (number not in channel.outstanding)
        assert not pending.done or pending.result() == Done(number)
        assert number > channel.confirmed or pending.done

    # now nothing is lost any more: what has no reply is sent again from the first one on
    for envelope in channel.receive(Envelope(0, 0, 0, Lost(1)), 1):
        pipe.arrive(envelope)
    for envelope in pipe.downwards:
        channel.receive(envelope, 1)
    assert ran == list(range(count))
    assert [pending.result() for pending, _ in asked] == [Done(number) for number in range(1, count + 1)]


@given(seed=SEEDS)
def test_exactly_once_over_lossy_pipes(seed):
    check_exactly_once(seed)


@given(seed=SEEDS)
def test_operations_of_one_client_on_one_key_keep_their_order(seed):
    check_order(seed)


@given(seed=SEEDS)
def test_acknowledged_if_and_only_if_all_is_answered(seed):
    check_acknowledged(seed)


@given(seed=SEEDS)
def test_reads_are_as_fresh_as_promised_and_wait_only_if_they_must(seed):
    check_staleness(seed)


@settings(max_examples=20)
@given(seed=SEEDS, staleness=st.sampled_from(LIMITS))
def test_at_the_end_every_update_has_counted_once(seed, staleness):
    job = Job(seed, staleness)
    job.run()
    job.cluster.pump()
    held = entries_of(job.cluster.shards.values())
    assert held == {worker.name: worker.rounds for worker in job.workers if worker.rounds}


@given(seed=SEEDS)
def test_one_client_alone_sees_a_plain_dict(seed):
    check_client(seed)


@given(
    deltas=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["add", "mul", "max"]), st.integers(-3, 3)), max_size=25
    ),
    order=st.randoms(use_true_random=False),
)
def test_clients_whose_updates_commute_agree_with_any_order(deltas, order):
    """Several clients on keys of their own and on one that all add to."""
    cluster = Cluster(2, rng=random.Random(order.random()))
    sessions = [cluster.join() for _ in range(3)]
    expected: dict[str, int] = {}
    for who, updater, delta in deltas:
        own = f"key of {who}"
        sessions[who].update(own, delta, updater)
        rule = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b, "max": max}[updater]
        expected[own] = rule(expected[own], delta) if own in expected else delta
        sessions[who].update("sum", delta, "add")
        expected["sum"] = expected.get("sum", 0) + delta
        if order.random() < 0.3:
            cluster.step()
    for session in sessions:
        cluster.settle(session.acknowledged())
    assert entries_of(cluster.shards.values()) == expected
