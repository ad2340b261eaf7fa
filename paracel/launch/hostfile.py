"""Hostfiles: reading them, and spreading processes over their hosts. It asks no network and starts nothing.

A line is `host`, `host:n` or `host slots=n`; `#` starts a comment; blank lines are skipped. An IPv6 address is
written bare (`fe80::1`, then always without `:n`) or in brackets (`[fe80::1]:4`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paracel.errors import ConfigError

_FORMS = "a line is `host`, `host:n` or `host slots=n` with n at least 1"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?")
_BRACKETED = re.compile(r"\[([^\]]*)\](?::(.*))?")


@dataclass(frozen=True, slots=True)
class Host:
    """A host, and how many processes it takes (None: the file sets no bound)."""

    name: str
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """How many of a job's processes run on a host."""

    host: str
    count: int


def read_hostfile(path: str) -> tuple[Host, ...]:
    """The hosts of the file at `path`, as `parse_hosts` gives them. ConfigError if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"hostfile {path!r} cannot be read: {error}") from error
    return parse_hosts(text, path)


def parse_hosts(text: str, path: str) -> tuple[Host, ...]:
    """The hosts named in `text`, in order, each once: the slots of a host that is named again are added.

    `path` is for the errors: a ConfigError names the file and the line.
    """
    hosts: dict[str, Host] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words:
            host = _parse_line(words, f"{path}:{number}: {line.strip()!r}")
            hosts[host.name] = _merge(hosts[host.name], host) if host.name in hosts else host
    if not hosts:
        raise ConfigError(f"hostfile {path!r} names no host; {_FORMS}")
    return tuple(hosts.values())


def _merge(first: Host, second: Host) -> Host:
    # both MPIs count a bare line that repeats a host as one more slot
    return Host(first.name, (first.slots or 1) + (second.slots or 1))


def _parse_line(words: list[str], where: str) -> Host:
    name, count = _split_count(words[0], where)
    if len(words) > 2 or (len(words) == 2 and not words[1].startswith("slots=")):
        raise ConfigError(f"{where}: {' '.join(words[1:])!r} is not understood; {_FORMS}")
    if len(words) == 2:
        if count is not None:
            raise ConfigError(f"{where}: the number of slots is given twice; {_FORMS}")
        count = words[1].removeprefix("slots=")
    return Host(name, None if count is None else _slots(count, where))


def _split_count(word: str, where: str) -> tuple[str, str | None]:
    if bracketed := _BRACKETED.fullmatch(word):
        name, count = bracketed[1], bracketed[2]
    elif word.count(":") > 1:
        name, count = word, None
    else:
        name, colon, rest = word.partition(":")
        count = rest if colon else None
    # a name that begins with '-' would be an option of ssh
    pattern = _ADDRESS if ":" in name else _NAME
    if not pattern.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} is not a host's name or address; {_FORMS}")
    return name, count


def _slots(count: str, where: str) -> int:
    if not (count.isascii() and count.isdigit() and int(count) >= 1):
        raise ConfigError(f"{where}: {count!r} is not a number of slots; {_FORMS}")
    return int(count)


def spread(count: int, hosts: Sequence[Host], per_host: int | None, what: str) -> tuple[Placement, ...]:
    """Deal `count` processes over `hosts` one by one, within each host's slots and `per_host`.

    Hosts that get none are left out. `what` names the processes in the ConfigError that is raised when they do
    not fit.
    """
    room = {host.name: min(limit for limit in (host.slots, per_host, count) if limit is not None) for host in hosts}
    if sum(room.values()) < count:
        have = ", ".join(f"{name} {slots}" for name, slots in room.items())
        raise ConfigError(
            f"{count} {what} do not fit: there is room for {sum(room.values())} ({have}); "
            "ask for fewer, or raise the hostfile's slots or the processes allowed per host"
        )
    given = dict.fromkeys(room, 0)
    left = count
    while left:
        for name, slots in room.items():
            if left and given[name] < slots:
                given[name] += 1
                left -= 1
    return tuple(Placement(name, number) for name, number in given.items() if number)
