"""`paracel-ctl` on running jobs, and the private files by which it finds them."""

import os
import stat

import pytest

from paracel.control import describe_status
from paracel.errors import ConfigError
from paracel.launch import jobfile
from paracel.launch.jobfile import JobFile

pytestmark = pytest.mark.launch


def test_servers_come_and_go_while_a_job_runs(prun, counting):
    job = counting.start("-p", "2", "--replicas", "2")
    added = prun.control("servers", "add", "2")
    assert (added.returncode, added.stderr) == (0, ""), added.stderr
    assert added.stdout.startswith("servers 2, 3 are started\n")
    assert added.stdout.endswith("servers 2, 3 have their share of the shards\n")
    assert len(job.find("-m paracel.server")) == 4
    removed = prun.control("servers", "remove", "0", "1")
    assert (removed.returncode, removed.stderr) == (0, ""), removed.stderr
    assert removed.stdout.endswith("servers 0, 1 have gone\n")
    lines = prun.control("status", "--job", str(job.process.pid)).stdout.splitlines()
    assert lines[0].startswith(f"job {job.process.pid}: count.py, for ")
    assert lines[1] == "2 servers, 8 shards, 2 copies of each: all in place"
    assert [line.partition(" on ")[0] for line in lines[2:4]] == ["server 2", "server 3"]
    assert lines[4:6] == ["server 0 is gone: it was removed", "server 1 is gone: it was removed"]
    assert [line.partition(" on ")[0] for line in lines[6:]] == ["worker 0", "worker 1"]
    assert len(job.find("-m paracel.server")) == 2
    counting.end_well(job)
    assert "is lost" not in job.stderr


def test_servers_come_and_go_without_replicas_over_tcp(prun, counting):
    job = counting.start("-m", "mpi", "-p", "1", "--shards", "4")
    assert prun.control("servers", "add", "--host", "localhost").returncode == 0
    assert prun.control("servers", "remove", "0").returncode == 0
    counting.end_well(job)


def test_what_cannot_be_done_is_refused_and_changes_nothing(prun, counting):
    job = counting.start("-p", "2", "--replicas", "2")
    for words, said in (
        ("servers remove 0 7", "server 7 is not one of the servers 0, 1"),
        ("servers remove 1", "1 of 2 servers would be left, and 2 are needed at least"),
        ("servers add 7", "2 servers and 7 more are too many for the job's 8 shards, of which each has one; "
                          "begin a job that is to grow so far with --shards 9"),
        ("servers add --host nowhere", "'nowhere' is not one of the job's hosts for servers: localhost"),
    ):  # fmt: skip
        refused = prun.control(*words.split())
        assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"paracel-ctl: error: {said}\n")
    other = prun.control("status", "--job", "1")
    assert other.returncode == 2
    assert f"no job 1 of this user runs on this host, but these: {job.process.pid} (count.py)" in other.stderr
    counting.end_well(job)


def test_a_server_that_does_not_start_is_named(prun, counting):
    job = counting.start("-p", "1", "--shards", "2")
    # the address of the next server is taken
    (address,) = prun.temporary.glob("paracel-*/server-0")
    (address.parent / "server-1").mkdir()
    failed = prun.control("servers", "add")
    assert failed.returncode == 1
    assert "server 1 did not start, or did not stay: it ended with exit code 1" in failed.stderr
    job.wait_said("prun: server 1 on localhost did not start (it ended with exit code 1)", stream="stderr")
    counting.end_well(job)


def test_with_two_jobs_one_says_which(prun, counting):
    jobs = [counting.start(), counting.start()]
    unsaid = prun.control("status")
    assert unsaid.returncode == 2
    assert "2 jobs of this user run here; say with --job which: " in unsaid.stderr
    for job in jobs:
        assert f"{job.process.pid} (count.py)" in unsaid.stderr
        assert prun.control("status", "--job", str(job.process.pid)).stdout.startswith(f"job {job.process.pid}: ")
    for job in jobs:
        counting.end_well(job)


