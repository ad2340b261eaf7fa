"""The clocks at which a shard is saved, alone and in a shard: who waits, and what is in it."""

import pytest

from paracel import cuts
from paracel import messages as m
from paracel.clock import SspClock
from paracel.cuts import Cuts, SaveAs, file_of, folder_of, stem_in, stem_of
from paracel.functions import Functions
from paracel.messages import Envelope
from paracel.shard import Shard


def clock_of(*commits, left=()):
    clock = SspClock(range(len(commits)))
    for worker, commit in enumerate(commits):
        clock.commit(worker, commit)
    for worker in left:
        clock.leave(worker)
    return clock


def begun(every, clock):
    chosen = Cuts(every, "/f", "ab")
    chosen.begin(clock)
    return chosen


@pytest.mark.parametrize(
    ("commits", "left", "expected"),
    [((0, 0), (), 3), ((2, 2), (), 3), ((3, 1), (), 6), ((3, 3), (), 6), ((7, 1), (), 9), ((100, 4), (0,), 6)],
)
def test_the_next_cut_is_one_that_nobody_who_runs_has_passed(commits, left, expected):
    assert begun(3, clock_of(*commits, left=left)).clock == expected


def test_without_a_number_of_clocks_there_is_none():
    never = begun(0, clock_of(5, 5))
    assert not never.waits(0, clock_of(5, 5))
    assert not never.is_due(clock_of(5, 5))


def test_workers_wait_at_the_cut_and_not_before():
    chosen = begun(3, clock_of(0, 0, 0))
    assert not chosen.waits(0, clock_of(2, 1, 0))
    assert chosen.waits(0, clock_of(3, 1, 0))
    assert not chosen.waits(0, clock_of(3, 1, 0, left=(0,))), "nobody waits for one that has left, nor it"
    assert not chosen.waits(7, clock_of(3, 1, 0)), "of another job"


def test_it_is_due_when_all_that_run_have_come():
    chosen = begun(3, clock_of(0, 0))
    assert not chosen.is_due(clock_of(3, 2))
    assert chosen.is_due(clock_of(3, 3))
    assert chosen.is_due(clock_of(3, 2, left=(1,)))
    assert not chosen.is_due(clock_of(3, 2, left=(0, 1))), "of those that left before, nothing is at the clock"


def test_patience_counts_only_while_somebody_waits(monkeypatch):
    monkeypatch.setattr(cuts, "PATIENCE_TICKS", 2)
    chosen = begun(1, clock_of(0, 0))
    assert not any(chosen.tick() for _ in range(9))
    chosen.waits(0, clock_of(1, 0))
    assert [chosen.tick() for _ in range(4)] == [False, False, True, True]
    chosen.begin(clock_of(1, 0))
    assert not any(chosen.tick() for _ in range(9))


def test_names():
    assert folder_of("s3://bucket/c/", 12) == "s3://bucket/c/clock-00000012"
    stem = stem_of(3, "ab12")
    assert file_of(stem) != file_of(stem)
    assert stem_in(file_of(stem)) == stem == "shard-0003-ab12"


# --- in a shard ---------------------------------------------------------------------------------------------------


class Driven:
    """A shard, asked by workers one message at a time."""

    def __init__(self, workers=2, every=2):
        self.shard = Shard(0, 1, workers, Functions())
        self.shard.save_at(Cuts(every, "/f", "ab"))
        self.shard.begin_serving(1)
        self._next = dict.fromkeys(range(workers), 1)
        for worker in range(workers):
            self.ask(worker, m.Enter(worker))

    def ask(self, worker, message):
        self.shard.handle(b"w%d" % worker, Envelope(self._next[worker], self._next[worker] - 1, 1, message))
        self._next[worker] += 1
        return [reply.message for _, reply in self.shard.flush()]

    def iterate(self, worker, clock):
        """The update of an iteration, and its commit."""
        self.ask(worker, m.Update(["k"], [1], "add", False))
        return self.ask(worker, m.Commit(worker, clock))

    @property
    def total(self):
        return self.shard.store.entries.get("k", 0)

    def begin_saves(self):
        """What a server does at the end of a turn; the folders."""
        saves = list(self.shard.saves)
        for save in saves:
            self.shard.begun(save)
        return [save.folder for save in saves]


