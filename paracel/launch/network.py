"""Which of this host's addresses another host can reach, and how one stands in an endpoint. Sends nothing."""

import socket
from contextlib import closing

from paracel.errors import LaunchError

_ANY_PORT = 9


def address_towards(host: str) -> str:
    """The address from which packets to `host` leave. LaunchError when there is no way to it."""
    try:
        family, kind, protocol, _, there = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.connect(there)  # of a datagram socket: nothing is sent, only the route is chosen
            return str(probe.getsockname()[0])
    except OSError as error:
        raise LaunchError(f"this host ({socket.gethostname()}) has no route to {host}: {error}") from error


def in_url(address: str) -> str:
    """An IP address as it stands before a port."""
    return f"[{address}]" if ":" in address else address
