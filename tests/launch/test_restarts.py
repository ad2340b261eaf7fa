"""Workers that fail are started anew, and the result is that of a job of which none failed."""

import math
import os
import signal

import pytest

pytestmark = pytest.mark.launch

ROUNDS = 16

# What a worker writes in a round is under a key of its own, so that a round that is begun twice counts once.
PROGRAM = """
import math
import os
import signal
import paracel

class Program(paracel.paralg):
    def __init__(self, rounds, fails="never", how="kill", times=1):
        super().__init__(rounds=rounds, staleness=0)
        self.fails, self.how, self.times = fails, how, times

    def solve(self):
        self.reach("the beginning", 7)
        for number in range(self.clock, self.rounds):
            self.step(number)
            self.iter_commit()
            self.reach("after a commit", number)
        self.paracel_sync()
        self.reach("the end", 7)
        if self.worker_id == 0:
            keys = [f"{worker}.{self.rounds - 1}" for worker in range(self.worker_size)]
            print("restarts", self.restarts, "result", *self.paracel_read_multi(keys), flush=True)
        self.paracel_sync()

    def step(self, number):
        before = [f"{worker}.{number - 1}" for worker in range(self.worker_size)]
        seen = self.paracel_read_multi(before, 1.0)
        self.reach("after a read", number)
        self.paracel_write(f"{self.worker_id}.{number}", math.cos(sum(seen) + self.worker_id))
        self.reach("after a write", number)

    def reach(self, where, number):
        if (where, number, self.worker_id) == (self.fails, 7, 1) and self.restarts < self.times:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "end":
                os._exit(0)
            raise ValueError("this is the cause")

if __name__ == "__main__":
    paracel.main(Program)
"""


def result(workers: int) -> str:
    values = [1.0] * workers
    for _ in range(ROUNDS):
        values = [math.cos(sum(values) + worker) for worker in range(workers)]
    return " ".join(map(str, values))


def run(prun, *options: str, **settings: object):
    words = [f"{name}={value}" for name, value in {"rounds": ROUNDS, **settings}.items()]
    return prun.run("-p", "2", "-w", "3", *options, prun.script("program.py", PROGRAM), *words)


@pytest.mark.parametrize("fails", ["the beginning", "after a read", "after a write", "after a commit", "the end"])
def test_a_killed_worker_changes_nothing_in_the_result(prun, fails):
    job = run(prun, "--max-restarts", "1", fails=fails)
    assert job.process.returncode == 0, job.stderr
    assert f"restarts 1 result {result(3)}\n" in job.stdout
    assert job.stderr.count("prun: restart 1 of 1: its workers ended with status ") == 1


def test_without_a_failure_nothing_is_different(prun):
    job = run(prun, "--max-restarts", "1")
    assert (job.process.returncode, job.stdout, job.stderr) == (0, f"restarts 0 result {result(3)}\n", "")


@pytest.mark.parametrize("how", ["raise", "end"])
def test_other_ways_to_fail(prun, how):
    job = run(prun, "--max-restarts", "2", "--on-worker-loss", "restart", fails="after a write", how=how, times=2)
    assert job.process.returncode == 0, job.stderr
    assert f"restarts 2 result {result(3)}\n" in job.stdout
    assert job.stderr.count("ValueError: this is the cause") == (2 if how == "raise" else 0)


def test_the_status_is_that_of_the_last_try(prun):
    job = run(prun, "--max-restarts", "1", "--log-dir", "logs", fails="after a write", how="raise", times=9)
    assert job.process.returncode == 1
    assert job.stderr.count("prun: restart 1 of 1: its workers ended with status 1") == 1
    assert "prun: the job failed: its workers ended with status 1, after 1 of 1 restarts\n" in job.stderr
    assert (prun.directory / "logs" / "workers.log").read_text().count("ValueError: this is the cause\n") == 2


def test_servers_and_workers_may_fail_in_one_job(prun):
    job = run(prun, "--replicas", "2", "--max-restarts", "1", fails="after a commit")
    assert job.process.returncode == 0, job.stderr
    assert f"restarts 1 result {result(3)}\n" in job.stdout


def test_the_loss_of_the_parameters_is_no_reason_to_start_anew(prun):
    program = """
import os
import signal
import paracel

ps = paracel.connect(worker=0)
print("up", flush=True)
while True:
    ps.bupdate("k", 1)
"""
    job = prun.start("--max-restarts", "3", prun.script("update.py", program))
    job.wait_said("up")
    (server,) = job.find("-m paracel.server")
    os.kill(server, signal.SIGKILL)
    assert job.wait() == 1
    assert "and the job with it" in job.stderr
    assert "restart" not in job.stderr


TWO = """
import paracel

class Twice(paracel.paralg):
    def solve(self, base, rounds, fails):
        for number in range(self.clock - base, rounds):
            self.paracel_write(f"{base}.{number}.{self.worker_id}", 1)
            self.iter_commit()
            if number == fails and self.worker_id == 1 and not self.restarts:
                raise ValueError("this is the cause")

if __name__ == "__main__":
    program = Twice(staleness=0)
    program.solve(0, 5, fails=-1)
    program.solve(5, 6, fails=3)
    program.paracel_sync()
    if program.worker_id == 0:
        print(program.clock, len(program.paracel_readall()), flush=True)
"""


def test_a_later_solve_goes_on_where_it_was(prun):
    job = prun.run("-w", "2", "--max-restarts", "1", prun.script("two.py", TWO))
    assert job.process.returncode == 0, job.stderr
    assert job.stdout == "11 22\n"
    assert "restart 1 of 1" in job.stderr


# Pushes wait for the end of their clock, and the rule is not a sum: one that came twice, or too late, would show.
DESCENT = """
import os
import signal
import numpy as np
import paracel
from paracel import optim

class Descent(paracel.paralg):
    def __init__(self, fails=-1):
        super().__init__(staleness=0)
        self.fails = fails

    def solve(self):
        weights = self.table("weights", 60, dtype="float64", updater=optim.momentum(0.1), apply="commit")
        keys = np.arange(60)
        rng = np.random.default_rng(self.worker_id)
        targets = rng.standard_normal((12, 60))
        for number in range(self.clock, 12):
            weights.push(keys, weights.pull(keys).result() - targets[number])
            if (number, self.worker_id, self.restarts) == (self.fails, 1, 0):
                weights.push(keys, np.ones(60)).result()
                os.kill(os.getpid(), signal.SIGKILL)
            self.iter_commit()
        self.paracel_sync()
        if self.worker_id == 0:
            print(weights.pull(keys, staleness=None).result().tobytes().hex(), flush=True)
        self.paracel_sync()

if __name__ == "__main__":
    paracel.main(Descent)
"""


def test_what_a_killed_worker_had_pushed_counts_once(prun):
    script = prun.script("descent.py", DESCENT)
    options = ("-p", "2", "--replicas", "2", "-w", "3", "--max-restarts", "1", script)
    undisturbed, disturbed = prun.run(*options), prun.run(*options, "fails=7")
    assert undisturbed.process.returncode == disturbed.process.returncode == 0, disturbed.stderr
    assert "restart 1 of 1" in disturbed.stderr
    assert disturbed.stdout.splitlines()[-1] == undisturbed.stdout.splitlines()[-1]
