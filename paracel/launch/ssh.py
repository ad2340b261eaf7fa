"""Running one command on another host with ssh. It only makes the command line.

The command's standard input is ssh's, so that a secret can go over it, and the command sees its end when ssh or
the launcher dies. ssh alone would leave the command running.
"""

import shlex
from collections.abc import Mapping, Sequence

CONNECT_SECONDS = 10

_OPTIONS = (
    "BatchMode=yes",  # never ask for a password: nobody may be there to type it
    f"ConnectTimeout={CONNECT_SECONDS}",
    "ServerAliveInterval=10",  # a host that vanished is noticed within half a minute
    "ServerAliveCountMax=3",
)


def command(host: str, directory: str, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The command that runs `arguments` on `host` in `directory`, with `environment` added. It holds no secret."""
    options = [part for option in _OPTIONS for part in ("-o", option)]
    settings = [f"{name}={value}" for name, value in environment.items()]
    program = [*(["env", *settings] if settings else []), *arguments]
    return ("ssh", "-T", "-x", *options, host, f"cd {shlex.quote(directory)} && exec {shlex.join(program)}")
