"""Plans against golden files: `PARACEL_WRITE_PLANS=1 pytest tests/launch/test_plan.py` writes them anew."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from paracel.errors import ConfigError, LaunchError
from paracel.launch.describe import describe
from paracel.launch.hostfile import Host, Placement
from paracel.launch.mpi import Mpiexec
from paracel.launch.plan import LEAST_MEMORY_MB, LEAST_MEMORY_SERVER_MB, Options, Site, make_plan

GOLDEN = Path(__file__).parent / "plans"

MPICH = Mpiexec("/opt/py/bin/mpiexec", "mpich")
OPENMPI = Mpiexec("/opt/py/bin/mpiexec", "openmpi")
HERE = Site(python="/opt/py/bin/python", directory="/home/ada/my job", mpiexec=MPICH)
CLUSTER = replace(
    HERE,
    hosts=(Host("n1", 2), Host("n2", 2), Host("n3")),
    hosts_servers=(Host("n1", 2), Host("n2", 2), Host("n3")),
    here=frozenset({"localhost", "n1"}),
    addresses={"n2": "10.0.0.2", "n3": "10.0.0.3"},
    address="10.0.0.1",
    python_path="/home/ada/paracel",
    variables=("HOME", "OMP_NUM_THREADS", "UCX_TLS", "AWS_SECRET_ACCESS_KEY"),
)
PLANS = {
    "local": (Options("train.py", ("rounds=3", "input=a b.txt"), servers=2, workers=2), HERE),
    "local_alone_without_mpi": (Options("train.py"), replace(HERE, mpiexec=None)),
    "local_limits_logs_config": (
        Options("train.py", memory_mb=512, memory_servers_mb=256, config_file="cfg.json", log_dir="logs"),
        replace(HERE, config_file="/home/ada/my job/cfg.json", log_dir="/home/ada/my job/logs"),
    ),
    "local_replicas": (
        Options("train.py", servers=3, workers=2, replicas=2, replace=True, max_restarts=1,
                checkpoint_every=10, checkpoint_dir="c", restore="d"), HERE,
    ),
    "local_openmpi_as_root": (Options("train.py", workers=4), replace(HERE, mpiexec=OPENMPI, root=True)),
    "mpi_without_hostfile": (Options("train.py", servers=2, workers=2, method="mpi"), HERE),
    "mpi_mpich": (
        Options("train.py", servers=3, workers=5, method="mpi", hostfile="hosts", memory_mb=512), CLUSTER,
    ),
    "mpi_openmpi": (
        Options("train.py", servers=3, workers=5, method="mpi", hostfile="hosts"), replace(CLUSTER, mpiexec=OPENMPI),
    ),
    "mpi_workers_local_servers": (
        Options("train.py", servers=2, workers=3, method="mpi", method_servers="local", hostfile="hosts"), CLUSTER,
    ),
    "local_workers_mpi_servers": (
        Options("train.py", servers=2, workers=3, method_servers="mpi", hostfile_servers="hosts", per_host_servers=1),
        replace(CLUSTER, hosts=()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_is_the_golden_one(name: str):
    text = describe(make_plan(*PLANS[name]))
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("PARACEL_WRITE_PLANS"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_every_golden_file_has_its_plan():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(PLANS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "mesos"}, "Apache Mesos was retired; use --method mpi"),
        ({"method_servers": "mesos"}, "Apache Mesos was retired; use --m_server mpi"),
        ({"method": "slurm"}, "'slurm' is not a method; there are local and mpi"),
        ({"servers": 0}, "--snum 0 is too small; it must be at least 1"),
        ({"workers": -1}, "--wnum -1 is too small"),
        ({"per_host": 0}, "--ppn 0 is too small"),
        ({"per_host_servers": 0}, "--ppn_server 0 is too small"),
        ({"memory_mb": LEAST_MEMORY_MB - 1}, "--mem_limit "),
        ({"heartbeat_timeout": 0.5}, "--heartbeat-timeout 0.5 is too small; it must be at least 1"),
        ({"heartbeat_timeout": float("nan")}, "--heartbeat-timeout nan is too small"),
        ({"memory_servers_mb": 1}, f"--mem_limit_server 1 is too small; it must be at least {LEAST_MEMORY_SERVER_MB}"),
        ({"replicas": 0}, "--replicas 0 is too small; it must be at least 1"),
        ({"replicas": 3, "servers": 2}, "replicas=3 with 2 servers"),
        ({"shards": 1, "servers": 2}, "shards=1 for 2 servers; allowed: 2 to 1024"),
        ({"replace": True}, "--replace is for --replicas 2 or more"),
        ({"max_restarts": -1}, "--max-restarts -1 is too small; it must be at least 0"),
        ({"checkpoint_every": 5}, "--checkpoint-every 5 with --checkpoint-dir ''"),
        ({"checkpoint_dir": "c"}, "--checkpoint-every 0 with --checkpoint-dir 'c': give both, or none"),
        ({"checkpoint_every": -1}, "--checkpoint-every -1 is too small"),
        ({"checkpoint_keep": 0}, "--checkpoint-keep 0 is too small"),
        ({"on_worker_loss": "wait"}, "--on-worker-loss 'wait' is not known; there are restart and stop"),
        ({"on_worker_loss": "restart"}, "--on-worker-loss restart with --max-restarts 0: say how often"),
        ({"on_worker_loss": "stop", "max_restarts": 2}, "--on-worker-loss stop with --max-restarts 2"),
        ({"hostfile": "hosts"}, "--hostfile is for --method mpi"),
        ({"hostfile_servers": "hosts"}, "--hostfile_server is for --m_server mpi"),
        ({"method": "mpi", "method_servers": "local", "hostfile_servers": "h"}, "--hostfile_server is for --m_server"),
        ({"workers": 3, "per_host": 2}, "3 workers do not fit: there is room for 2 (localhost 2)"),
        ({"servers": 3, "per_host_servers": 2}, "3 servers do not fit"),
    ],
)
def test_what_cannot_be_asked_is_refused(change: dict, said: str):
    with pytest.raises(ConfigError) as caught:
        make_plan(replace(Options("train.py"), **change), HERE)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("option", "least"), [("memory_mb", LEAST_MEMORY_MB), ("memory_servers_mb", LEAST_MEMORY_SERVER_MB)]
)
def test_the_least_memory_is_allowed(option: str, least: int):
    make_plan(replace(Options("train.py"), **{option: least}), HERE)


@pytest.mark.parametrize(
    ("memory_mb", "variables", "threads"),
    [
        (None, (), None),
        (LEAST_MEMORY_MB, (), "1"),
        (3200, (), "20"),
        (3200, ("OMP_NUM_THREADS",), None),
        (3200, ("OPENBLAS_NUM_THREADS",), None),
    ],
)
def test_a_limit_of_memory_limits_the_threads_unless_the_user_did(memory_mb, variables, threads):
    plan = make_plan(Options("train.py", memory_mb=memory_mb), replace(HERE, variables=variables))
    assert plan.workers.environment.get("OPENBLAS_NUM_THREADS") == threads


def test_several_workers_without_an_mpi_are_refused_and_one_is_not():
    site = replace(HERE, mpiexec=None)
    alone = make_plan(Options("train.py"), site).workers
    assert alone.command[:3] == (HERE.python, "-m", "paracel.launch.worker")
    assert alone.dialect is None
    with pytest.raises(LaunchError, match=r"needs an MPI.*pip install 'paracel\[mpich\]'"):
        make_plan(Options("train.py", workers=2), site)


def test_one_worker_on_another_host_needs_an_mpi():
    site = replace(CLUSTER, mpiexec=None, hosts=(Host("n2"),))
    with pytest.raises(LaunchError, match="needs an MPI"):
        make_plan(Options("train.py", method="mpi", hostfile="hosts", method_servers="local"), site)


def test_an_ipv6_address_is_refused_for_workers_and_taken_for_servers():
    site = replace(CLUSTER, hosts=(Host("fd00::3"),), hosts_servers=(Host("fd00::3"),),
                   addresses={"fd00::3": "fd00::3"}, here=frozenset())  # fmt: skip
    options = Options("train.py", method="mpi", hostfile="hosts")
    with pytest.raises(ConfigError, match="IPv6 address cannot stand in mpiexec's list"):
        make_plan(options, site)
    options = replace(options, method="local", method_servers="mpi")
    plan = make_plan(options, replace(site, here=frozenset({"localhost"})))
    assert plan.servers[0].bind == "tcp://[fd00::3]:*"


@pytest.mark.parametrize("name", PLANS)
def test_no_value_of_the_environment_is_on_the_workers_command_line(name: str):
    plan = make_plan(*PLANS[name])
    for value in plan.workers.environment.values():
        assert not any(value in word for word in plan.workers.command if len(value) > 1)


def test_open_mpi_is_told_by_name_what_to_pass_to_other_hosts():
    command = make_plan(*PLANS["mpi_openmpi"]).workers.command
    names = [name for option, name in pairwise(command) if option == "-x"]
    assert names == ["OMP_NUM_THREADS", "PARACEL_COORDINATOR", "PARACEL_KEY", "PYTHONPATH", "UCX_TLS"]


def test_the_placement_covers_all_workers():
    plan = make_plan(*PLANS["mpi_mpich"])
    assert plan.worker_count == 5
    assert plan.workers.placement == (Placement("n1", 2), Placement("n2", 2), Placement("n3", 1))
    assert [server.host for server in plan.servers] == ["n1", "n2", "n3"]


def test_all_is_encrypted_unless_it_stays_on_this_host():
    assert [name for name, given in PLANS.items() if make_plan(*given).endpoint is None] == [
        "local", "local_alone_without_mpi", "local_limits_logs_config", "local_replicas", "local_openmpi_as_root",
    ]  # fmt: skip


def test_silence_is_borne_for_longer_where_nobody_can_take_over():
    assert make_plan(Options("train.py"), HERE).heartbeat_timeout == 30
    assert make_plan(Options("train.py", servers=2, replicas=2), HERE).heartbeat_timeout == 3
    assert make_plan(Options("train.py", servers=2, replicas=2, heartbeat_timeout=9), HERE).heartbeat_timeout == 9


def test_more_servers_may_be_on_every_host_of_the_servers():
    options, site = PLANS["mpi_mpich"]
    plan = make_plan(options, replace(site, log_dir="/logs"))
    assert plan.server_hosts == ("n1", "n2", "n3")
    more = plan.new_server(7, "n2")
    assert more == replace(plan.servers[1], server=7, log="/logs/server-7.log")
