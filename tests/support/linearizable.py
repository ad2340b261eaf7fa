"""Whether what clients were told about one key could have come from a key that does one operation at a time.

The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993) with the memory of Lowe
("Testing for linearizability", 2017): what has been put in order, as a bitmask, and the state this leads to. It knows
nothing of servers, keys' names or sessions, and takes no time from a clock.

- Operation a is before b if a returned before b was invoked. Of two clients, what happens at the same time overlaps;
  of one client, what is invoked when another returns is after it (and what takes no time is in the order given).
  One client's operations may overlap.
- An operation whose outcome is not known (`returned` is infinite) may be put anywhere after its invocation, or nowhere.
  Its result says nothing.
- Values are compared exactly: 1, 1.0 and True are three values.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from numbers import Number
from typing import Any

import numpy as np

from .exact import fingerprint

#: How many operations of a long order are shown.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Operation:
    """What one client asked of the key, and what it was told.

    - write: the argument is the new value; the result is None.
    - remove: the result is whether it was there.
    - add: number or array plus the argument, which a missing key takes; the result is the new value, or None if not
      asked for.
    - append: the argument at the end of the list, which is empty for a missing key; the result is like that of add.
    - read: the result is the value, None if missing.

    A ValueError says what cannot be an operation at all.
    """

    client: int
    kind: str
    argument: Any
    result: Any
    invoked: float
    returned: float

    def __post_init__(self) -> None:
        if self.kind not in _EFFECTS:
            raise ValueError(f"no kind {self.kind!r}; there are {', '.join(_EFFECTS)}")
        if not self.invoked <= self.returned or math.isinf(self.invoked):
            raise ValueError(f"invoked at {self.invoked}, returned at {self.returned}; it must be in this order")
        if not _ARGUMENT_FITS[self.kind](self.argument):
            raise ValueError(f"{self.kind} of {self.argument!r}: give {_ARGUMENTS[self.kind]}")
        if not self.unknown and not _RESULT_FITS[self.kind](self.result):
            raise ValueError(f"{self.kind} returned {self.result!r}; it must be {_RESULTS[self.kind]}")

    @property
    def unknown(self) -> bool:
        """Whether nobody knows if it happened."""
        return self.returned == math.inf

    def __str__(self) -> str:
        asked = self.kind if self.argument is None else f"{self.kind} {self.argument!r}"
        told = "unknown" if self.unknown else repr(self.result)
        return f"{asked} -> {told}, client {self.client}, {self.invoked:g} to {self.returned:g}"


class NotLinearizable(AssertionError):
    """No order explains the results. `prefix` is the longest that could be made, `stuck` what had to come next."""

    def __init__(self, prefix: list[Operation], stuck: list[Operation], total: int) -> None:
        self.prefix, self.stuck = prefix, stuck
        placed = sum(not operation.unknown for operation in prefix)
        lines = [f"{placed} of {total} operations of known outcome can be put in order, and no more:"]
        lines += [f"  ... {len(prefix) - SHOWN} before"] if len(prefix) > SHOWN else []
        lines += [f"  {operation}" for operation in prefix[-SHOWN:]]
        lines += [f"the value is then {_replay(prefix)!r}, and one of these had to be next:"]
        lines += [f"  {operation}" for operation in stuck]
        super().__init__("\n".join(lines))


def check(operations: Iterable[Operation]) -> None:
    """Raise NotLinearizable unless the operations, all there were on a key that was missing at first, have an order.

    Takes milliseconds for hundreds of operations of eight clients. Each operation of unknown outcome that changes
    something multiplies the orders there are: with five of them it is a tenth of a second, with twenty seconds.
    """
    search = _Search(operations)
    best = search.run()
    if best is not None:
        total = len(search.known)
        raise NotLinearizable(best.order(), [step.operation for step in search.candidates(best)[0]], total)


# --- the key: its states, and what operations do to them -------------------------------------------------------------

#: A hashable stand-in for a value: "list" and a node of the tree of lists, or "value" and a number; None if missing.
State = tuple[str, int] | None
_EMPTY, _UNSEEN = ("list", 0), ("list", -1)


class _Impossible(Exception):
    """The operation cannot have had this result in this state."""


class _Model:
    """Values as states, of which equal ones behave in the same way for ever.

    A list that is not the beginning of one that a client saw can never be seen, whatever is appended. So all those
    are one state, without which appends that nobody saw would have to be tried in each order.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._values: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._longer: dict[tuple[int, Any], int] = {}
        for operation in operations:
            if isinstance(operation.result, list) and not operation.unknown:
                self._learn(operation.result)

    def _learn(self, seen: list[Any]) -> None:
        node = 0
        for item in seen:
            node = self._longer.setdefault((node, fingerprint(item)), len(self._longer) + 1)

    def state(self, value: Any) -> State:
        """What stands for a value."""
        if value is None:
            return None
        if isinstance(value, list):
            state = _EMPTY
            for item in value:
                state = self.longer(state, fingerprint(item))
            return state
        number = self._numbers.setdefault(fingerprint(value), len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return "value", number

    def longer(self, state: State, item: Any) -> tuple[str, int]:
        """A list with one more item, given by its fingerprint."""
        kind, node = _EMPTY if state is None else state
        if kind != "list":
            raise _Impossible
        return "list", self._longer.get((node, item), _UNSEEN[1])

    def sum(self, state: State, delta: Any) -> State:
        """A number or array plus another."""
        if state is None:
            return self.state(delta)
        kind, number = state
        if kind == "list":
            raise _Impossible
        try:
            return self.state(self._values[number] + delta)
        except (TypeError, ValueError):  # a text, or an array of another shape: a server refuses it too
            raise _Impossible from None


#: From a state to the next one, and the answer.
Effect = Callable[[State], tuple[State, Any]]


def _write(model: _Model, argument: Any) -> Effect:
    written = model.state(argument)
    return lambda _: (written, None)


def _remove(_model: _Model, _argument: Any) -> Effect:
    return lambda state: (None, state is not None)


def _add(model: _Model, argument: Any) -> Effect:
    return lambda state: (model.sum(state, argument),) * 2


def _append(model: _Model, argument: Any) -> Effect:
    item = fingerprint(argument)
    return lambda state: (model.longer(state, item),) * 2


def _read(_model: _Model, _argument: Any) -> Effect:
    return lambda state: (state, state)


_EFFECTS = {"write": _write, "remove": _remove, "add": _add, "append": _append, "read": _read}

_ARGUMENTS = {
    "write": "a value, not None",
    "remove": "None",
    "add": "a number or an array",
    "append": "an item",
    "read": "None",
}
_ARGUMENT_FITS: dict[str, Callable[[Any], bool]] = {
    "write": lambda argument: argument is not None,
    "remove": lambda argument: argument is None,
    "add": lambda argument: isinstance(argument, Number | np.ndarray),
    "append": lambda _: True,
    "read": lambda argument: argument is None,
}
_RESULTS = {
    "write": "None",
    "remove": "a bool",
    "add": "the new value or None",
    "append": "the new list or None",
    "read": "the value or None",
}
_RESULT_FITS: dict[str, Callable[[Any], bool]] = {
    "write": lambda result: result is None,
    "remove": lambda result: isinstance(result, bool),
    "add": lambda _: True,
    "append": lambda result: result is None or isinstance(result, list),
    "read": lambda _: True,
}

#: The same once more with the values themselves, for those who read what went wrong.
_PLAIN: dict[str, Callable[[Any, Any], Any]] = {
    "write": lambda _, argument: argument,
    "remove": lambda _value, _argument: None,
    "add": lambda value, argument: argument if value is None else value + argument,
    "append": lambda value, argument: [*(value or []), argument],
    "read": lambda value, _: value,
}


def _replay(order: list[Operation]) -> Any:
    value = None
    for operation in order:
        value = _PLAIN[operation.kind](value, operation.argument)
    return value


# --- the search ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """An operation made ready: its bit, the bits of those that must come first though times do not tell, its rule."""

    operation: Operation
    bit: int
    after: int
    effect: Effect
    told: bool
    answer: Any

    @property
    def changes_nothing(self) -> bool:
        """Whether it leaves the state as it is wherever it fits."""
        return self.operation.kind == "read" or self.answer is False

    def apply(self, state: State) -> State:
        """The state after it."""
        following, answer = self.effect(state)
        if self.told and answer != self.answer:
            raise _Impossible
        return following


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """An order of some operations: which of known and of unknown outcome, the state they lead to, and the last one."""

    known: int = 0
    unknown: int = 0
    state: State = None
    step: _Step | None = None
    parent: "_Node | None" = None

    def order(self) -> list[Operation]:
        """The operations, first to last."""
        found: list[Operation] = []
        node = self
        while node.step and node.parent:
            found.append(node.step.operation)
            node = node.parent
        return found[::-1]


class _Search:
    """Goes through orders, those with the fewest operations of unknown outcome first.

    Of two orders that lead to the same state with the same known operations, one can do without what the other
    needed, or they are the same: so whatever used a superset of what was used before is dropped.
    """

    def __init__(self, operations: Iterable[Operation]) -> None:
        useful = [operation for operation in operations if not (operation.unknown and operation.kind == "read")]
        ordered = sorted(useful, key=lambda operation: operation.invoked)
        self._model = _Model(ordered)
        known = sum(not operation.unknown for operation in ordered)
        numbers = {False: count(), True: count(known)}
        steps = _after_own([self._step(next(numbers[operation.unknown]), operation) for operation in ordered])
        self.known = [step for step in steps if not step.operation.unknown]
        self._unknown = _after_twins([step for step in steps if step.operation.unknown])
        self._tried: dict[tuple[int, State], list[int]] = {}

    def _step(self, number: int, operation: Operation) -> _Step:
        told = not operation.unknown and (operation.kind in ("read", "remove") or operation.result is not None)
        answer = operation.result if operation.kind == "remove" else self._model.state(operation.result)
        effect = _EFFECTS[operation.kind](self._model, operation.argument)
        return _Step(operation, 1 << number, 0, effect, told, answer if told else None)

    def run(self) -> _Node | None:
        """None if there is an order of all, or else the longest."""
        everything = (1 << len(self.known)) - 1
        best, now, later = _Node(), [_Node()], []
        while now or later:
            if not now:
                now, later = later, []
            node = now.pop()
            if self._is_tried(node):
                continue
            if node.known == everything:
                return None
            best = max(best, node, key=lambda n: n.known.bit_count())
            candidates, earliest = self.candidates(node)
            now.extend(self._next(node, candidates))
            later.extend(self._next_unknown(node, earliest))
        return best

    def _is_tried(self, node: _Node) -> bool:
        used = self._tried.setdefault((node.known, node.state), [])
        if any(less & node.unknown == less for less in used):
            return True
        used.append(node.unknown)
        return False

    def candidates(self, node: _Node) -> tuple[list[_Step], float]:
        """The known operations that may come next, as far as times tell, and when the first of the rest returned."""
        first = (~node.known & (node.known + 1)).bit_length() - 1
        found, earliest = [], math.inf
        for number in range(first, len(self.known)):
            step = self.known[number]
            if step.operation.invoked > earliest:
                break
            if not node.known & step.bit:
                earliest = min(earliest, step.operation.returned)
                found.append(step)
        return [step for step in found if step.after & node.known == step.after], earliest

    def _next(self, node: _Node, candidates: list[_Step]) -> list[_Node]:
        """The orders with one of the candidates more, the most promising last."""
        found = []
        for step in candidates:
            try:
                state = step.apply(node.state)
            except _Impossible:
                continue
            longer = _Node(node.known | step.bit, node.unknown, state, step, node)
            if step.changes_nothing:  # nothing is lost by having it at once
                return [longer]
            found.append(longer)
        return sorted(found, key=_promise)

    def _next_unknown(self, node: _Node, earliest: float) -> Iterator[_Node]:
        placed = node.known | node.unknown
        for step in self._unknown:
            if step.operation.invoked > earliest:
                return
            if placed & step.bit or step.after & placed != step.after:
                continue
            try:
                state = step.apply(node.state)
            except _Impossible:
                continue
            if not _is_useless(node.state, state):
                yield _Node(node.known, node.unknown | step.bit, state, step, node)


def _promise(node: _Node) -> tuple[bool, float]:
    assert node.step
    return node.state != _UNSEEN, -node.step.operation.returned


def _is_useless(before: State, after: State) -> bool:
    """Whether all that is possible after is possible before, so that an unknown operation need not have happened."""
    return before == after or (after == _UNSEEN and before is not None and before[0] == "list")


def _after_own(steps: list[_Step]) -> list[_Step]:
    """Each after the earlier ones of its client that returned at the moment when it was invoked."""
    returned: dict[tuple[int, float], int] = {}
    found = []
    for step in steps:
        operation = step.operation
        found.append(replace(step, after=returned.get((operation.client, operation.invoked), 0)))
        end = operation.client, operation.returned
        returned[end] = returned.get(end, 0) | step.bit
    return found


def _after_twins(steps: list[_Step]) -> list[_Step]:
    """Of those that do the same, each after the one that may happen whenever it may: which one did cannot matter."""
    last: dict[Any, _Step] = {}
    found = []
    for step in steps:
        twin = last.get(same := (step.operation.kind, fingerprint(step.operation.argument)))
        last[same] = step
        found.append(replace(step, after=step.after | twin.bit) if twin and _is_ahead(twin, step) else step)
    return found


def _is_ahead(twin: _Step, step: _Step) -> bool:
    return twin.operation.client == step.operation.client or twin.operation.invoked < step.operation.invoked
