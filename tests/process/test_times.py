"""Where the time of workers goes: what each says of itself, and what the job knows when they have ended."""

import threading

import numpy as np
import pytest
from real import eventually

import paracel
from paracel.launch.embedded import Cluster

pytestmark = pytest.mark.process

WAIT = 0.4


@pytest.mark.parametrize("servers", [1, 2])
def test_a_read_that_waits_for_another_worker_is_waiting_and_a_fresh_one_communication(servers):
    with Cluster(servers, workers=2) as cluster:
        slow = paracel.connect(cluster.address, worker=1)
        with paracel.connect(cluster.address, worker=0, staleness=0) as client:
            client.write("k", np.zeros(1 << 20))
            client.commit()
            before = client.statistics().times
            threading.Timer(WAIT, slow.commit).start()
            client.read("k")
            passed = client.statistics().times - before
            assert passed.waiting > 0.7 * WAIT, str(passed)
            assert passed.waiting < passed.seconds
            client.staleness = None
            before = client.statistics().times
            client.read("k")
            passed = client.statistics().times - before
            assert passed.waiting == 0
            assert 0 < passed.communication < passed.seconds
        slow.close()
        left = {worker.worker: worker for worker in cluster.statistics().workers}
        eventually(lambda: all(worker.times.seconds for worker in cluster.statistics().workers), what=str(left))
        known = {worker.worker: worker.times for worker in cluster.statistics().workers}
        assert known[0].waiting > 0.7 * WAIT > known[1].waiting
