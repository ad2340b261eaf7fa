"""A host that cannot be reached for longer than its server may be silent, in a job with replicas."""

import subprocess

import pytest

pytestmark = pytest.mark.launch


@pytest.fixture
def apart(prun, hosts, counting, wait_until):
    """A job of two workers on host1 and a server on each host, whose links can be taken down; nothing may be left."""
    prun.command = [*hosts.on(1, prun.directory), *prun.command]
    (prun.directory / "hosts").write_text("host1\nhost2\nhost3\n")

    def set_link(host: int, state: str) -> None:
        subprocess.run(["ip", "-n", hosts.namespace(host), "link", "set", "eth0", state], check=True, timeout=30)

    yield set_link
    for host in (2, 3):
        set_link(host, "up")
    for job in prun.jobs:
        job.wait()
    wait_until(lambda: not hosts.processes(), f"nothing left: {hosts.processes()}", 20.0)


OPTIONS = ("--m_server", "mpi", "--hostfile_server", "hosts", "-p", "3", "--replicas", "2", "--heartbeat-timeout", "1")


def test_a_link_that_is_down_for_a_while_costs_a_server_and_nothing_else(counting, apart, wait_until, hosts):
    job = counting.start(*OPTIONS)
    apart(3, "down")
    job.wait_said("server 2 on host3 is lost", stream="stderr")
    job.wait_said("all shards have 2 copies again", stream="stderr")
    apart(3, "up")
    wait_until(lambda: not any("h3: " in command for command in hosts.processes().values()), "server 2 ends by itself")
    counting.end_well(job)


def test_a_host_that_is_never_heard_of_again(counting, apart):
    job = counting.start(*OPTIONS)
    apart(2, "down")
    job.wait_said("server 1 on host2 is lost", stream="stderr")
    counting.end_well(job)
