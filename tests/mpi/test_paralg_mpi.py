import json

import pytest


def solved(ended, n):
    assert ended.status == 0
    total = sum(range(6, 6 + n))
    for first, second in json.loads(ended.stdout):
        assert [lacking for lacking, _, _ in first] == [0, 0]
        assert all(lacking <= 3 * n for lacking, _, _ in second)
        assert [staleness for _, _, staleness in first + second] == [0, 0, 3]
        assert [counted for _, [[_, counted]], _ in first + second] == [total] * 3


@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_solve_is_in_the_quorum_with_its_own_staleness(mpirun, n):
    solved(mpirun(n, "two_algorithms.py"), n)


def test_openmpi(openmpirun):
    solved(openmpirun(2, "two_algorithms.py"), 2)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_ranks_share_files_and_keys(mpirun, tmp_path, n):
    (tmp_path / "in.txt").write_text("".join(f"line {number}\n" for number in range(10)))
    ended = mpirun(n, "shared.py", tmp_path)
    assert ended.status == 0
    written = (tmp_path / "lines_0").read_text().splitlines()
    assert sorted(written) == sorted(f"line {number}" for number in range(10))
    assert sorted((tmp_path / "counts_0").read_text().splitlines()) == [f"{rank}\t{n}" for rank in range(n)]
    for seen in json.loads(ended.stdout):
        assert seen == {
            "workers": n,
            "servers": 2,
            "all": {str(rank): rank for rank in range(n)},
            "lines": 10,
            "total": 10,
            "top": [[str(n - 1), n - 1]],
            "left": 0,
        }


def test_who_is_early_waits_and_who_is_late_computes(mpirun):
    ended = mpirun(3, "times.py")
    assert ended.status == 0
    late, *early = json.loads(ended.stdout)
    assert late[1] > 0.39
    for seconds, compute, communication, waiting in early:
        assert waiting > max(0.2, compute, communication)
        assert seconds == pytest.approx(compute + communication + waiting)


@pytest.mark.parametrize(("code", "status", "said"), [("3", 3, ""), ('"no data"', 1, "no data\n")])
def test_a_rank_that_exits_with_an_error_ends_them_all(mpirun, code, status, said):
    ended = mpirun(2, "exit.py", code)
    assert ended.status == status
    assert said in ended.stderr


@pytest.mark.parametrize(("how", "status", "said"), [("raise", 1, "the trouble of rank"), ("exit", 3, "")])
@pytest.mark.parametrize("rank", [0, 1])
def test_under_mpi4py_any_rank_that_fails_ends_them_all_though_rank_0_has_the_servers(mpirun, rank, how, status, said):
    ended = mpirun(2, "quit.py", str(rank), how, module="mpi4py", deadline=20)
    assert ended.status == status
    assert said in ended.stderr
