"""Runs jobs under prun and draws what delay and message filters do: `delay.png` and `traffic.png`.

Not a part of the job: it only starts jobs and reads what they wrote.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORKERS, TRAFFIC_WORKERS, SERVERS = 4, 2, 2
TAUS = (0, 1, 2, 4, 8, 16)
CLOSE = 0.001  # of the optimum, above it
FILTERS = ("key_caching", "fixed_point", "compressing")


def prun(workers: int, *arguments: str) -> dict[str, float]:
    """Runs a job; the figures that it printed, by name."""
    command = [sys.executable, "prun.py", "-w", str(workers), "-p", str(SERVERS), *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, timeout=600, stdout=subprocess.PIPE, text=True)
    return {
        name: float(value) for name, _, value in (line.partition(": ") for line in done.stdout.splitlines()) if value
    }


def train(**settings: Any) -> dict[str, float]:
    """The figures of a job with `generated.json`, but for these settings."""
    given = (f"{name}={json.dumps(value)}" for name, value in settings.items())
    return prun(TRAFFIC_WORKERS, "-c", str(HERE / "generated.json"), str(HERE / "sparse_lr.py"), *given)


def measure_delay(optimum: float) -> dict[int, np.ndarray]:
    """By tau, a row for each round: seconds, seconds idle, the objective above the optimum, as a share of it."""
    print("| tau | seconds | idle | above the optimum | rounds until 0.1 % above | seconds until then |")
    print("|---|---|---|---|---|---|")
    traces = {}
    for tau in TAUS:
        with tempfile.TemporaryDirectory() as directory:
            figures = prun(WORKERS, str(HERE / "straggler.py"), f"tau={tau}", f"output={directory}")
            trace = np.loadtxt(Path(directory) / "trace_0")
        trace[:, 2] = trace[:, 2] / optimum - 1
        traces[tau] = trace
        reached = first_close(trace)
        shown = f"{reached + 1} | {trace[reached, 0]:.1f}" if reached < len(trace) else "- | -"
        gap = figures["objective"] / optimum - 1
        print(f"| {tau} | {figures['seconds']:.1f} | {100 * figures['idle']:.1f} % | {100 * gap:.4f} % | {shown} |")
    return traces


def first_close(trace: np.ndarray) -> int:
    """The first round that ended close to the optimum; as many as there are if none did."""
    close = np.flatnonzero(trace[:, 2] <= CLOSE)
    return int(close[0]) if len(close) else len(trace)


def draw_delay(traces: dict[int, np.ndarray], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), dpi=80)
    for tau, trace in traces.items():
        left.plot(trace[:, 0], 100 * np.maximum(trace[:, 2], 1e-7), label=f"tau {tau}")
    left.axhline(100 * CLOSE, color="grey", linewidth=0.8)
    left.set(xlabel="seconds", ylabel="above the optimum, %", yscale="log", title=f"{WORKERS} workers, random stalls")
    left.legend()
    at = {tau: trace[min(first_close(trace), len(trace) - 1)] for tau, trace in traces.items()}
    names = [str(tau) for tau in at]
    idle = [row[1] for row in at.values()]
    right.bar(names, [row[0] - row[1] for row in at.values()], label="busy or stalled")
    right.bar(names, idle, bottom=[row[0] - row[1] for row in at.values()], label="idle")
    right.set(xlabel="tau", ylabel="seconds", title="until 0.1 % above the optimum")
    right.legend()
    figure.savefig(path, bbox_inches="tight")


def measure_traffic() -> dict[str, list[tuple[str, float, float]]]:
    """Without and with the KKT filter, for each further filter: its name, megabytes pushed, megabytes pulled."""
    print("| filters | rounds | pushed, MB | pulled, MB | with KKT: rounds | pushed | pulled |")
    print("|---|---|---|---|---|---|---|")
    rows: dict[str, list[tuple[str, float, float]]] = {"without KKT": [], "with KKT": []}
    for count in range(len(FILTERS) + 1):
        name = f"+ {FILTERS[count - 1]}" if count else "none"
        shown = []
        for title, kkt in (("without KKT", False), ("with KKT", True)):
            figures = train(kkt=kkt, filters=list(FILTERS[:count]), tau=0)
            pushed, pulled = figures["megabytes pushed"], figures["megabytes pulled"]
            rows[title].append((name, pushed, pulled))
            shown.append(f"{figures['rounds']:.0f} | {pushed:.2f} | {pulled:.2f}")
        print(f"| {name} | {' | '.join(shown)} |", flush=True)
    return rows


def draw_traffic(rows: dict[str, list[tuple[str, float, float]]], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.0), dpi=80, sharey=True)
    for axis, (title, measured) in zip(axes, rows.items()):
        names = [name.replace("_", "\n") for name, _, _ in measured]
        pushed = [pushed for _, pushed, _ in measured]
        axis.bar(names, pushed, label="pushed")
        axis.bar(names, [pulled for _, _, pulled in measured], bottom=pushed, label="pulled")
        axis.set(title=title)
    axes[0].set(ylabel="MB until the job ends")
    axes[0].legend()
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    mpl.use("Agg")
    optimum = train(tolerance=1e-8)["objective"]
    print(f"optimum: {optimum:.6f}\n")
    draw_delay(measure_delay(optimum), HERE / "delay.png")
    print()
    draw_traffic(measure_traffic(), HERE / "traffic.png")


if __name__ == "__main__":
    main()
