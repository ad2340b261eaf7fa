"""Runs `straggler.py` under prun for several values of staleness, and draws the loss over time.

Not a part of the job: it only starts jobs and reads what they wrote.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STALENESS = ("0", "1", "3", "Infinity")  # as JSON spells them
WORKERS = 4


def run(staleness: str, directory: Path) -> tuple[list[float], list[float]]:
    """Seconds and losses of one job, as its worker 0 saw them."""
    output = directory / staleness
    command = [sys.executable, "prun.py", "-w", str(WORKERS), "-p", "1", str(HERE / "straggler.py")]
    subprocess.run([*command, f"staleness={staleness}", f"output={output}"], cwd=ROOT, check=True, timeout=300)
    table = np.loadtxt(output / "trace_0", delimiter="\t")
    return table[:, 0].tolist(), table[:, 1].tolist()


def draw(traces: dict[str, tuple[list[float], list[float]]], path: Path) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.6), dpi=80)
    for staleness, (seconds, losses) in traces.items():
        (line,) = axes.plot(seconds, losses, label=f"staleness {staleness}: {seconds[-1]:.1f} s")
        axes.plot(seconds[-1], losses[-1], "o", color=line.get_color())
    axes.set(
        xlabel="seconds",
        ylabel="training loss",
        ylim=(0.32, 0.5),
        title=f"{WORKERS} workers with random stalls",
    )
    axes.legend()
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        traces = {staleness: run(staleness, Path(directory)) for staleness in STALENESS}
    print("| staleness | seconds | of those at 0 | final loss |")
    print("|---|---|---|---|")
    longest = traces["0"][0][-1]
    for staleness, (seconds, losses) in traces.items():
        print(f"| {staleness} | {seconds[-1]:.2f} | {seconds[-1] / longest:.2f} | {losses[-1]:.6f} |")
    draw(traces, HERE / "straggler.png")


if __name__ == "__main__":
    main()
