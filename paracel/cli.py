"""The command `prun`: arguments in, exit status out. What it does is in `paracel.launch`."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

from paracel.errors import ConfigError, LaunchError
from paracel.launch.describe import describe
from paracel.launch.plan import METHODS, Options, make_plan
from paracel.launch.supervise import run
from paracel.launch.survey import survey

_USAGE_ERROR = 2

_DESCRIPTION = """\
Run a Python script as a job: WNUM workers under MPI, and SNUM servers that hold the parameters.
"""
_EPILOG = """\
Method local runs everything on this host. Method mpi starts the workers with mpiexec on the hosts of the hostfile
and the servers with ssh, in this directory and with this Python, which must be there on each of them; all that
goes over the network between workers and servers is encrypted, with keys made for the job.
A hostfile has a host on each line: `host`, `host:n` or `host slots=n`. The exit status is the job's.
"""


def parse(arguments: Sequence[str]) -> tuple[Options, bool]:
    """The options in `arguments`, and whether only the plan is wanted. Prints and exits for --help and misuse."""
    given = _parser().parse_args(arguments)
    options = Options(
        script=given.script,
        arguments=tuple(given.arguments),
        servers=given.snum,
        workers=given.wnum,
        method=given.method,
        method_servers=given.m_server,
        per_host=given.ppn,
        per_host_servers=given.ppn_server,
        memory_mb=given.mem_limit,
        memory_servers_mb=given.mem_limit_server,
        hostfile=given.hostfile,
        hostfile_servers=given.hostfile_server,
        config_file=given.cfg_file,
        log_dir=given.log_dir,
        heartbeat_timeout=given.heartbeat_timeout,
        verbose=given.verbose,
    )
    return options, given.dry_run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prun", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    add = parser.add_argument
    add("-p", "--snum", type=int, default=1, metavar="N", help="number of servers (default: 1)")
    add("-w", "--wnum", type=int, default=1, metavar="N", help="number of workers (default: 1)")
    methods = " or ".join(METHODS)
    add("-m", "--method", default="local", metavar="METHOD", help=f"how to start: {methods} (default: local)")
    add("--m_server", metavar="METHOD", help="the same for the servers (default: as --method)")
    add("--ppn", type=int, metavar="N", help="at most N workers on a host")
    add("--ppn_server", type=int, metavar="N", help="at most N servers on a host")
    add("--mem_limit", type=int, metavar="MB", help="data memory of a worker; beyond it, MemoryError")
    add("--mem_limit_server", type=int, metavar="MB", help="data memory of a server")
    add("--hostfile", metavar="FILE", help="the hosts for method mpi (default: this one)")
    add("--hostfile_server", metavar="FILE", help="the hosts of the servers (default: those of --hostfile)")
    add("-c", "--cfg_file", metavar="FILE", help="a JSON object with the script's settings, for paracel.main")
    add("--dry-run", action="store_true", help="print the plan (every command, host and environment) and stop")
    add("--log-dir", metavar="DIR", help="write server-N.log and workers.log there")
    help_text = "a server that gives no sign of life for so long is lost (default: 30)"
    add("--heartbeat-timeout", type=float, default=30.0, metavar="SECONDS", help=help_text)
    add("-v", "--verbose", action="store_true", help="say what is started, where, and how and when it ended")
    add("--version", action="version", version=f"paracel {_version()}", help="print the version and stop")
    add("script", help="the Python script that each worker runs")
    # argparse takes it for required, and would say so where the script is missing
    add("arguments", nargs=argparse.REMAINDER, help="its arguments").required = False
    return parser


def _version() -> str:
    try:
        return metadata.version("paracel")
    except metadata.PackageNotFoundError:
        return "of a source directory, not installed"


def main(arguments: Sequence[str]) -> int:
    """Do what `arguments` ask; the exit status."""
    options, dry_run = parse(arguments)
    try:
        plan = make_plan(options, survey(options))
        if dry_run:
            print(describe(plan), end="")
            return 0
        return run(plan)
    except ConfigError as error:
        print(f"prun: error: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except LaunchError as error:
        print(f"prun: error: {error}", file=sys.stderr)
        return 1


def prun() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))
