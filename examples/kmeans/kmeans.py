"""k-means: the centres of clusters, by Lloyd's rounds from a k-means++ beginning. The centres are rows of a table.

Each worker owns the points whose ids hash to it. In each round it pushes, for each cluster, the sum and the number of
its points there; the servers add up what all workers push, and make the new centres of it.
"""

import time
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

import paracel

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
BLOCK = 1 << 14  # distances that are made at a time, so many that they stay in the processor's cache


@paracel.updater
def means(_old: Floats, sums: Floats, _state: dict[str, Floats]) -> Floats:
    """The centres of this round, and in the last column how many points each has; zeros where it has none.

    `sums` are the workers' sums of points, and in the last column their counts.
    """
    counts = sums[:, -1:]
    return np.hstack([sums[:, :-1] / np.maximum(counts, 1), counts])


def nearest(points: Floats, centres: Floats) -> Whole:
    """The number of the centre nearest to each point; of several, the lowest."""
    labels = np.empty(len(points), np.int64)
    norms, factors = (centres**2).sum(axis=1), -2 * centres.T
    step = max(1, BLOCK // len(centres))
    for start in range(0, len(points), step):  # without |point|^2, which is the same for all centres
        distances = points[start : start + step] @ factors
        distances += norms
        labels[start : start + step] = distances.argmin(axis=1)
    return labels


def squares(points: Floats, centres: Floats) -> Floats:
    """Of the distances between points and as many centres, or one."""
    differences = points - centres
    distances: Floats = np.einsum("nk,nk->n", differences, differences)
    return distances


def numbers_of(ids: NDArray[np.generic]) -> NDArray[np.uint64]:
    """A number for each id, the same in every worker: ids are whole numbers or texts."""
    if ids.dtype.kind == "i":
        return ids.astype(np.uint64)
    letters = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), ids.itemsize // 4).astype(np.uint64)
    powers = np.cumprod(
        np.full(letters.shape[1], 0x9E3779B97F4A7C15, np.uint64)
    )  # texts end with zeros, which add nothing
    return (letters * powers).sum(axis=1, dtype=np.uint64)


def waiting_times(numbers: NDArray[np.uint64], seed: int, turn: int) -> Floats:
    """Exponentially distributed with mean 1, a function of number, seed and turn (the mixing of SplitMix64)."""
    key = np.random.SeedSequence([seed, turn]).generate_state(1, np.uint64)
    mixed = numbers ^ key
    for shift, factor in [(30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)]:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    uniform = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64)
    return -np.log((uniform + 0.5) / 2**53)