def test_a_fast_worker_waits_with_what_comes_after_the_cut():
    job = Driven()
    for clock in (1, 2):
        job.iterate(0, clock)
    assert job.ask(0, m.Update(["k"], [100], "add", False)) == []
    job.iterate(1, 1)
    assert (job.shard.saves, job.total) == ([], 3)
    job.iterate(1, 2)
    assert job.ask(1, m.Update(["k"], [1000], "add", False)) == []
    assert job.total == 4, "exactly two iterations of each"
    assert job.shard.saves == [SaveAs("/f/clock-00000002", "shard-0000-ab", cut=True)]
    assert job.begin_saves() == ["/f/clock-00000002"]
    assert len(job.shard.flush()) == 2, "what waited has its answers"
    assert job.total == 1104


def test_a_worker_that_leaves_is_not_waited_for():
    job = Driven()
    for clock in (1, 2):
        job.iterate(0, clock)
    job.iterate(1, 1)
    job.ask(1, m.Leave(1))
    assert job.begin_saves() == ["/f/clock-00000002"]
    assert job.total == 3


def test_a_dead_worker_is_not_waited_for():
    job = Driven()
    for clock in (1, 2):
        job.iterate(0, clock)
    job.shard.handle(b"", Envelope(0, 0, 1, m.Leave(1, view=1)))
    assert job.begin_saves() == ["/f/clock-00000002"]


def test_a_worker_that_comes_at_the_cut_waits_too():
    job = Driven(workers=3)
    job.ask(2, m.Leave(2))
    for clock in (1, 2):
        job.iterate(0, clock)
    job.ask(2, m.Enter(2))  # level with the fastest, which has committed 2
    assert job.ask(2, m.Update(["k"], [100], "add", False)) == []
    for clock in (1, 2):
        job.iterate(1, clock)
    assert job.total == 4
    assert job.begin_saves() == ["/f/clock-00000002"]
    assert job.total == 104


def test_a_cut_for_which_all_wait_too_long_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(cuts, "PATIENCE_TICKS", 3)
    job = Driven()
    for clock in (1, 2):
        job.iterate(0, clock)
    assert job.ask(0, m.Update(["k"], [1], "add", False)) == []
    for _ in range(4):
        job.shard.tick()
    assert len(job.shard.flush()) == 1
    assert "no checkpoint at clock 2: shard 0 waited for worker 1" in caplog.text
    job.ask(0, m.Commit(0, 3))
    job.ask(0, m.Commit(0, 4))
    for clock in (1, 2, 3, 4):
        job.iterate(1, clock)
    assert job.begin_saves() == ["/f/clock-00000004"], "a later one is made"


def test_a_file_that_is_asked_for_does_not_disturb_a_cut():
    job = Driven()
    for clock in (1, 2):
        job.iterate(0, clock)
    job.ask(1, m.Save("/g", "shard-0000-cd"))
    assert job.begin_saves() == ["/g"]
    assert job.ask(0, m.Update(["k"], [1], "add", False)) == [], "it still waits for the cut"
    for clock in (1, 2):
        job.iterate(1, clock)
    assert job.begin_saves() == ["/f/clock-00000002"]


def test_the_failure_of_a_file_is_told_to_who_asked():
    job = Driven(every=0)
    assert job.ask(0, m.Save("/g", "shard-0000-cd")) == []
    job.begin_saves()
    job.shard.saved(m.Saved(0, "/g", "shard-0000-cd-01.bin", 0, "", 0, {}, "the disk is full"))
    assert [reply.message for _, reply in job.shard.flush()] == [m.Failure("CheckpointError", "the disk is full")]
    job.shard.saved(m.Saved(0, "/g", "shard-0000-ee-01.bin", 0, "", 0, {}, ""))
    assert job.shard.flush() == [], "nobody asked for that one"


def test_another_server_that_takes_over_makes_only_cuts_of_the_future():
    job = Driven()
    for clock in (1, 2):
        job.iterate(0, clock)
    job.shard.begin_serving(2)
    job.iterate(1, 1)
    job.iterate(1, 2)
    assert job.shard.saves == [], "worker 0 may have passed it meanwhile"
    for worker in (0, 1):
        for clock in (3, 4):
            job.iterate(worker, clock)
    assert job.begin_saves() == ["/f/clock-00000004"]
