"""Writes ratings from 1 to 5 that random biases and factors make: the files that `matrix_factorization.json` reads.

`python examples/matrix_factorization/generate.py FOLDER` makes `ratings.txt`, `test.txt` and `predict.csv` there.
"""

import sys
from pathlib import Path

import numpy as np


def write(
    folder: Path, *, users: int = 5000, items: int = 1000, k: int = 5, ratings: int = 220_000, seed: int = 0
) -> None:
    """Some items are rated more often than others. Every eleventh rating is in the files for the test."""
    random = np.random.default_rng(seed)
    popularity = (1 + np.arange(items)) ** -0.5
    pairs = random.integers(users, size=2 * ratings) * items
    pairs += random.choice(items, size=2 * ratings, p=popularity / popularity.sum())
    user, item = np.divmod(random.permutation(np.unique(pairs))[:ratings], items)
    w, h = random.normal(size=(users, k)), random.normal(size=(items, k))
    bias = 0.4 * random.normal(size=users)[user] + 0.4 * random.normal(size=items)[item]
    value = 3.5 + bias + 0.35 * np.einsum("ij,ij->i", w[user], h[item]) + 0.5 * random.normal(size=len(user))
    stars = np.clip(np.rint(value), 1, 5).astype(int).tolist()
    triples = list(zip(user.tolist(), item.tolist(), stars, strict=True))
    test = len(triples) // 11
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in (("ratings.txt", triples[test:]), ("test.txt", triples[:test])):
        (folder / name).write_text("".join(f"{u} {i} 2005-07-14 {stars}\n" for u, i, stars in some))
    (folder / "predict.csv").write_text("".join(f"{u},{i}\n" for u, i, _ in triples[:test]))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
