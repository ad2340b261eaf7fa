"""The plan of a job as text, for `prun --dry-run`. It decides nothing, and prints nothing itself."""

import shlex
from collections.abc import Iterator, Mapping

from paracel.launch.plan import Plan, ServerPlan

MADE = "(made for the job)"


def describe(plan: Plan) -> str:
    """Every command, host and environment of `plan`. It names the secrets that a job makes, and holds none."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    if plan.endpoint is None:
        yield "coordinator: in prun, on a socket in a private directory of this host"
    else:
        yield f"coordinator: in prun, on {plan.endpoint} (encrypted, with keys made for the job)"
    yield from _promises(plan)
    for server in plan.servers:
        yield from _server_lines(server, plan)
    workers = plan.workers
    yield f"workers: {', '.join(f'{placed.count} on {placed.host}' for placed in workers.placement)}"
    made = {"PARACEL_COORDINATOR": MADE} | ({"PARACEL_KEY": MADE} if plan.endpoint is not None else {})
    yield from _detail_lines({**workers.environment, **made}, workers.command, workers.log)


def _promises(plan: Plan) -> Iterator[str]:
    if plan.replicas > 1:
        then = "one in its place is started" if plan.replace else "the others go on"
        yield (
            f"shards: {plan.shards}, of each {plan.replicas} copies; "
            f"a server is lost after {plan.heartbeat_timeout:g} s of silence, and {then}"
        )
    elif plan.shards != len(plan.servers):
        yield f"shards: {plan.shards}"
    saved = plan.checkpoints
    if saved.every:
        yield f"checkpoints: every {saved.every} clocks in {saved.folder}, of which the newest {saved.keep} stay"
    if saved.restore:
        yield f"begins from the checkpoint in {saved.restore}"
    if plan.max_restarts:
        yield f"workers that fail are started anew, at most {plan.max_restarts} times"


def _server_lines(server: ServerPlan, plan: Plan) -> Iterator[str]:
    limit = "" if plan.memory_servers_mb is None else f", at most {plan.memory_servers_mb} MB"
    yield f"server {server.server}: on {server.host}, {server.bind or 'a socket in the private directory'}{limit}"
    yield from _detail_lines(server.environment, server.command, server.log)


def _detail_lines(environment: Mapping[str, str], command: tuple[str, ...], log: str | None) -> Iterator[str]:
    for name, value in environment.items():
        yield f"    environment: {name}={value if value == MADE else shlex.quote(value)}"
    yield f"    command: {shlex.join(command)}"
    if log is not None:
        yield f"    log: {log}"
