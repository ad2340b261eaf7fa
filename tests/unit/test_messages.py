import dataclasses
import re

import pytest

from paracel import messages
from paracel.messages import TAGS, Message

CLASSES = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Message)]


def test_every_message_has_a_tag_and_every_tag_a_message():
    assert {kind for kind in CLASSES if kind is not Message} == set(TAGS.values())
    assert len(set(TAGS.values())) == len(TAGS)


@pytest.mark.parametrize("kind", TAGS.values(), ids=lambda kind: kind.__name__)
def test_messages_are_frozen_slotted_and_say_what_is_answered(kind):
    assert dataclasses.is_dataclass(kind)
    assert not hasattr(kind(*[None] * len(dataclasses.fields(kind))), "__dict__")
    assert kind.__dataclass_params__.frozen
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}("), "its own, not the one that dataclass makes"


def test_requests_and_replies_have_tags_apart():
    """Below 32 a worker asks; from 32 a server answers; from 48 servers talk; from 64 the coordinator is in it."""
    assert [tag for tag, kind in TAGS.items() if "Answer" in kind.__doc__ and 32 <= tag < 48] == []
    assert {kind.__name__ for tag, kind in TAGS.items() if 48 <= tag < 64} == {
        "Replicate",
        "Progress",
        "Filled",
        "Drained",
        "Behind",
    }
    assert {kind.__name__ for tag, kind in TAGS.items() if tag >= 64} == {
        "Register",
        "Join",
        "GetView",
        "View",
        "Goodbye",
        "Heartbeat",
        "Lease",
        "Control",
        "Controlled",
    }


@pytest.mark.parametrize("kind", TAGS.values(), ids=lambda kind: kind.__name__)
def test_answers_that_are_named_exist(kind):
    answers = kind.__doc__.partition("Answer: ")[2].partition(".")[0]
    assert [name for name in re.findall(r"\b[A-Z]\w+", answers) if not hasattr(messages, name)] == []
