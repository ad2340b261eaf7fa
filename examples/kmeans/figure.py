"""Draws clusters of points in a plane: `python figure.py POINTS OUTPUT_FOLDER`. Rewrites clusters.png beside it."""

import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

mpl.use("Agg")


def main(points: str, folder: str) -> None:
    places = {}
    for line in Path(points).read_text(encoding="utf-8").splitlines():
        key, _, numbers = line.partition("\t")
        places[key] = numbers.split(",")[:2]
    labels = [line.split("\t") for path in Path(folder).glob("kmeans_*") for line in path.read_text().splitlines()]
    x, y = np.array([places[key] for key, _ in labels], float).T
    centres = np.loadtxt(Path(folder, "centers_0").read_text().replace("\t", "|").splitlines(), delimiter="|")
    _, axes = plt.subplots(figsize=(6, 6), dpi=100)
    axes.scatter(x, y, 3, [int(label) % 20 for _, label in labels], cmap="tab20", linewidths=0)
    axes.scatter(centres[:, 1], centres[:, 2], 60, "black", marker="x")
    axes.set_aspect("equal")
    axes.set_title(f"{len(labels):,} points, {len(centres)} clusters")
    plt.tight_layout()
    plt.savefig(Path(__file__).with_name("clusters.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
