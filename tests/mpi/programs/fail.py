"""fail.py RANK|all: that rank raises while the others wait for it."""

import sys

from paracel import comm

ranks = comm.world()
comm.install_abort_hook(ranks)
print(f"rank {ranks.rank} is here")
ranks.barrier()
if sys.argv[1] in (str(ranks.rank), "all"):
    raise ValueError(f"the trouble of rank {ranks.rank}")
ranks.mpi.Barrier()
ranks.barrier()
