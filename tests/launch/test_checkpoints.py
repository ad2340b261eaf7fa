"""Checkpoints that a job makes by itself, and jobs that begin from one."""

import pytest

pytestmark = pytest.mark.launch

COUNT = """
import paracel

class Count(paracel.paralg):
    def solve(self):
        for _ in range(self.clock, self.rounds):
            self.paracel_update("count", 1)
            self.iter_commit()
        self.paracel_sync()
        print("counts", self.paracel_read("count"), "at clock", self.clock)

if __name__ == "__main__":
    paracel.main(Count)
"""


def test_a_job_begins_where_another_was(prun):
    script = prun.script("count.py", COUNT)
    every = ("--checkpoint-every", "2", "--checkpoint-dir", "saved", "--checkpoint-keep", "2")
    first = prun.run("-p", "2", "-w", "2", *every, script, "rounds=7", "staleness=0")
    assert (first.process.returncode, first.stdout) == (0, "counts 14 at clock 7\n" * 2), first.stderr
    assert sorted(path.name for path in (prun.directory / "saved").iterdir()) == ["clock-00000004", "clock-00000006"]
    second = prun.run("-p", "3", "--replicas", "2", "-w", "2", "--restore", "saved", script, "rounds=9", "staleness=0")
    assert (second.process.returncode, second.stdout) == (0, "counts 18 at clock 9\n" * 2), second.stderr


def test_a_checkpoint_that_is_not_there_is_named(prun):
    job = prun.run("--restore", "nowhere", prun.script("count.py", COUNT))
    assert job.process.returncode == 2
    assert job.stderr.startswith("prun: error: ")
    assert "nowhere" in job.stderr
    assert "Traceback" not in job.stderr
