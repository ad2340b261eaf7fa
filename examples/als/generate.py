"""Writes ratings that random factors make, and the items' factors: the files that `als.json` reads.

`python examples/als/generate.py FOLDER` makes `ratings.csv`, `validation.csv` and `factors.txt` there.
"""

import sys
from pathlib import Path

import numpy as np


def write(
    folder: Path,
    *,
    users: int = 2000,
    items: int = 300,
    k: int = 8,
    share: float = 0.1,
    noise: float = 0.2,
    seed: int = 0,
) -> None:
    """A `share` of all pairs is rated; of these, every tenth is in the file to validate with."""
    random = np.random.default_rng(seed)
    w, h = random.normal(size=(users, k)), random.normal(size=(items, k))
    user, item = np.divmod(random.permutation(users * items)[: round(share * users * items)], items)
    rating = np.einsum("ij,ij->i", w[user], h[item]) + noise * random.normal(size=len(user))
    lines = [f"{u},{i},{r:.4f}\n" for u, i, r in zip(user.tolist(), item.tolist(), rating.tolist())]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ratings.csv").write_text("".join(lines[len(lines) // 10 :]))
    (folder / "validation.csv").write_text("".join(lines[: len(lines) // 10]))
    (folder / "factors.txt").write_text(
        "".join(f"{i}\t{'|'.join(map(repr, row))}\n" for i, row in enumerate(h.tolist()))
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
