"""Rank 0 is late: where the others' time goes, and its own. Prints the shares of every rank."""

import json
import time

import paracel

LATE = 0.4


class Late(paracel.paralg):
    def solve(self):
        before = self.statistics().times
        if self.worker_id == 0:
            time.sleep(LATE)
        self.paracel_sync()
        return self.statistics().times - before


algorithm = Late()
times = algorithm.solve()
gathered = algorithm.comm.gather([times.seconds, times.compute, times.communication, times.waiting])
if algorithm.worker_id == 0:
    print(json.dumps(gathered))
