"""Every call of paracel.comm, in pieces of a few bytes; rank 0 prints what each rank saw, as JSON."""

import json

from paracel import comm

comm._PIECE = 7
ranks = comm.world()
rank, size = ranks.rank, ranks.size
root = size - 1
text = "é" * 20

ranks.barrier()
seen = {
    "rank": rank,
    "size": size,
    "mpi": [ranks.mpi.rank, ranks.mpi.size],
    "broadcast": [
        ranks.bcast_json({"text": text, "pair": (1, None)} if rank == 0 else "ignored"),
        ranks.bcast_json(rank, root=root),
    ],
    "all": ranks.allgather_json(["x" * rank, rank]),
    "again": comm.world() is ranks,
}
data = bytes(range(rank * 10))
gathered = [[] for _ in range(size)]
for sender, piece in ranks.gather_pieces(data, root):
    gathered[sender] += piece
seen["bytes"] = gathered if rank == root else None
pieces = list(ranks.gather_pieces(data))
seen["pieces"] = [[sender, len(piece)] for sender, piece in pieces]
seen["joined"] = list(b"".join(piece for _, piece in pieces))

everything = ranks.allgather_json(seen)
if rank == 0:
    print(json.dumps(everything))
