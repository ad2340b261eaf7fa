"""Peers that send what is no message. They are told so, and named in the log; nothing else comes of it."""

import logging

from paracel import wire
from paracel.messages import Envelope, Failure
from paracel.transport import Frames

logger = logging.getLogger(__name__)

#: Further ones are answered, and no longer named: anyone can be a new one as often as they like.
NAMED = 1000


class Strangers:
    """Those that one listener, called `name` in the log, has met."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._named: set[bytes] = set()

    def refuse(self, sender: bytes, text: str) -> Frames:
        """The answer to what `text` says is wrong with. The first time that a sender gets one is logged."""
        if sender not in self._named and len(self._named) < NAMED:
            self._named.add(sender)
            last = "; others will not be named" if len(self._named) == NAMED else ""
            logger.warning("%s: %s sent what is %s%s", self._name, sender.hex(), text, last)
        return wire.encode(Envelope(0, 0, 0, Failure("WireError", text)))
