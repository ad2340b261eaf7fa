"""descent.py ROUNDS KIND...: least squares by gradient descent on all ranks, bulk-synchronous, on a table of each kind.

All ranks open each table at once. Rank 0 prints, for each rank and table, the weights that it saw in the end, in
hexadecimal, as JSON.
"""

import json
import sys

import numpy as np

import paracel
from paracel import optim

FEATURES, SAMPLES, RATE = 30, 240, 0.2
ROUNDS, KINDS = int(sys.argv[1]), sys.argv[2:]


def make_samples():
    """The same on each rank: features (SAMPLES, FEATURES), and targets (SAMPLES,)."""
    rng = np.random.default_rng(11)
    features = rng.standard_normal((SAMPLES, FEATURES))
    return features, features @ rng.standard_normal(FEATURES) + rng.standard_normal(SAMPLES)


class Descent(paracel.paralg):
    def __init__(self):
        super().__init__(servers=2, staleness=0)

    def solve(self, name, kind):
        size, distance = (FEATURES, 1) if kind == "dense" else (None, 10**15)
        table = self.table(name, size, dtype="float64", updater=optim.sgd(RATE), apply="commit")
        keys = np.arange(FEATURES) * distance
        features, targets = (part[self.worker_id :: self.worker_size] for part in make_samples())
        for _ in range(ROUNDS):
            weights = table.pull(keys).result()
            table.push(keys, features.T @ (features @ weights - targets) / SAMPLES)
            self.iter_commit()
        self.paracel_sync()
        return table.pull(keys, staleness=None).result().tobytes().hex()


program = Descent()
everything = program.comm.allgather([program.solve(f"w{number}", kind) for number, kind in enumerate(KINDS)])
if program.worker_id == 0:
    print(json.dumps(everything))