def test_the_file_is_private_and_enough_to_find_the_job(prun, counting):
    job = counting.start("-m", "mpi")
    (path,) = prun.temporary.glob("paracel-*/*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert jobfile.read(path).key
    assert prun.control("status", "--job", str(path)).stdout.startswith(f"job {job.process.pid}: ")
    counting.end_well(job)
    assert not path.exists()


# --- the files alone --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "paracel"


def made(pid: int | None = None) -> JobFile:
    return JobFile("ipc:///tmp/c", "key", os.getpid() if pid is None else pid, "train.py", 12.5)


def test_a_job_is_found_while_it_runs(folder):
    path = jobfile.write(made())
    assert path == folder / f"{os.getpid()}.json"
    assert jobfile.find() == jobfile.find(str(os.getpid())) == jobfile.find(str(path)) == made()
    jobfile.remove(path)
    assert not folder.exists()
    with pytest.raises(ConfigError, match="no job of this user runs on this host"):
        jobfile.find()


def test_what_a_killed_prun_left_is_not_taken_for_a_job(folder):
    gone = 2**22 + 1  # more than Linux gives out
    left = jobfile.write(made(gone))
    with pytest.raises(ConfigError, match="no job of this user"):
        jobfile.find()
    jobfile.write(made())
    assert not left.exists()
    assert jobfile.find() == made()


@pytest.mark.parametrize("who", ["the file", "the folder"])
def test_what_others_could_have_written_is_refused(folder, who):
    path = jobfile.write(made())
    (path if who == "the file" else folder).chmod(0o770)
    with pytest.raises(ConfigError, match="is not private to this user"):
        jobfile.find() if who == "the file" else jobfile.write(made())


def test_what_is_no_file_of_a_job_is_refused(tmp_path):
    path = tmp_path / "job"
    with pytest.raises(ConfigError, match=r"is not the file of a job that can be read: .*No such file"):
        jobfile.find(str(path))
    for text in ("", "[]", '{"pid": 1}'):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="is not the file of a job that can be read"):
            jobfile.find(str(path))


def test_the_status_in_words():
    def server(number: int, **more):
        known = {"server": number, "host": "n1", "pid": 10 + number, "keys": 1200, "requests": 5, "clock": 3}
        return {**known, "clocks": [(0, 3), (1, 4)], "filled": [], **more}

    def place(chain, joining=-1, target=()):
        return {"epoch": 1, "chain": chain, "joining": joining, "target": target, "since": -1}

    worker = {"host": "n1", "left": False, "died": False}
    status = {
        "servers": [server(0), server(2, clocks=[(0, 2), (1, 4)], filled=[(0, 2_500_000)]), server(3)],
        "lost": [(1, "no heartbeat for 3 s")],
        "workers": [{**worker, "worker": 0, "pid": 7}, {**worker, "worker": 1, "pid": 8, "left": True}],
        "shards": [place((0, 2), joining=3), place((2, 0), target=(0, 2)), place((1,))],
        "broken": [2], "removed": [3], "replicas": 2, "settled": False,
    }  # fmt: skip
    assert list(describe_status(made(9), status, 15.0)) == [
        "job 9: train.py, for 2 s",
        "3 servers, 3 shards, 2 copies of each: some are on their way",
        "server 0 on n1 (process 10), answers for 1 shards, copies 1, 1,200 keys, 5 requests, clock 3",
        "server 2 on n1 (process 12), answers for 1 shards, copies 1, 1,200 keys, 5 requests, clock 3",
        "server 3 on n1 (process 13), answers for 0 shards, 1,200 keys, 5 requests, clock 3, is going",
        "server 1 is gone: no heartbeat for 3 s",
        "shard 2 is lost",
        "shard 0: server 2 fills server 3, 2.5 MB so far",
        "shard 1: goes to servers 0, 2",
        "worker 0 on n1 (process 7), clock 2",
        "worker 1 on n1 (process 8), clock 4, has finished",
    ]
