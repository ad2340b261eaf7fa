"""Two algorithms of one process, each solved, one of them again; rank 0 prints what each rank saw, as JSON.

The last rank is slow. At staleness 0 no read may lack what any rank had committed in the iterations before.
"""

import json
import time

import paracel

ROUNDS = 6


class Counting(paracel.paralg):
    def __init__(self, key: str, staleness: float | None):
        super().__init__(staleness=staleness)
        self.key = key
        self.seen = []

    def solve(self):
        if self.worker_id == 0:
            self.paracel_write(self.key, 0)
        self.paracel_sync()
        lacking = 0
        own = ROUNDS + self.worker_id  # unequal: the first ones leave the quorum while the last go on
        self.set_total_iters(own)
        for number in range(own):
            if self.worker_id == self.worker_size - 1:
                time.sleep(0.01)
            committed = sum(min(number, ROUNDS + rank) for rank in range(self.worker_size))
            lacking = max(lacking, committed - self.paracel_read(self.key))
            self.paracel_update(self.key, 1)
            self.iter_commit()
        self.paracel_sync()
        self.seen.append([lacking, self.paracel_read_topk(1), self.staleness])


first, second = Counting("a", 0), Counting("b", 3)
first.solve()
second.solve()
first.solve()
everything = first.comm.allgather([first.seen, second.seen])
if first.worker_id == 0:
    print(json.dumps(everything))
