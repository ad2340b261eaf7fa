"""Whatever decodes, from whomever, in whatever order: the brains answer it, and go on."""

import contextlib
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import envelopes

from paracel import messages as m
from paracel.chains import Place
from paracel.errors import ServerLost, WireError
from paracel.functions import Functions
from paracel.membership import Membership
from paracel.messages import TAGS, Envelope
from paracel.node import Node
from paracel.shard import Shard
from paracel.updaters import BUILTINS
from paracel.wire import encode

KEYS = st.sampled_from(["a", "b", "c"])
# not mul: a str times an int from anywhere is a question of memory
UPDATERS = st.sampled_from(sorted(BUILTINS.keys() - {"mul"}))
PEERS = st.sampled_from([b"one", b"other"])
NUMBERS = st.one_of(st.integers(0, 6), st.integers(-5, 1 << 63))


@st.composite
def sent(draw, kinds):
    """A message of one of the kinds, whose keys, updater and numbers are likelier to mean something."""
    envelope = draw(st.sampled_from(kinds).flatmap(envelopes))
    message = envelope.message
    likely = {}
    if isinstance(getattr(message, "keys", None), list):
        likely["keys"] = draw(st.lists(KEYS, min_size=len(message.keys), max_size=len(message.keys)))
    if hasattr(message, "updater"):
        likely["updater"] = draw(UPDATERS)
    for name in ("worker", "clock", "min_clock", "request", "server", "pid", "count"):
        if hasattr(message, name):
            likely[name] = draw(NUMBERS)
    given = {name: likely.get(name, getattr(message, name)) for name in type(message).__slots__}
    return draw(PEERS), Envelope(draw(NUMBERS), draw(NUMBERS), envelope.view, type(message)(**given))


@pytest.fixture(scope="module", autouse=True)
def _quietly():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=150)
@given(arrivals=st.lists(sent([*TAGS.values()]), max_size=12))
def test_a_server_goes_on_and_its_replies_can_be_sent(arrivals):
    shard = Shard(0, 1, 2, Functions())
    for peer, envelope in arrivals:
        shard.handle(peer, envelope)
        for _, reply in shard.flush():
            encode(reply)
    shard.handle(b"later", Envelope(1, 0, 0, m.Write(["fine"], [1])))
    shard.handle(b"later", Envelope(2, 0, 0, m.Read(["fine"], 0)))
    assert [reply.message for _, reply in shard.flush()][-1].values == [1]


SERVERS = [m.View, m.Replicate, m.Progress, m.Filled, m.Drained, m.Behind, m.GetStatistics, m.Lease, m.Write, m.Probe]
PLACES = st.lists(st.integers(-1, 3), min_size=1, max_size=3, unique=True).map(lambda chain: Place(1, tuple(chain)))


@settings(max_examples=150)
@given(places=st.lists(PLACES, min_size=1, max_size=3), arrivals=st.lists(sent(SERVERS), max_size=12))
def test_a_node_goes_on_whoever_tells_it_what(places, arrivals):
    node = Node(0, 2, Functions())
    node.handle(b"coordinator", Envelope(0, 0, 0, m.View(1, {}, {}, 2, {}, [place.to_wire() for place in places])))
    for peer, envelope in arrivals:
        with contextlib.suppress(ServerLost, WireError):  # of a view that says so, or is none
            node.handle(peer, envelope._replace(view=1, shard=envelope.shard % 4))
        node.tick()
        for _, answer in node.flush():
            encode(answer)


COORDINATOR = [m.Register, m.Join, m.GetView, m.Goodbye, m.View, m.Read, m.Heartbeat, m.Filled, m.Drained, m.Behind]


@settings(max_examples=150)
@given(arrivals=st.lists(sent(COORDINATOR), max_size=12))
def test_a_coordinator_goes_on_and_its_answers_can_be_sent(arrivals):
    membership = Membership(2, 2, 30.0)

    def alive(_host, pid):
        return pid % 2 == 0

    for number, (peer, envelope) in enumerate(arrivals):
        for _, answer in membership.handle(peer, envelope.message, alive):
            encode(Envelope(0, 0, 0, answer))
        for message in membership.tick(float(number), alive):
            encode(Envelope(0, 0, 0, message))
    assert membership.statistics().view >= 0
    assert set(membership.addresses) <= {0, 1}
