"""quit.py RANK HOW: that rank raises, or exits with status 3, while the others wait for it. Without paracel.main."""

import sys

import paracel

rank, how = int(sys.argv[1]), sys.argv[2]
algorithm = paracel.paralg()
algorithm.paracel_sync()
if algorithm.worker_id == rank:
    if how == "exit":
        sys.exit(3)
    raise ValueError(f"the trouble of rank {rank}")
algorithm.paracel_sync()
