"""The checker of histories of single keys, against histories made in order, and against trying every order."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.exact import same
from support.linearizable import SHOWN, NotLinearizable, Operation, check

History = list[Operation]


def op(client: int, asked: str, invoked: float, returned: float, argument: Any = None, result: Any = None) -> Operation:
    return Operation(client, asked, argument, result, invoked, returned)


def write(client: int, value: Any, invoked: float, returned: float = math.inf) -> Operation:
    return op(client, "write", invoked, returned, value)


def add(client: int, delta: Any, result: Any, invoked: float, returned: float = math.inf) -> Operation:
    return op(client, "add", invoked, returned, delta, result)


def append(client: int, item: Any, result: Any, invoked: float, returned: float = math.inf) -> Operation:
    return op(client, "append", invoked, returned, item, result)


def remove(client: int, result: bool | None, invoked: float, returned: float = math.inf) -> Operation:
    return op(client, "remove", invoked, returned, None, result)


def read(client: int, result: Any, invoked: float, returned: float = math.inf) -> Operation:
    return op(client, "read", invoked, returned, None, result)


def accepts(history: History) -> bool:
    try:
        check(history)
    except NotLinearizable:
        return False
    return True


GOOD = {
    "nothing": [],
    "one after the other": [
        read(0, None, 0, 1), write(0, 1, 2, 3), add(1, 2, 3, 4, 5), read(0, 3, 6, 7), remove(1, True, 8, 9),
        remove(0, False, 10, 11), append(0, "a", ["a"], 12, 13), append(1, "b", None, 14, 15),
        read(0, ["a", "b"], 16, 17),
    ],
    "a missing key takes what is added": [add(0, 5, 5, 0, 1), read(0, 5, 2, 3)],
    "not given in the order of time": [read(0, 1, 4, 5), write(0, 1, 0, 1)],
    "a read during a write sees the old value": [write(0, 1, 0, 1), write(0, 2, 2, 5), read(1, 1, 3, 4)],
    "a read during a write sees the new value": [write(0, 1, 0, 1), write(0, 2, 2, 5), read(1, 2, 3, 4)],
    "writes that overlap, in the other order": [
        write(0, 1, 0, 10), write(1, 2, 1, 9), read(2, 2, 2, 3), read(2, 1, 4, 5),
    ],
    "appends that overlap, in the other order": [
        append(0, 0, None, 0, 9), append(1, 1, [1], 1, 8), read(1, [1, 0], 10, 11),
    ],
    "additions that overlap": [add(0, 1, 3, 0, 9), add(1, 1, 1, 0, 9), add(2, 1, 2, 0, 9)],
    "of two removals that overlap one finds it": [write(0, 1, 0, 1), remove(0, False, 2, 9), remove(1, True, 2, 9)],
    "two clients at the same time overlap": [write(0, 1, 0, 1), read(1, None, 1, 2)],
    "unknown, and not after what its client did next": [
        append(1, 1, None, 1), read(1, [1], 1, 1), append(1, 2, [1, 2], 1, 1),
    ],
    "all at one time, in the order of the client": [write(0, 1, 1, 1), write(0, 2, 1, 1), read(0, 2, 1, 1)],
    "the requests of one client overlap": [append(0, 0, None, 0, 9), append(0, 1, [1], 1, 8), read(0, [1, 0], 9, 10)],
    "unknown, and it happened": [write(0, 1, 0, 1), write(1, 2, 2), read(0, 2, 3, 4)],
    "unknown, and it did not happen": [write(0, 1, 0, 1), write(1, 2, 2), read(0, 1, 3, 4)],
    "unknown, and it happened late": [write(0, 1, 0, 1), write(1, 2, 2), read(0, 1, 3, 4), read(0, 2, 5, 6)],
    "unknown, and one of two happened": [add(0, 1, None, 0), add(1, 2, None, 0), read(2, 2, 3, 4), read(2, 2, 5, 6)],
    "unknown, and the second of two like it is needed": [add(0, 1, None, 0), add(1, 1, None, 0), read(2, 2, 3, 4)],
    "unknown, and the one like it comes too late": [
        append(0, 8, [7, 8], 0, 1), append(0, 7, None, 1), append(1, 7, None, 1),
    ],
    "unknown, which two answers need": [append(0, 7, None, 0), append(1, 8, [7, 8], 1, 2), read(1, [7, 8], 3, 4)],
    "unknown, and only seen by who removes it": [append(0, 7, None, 0), remove(1, True, 1, 2)],
    "an unknown removal happened": [write(0, 1, 0, 1), remove(1, None, 2), read(0, 1, 3, 4), read(0, None, 5, 6)],
    "an unknown read says nothing": [write(0, 1, 0, 1), read(1, 99, 2)],
    "what an unknown operation returned says nothing": [add(0, 1, 99, 0), read(1, 1, 1, 2)],
    "lists that nobody saw": [
        *(append(0, n, None, 0, 9) for n in range(8)), remove(0, True, 10, 11), read(0, None, 12, 13),
    ],
    "a list that is written and then grows": [
        write(0, [1], 0, 1), append(0, 2, [1, 2], 2, 3), write(0, [], 4, 5), read(0, [], 6, 7),
    ],
    "a list in a list": [append(0, [1], [[1]], 0, 1), read(0, [[1]], 2, 3)],
    "arrays": [write(0, np.zeros(2), 0, 1), add(0, np.ones(2), None, 2, 3), read(0, np.ones(2), 4, 5)],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_accepts(name: str) -> None:
    check(GOOD[name])


BAD = {
    "a stale read after an acknowledged write": [write(0, 1, 0, 1), write(0, 2, 2, 3), read(1, 1, 4, 5)],
    "a stale read by the writer itself": [write(0, 1, 0, 1), write(0, 2, 1, 2), read(0, 1, 2, 3)],
    "missing after an acknowledged write": [write(0, 1, 0, 1), read(1, None, 2, 3)],
    "a lost addition": [add(0, 1, None, 0, 2), add(1, 1, None, 1, 3), read(0, 1, 4, 5)],
    "a lost append": [append(0, 0, None, 0, 2), append(1, 1, None, 1, 3), read(0, [1], 4, 5)],
    "both additions found it missing": [add(0, 1, 1, 0, 9), add(1, 1, 1, 0, 9)],
    "an addition applied twice": [add(0, 1, None, 0, 1), read(0, 2, 2, 3)],
    "an append applied twice": [append(0, 0, None, 0, 1), append(1, 1, None, 0, 9), read(1, [0, 1, 0], 10, 11)],
    "an unknown addition applied twice": [add(0, 1, None, 0), read(1, 1, 1, 2), read(1, 2, 3, 4)],
    "a removal applied twice": [write(0, 1, 0, 1), remove(1, True, 2, 3), write(0, 2, 4, 5), read(0, None, 6, 7)],
    "never written": [write(0, 1, 0, 1), write(1, 2, 0, 9), read(0, 3, 2, 3)],
    "never written, of another type": [write(0, 1, 0, 1), read(0, 1.0, 2, 3)],
    "read before it was written": [read(0, 1, 0, 1), write(0, 1, 2, 3)],
    "read before an unknown write was asked for": [read(0, 1, 0, 1), write(1, 1, 2)],
    "new, then old": [write(0, 1, 0, 1), write(0, 2, 2, 9), read(1, 2, 3, 4), read(1, 1, 5, 6)],
    "new, then old, by another client": [write(0, 1, 0, 1), write(0, 2, 2, 9), read(1, 2, 3, 4), read(2, 1, 5, 6)],
    "a shorter list after a longer one": [append(0, 0, None, 0, 9), read(1, [0], 1, 2), read(2, None, 3, 4)],
    "two orders of the same appends": [
        append(0, 0, None, 0, 9), append(1, 1, None, 0, 9), read(2, [0, 1], 1, 10), read(3, [1, 0], 1, 10),
    ],
    "two orders of the same writes": [
        write(0, 1, 0, 9), write(1, 2, 0, 9), read(2, 1, 1, 2), read(2, 2, 3, 4), read(2, 1, 5, 6),
    ],
    "appends against the order of time": [append(0, 0, None, 0, 1), append(1, 1, None, 2, 3), read(0, [1, 0], 4, 5)],
    "unknown, seen and then unseen": [write(0, 1, 0, 1), write(1, 2, 2), read(0, 2, 3, 4), read(0, 1, 5, 6)],
    "an unknown append seen and then unseen": [append(0, 0, None, 0), read(1, [0], 1, 2), append(1, 1, [1], 3, 4)],
    "an unknown removal seen and then unseen": [
        write(0, 1, 0, 1), remove(1, None, 2), read(0, None, 3, 4), read(0, 1, 5, 6),
    ],
    "removed what was not there": [write(0, 1, 0, 1), remove(0, True, 2, 3), remove(1, True, 4, 5)],
    "removed what was never there": [remove(0, True, 0, 1), write(0, 1, 2, 3)],
    "found nothing to remove": [write(0, 1, 0, 1), remove(1, False, 2, 3)],
    "removed, and still there": [write(0, 1, 0, 1), remove(0, True, 2, 3), add(0, 1, 2, 4, 5)],
    "both removals found it": [write(0, 1, 0, 1), remove(0, True, 2, 9), remove(1, True, 2, 9)],
    "sums that skip": [add(0, 1, 1, 0, 1), add(1, 1, 3, 2, 3)],
    "sums that skip, of clients that overlap": [add(0, 1, 1, 0, 9), add(1, 1, 2, 0, 9), add(2, 1, 4, 0, 9)],
    "an addition to a list": [append(0, 1, None, 0, 1), add(0, 1, None, 2, 3)],
    "an append to a number": [write(0, 1, 0, 1), append(0, 1, None, 2, 3)],
    "an addition to a text": [write(0, "a", 0, 1), add(0, 1, None, 2, 3)],
    "another array": [write(0, np.zeros(2), 0, 1), read(0, np.ones(2), 2, 3)],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refuses(name: str) -> None:
    with pytest.raises(NotLinearizable):
        check(BAD[name])


def test_says_how_far_it_came_and_what_did_not_fit() -> None:
    first, second, stale, other = (
        append(0, 1, None, 0, 1),
        append(1, 2, [1, 2], 2, 3),
        read(0, [2], 4, 6),
        read(1, [1], 5, 7),
    )
    with pytest.raises(NotLinearizable) as caught:
        check([stale, first, other, second, read(0, None, 8, 9)])
    assert caught.value.prefix == [first, second]
    assert caught.value.stuck == [stale, other]
    assert str(caught.value) == (
        "2 of 5 operations of known outcome can be put in order, and no more:\n"
        "  append 1 -> None, client 0, 0 to 1\n"
        "  append 2 -> [1, 2], client 1, 2 to 3\n"
        "the value is then [1, 2], and one of these had to be next:\n"
        "  read -> [2], client 0, 4 to 6\n"
        "  read -> [1], client 1, 5 to 7"
    )


def test_says_which_of_unknown_outcome_it_took_to_have_happened() -> None:
    maybe = write(1, 2, 2)
    with pytest.raises(NotLinearizable, match="1 of 2 operations") as caught:
        check([maybe, read(0, 2, 3, 4), read(0, 1, 5, 6)])
    assert caught.value.prefix == [maybe, read(0, 2, 3, 4)]
    assert "write 2 -> unknown, client 1, 2 to inf" in str(caught.value)


def test_shows_the_end_of_a_long_order() -> None:
    history = [add(0, 1, None, n, n + 0.5) for n in range(SHOWN + 7)]
    with pytest.raises(NotLinearizable, match=r"\.\.\. 7 before") as caught:
        check([*history, read(0, 0, 100, 101)])
    assert caught.value.prefix == history
    assert str(caught.value).count("add 1") == SHOWN


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: op(0, "swap", 0, 1), "no kind 'swap'; there are write, remove"),
        (lambda: read(0, 1, 2, 1), "must be in this order"),
        (lambda: read(0, 1, math.nan, 1), "must be in this order"),
        (lambda: read(0, 1, math.inf), "must be in this order"),
        (lambda: write(0, None, 0, 1), "give a value, not None"),
        (lambda: add(0, "a", None, 0, 1), "give a number or an array"),
        (lambda: op(0, "read", 0, 1, argument=1), "give None"),
        (lambda: op(0, "remove", 0, 1, argument=1), "give None"),
        (lambda: remove(0, None, 0, 1), "must be a bool"),
        (lambda: append(0, 1, 1, 0, 1), "must be the new list or None"),
        (lambda: op(0, "write", 0, 1, 1, 1), "must be None"),
    ],
)
def test_what_cannot_be_an_operation(wrong: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wrong()


# --- at random -------------------------------------------------------------------------------------------------------


def run(operation: Operation, value: Any) -> tuple[Any, Any] | None:
    """The plain meaning of an operation: the new value and the answer; None if it cannot be done."""
    match operation.kind:
        case "write":
            return operation.argument, None
        case "remove":
            return None, value is not None
        case "read":
            return value, value
        case "add" if not isinstance(value, list):
            new = operation.argument + (value or 0)
            return new, new
        case "append" if value is None or isinstance(value, list):
            new = [*(value or []), operation.argument]
            return new, new
    return None


def is_before(history: History, a: int, b: int) -> bool:
    left, right = history[a], history[b]
    own = left.client == right.client and left.returned == right.invoked and a < b
    return left.returned < right.invoked or own


def fits(operation: Operation, answer: Any) -> bool:
    asked = operation.kind in ("read", "remove") or operation.result is not None
    return operation.unknown or not asked or same(answer, operation.result)


def brute_force(history: History) -> bool:
    """Whether any order of all that returned, and of any of the others, explains the results."""

    def extends(left: frozenset[int], value: Any) -> bool:
        if all(history[n].unknown for n in left):
            return True
        for n in left:
            if any(is_before(history, other, n) for other in left - {n}):
                continue
            done = run(history[n], value)
            if done is not None and fits(history[n], done[1]) and extends(left - {n}, done[0]):
                return True
        return False

    return extends(frozenset(range(len(history))), None)


def arguments(rng: random.Random, lists: bool) -> Iterator[tuple[str, Any]]:
    """What one may ask of a key that holds numbers, or lists; few values, so that orders are easily confused."""
    while True:
        value = rng.randrange(1, 4)
        grow = ("append", value) if lists else ("add", value)
        wholly = ("write", [value] * rng.randrange(3) if lists else value)
        yield rng.choice([grow, grow, grow, wholly, ("remove", None), ("read", None), ("read", None)])


def executed(rng: random.Random, clients: int, size: int, unknown: float, whole: bool) -> History:
    """What clients are told by a key that does each operation at a moment between its invocation and its return.

    With whole times many things happen at once.
    """
    asked, planned, free = arguments(rng, rng.random() < 0.5), [], [0.0] * clients
    for number in range(size):
        client = rng.randrange(clients)
        invoked, lasts = free[client] + rng.choice((0.0, 1.0, rng.random())), rng.random() * 4
        if whole:
            invoked, lasts = float(int(invoked)), float(int(lasts))
        dies = rng.random() < unknown
        free[client] = invoked + lasts
        moment = invoked + (rng.choice((0.3, 1, 5, math.inf)) * lasts if dies and lasts else rng.random() * lasts)
        if whole and not dies:
            moment = float(int(moment))
        kind, argument = next(asked)
        planned.append((moment, number, kind, argument, client, invoked, math.inf if dies else free[client]))
    history, value = {}, None
    for moment, number, kind, argument, client, invoked, returned in sorted(planned, key=lambda p: p[:2]):
        operation = Operation(client, kind, argument, False if kind == "remove" else None, invoked, returned)
        done = run(operation, value) if moment < math.inf else (value, None)
        assert done is not None
        value, answer = done
        told = not operation.unknown and (kind in ("read", "remove") or rng.random() < 0.5)
        history[number] = replace(operation, result=answer) if told else operation
    return [history[number] for number in range(size)]


def wrong_answer(rng: random.Random, operation: Operation) -> Any:
    if operation.kind == "remove":
        return not operation.result
    if isinstance(operation.result, list):
        return rng.choice([operation.result[:-1], operation.result[1:], operation.result[::-1], [*operation.result, 1]])
    return rng.choice([1, 2, 3, (operation.result or 0) + 1, 99])


def mutated(rng: random.Random, history: History) -> History | None:
    """The history with another result for one operation that had one; None if there is none."""
    told = [
        n for n, o in enumerate(history) if not o.unknown and (o.kind in ("read", "remove") or o.result is not None)
    ]
    if not told:
        return None
    number = rng.choice(told)
    operation = history[number]
    wrong = None if operation.kind == "read" and rng.random() < 0.2 else wrong_answer(rng, operation)
    return [*history[:number], replace(operation, result=wrong), *history[number + 1 :]]


@pytest.mark.parametrize("seed", range(100))
def test_what_was_really_executed(seed: int) -> None:
    rng = random.Random(seed)
    check(executed(rng, rng.randint(1, 8), rng.randint(1, 120), rng.choice((0, 0, 0.05)), rng.random() < 0.3))


@pytest.mark.parametrize("seed", range(40))
def test_an_answer_that_no_order_gives_is_refused(seed: int) -> None:
    rng = random.Random(seed)
    history = executed(rng, rng.randint(1, 8), rng.randint(1, 120), 0, rng.random() < 0.3)
    history.append(replace(rng.choice(history), client=99, kind="read", argument=None, result=-1))
    with pytest.raises(NotLinearizable):
        check(history)


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_trying_every_order(seed: int) -> None:
    rng = random.Random(seed)
    refused = 0
    for _ in range(50):
        history = executed(rng, rng.randint(1, 4), rng.randint(1, 7), rng.choice((0, 0.3)), rng.random() < 0.5)
        assert brute_force(history), history
        check(history)
        if changed := mutated(rng, history):
            expected = brute_force(changed)
            assert accepts(changed) == expected, changed
            refused += not expected
    assert refused >= 10  # so that it is not all about good ones


@pytest.mark.parametrize("seed", range(4))
def test_a_long_history(seed: int) -> None:
    rng = random.Random(seed)
    history = executed(rng, 6, 400, 0.01, False)
    check(history)
    late = max(o.returned for o in history if not o.unknown) + 1
    with pytest.raises(NotLinearizable):
        check([*history, read(9, -1, late, late + 1)])


def test_appends_in_flight_together_that_only_the_last_read_tells_the_order_of() -> None:
    history = [append(n % 8, n, None, n, n + 7.5) for n in range(400)]
    order = [n ^ 1 for n in range(400)]
    check([*history, read(0, order, 500, 501)])
    with pytest.raises(NotLinearizable):
        check([*history, read(0, [*order[:-20], *reversed(order[-20:])], 500, 501)])
