"""Draws the ranks of one or more `pagerank_0` files by their place, on logarithmic scales, to `ranks.png`.

Not a part of the job: it only reads what jobs wrote. `python examples/pagerank/figure.py FOLDER/pagerank_0 ...`
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent


def draw(files: list[str]) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for file in files:
        ranks = np.sort(np.loadtxt(file, usecols=1, delimiter="\t"))[::-1]
        axes.loglog(np.arange(1, len(ranks) + 1), ranks, label=Path(file).parent.name)
    axes.set_xlabel("place")
    axes.set_ylabel("rank")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(HERE / "ranks.png", dpi=110)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    draw(sys.argv[1:])
