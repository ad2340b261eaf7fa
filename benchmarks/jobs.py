"""How long a job takes to start and to end, with nothing to do in between.

Commands are timed whole. The floor of embedded servers is a Python that only imports numpy and zmq, which every
client and every server must do, one after the other; that of prun is an mpiexec whose two ranks do nothing.
`connect` and `close` alone are timed inside a process that has everything imported; their floor is the same.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import paracel
from benchmarks.table import Figure
from benchmarks.timing import against, side_by_side
from paracel.launch.mpi import find_mpiexec

ROOT = Path(__file__).resolve().parents[1]
TOPIC = "start and end of a job"
_EMBEDDED = "import paracel\nwith paracel.connect(servers={}): pass"
_TRIVIAL = """import paracel

class Nothing(paracel.paralg):
    def solve(self):
        pass

if __name__ == "__main__":
    paracel.main(Nothing)
"""


def measure(quick: bool) -> Iterator[Figure]:
    """Embedded servers, and prun."""
    rounds = 1 if quick else 7
    yield from _embedded(rounds)
    yield from _prun(rounds)


def _embedded(rounds: int) -> Iterator[Figure]:
    works: dict[str, Callable[[], object]] = {}
    for servers in (1, 2):
        name = f"{servers} server{'s' if servers > 1 else ''}"
        works[f"connect and close, {name}"] = lambda servers=servers: paracel.connect(servers=servers).close()
        works[f"python, connect and close, {name}"] = _running([sys.executable, "-c", _EMBEDDED.format(servers)])
    floor, *times = side_by_side([_running([sys.executable, "-c", "import numpy, zmq"]), *works.values()], rounds)
    for name, taken in zip(works, times):
        yield _figure(name, taken, floor)


def _prun(rounds: int) -> Iterator[Figure]:
    mpiexec = find_mpiexec()
    if mpiexec is None:
        return
    ranks = [mpiexec.path, "-n", "2", sys.executable, "-c"]
    with tempfile.TemporaryDirectory(prefix="paracel-bench-") as folder:
        script = Path(folder, "nothing.py")
        script.write_text(_TRIVIAL)
        prun = [sys.executable, str(ROOT / "prun.py"), "-w", "2", "-p", "1", str(script)]
        works = [
            _running([*ranks, "pass"]),
            _running([*ranks, "from mpi4py import MPI; import numpy"]),
            _running(prun),
        ]
        floor, imports, taken = side_by_side(works, rounds)
    yield _figure("prun, 2 workers, 1 server", taken, floor)
    yield _figure("the same (floor: ranks that import mpi4py.MPI, numpy)", taken, imports)


def _figure(name: str, taken: Sequence[float], floor: Sequence[float]) -> Figure:
    pair = against(taken, floor)
    return Figure(TOPIC, name, pair.seconds, "s", pair.floor, pair.ratio, None)


def _running(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
