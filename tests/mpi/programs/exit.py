"""exit.py CODE: the last rank ends with sys.exit(CODE), as JSON says it, while the others wait for it."""

import json
import sys

import paracel


class Program(paracel.paralg):
    def solve(self):
        if self.worker_id == self.worker_size - 1:
            sys.exit(json.loads(sys.argv[1]))
        self.paracel_sync()


paracel.main(Program, [])
