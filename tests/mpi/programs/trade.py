"""Arrays of every kind to every rank; rank 0 prints what each got, as JSON."""

import json

import numpy as np

from paracel import comm

ranks = comm.world()
rank, size = ranks.rank, ranks.size


def sent(sender, receiver):
    """How many items, and the first of them."""
    return (sender + 2 * receiver) % 4, 100 * sender + receiver


def items(sender, receiver, dtype, shape):
    count, first = sent(sender, receiver)
    numbers = np.arange(first, first + count * int(np.prod(shape))).reshape(count, *shape)
    return numbers.astype(dtype)


seen = []
for dtype, shape in (("i8", ()), ("S21", ()), ("f8", (3,)), ("u1", ()), ("f8", (0,)), ("f4", (2, 2))):
    mine = [items(rank, other, dtype, shape) for other in range(size)]
    with comm.ranks_of(ranks.mpi) as borrowed:
        got = borrowed.alltoallv(np.concatenate(mine), [len(each) for each in mine])
    want = np.concatenate([items(other, rank, dtype, shape) for other in range(size)])
    seen.append([got.dtype == want.dtype, got.shape == want.shape, bool((got == want).all())])
nothing = ranks.alltoallv(np.zeros(0), [0] * size)
everything = ranks.allgather_json({"right": seen, "nothing": len(nothing)})
if rank == 0:
    print(json.dumps(everything))
