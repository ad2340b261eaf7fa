"""Servers are lost while a job runs: with replicas it goes on, and its result is that of a job that lost none."""

import os
import signal
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.launch


def servers_of(job) -> list[int]:
    return sorted(job.find("-m paracel.server"))


@pytest.mark.parametrize("method", ["local", "mpi"])
def test_a_job_with_replicas_goes_on_without_a_server(counting, method):
    job = counting.start("-p", "3", "--replicas", "2", "-m", method)
    victim = servers_of(job)[1]
    os.kill(victim, signal.SIGKILL)
    job.wait_said("all shards have 2 copies again", stream="stderr")
    counting.end_well(job)
    assert job.stderr.count("(it was ended by signal 9); its shards go on on others, being copied anew") == 1
    assert job.stderr.count("is lost") == 1


def test_a_server_that_hangs_is_lost_and_ended(counting):
    job = counting.start("-p", "3", "--replicas", "2", "--heartbeat-timeout", "3")
    victim = servers_of(job)[0]
    os.kill(victim, signal.SIGSTOP)
    job.wait_said("is lost (no heartbeat for 3 s)", stream="stderr")
    counting.end_well(job)
    assert "prun: server " in job.stderr


def test_one_loss_after_the_other(counting):
    job = counting.start("-p", "3", "--replicas", "2")
    for times in (1, 2):
        os.kill(servers_of(job)[0], signal.SIGKILL)
        job.wait_said("is lost", times=times, stream="stderr")
        if times == 1:
            job.wait_said("all shards have 2 copies again", stream="stderr")
    counting.end_well(job)


def test_the_loss_of_all_copies_ends_the_job(counting):
    job = counting.start("-p", "2", "--replicas", "2")
    for pid in servers_of(job):
        os.kill(pid, signal.SIGSTOP)  # so that the second cannot be heard of the first
    for pid in servers_of(job):
        os.kill(pid, signal.SIGKILL)
    assert job.wait() == 1
    assert "and the job with it (it had the last copy of a shard); what it said is above" in job.stderr


def test_another_server_is_started_in_the_place_of_a_lost_one(prun, counting):
    job = counting.start("-p", "2", "--replicas", "2", "--replace", "--log-dir", "logs")
    os.kill(servers_of(job)[0], signal.SIGKILL)
    job.wait_said("server 2 is started on localhost in the place of server ", stream="stderr")
    job.wait_said("all shards have 2 copies again", stream="stderr")
    counting.end_well(job)
    assert (prun.directory / "logs" / "server-2.log").exists()


def test_servers_that_do_not_start_are_tried_for_a_while(prun, counting):
    code = """
from dataclasses import replace
from paracel.cli import prun
from paracel.launch import servers
from paracel.launch.plan import Plan

new_server, servers.FIRST_PAUSE_SECONDS = Plan.new_server, 0.0
Plan.new_server = lambda plan, server, host: replace(new_server(plan, server, host), command=("/bin/false",))
prun()
"""
    prun.command = [sys.executable, "-c", code]
    prun.environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    job = counting.start("-p", "3", "--replicas", "2", "--replace")
    os.kill(servers_of(job)[0], signal.SIGKILL)
    job.wait_said("none is started in the place of server ", stream="stderr")
    counting.end_well(job)
    assert job.stderr.count("did not start (it ended with exit code 1)") == 10


def test_a_server_that_is_lost_before_prun_looks_at_it_is_lost_like_another(prun, counting):
    code = """
import os
from paracel.cli import prun
from paracel.launch.servers import Servers

look = Servers.look
Servers.look = lambda servers: look(servers) if os.path.exists("killed") else servers._coordinator.statistics()
prun()
"""
    prun.command = [sys.executable, "-c", code]
    prun.environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    job = counting.start("-p", "3", "--replicas", "2")
    os.kill(servers_of(job)[0], signal.SIGKILL)
    (prun.directory / "killed").touch()
    job.wait_said("all shards have 2 copies again", stream="stderr")
    counting.end_well(job)
    assert job.stderr.count("is lost (it was ended by signal 9)") == 1
    assert "did not start" not in job.stderr
    assert " is gone" not in job.stderr, "said once, and not by the coordinator too"


def test_without_a_copy_nothing_is_started_in_its_place(prun):
    job = prun.run("--replace", prun.script("never.py", "print('ran')"))
    assert job.process.returncode == 2
    assert "--replace is for --replicas 2 or more" in job.stderr
