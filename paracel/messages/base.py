"""What all messages are, and what their fields are made of."""

from typing import Any

#: In the place of a server's number: the coordinator.
COORDINATOR = -1

Keys = list[str]
Values = list[Any]
Clocks = dict[int, int]


class Message:
    """The base of all of them."""

    __slots__ = ()
