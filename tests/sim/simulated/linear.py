"""What workers asked of a few shared keys, and were told, for the checker of linear histories."""

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

from support.linearizable import Operation, check

from paracel.pending import Pending

from .network import Network

NUMBER, LIST = "linear-number", "linear-list"
#: No key has more changes of unknown outcome: each multiplies the orders that there are.
MOST_UNKNOWN = 4


class Linear:
    """The operations by key."""

    def __init__(self, network: Network) -> None:
        self.operations: dict[str, list[Operation]] = defaultdict(list)
        self._network = network

    def note(self, party: int, kind: str, key: str, argument: Any, pending: Pending, *, told: bool = True) -> None:
        """Note what was asked for, and its outcome when it is there; without `told` nothing but that it is done."""
        operations = self.operations[key]
        at, asked = len(operations), Operation(party, kind, argument, None, self._network.now, math.inf)
        operations.append(asked)

        def note(outcome: Pending) -> None:
            if outcome.error is None:
                result = _RESULT[kind](outcome.result()) if told else None
                operations[at] = replace(asked, result=result, returned=self._network.now)

        pending.then(note)

    def check(self) -> None:
        """Each key is as if it did one operation at a time."""
        for operations in self.operations.values():
            unknown = sum(each.unknown and each.kind != "read" for each in operations)
            if unknown <= MOST_UNKNOWN:
                check(operations)


_RESULT: dict[str, Any] = {
    "write": lambda _count: None,
    "remove": lambda flags: flags[0],
    "add": lambda values: values[0],
    "append": lambda values: values[0],
    "read": lambda found: found[0][0],
}
