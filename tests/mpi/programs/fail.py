"""fail.py RANK|all|kill: that rank raises, or the last is killed, while the others wait for it.

Each rank prints the shared memory that it has mapped when MPI has started.
"""

import os
import re
import signal
import sys
from pathlib import Path

from mpi4py import MPI

from paracel import comm

MPI.COMM_WORLD.Barrier()
shared = sorted(set(re.findall(r"/dev/shm/(?:mpich|sm_).*", Path("/proc/self/maps").read_text())))
print(*shared, flush=True)
ranks = comm.world()
comm.install_abort_hook(ranks)
print(f"rank {ranks.rank} is here")
ranks.barrier()
if sys.argv[1] == "kill" and ranks.rank == ranks.size - 1:
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] in (str(ranks.rank), "all"):
    raise ValueError(f"the trouble of rank {ranks.rank}")
ranks.mpi.Barrier()
ranks.barrier()
