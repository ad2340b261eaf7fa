"""The commands `prun` and `paracel-ctl`: arguments in, exit status out.

What they do is in `paracel.launch` and `paracel.control`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import metadata

from paracel.control import Controller, describe_status
from paracel.errors import ConfigError, LaunchError, ParacelError
from paracel.launch import jobfile
from paracel.launch.describe import describe
from paracel.launch.plan import METHODS, ON_WORKER_LOSS, Options, make_plan
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
With --replicas the job goes on when servers are lost; `paracel-ctl` adds and removes servers while it runs.
A hostfile has a host on each line: `host`, `host:n` or `host slots=n`. The exit status is the job's.
"""
_CONTROL_DESCRIPTION = """\
Look at a running job of prun, and add or remove servers while its workers go on.
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
        replicas=given.replicas,
        shards=given.shards,
        replace=given.replace,
        max_restarts=given.max_restarts,
        on_worker_loss=given.on_worker_loss,
        checkpoint_every=given.checkpoint_every,
        checkpoint_dir=given.checkpoint_dir,
        checkpoint_keep=given.checkpoint_keep,
        restore=given.restore,
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
    add("--replicas", type=int, default=1, metavar="K", help="copies of all that servers hold (default: 1)")
    help_text = (
        "parts that all keys are divided into: as many servers there may come to be (default: N, or 4 N with replicas)"
    )
    add("--shards", type=int, metavar="S", help=help_text)
    help_text = "a server that gives no sign of life for so long is lost (default: 30, or 3 with replicas)"
    add("--heartbeat-timeout", type=float, metavar="SECONDS", help=help_text)
    add("--replace", action="store_true", help="start another server in the place of one that is lost")
    add("--max-restarts", type=int, default=0, metavar="N", help="start workers that fail anew, N times at most")
    help_text = "write all that servers hold to the checkpoint directory, every N clocks"
    add("--checkpoint-every", type=int, default=0, metavar="N", help=help_text)
    help_text = "where checkpoints are written: a directory that all hosts share, or a URL for fsspec"
    add("--checkpoint-dir", default="", metavar="DIR", help=help_text)
    add("--checkpoint-keep", type=int, default=3, metavar="N", help="how many checkpoints stay (default: 3)")
    add("--restore", default="", metavar="DIR", help="begin from a checkpoint, or from the newest one in DIR")
    choices = " or ".join(ON_WORKER_LOSS)
    add(
        "--on-worker-loss", metavar="WHAT", help=f"{choices}: what to do when workers fail (default: by --max-restarts)"
    )
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


# --- paracel-ctl -----------------------------------------------------------------------------------------------


def _control_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paracel-ctl", description=_CONTROL_DESCRIPTION, allow_abbrev=False)
    job = argparse.ArgumentParser(add_help=False)
    help_text = "the process id of the job's prun, or its file (default: the one job that runs here)"
    job.add_argument("--job", metavar="PID|FILE", help=help_text)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", parents=[job], help="show servers, shards, workers, and what is on its way")
    servers = commands.add_parser("servers", help="add servers to the job, or remove some")
    actions = servers.add_subparsers(dest="action", required=True)
    limit = argparse.ArgumentParser(add_help=False)
    help_text = "wait so long for everything to be in its place (default: 600)"
    limit.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help=help_text)
    add = actions.add_parser("add", parents=[job, limit], help="start servers, which take their share of all there is")
    add.add_argument("count", type=_at_least_one, nargs="?", default=1, metavar="N", help="how many (default: 1)")
    add.add_argument("--host", help="one of the job's hosts for servers (default: where the fewest are)")
    remove = actions.add_parser("remove", parents=[job, limit], help="end servers, once others have all they had")
    remove.add_argument("servers", type=int, nargs="+", metavar="NUMBER", help="as `paracel-ctl status` shows it")
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of servers, from 1")
    return int(text)


def control(arguments: Sequence[str]) -> int:
    """Do what `arguments` ask of a running job; the exit status of `paracel-ctl`."""
    given = _control_parser().parse_args(arguments)
    try:
        job = jobfile.find(given.job)
        with Controller(job) as controller:
            if given.command == "status":
                print(*describe_status(job, controller.status(), time.time()), sep="\n")
            elif given.action == "add":
                controller.add_servers(given.count, given.host, given.timeout, _say)
            else:
                controller.remove_servers(given.servers, given.timeout, _say)
    except ParacelError as error:
        print(f"paracel-ctl: error: {error}", file=sys.stderr)
        return _USAGE_ERROR if isinstance(error, ConfigError) else 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def paracel_ctl() -> None:
    """The console script."""
    sys.exit(control(sys.argv[1:]))
