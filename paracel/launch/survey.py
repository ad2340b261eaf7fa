"""What is true of this machine and of the hosts in the hostfiles: the facts that a plan is made from.

It reads files and asks the resolver. It decides nothing and starts nothing but `mpiexec --version`.
"""

import contextlib
import json
import os
import site
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from paracel import errors
from paracel.errors import ConfigError
from paracel.launch import mpi
from paracel.launch.hostfile import Host, read_hostfile
from paracel.launch.network import address_towards
from paracel.launch.plan import Options, Site

_LOOPBACK = "127.0.0.1"


def survey(options: Options) -> Site:
    """The facts for `options`. ConfigError for a file that is missing or wrong, or an unknown host."""
    _check_script(options.script)
    hosts = read_hostfile(options.hostfile) if options.hostfile else ()
    hosts_servers = read_hostfile(options.hostfile_servers) if options.hostfile_servers else hosts
    addresses = {host.name: _resolve(host.name) for host in {*hosts, *hosts_servers, Host("localhost")}}
    here = frozenset(name for name, address in addresses.items() if _is_here(address))
    others = {name: address for name, address in addresses.items() if name not in here}
    return Site(
        python=sys.executable,
        directory=str(Path.cwd()),
        config_file=_check_config(options.config_file),
        log_dir=_check_log_dir(options.log_dir),
        python_path=python_path(),
        mpiexec=mpi.find_mpiexec(on_path=options.workers != 1 or options.method != "local"),
        root=os.geteuid() == 0,
        hosts=hosts,
        hosts_servers=hosts_servers,
        here=here,
        addresses=others,
        address=_own_address(others.values()),
        variables=tuple(os.environ),
    )


def python_path() -> str:
    """The PYTHONPATH under which another Python finds this paracel; empty if it is installed and needs none."""
    root = str(Path(errors.__file__).resolve().parent.parent)
    installed = {str(Path(path).resolve()) for path in (*site.getsitepackages(), site.getusersitepackages())}
    if root in installed:
        return ""
    before = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != root]
    return os.pathsep.join([root, *before])


def _check_script(script: str) -> None:
    if not Path(script).is_file():
        raise ConfigError(f"script {script!r} is not a file (in {str(Path.cwd())!r}); prun runs a Python script")


def _check_config(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--cfg_file {path!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"--cfg_file {path!r} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"--cfg_file {path!r} holds {type(found).__name__}; it must hold one JSON object")
    return str(Path(path).absolute())


def _check_log_dir(path: str | None) -> str | None:
    """It is made when it is needed, so that one that cannot be is refused here and nothing has started yet."""
    if path is None:
        return None
    log_dir = Path(path).absolute()
    there = next(folder for folder in (log_dir, *log_dir.parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise ConfigError(f"--log-dir {path!r}: {str(there)!r} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--log-dir {path!r}: nothing can be written in {str(there)!r}")
    return str(log_dir)


def _resolve(name: str) -> str:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(
            f"host {name!r} of the hostfile is not known here: {error}; use a name that this host can "
            "resolve, or an address (an alias of ssh's own configuration is not enough)"
        ) from error
    # IPv4 where there is one: every network has it, and mpiexec takes nothing else
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def _is_here(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.bind((address, 0))
        return True
    return False


def _own_address(others: Iterable[str]) -> str:
    """The address of this machine on its way to the first of `others`; the loopback's if there are none."""
    first = next(iter(others), None)
    return _LOOPBACK if first is None else address_towards(first)
