import json

import pytest


def dumped(ended, folder, n):
    assert ended.status == 0
    even = range(0, n, 2)
    want = {f"own_{rank}": f"{rank * 12.5}\n{rank * 12.5 + 0.125}\n{rank * 12.5 + 0.25}\n" for rank in range(n)}
    want["merged_0"] = "".join(f"{rank}a,{rank}b\n" for rank in even)
    want["both_0"] = "".join(f"{turn}.{rank}\tx:0.5\n" for turn in range(2) for rank in even)
    want["nothing_0"] = ""
    assert {path.name: path.read_text() for path in folder.iterdir()} == want

    last = n - 1
    for rank, seen in enumerate(json.loads(ended.stdout)):
        assert seen["visible"] == [True]
        text, place = seen["errors"]
        told = "" if rank == last else f"ParacelError: rank {last} could not write its output: "
        assert text == f"{told}ValueError: no text"
        assert ("rank 0 could not write its output: " in place) == (rank != 0)
        assert "own_0" in place


@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_way_to_dump(mpirun, tmp_path, n):
    dumped(mpirun(n, "dump.py", tmp_path), tmp_path, n)


def test_openmpi(openmpirun, tmp_path):
    dumped(openmpirun(2, "dump.py", tmp_path), tmp_path, 2)
