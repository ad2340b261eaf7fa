"""dump.py FOLDER: every way to dump, with ranks that have nothing; rank 0 prints the errors of all, as JSON."""

import json
import sys
from pathlib import Path

import numpy as np

from paracel import comm
from paracel.output import dump_dict, dump_vector

comm._PIECE = 16
folder = Path(sys.argv[1])
ranks = comm.world()
rank = ranks.rank
odd = rank % 2 == 1

dump_vector(ranks, np.arange(rank * 100, rank * 100 + 3) / 8, folder, "own_")
dump_vector(ranks, [] if odd else [f"{rank}a", f"{rank}b"], folder, "merged_", ",", merge=True)
visible = [(folder / "merged_0").exists()]
for turn in range(2):
    dump_dict(ranks, {} if odd else {f"{turn}.{rank}": [("x", 0.5)]}, folder, "both_", append=True, merge=True)
dump_vector(ranks, [], folder, "nothing_", merge=True)


class Unwritable:
    def __str__(self):
        raise ValueError("no text")


def failure(*dump):
    try:
        dump_vector(ranks, *dump, merge=True)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


comm._PIECE = 1 << 20  # and texts so large that MPI does not send them before somebody receives
last = rank == ranks.size - 1
errors = [
    failure([Unwritable()] if last else ["long" * 1_000_000], folder, "bad_"),
    failure(["long" * 1_000_000], folder / "own_0", "below_a_file_"),
]
everything = ranks.allgather_json({"errors": errors, "visible": visible})
if rank == 0:
    print(json.dumps(everything))
