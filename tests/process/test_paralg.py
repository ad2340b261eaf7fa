"""Programs of one rank that start their servers: how they end, and what they refuse."""

import pytest
from real import Programs, Surroundings

HEAD = """
import os, sys
import paracel

class Program(paracel.paralg):
    def solve(self):
        self.paracel_write("text", "a")
"""


@pytest.mark.parametrize("where", ["in solve", "behind its total", "after solve"])
def test_an_update_that_failed_unseen_ends_the_program_with_1(where: str, programs: Programs) -> None:
    code = {
        "in solve": "",
        "behind its total": "self.set_total_iters(1)\n        self.iter_commit()",
        "after solve": "return",
    }[where]
    program = programs.start(HEAD + f"        {code}\n        self.paracel_update('text', 1)\n" + """
made = Program()
made.solve()
if sys.argv[1] == "after solve":
    made.paracel_update("text", 1)
""", where)  # fmt: skip
    assert program.wait() == 1
    assert "'text'" in program.err


def test_a_forked_child_leaves_its_parents_job_alone(programs: Programs, surroundings: Surroundings) -> None:
    code = """
made = Program()
child = os.fork()
if not child:
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert made.paracel_bupdate("n", 1) == 1
made.solve()
print("solved")
"""
    program = programs.start(HEAD + code)
    program.check_ended_well()
    assert program.out == "solved\n"
    assert not surroundings.sockets()


def test_a_server_that_imports_an_unguarded_program_starts_no_job(programs: Programs) -> None:
    code = """
import paracel

@paracel.updater
def mine(value, delta):
    return value + delta

class Program(paracel.paralg):
    def solve(self):
        self.paracel_bupdate("k", 1, mine)

Program().solve()
"""
    program = programs.start(code)
    assert program.wait() == 1
    assert "a paralg was made while a server imported this file; put the main part" in program.err
