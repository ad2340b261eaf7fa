"""Writes scikit-learn's digits as the files that `downpour.json` reads: lines of 64 numbers and the digit.

`python examples/downpour/prepare.py FOLDER` makes `training.csv` and `test.csv` there. Every fifth one is for the test.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def write(folder: Path, seed: int = 0) -> None:
    """In random order: those who wrote the digits are not apart."""
    images, digits = load_digits(return_X_y=True)
    lines = np.random.default_rng(seed).permutation(np.column_stack([images, digits]))
    test = np.arange(len(lines)) % 5 == 0
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "training.csv", lines[~test], "%d", ",")
    np.savetxt(folder / "test.csv", lines[test], "%d", ",")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
