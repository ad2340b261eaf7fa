"""uneven.py CASE: what Pregel refuses when the workers disagree. Each rank prints the error that it got."""

import sys

import paracel
from paracel import pregel
from paracel.graphs import digraph


class Uneven(paracel.paralg):
    def solve(self, case):
        first = self.worker_id == 0
        if case == "clocks" and first:
            self.iter_commit()
        mixed = [("a", "b")] if first else [(1, 2)]
        try:
            pregel.run(self, pregel.MaxValue(), digraph(mixed if case == "ids" else [(1, 2)]))
        except paracel.ConfigError as error:
            return f"{error}"


program = Uneven()
errors = program.comm.gather(program.solve(sys.argv[1]))
if program.worker_id == 0:
    print(*errors, sep="\n")
