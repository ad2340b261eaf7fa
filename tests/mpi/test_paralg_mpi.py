import json

import pytest


@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_solve_is_in_the_quorum_with_its_own_staleness(mpirun, n):
    ended = mpirun(n, "two_algorithms.py")
    assert ended.status == 0
    total = sum(range(6, 6 + n))
    for first, second in json.loads(ended.stdout):
        assert [lacking for lacking, _, _ in first] == [0, 0]
        assert all(lacking <= 3 * n for lacking, _, _ in second)
        assert [staleness for _, _, staleness in first + second] == [0, 0, 3]
        assert [counted for _, [[_, counted]], _ in first + second] == [total] * 3


@pytest.mark.parametrize(("code", "status", "said"), [("3", 3, ""), ('"no data"', 1, "no data\n")])
def test_a_rank_that_exits_with_an_error_ends_them_all(mpirun, code, status, said):
    ended = mpirun(2, "exit.py", code)
    assert ended.status == status
    assert said in ended.stderr
