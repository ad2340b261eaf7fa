"""What `paracel-ctl` asks of a running job, and how it tells what has come of it. It prints nothing itself.

It speaks to the job's coordinator, whose address and key are in a file that only the job's user can read.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from paracel import wire
from paracel.chains import Place
from paracel.channel import error_of
from paracel.errors import CoordinatorLost, LaunchError, RequestError, WaitTimeout
from paracel.launch.jobfile import JobFile, is_running
from paracel.messages import Control, Controlled, Envelope, Failure
from paracel.transport import Link

ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.1

Status = Mapping[str, Any]
Say = Callable[[str], None]


class Controller:
    """A connection to the coordinator of a job."""

    def __init__(self, job: JobFile) -> None:
        self._job = job
        self._link = Link(job.coordinator, job.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._link.close()

    def status(self) -> Status:
        """The job's statistics, as plain values."""
        return dict(self._ask("status"))

    def add_servers(self, count: int, host: str | None, timeout: float, say: Say) -> None:
        """Have servers started, and wait until they have their share. ConfigError, LaunchError, WaitTimeout."""
        numbers = self._ask("add", count, host)
        say(f"{_named(numbers)} {'is' if count == 1 else 'are'} started")

        def are_there(status: Status) -> bool:
            for number, reason in status["lost"]:
                if number in numbers:
                    raise LaunchError(f"server {number} did not start, or did not stay: {reason}; prun says more")
            return status["settled"] and {known["server"] for known in status["servers"]} >= set(numbers)

        self._wait(are_there, f"{_named(numbers)} to have all that is for it", timeout, say)
        say(f"{_named(numbers)} {'has its' if count == 1 else 'have their'} share of the shards")

    def remove_servers(self, servers: Sequence[int], timeout: float, say: Say) -> None:
        """Have servers moved empty and ended, and wait until they are gone. ConfigError, WaitTimeout."""
        self._ask("remove", *servers)

        def are_gone(status: Status) -> bool:
            return status["settled"] and not {known["server"] for known in status["servers"]} & set(servers)

        self._wait(are_gone, f"{_named(servers)} to hand over all that it has", timeout, say)
        say(f"{_named(servers)} {'has' if len(servers) == 1 else 'have'} gone")

    def _wait(self, condition: Callable[[Status], bool], what: str, timeout: float, say: Say) -> None:
        """Wait for it, and tell of each change on the way."""
        deadline = time.monotonic() + timeout
        told: list[str] = []
        while True:
            status = self.status()
            if condition(status):
                return
            moving = list(_moves(status))
            for line in [line for line in moving if line not in told]:
                say(line)
            told = moving
            if time.monotonic() > deadline:
                raise WaitTimeout(f"waited {timeout:g} s for {what}; it goes on: see `paracel-ctl status`")
            time.sleep(_POLL_SECONDS)

    def _ask(self, command: str, *arguments: Any) -> Any:
        self._link.send(wire.encode(Envelope(0, 0, 0, Control(command, list(arguments)))))
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._link.wait(_POLL_SECONDS):
            name = f"job {self._job.pid} ({self._job.script})"
            if not is_running(self._job.pid):
                raise CoordinatorLost(f"{name} has ended")
            if time.monotonic() > deadline:
                raise CoordinatorLost(f"no answer from {name} at {self._job.coordinator} in {ANSWER_SECONDS:g} s")
        answer = wire.decode(self._link.receive() or [b""]).message
        if isinstance(answer, Failure):
            raise error_of(answer)
        if not isinstance(answer, Controlled):
            raise RequestError(f"{self._job.coordinator} answered {type(answer).__name__}; is it a coordinator?")
        return answer.value


def describe_status(job: JobFile, status: Status, now: float) -> Iterator[str]:
    """The lines of `paracel-ctl status`."""
    places = _places(status)
    yield f"job {job.pid}: {job.script}, for {now - job.started:.0f} s"
    copies = f", {status['replicas']} copies of each" if status["replicas"] > 1 else ""
    settled = "all in place" if status["settled"] else "some are on their way"
    yield f"{len(status['servers'])} servers, {len(places)} shards{copies}: {settled}"
    for known in status["servers"]:
        yield _server_line(known, places, status["removed"])
    for server, reason in status["lost"]:
        yield f"server {server} is gone: {reason}"
    yield from (f"shard {shard} is lost" for shard in status["broken"])
    yield from _moves(status)
    yield from _worker_lines(status)


def _server_line(known: Mapping[str, Any], places: Sequence[Place], removed: Sequence[int]) -> str:
    number = known["server"]
    first = sum(place.primary == number for place in places)
    behind = sum(number in place.chain[1:] for place in places)
    parts = [f"server {number} on {known['host']} (process {known['pid']})", f"answers for {first} shards"]
    if behind:
        parts.append(f"copies {behind}")
    parts += [f"{known['keys']:,} keys", f"{known['requests']:,} requests", f"clock {known['clock']}"]
    return ", ".join(parts) + (", is going" if number in removed else "")


def _moves(status: Status) -> Iterator[str]:
    """Who fills whom, and what else is on its way."""
    filled = {(known["server"], shard): size for known in status["servers"] for shard, size in known["filled"]}
    for shard, place in enumerate(_places(status)):
        if place.joining >= 0:
            size = filled.get((place.chain[-1], shard), 0)
            yield f"shard {shard}: server {place.chain[-1]} fills server {place.joining}, {size / 1e6:.1f} MB so far"
        elif place.target:
            yield f"shard {shard}: goes to {_named(place.target)}"


def _worker_lines(status: Status) -> Iterator[str]:
    clocks: dict[int, int] = {}
    for known in status["servers"]:
        for worker, clock in known["clocks"]:
            clocks[worker] = min(clock, clocks.get(worker, clock))
    for worker in status["workers"]:
        ended = ", died" if worker["died"] else ", has finished" if worker["left"] else ""
        number, host, pid = worker["worker"], worker["host"], worker["pid"]
        yield f"worker {number} on {host} (process {pid}), clock {clocks.get(number, 0)}{ended}"


def _places(status: Status) -> list[Place]:
    return [
        Place(place["epoch"], tuple(place["chain"]), place["joining"], tuple(place["target"]), place["since"])
        for place in status["shards"]
    ]


def _named(servers: Sequence[int]) -> str:
    return f"server{'' if len(servers) == 1 else 's'} {', '.join(map(str, servers))}"
