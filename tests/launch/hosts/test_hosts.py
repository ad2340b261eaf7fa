"""Jobs over a hostfile: workers by mpiexec, servers by ssh, each on hosts of their own."""

import os
import signal
from pathlib import Path

import pytest

pytestmark = pytest.mark.launch

WHERE = """
import socket
import paracel
from paracel.comm import world

ranks = world()
with paracel.connect(worker=ranks.rank) as ps:
    for _ in range(5):
        ps.bupdate("count", 1)
        ps.commit()
    ranks.barrier()
    print("worker", ranks.rank, "on", socket.gethostname(), "counts", ps.read("count"))
"""

RUN = """
import signal
import paracel
from paracel.comm import world

ranks = world()
ps = paracel.connect(worker=ranks.rank)
ps.write(f"k{ranks.rank}", 1)
ranks.barrier()
print("up", flush=True)
signal.pause()
"""


RAISE = """
from paracel.comm import world

ranks = world()
if ranks.rank == 3:
    raise ValueError("the cause")
ranks.barrier()
"""


@pytest.fixture
def cluster(prun, hosts, wait_until):
    """Jobs that start on host1; nothing of them may be left on any host."""
    prun.command = [*hosts.on(1, prun.directory), *prun.command]
    # the hosts share a machine and not a network: without this, mpich's UCX takes shared memory for the way
    prun.environment = {"UCX_TLS": "tcp,self"}
    (prun.directory / "hosts").write_text("host1 slots=1\nhost2:2  # the big one\n\nhost3\n")
    yield prun
    for job in prun.jobs:
        job.wait()
    wait_until(lambda: not hosts.processes(), f"nothing left: {hosts.processes()}", 20.0)


def test_workers_and_servers_run_where_the_hostfile_says(cluster):
    script = cluster.script("mein Ordner/wo's.py", WHERE)
    job = cluster.run("-v", "-m", "mpi", "--hostfile", "hosts", "-w", "4", "-p", "3", script)
    assert job.process.returncode == 0, job.stderr
    assert sorted(job.stdout.splitlines()) == [
        f"worker {rank} on {host} counts 20" for rank, host in enumerate(["host1", "host2", "host2", "host3"])
    ]
    for server, host in enumerate(["host1", "host2", "host3"]):
        assert f"server {server} on {host} started" in job.stderr


def test_servers_have_hosts_of_their_own(cluster):
    (cluster.directory / "servers").write_text("host3\n")
    job = cluster.run("-v", "-m", "mpi", "--hostfile", "hosts", "--hostfile_server", "servers", "-w", "2", "-p", "2",
                      cluster.script("where.py", WHERE))  # fmt: skip
    assert job.process.returncode == 0, job.stderr
    assert "server 0 on host3 started" in job.stderr
    assert "server 1 on host3 started" in job.stderr


def test_local_workers_with_servers_elsewhere(cluster):
    job = cluster.run("--m_server", "mpi", "--hostfile_server", "hosts", "-w", "2", "-p", "3",
                      cluster.script("where.py", WHERE))  # fmt: skip
    assert job.process.returncode == 0, job.stderr
    assert job.stdout.count("on host1 counts 10") == 2


@pytest.fixture
def running(cluster):
    script = cluster.script("run.py", RUN)
    job = cluster.start("-m", "mpi", "--hostfile", "hosts", "-w", "4", "-p", "3", "--log-dir", "logs", script)
    job.wait_said("up\n", times=4)
    return job


def test_the_secret_is_on_no_command_line_of_any_host(running, hosts):
    (worker,) = [pid for pid, text in hosts.processes().items() if text.startswith("h3: ") and "-m mpi4py" in text]
    environment = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    (key,) = [entry.partition(b"=")[2] for entry in environment if entry.startswith(b"PARACEL_KEY=")]
    assert len(key) > 20
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(key in command for command in commands)
    running.process.terminate()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_job_on_every_host(running, signum):
    running.process.send_signal(signum)
    assert running.wait() == 128 + signum
    assert "Traceback" not in running.stderr


def test_a_killed_prun_leaves_nothing_on_any_host(running):
    running.process.kill()
    running.wait()


def test_a_server_that_dies_on_another_host_ends_the_job_and_is_named(running, hosts):
    on_host3 = {pid: text for pid, text in hosts.processes().items() if text.startswith("h3: ")}
    (victim,) = [pid for pid, text in on_host3.items() if text.endswith("-m paracel.server ") and " -c " not in text]
    os.kill(victim, signal.SIGKILL)
    assert running.wait() == 1
    assert "prun: error: server 2 on host3" in running.stderr
    assert "server-2.log" in running.stderr


def test_a_host_that_does_not_answer_is_named(cluster):
    (cluster.directory / "servers").write_text("host2\nhost9\n")
    job = cluster.run("-m", "mpi", "--hostfile", "hosts", "--hostfile_server", "servers", "-w", "2", "-p", "2",
                      cluster.script("where.py", WHERE))  # fmt: skip
    assert job.process.returncode == 1
    assert "server 1 on host9" in job.stderr
    assert "does `ssh -o BatchMode=yes host9 true` work?" in job.stderr
    assert job.stdout == ""


def test_a_worker_that_raises_on_another_host_ends_the_job(cluster):
    job = cluster.run("-m", "mpi", "--hostfile", "hosts", "-w", "4", cluster.script("raise.py", RAISE))
    assert job.process.returncode == 1
    assert job.stderr.count("Traceback") == 1
    assert "worker 3 of 4 raised:" in job.stderr
    assert "ValueError: the cause" in job.stderr
