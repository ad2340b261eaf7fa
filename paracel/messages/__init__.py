"""Every message of the protocol, as a frozen value, and the tag it has on the wire. Nothing here sends.

A request is numbered by its sender and handled exactly once, in order; `Probe`, `GetStatistics`, `GetView` and
the coordinator's messages carry the number 0 and may be repeated at will.
"""

from dataclasses import fields
from typing import Any, NamedTuple

from paracel.messages.answers import (
    Done,
    Entered,
    Entries,
    Failure,
    Flags,
    Found,
    Lost,
    Opened,
    Parked,
    Pulled,
    Result,
    Saved,
    Statistics,
    UnknownKeys,
    Updated,
    Waiting,
)
from paracel.messages.asked import (
    Commit,
    Contains,
    Enter,
    Forget,
    GetStatistics,
    Leave,
    Load,
    Probe,
    Read,
    Remove,
    RemoveChosen,
    Restore,
    Run,
    Save,
    Scan,
    Top,
    Update,
    Write,
)
from paracel.messages.base import COORDINATOR, Clocks, Keys, Message, Values
from paracel.messages.coordinator import Control, Controlled, GetView, Goodbye, Heartbeat, Join, Lease, Register, View
from paracel.messages.peers import Behind, Drained, Filled, Progress, Replicate
from paracel.messages.tables import DropTable, KeyList, ListTables, OpenTable, Pull, Push, RunTable

__all__ = [
    "COORDINATOR",
    "READS",
    "TAGS",
    "TAG_OF",
    "Behind",
    "Clocks",
    "Commit",
    "Contains",
    "Control",
    "Controlled",
    "Done",
    "Drained",
    "DropTable",
    "Enter",
    "Entered",
    "Entries",
    "Envelope",
    "Failure",
    "Filled",
    "Flags",
    "Forget",
    "Found",
    "GetStatistics",
    "GetView",
    "Goodbye",
    "Heartbeat",
    "Join",
    "KeyList",
    "Keys",
    "Lease",
    "Leave",
    "ListTables",
    "Load",
    "Lost",
    "Message",
    "OpenTable",
    "Opened",
    "Parked",
    "Probe",
    "Progress",
    "Pull",
    "Pulled",
    "Push",
    "Read",
    "Register",
    "Remove",
    "RemoveChosen",
    "Replicate",
    "Restore",
    "Result",
    "Run",
    "RunTable",
    "Save",
    "Saved",
    "Scan",
    "Statistics",
    "Top",
    "UnknownKeys",
    "Update",
    "Updated",
    "Values",
    "View",
    "Waiting",
    "Write",
    "packed",
    "unpacked",
]

TAGS: dict[int, type[Message]] = {
    1: Read,
    2: Scan,
    3: Top,
    4: Write,
    5: Update,
    6: Contains,
    7: Remove,
    8: RemoveChosen,
    9: Load,
    10: Run,
    11: Commit,
    12: Leave,
    13: Probe,
    14: GetStatistics,
    15: Forget,
    16: Enter,
    17: OpenTable,
    18: DropTable,
    19: ListTables,
    20: Push,
    21: Pull,
    22: RunTable,
    23: KeyList,
    24: Save,
    25: Restore,
    32: Done,
    33: Found,
    34: Entries,
    35: Updated,
    36: Flags,
    37: Result,
    38: Waiting,
    39: Lost,
    40: Failure,
    41: Statistics,
    42: Entered,
    43: Pulled,
    44: UnknownKeys,
    45: Opened,
    46: Saved,
    47: Parked,
    48: Replicate,
    49: Progress,
    50: Filled,
    51: Drained,
    52: Behind,
    64: Register,
    65: Join,
    66: GetView,
    67: View,
    68: Goodbye,
    69: Heartbeat,
    70: Lease,
    71: Control,
    72: Controlled,
}

TAG_OF = {kind: tag for tag, kind in TAGS.items()}

#: Requests that change nothing: their replies are not kept, a repetition reads again.
READS = frozenset({Read, Scan, Top, Contains, Pull, ListTables})


class Envelope(NamedTuple):
    """A message with its numbers: the request's own, the highest that the sender has all replies up to, the view.

    And the shard that it is for, or of: -1 for none.
    """

    request: int
    confirmed: int
    view: int
    message: Message
    shard: int = -1


def packed(message: Message) -> list[Any]:
    """A message as plain values, to be carried within another one."""
    return [TAG_OF[type(message)], *(getattr(message, each.name) for each in fields(message))]  # type: ignore[arg-type]


def unpacked(values: list[Any]) -> Message:
    """The reverse."""
    tag, *given = values
    return TAGS[tag](*given)
