"""shared.py FOLDER: the ranks read and write files and keys together; rank 0 prints what each saw, as JSON."""

import json
import sys

import paracel


class Program(paracel.paralg):
    def solve(self):
        self.paracel_write(str(self.worker_id), self.worker_id)
        self.paracel_sync()
        seen = {"workers": self.worker_size, "servers": self.server_size, "all": self.paracel_readall()}
        seen["top"] = self.paracel_read_topk(1)
        self.paracel_sync()
        lines = self.paracel_load(f"{self.output}/in.txt")
        seen["lines"] = len(self.paracel_loadall(f"{self.output}/in.txt"))
        self.paracel_update("total", len(lines))
        self.paracel_sync()
        seen["total"] = self.paracel_read("total")
        self.paracel_dump_vector(lines, "lines_", merge=True)
        self.paracel_dump_dict({self.worker_id: self.worker_size}, "counts_", merge=True)
        self.paracel_sync()
        self.paracel_remove_multi(["total", str(self.worker_id)])
        self.paracel_sync()
        seen["left"] = len(self.paracel_readall())
        return seen


program = Program(sys.argv[1], servers=2)
everything = program.comm.allgather(program.solve())
if program.worker_id == 0:
    print(json.dumps(everything))
