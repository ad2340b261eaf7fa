import json
import re
from pathlib import Path

import pytest

RANKS = pytest.mark.parametrize("n", [1, 2, 4])


def talked(ended, n):
    assert ended.status == 0
    everyone = json.loads(ended.stdout)
    data = [list(range(rank * 10)) for rank in range(n)]
    # Our piece comes whole, the others' seven bytes at a time.
    pieces = [[0, 0], *([rank, min(7, rank * 10 - at)] for rank in range(n) for at in range(0, rank * 10, 7))]
    for rank, seen in enumerate(everyone):
        assert seen == {
            "rank": rank,
            "size": n,
            "mpi": [rank, n],
            "broadcast": [{"text": "é" * 20, "pair": [1, None]}, n - 1],
            "all": [["x" * other, other] for other in range(n)],
            "again": True,
            "bytes": data if rank == n - 1 else None,
            "pieces": pieces if rank == 0 else [],
            "joined": [byte for part in data for byte in part] if rank == 0 else [],
        }
    assert len(everyone) == n


def left_nothing(ended):
    """No shared memory outlives the ranks that had it mapped, of which there was some."""
    names = re.findall(r"/dev/shm/[\w.]+", ended.stdout)
    assert names
    assert [name for name in names if Path(name).exists()] == []


def failed(ended, names):
    assert ended.status != 0
    left_nothing(ended)
    raised = ended.stderr.count("Traceback (most recent call last)")
    assert 1 <= raised <= len(names)
    for name in names:
        assert ended.stderr.count(f"ValueError: the trouble of rank {name}") <= 1
    assert raised == ended.stderr.count("ValueError: the trouble of rank ")


@RANKS
def test_every_call(mpirun, n):
    talked(mpirun(n, "talk.py"), n)


@pytest.mark.parametrize(("n", "rank"), [(1, 0), (2, 1), (4, 0), (4, 3)])
def test_a_rank_that_raises_ends_the_job_with_its_traceback_once(mpirun, n, rank):
    ended = mpirun(n, "fail.py", str(rank))
    failed(ended, [rank])
    assert f"rank {rank} is here\n" in ended.stdout  # printed before, to a pipe: the end flushes it


def test_ranks_that_all_raise(mpirun):
    for _ in range(5):  # mpiexec could lose what a rank printed just before it aborts, now and then
        failed(mpirun(4, "fail.py", "all"), range(4))


def test_a_rank_that_is_killed_leaves_no_shared_memory(mpirun):
    ended = mpirun(2, "fail.py", "kill")
    assert ended.status != 0
    left_nothing(ended)


def test_openmpi(openmpirun):
    talked(openmpirun(2, "talk.py"), 2)
    failed(openmpirun(2, "fail.py", "1"), [1])
