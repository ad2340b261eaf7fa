"""Workers that are processes of their own, and what the guarantee of SSP lets them read.

Each worker adds to its place of one array, once an iteration, so that every read tells how many iterations of each
worker it contains.
"""

import json

import pytest
from real import Programs

import paracel
from paracel.launch.embedded import Cluster

WORKER = """
import json, math, random, sys
import numpy as np
import paracel

address, plan = sys.argv[1], json.loads(sys.argv[2])
worker, iterations, staleness = plan["worker"], plan["iterations"], plan["staleness"]
staleness = math.inf if staleness == "inf" else staleness
rng = random.Random(worker)
one = np.zeros(len(iterations))
one[worker] = 1
with paracel.connect(address, worker=worker, staleness=staleness, timeout=60) as client:
    for iteration in range(iterations[worker]):
        client.update("counts", one)
        client.update_multi({f"mine {worker}": 1, "sum": 1})
        if plan["slow"]:
            sorted(rng.random() for _ in range(20000))
        if not plan["writes_only"] and iteration >= plan["reads_from"]:
            found = client.read("counts"), client.readall()["counts"]
            for counts in found:
                assert counts[worker] == iteration + 1, (iteration, counts)
                if staleness is not None and staleness != math.inf:
                    promised = [min(iteration - staleness, total) for total in iterations]
                    assert (counts >= promised).all(), (iteration, counts, promised)
            assert client.read(f"mine {worker}") == iteration + 1
        client.commit()
print("clock", client.clock)
"""


def run(programs: Programs, staleness: object, iterations: list[int], **plans: dict[str, object]) -> None:
    """Run one process a worker; check that all end well and that every update was applied once."""
    with Cluster(2, workers=len(iterations)) as cluster:
        started = []
        for worker, _ in enumerate(iterations):
            plan = {
                "worker": worker, "iterations": iterations, "staleness": staleness,
                "slow": worker == 0, "writes_only": False, "reads_from": 0,
            }  # fmt: skip
            plan |= plans.get(f"worker_{worker}", {})
            started.append(programs.start(WORKER, cluster.address, json.dumps(plan)))
        for program, count in zip(started, iterations, strict=True):
            program.check_ended_well()
            assert program.wait_said("clock") == str(count)
        with paracel.connect(cluster.address) as client:
            assert client.read("counts").tolist() == iterations
            assert client.read("sum") == sum(iterations)
            assert client.read("server_clock") == max(iterations)
            assert [server.parked for server in client.statistics().servers] == [0, 0]


@pytest.mark.parametrize("staleness", [None, 0, 1, 3, "inf"])
def test_what_workers_read(staleness: object, programs: Programs) -> None:
    run(programs, staleness, [30, 30, 30])


def test_unequal_iteration_counts_never_hang(programs: Programs) -> None:
    run(programs, 0, [3, 40, 11, 0])


def test_a_worker_that_only_writes_runs_ahead(programs: Programs) -> None:
    run(programs, 1, [20, 60, 20], worker_1={"writes_only": True})


def test_a_key_that_is_first_read_late(programs: Programs) -> None:
    run(programs, 2, [25, 25], worker_1={"reads_from": 20})
