"""Jobs over a hostfile: workers by mpiexec, servers by ssh, each on hosts of their own."""

import os
import signal
import subprocess
import sys
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


WAIT = """
import os
import time
import paracel
from paracel.comm import world

ranks = world()
with paracel.connect(worker=ranks.rank) as ps:
    for number in range(100):
        ps.bupdate("count", 1)
        if number == 50:
            print("up", flush=True)
        while number > 50 and not os.path.exists("go on"):
            time.sleep(0.01)
    ranks.barrier()
    print("counts", ps.read("count"))
"""


@pytest.fixture
def with_replicas(cluster):
    (cluster.directory / "workers").write_text("host1\nhost2\n")
    where = ("-m", "mpi", "--hostfile", "workers", "--hostfile_server", "hosts")
    how = ("-w", "2", "-p", "3", "--replicas", "2", "--replace")
    job = cluster.start(*where, *how, cluster.script("wait.py", WAIT))
    job.wait_said("up\n", times=2)
    yield job
    (cluster.directory / "go on").touch()
    assert job.wait() == 0, job.stderr
    assert job.stdout.count("counts 200\n") == 2


def test_a_server_that_dies_on_another_host_is_replaced_there(with_replicas, hosts):
    on_host3 = {pid: text for pid, text in hosts.processes().items() if text.startswith("h3: ")}
    (victim,) = [pid for pid, text in on_host3.items() if text.endswith("-m paracel.server ") and " -c " not in text]
    os.kill(victim, signal.SIGKILL)
    with_replicas.wait_said("server 3 is started on host3 in the place of server 2", stream="stderr")
    with_replicas.wait_said("all shards have 2 copies again", stream="stderr")


def test_a_server_on_a_host_that_is_cut_off_is_replaced_on_another(with_replicas, hosts):
    with hosts.cut_off(3):
        with_replicas.wait_said("server 2 on host3 is lost (no heartbeat for 3 s)", stream="stderr")
        with_replicas.wait_said("server 3 on host3 did not start", stream="stderr")
        with_replicas.wait_said("server 4 is started on host1 in the place of server 2", stream="stderr")
        with_replicas.wait_said("all shards have 2 copies again", stream="stderr")


def test_a_server_is_added_on_a_host(with_replicas, cluster, hosts):
    command = [sys.executable, "-c", "from paracel.cli import paracel_ctl; paracel_ctl()", "servers", "add"]
    environment = {**cluster.surroundings(), "PYTHONPATH": str(Path(__file__).parents[3])}
    on_host1 = [*hosts.on(1, cluster.directory), *command, "--host", "host2"]
    added = subprocess.run(on_host1, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (added.returncode, added.stderr) == (0, "")
    servers = [
        text for text in hosts.processes().values() if text.endswith("-m paracel.server ") and " -c " not in text
    ]
    assert sum(text.startswith("h2: ") and "ssh" not in text for text in servers) == 2


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