class KMeans(paracel.paralg):
    """Clusters the points of `input`, lines `id<TAB>f1,...,fk`, into `kclusters`, in at most `rounds`.

    Writes lines `number<TAB>f1|...|fk` to `centers_0` and lines `id<TAB>number` to `kmeans_<worker>` in `output`. The
    first centres are drawn by greedy k-means++ (Arthur and Vassilvitskii, SODA 2007) with `seed`, or are those of
    `centers_input`, a `centers_0` of before. It ends when no centre moves any more. Centres without points begin anew
    at the points that are farthest from theirs. The result does not depend on the number of workers, but for rounding.
    """

    def __init__(
        self,
        input: str | list[str],
        output: str = "",
        type: str = "fvec",
        kclusters: int = 8,
        rounds: int = 300,
        *,
        centers_input: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__(output=output, rounds=rounds, staleness=0)
        if type != "fvec":
            raise ValueError(f"type is {type!r}; allowed: 'fvec', lines id<TAB>f1,...,fk")
        if kclusters < 1:
            raise ValueError(f"kclusters is {kclusters}; allowed: whole numbers from 1 on")
        self.input, self.centers_input = input, centers_input
        self.kclusters = kclusters
        self.seed = seed

    def solve(self) -> None:
        started = time.perf_counter()
        self.points, self.ids, _ = self.paracel_load_as_matrix(self.input, "\t,", "fvec")
        total = self.comm.allreduce(len(self.points))
        if not all(self.comm.allgather(bool(np.isfinite(self.points).all()))):
            raise ValueError(f"{self.input!r} has points that are no finite numbers; take these lines out")
        twice = self.ids[1:][self.ids[1:] == self.ids[:-1]]  # they are sorted
        if len(twice):
            raise ValueError(f"there are several lines with the id {twice[0]} in {self.input!r}")
        if total < self.kclusters:
            raise ValueError(f"kclusters is {self.kclusters}, and {self.input!r} has {total} points")
        loaded = time.perf_counter()
        centres = self.read_centres() if self.centers_input else self.draw_centres()
        # Distances are exact only near the origin; all workers have the same first centre.
        origin = centres[0].copy()
        self.points -= origin
        centres, rounds = self.move(centres - origin)
        labels = nearest(self.points, centres)
        sizes = self.comm.allreduce(np.bincount(labels, minlength=self.kclusters))
        inertia = self.comm.allreduce(float(squares(self.points, centres[labels]).sum()))
        finished = time.perf_counter()
        if self.worker_id == 0:
            print(f"points: {total}\nrounds: {rounds}\ninertia: {inertia:.10g}")
            print(f"smallest cluster: {sizes.min()}\nlargest cluster: {sizes.max()}")
            print(f"seconds to load: {loaded - started:.3f}\nseconds to cluster: {finished - loaded:.3f}")
        if self.output:
            self.dump(centres + origin, labels)

    def move(self, centres: Floats) -> tuple[Floats, int]:
        """Lloyd's rounds: the centres when none moves any more, or after all rounds; and how many rounds it took."""
        k, width = centres.shape
        table = self.table("clusters", k, width + 1, "float64", updater=means, apply="commit")
        for done in range(self.rounds):
            labels = nearest(self.points, centres)
            n = len(labels)
            members = csr_array((np.ones(n), labels, np.arange(n + 1)), shape=(n, k)).T
            counts = np.bincount(labels, minlength=k)
            table.push(slice(None), np.column_stack([members @ self.points, counts]))
            self.iter_commit()
            rows = table.pull().result()  # waits until all workers have committed
            moved, empty = rows[:, :-1], rows[:, -1] == 0
            if empty.any():  # in all workers
                moved[empty] = self.first_of_all(-squares(self.points, centres[labels]), int(empty.sum()))
            if np.array_equal(moved, centres):
                return centres, done + 1
            centres = moved
        return centres, self.rounds

    def first_of_all(self, keys: Floats, count: int) -> list[list[float]]:
        """The `count` points of all workers with the lowest keys, which are finite, the lowest first."""
        mine = np.argsort(keys, kind="stable")[:count]
        mine = mine[np.isfinite(keys[mine])]
        every = self.comm.allgather(list(zip(keys[mine].tolist(), self.points[mine].tolist(), strict=True)))
        return [point for _, point in sorted(chain.from_iterable(every))[:count]]

    # ---- the first centres

    def draw_centres(self) -> Floats:
        """Greedy k-means++: of some points, drawn with the squared distance to the centres so far as weight, the best.

        Of independent exponential waiting times, divided by the weights, the shortest are those of points drawn so.
        They are functions of the ids: the same points are drawn however they are spread over the workers.
        """
        numbers, trials = numbers_of(self.ids), 2 + int(np.log(self.kclusters))
        nearness = np.full(len(self.points), np.inf)  # the squared distance to the nearest centre so far
        centres: list[list[float]] = []
        for turn in range(self.kclusters):
            times = waiting_times(numbers, self.seed, turn)
            if turn:
                times = np.divide(times, nearness, out=np.full(len(times), np.inf), where=nearness > 0)
            drawn = self.first_of_all(times, trials if turn else 1)
            if not drawn:
                raise ValueError(f"kclusters is {self.kclusters}, and {self.input!r} has {turn} different points")
            after = [np.minimum(nearness, squares(self.points, point)) for point in np.array(drawn)]
            best = int(self.comm.allreduce(np.array([each.sum() for each in after])).argmin())
            nearness = after[best]
            centres.append(drawn[best])
        return np.array(centres)

    def read_centres(self) -> Floats:
        """Those of `centers_input`, in the order of their lines."""
        lines = [line.partition("\t")[2] for line in self.paracel_loadall(self.centers_input) if line.strip()]
        centres = np.loadtxt(lines, delimiter="|", ndmin=2)
        expected = (self.kclusters, self.points.shape[1])
        if centres.shape != expected:
            raise ValueError(f"{self.centers_input!r} has centres of shape {centres.shape}; needed: {expected}")
        if not np.isfinite(centres).all():
            raise ValueError(f"{self.centers_input!r} has centres that are no finite numbers")
        return centres

    def dump(self, centres: Floats, labels: Whole) -> None:
        """Paracel's output files."""
        if self.worker_id == 0:
            self.paracel_dump_dict(dict(enumerate(centres)), "centers_")
        self.paracel_dump_dict(dict(zip(self.ids.tolist(), labels.tolist(), strict=True)), "kmeans_")


if __name__ == "__main__":
    paracel.main(KMeans)
