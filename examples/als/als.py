"""Alternating least squares: users and items as factors whose products are the ratings.

With the items' factors given, the best ones of a user are a ridge regression of the user's ratings. So each worker
solves the users that hash to it, writes their factors to a table, and then solves its items from the users' factors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

import paracel

Array = NDArray[np.float64]
Ids = NDArray[Any]  # int64 or str
BATCH_NUMBERS = 1 << 22  # in the systems of equations that are solved at once: 32 MB


@dataclass(frozen=True, slots=True)
class Ratings:
    """This worker's rows, by id, and what they have of the columns, (n, m). A pair rated twice is there twice."""

    ids: Ids
    matrix: csr_array

    @staticmethod
    def of(rows: Ids, columns: NDArray[np.intp], values: Array, width: int) -> "Ratings":
        ids, row = np.unique(rows, return_inverse=True)
        order = np.argsort(row, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(ids)))])
        return Ratings(ids, csr_array((values[order], columns[order], starts), shape=(len(ids), width)))

    def batches(self, k: int) -> Iterator[tuple[slice, csr_array]]:
        size = max(1, BATCH_NUMBERS // k**2)
        for start in range(0, len(self.ids), size):
            yield slice(start, start + size), self.matrix[start : start + size]


def ridge(ratings: Ratings, factors: Array, penalty: float) -> Array:
    """For each row w, (n, k), the least sum of (rating - w . h)^2 over its ratings, plus penalty * |w|^2.

    `factors` are the h of the columns, (m, k).
    """
    k = factors.shape[1]
    solved = np.empty((len(ratings.ids), k))
    for rows, rated in ratings.batches(k):
        seen = csr_array((np.ones(rated.nnz), rated.indices, rated.indptr), shape=rated.shape)
        squares = np.stack([seen @ (factors * column[:, None]) for column in factors.T], axis=1)
        squares += penalty * np.eye(k)
        solved[rows] = np.linalg.solve(squares, (rated @ factors)[:, :, None])[:, :, 0]
    return solved


def products(left: Array, right: Array) -> Array:
    """The scalar product of each pair of rows."""
    return np.einsum("ij,ij->i", left, right)


def places(ids: Ids, known: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each id is among the known ones, each of which is there once, and whether it is there at all.

    The ids of a file are texts as soon as one of them is no number: numbers and texts are compared as texts.
    """
    if not len(known):
        return np.zeros(len(ids), np.intp), np.zeros(len(ids), np.bool_)
    if ids.dtype.kind != known.dtype.kind:
        ids, known = ids.astype(str), known.astype(str)
    order = np.argsort(known)
    place = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(known) - 1)]
    return place, known[place] == ids


class ALS(paracel.paralg):
    """Factors of `rating_input`, lines `user,item,rating`, written to `W_<rank>` (users) and `H_<rank>` (items).

    With `rounds` 0, `factor_input` gives the factors of one side, lines `id<TAB>f1|f2|...`, and the other one is
    solved: users by the `pattern` `fmap`, items by `smap`. With `rounds`, both sides are solved in turn so many times,
    the one that the pattern says first, beginning with `factor_input`, or else with random factors of `k` numbers.
    `lambda` is the weight of the squared factors, beside the squared errors. With `validate_input`, also ratings, their
    error is printed; of several `lambdas`, which need it and `rounds` 0, the best is taken.
    """

    def __init__(
        self,
        rating_input: str | list[str],
        factor_input: str | list[str] = "",
        validate_input: str | list[str] = "",
        output: str = "",
        *,
        pattern: str = "fmap",
        lambda_: float = 0.1,
        lambdas: float | list[float] | None = None,
        k: int = 10,
        rounds: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(output=output, rounds=rounds, staleness=0)
        if pattern not in ("fmap", "smap"):
            raise ValueError(f"pattern is {pattern!r}; allowed: 'fmap' (users are solved), 'smap' (items are)")
        if not rounds and not factor_input:
            raise ValueError("give factor_input, the factors of one side; or rounds, to solve both")
        if lambdas is not None and (rounds or not validate_input):
            raise ValueError("lambdas are compared by validate_input, and with rounds=0")
        given = lambda_ if lambdas is None else lambdas
        self.penalties = given if isinstance(given, list) else [given]
        right = [isinstance(each, int | float) and 0 < each < np.inf for each in self.penalties]
        if k < 1 or not right or not all(right):
            raise ValueError(f"k is {k}, lambda {given}; allowed: k from 1, lambda above 0; lambdas: a list of such")
        self.rating_input, self.factor_input, self.validate_input = rating_input, factor_input, validate_input
        self.pattern, self.other_pattern = pattern, "smap" if pattern == "fmap" else "fmap"
        self.k, self.seed = k, seed

    def solve(self) -> None:
        rows, columns, values = self.load(self.rating_input, self.pattern)
        others = self.given_factors() if self.factor_input else self.random_factors(columns)
        place, known = places(columns, self.column_ids)
        if not known.all():
            raise ValueError(f"{columns[~known][0]} is rated, and has no factors in {self.factor_input!r}")
        self.ratings = Ratings.of(rows, place, values, len(self.column_ids))
        if self.validate_input:
            self.validation = self.held_out()
        if self.rounds:
            self.alternate(others)
        else:
            self.solve_one_side(others)

    def solve_one_side(self, columns: paracel.Table) -> None:
        """With each lambda; the one whose factors fit the ratings to validate with best is kept."""
        others, found = pulled(columns), []
        for penalty in self.penalties:
            factors = ridge(self.ratings, others, penalty)
            label = f" with lambda {penalty:g}" if len(self.penalties) > 1 else ""
            found.append((self.report(factors, others, label), penalty, factors))
        _, penalty, factors = min(found, key=lambda each: each[0])
        self.say(f"lambda: {penalty:g}")
        self.dump(self.pattern, self.ratings.ids, factors)

    def alternate(self, columns: paracel.Table) -> None:
        """Each side is solved from what the table has of the other one."""
        (penalty,) = self.penalties
        second, first, values = self.load(self.rating_input, self.other_pattern)
        row_ids = self.everyones(self.ratings.ids)
        transposed = Ratings.of(second, places(first, row_ids)[0], values, len(row_ids))
        rows = self.table("rows", len(row_ids), self.k, "float64", updater="assign")
        for _ in range(self.rounds):
            solved = ridge(self.ratings, pulled(columns), penalty)
            self.publish(rows, places(self.ratings.ids, row_ids)[0], solved)
            others = ridge(transposed, pulled(rows), penalty)
            self.publish(columns, places(transposed.ids, self.column_ids)[0], others)
        self.report(solved, pulled(columns), "")
        self.dump(self.pattern, self.ratings.ids, solved)
        self.dump(self.other_pattern, transposed.ids, others)

    # ---- factors of the columns

    def given_factors(self) -> paracel.Table:
        """Those of the file: each worker writes the ones that it owns."""
        block = self.paracel_load_as_matrix(self.factor_input, "\t|", "fvec")
        if not self.comm.allreduce(len(block.row_ids)):
            raise ValueError(f"there are no factors in {self.factor_input!r}; lines are id<TAB>f1|f2|...")
        self.check_finite(self.factor_input, block.matrix)
        twice = block.row_ids[1:][block.row_ids[1:] == block.row_ids[:-1]]  # they are sorted
        if len(twice):
            raise ValueError(f"there are several lines with the id {twice[0]} in {self.factor_input!r}")
        self.k, self.column_ids = block.matrix.shape[1], self.everyones(block.row_ids)
        table = self.table("columns", len(self.column_ids), self.k, "float64", updater="assign")
        self.publish(table, places(block.row_ids, self.column_ids)[0], block.matrix)
        return table

    def random_factors(self, columns: Ids) -> paracel.Table:
        """Those with which the servers make a row: the same with any number of workers."""
        self.column_ids = self.everyones(columns)
        init = ("normal", self.k**-0.5)
        size = len(self.column_ids)
        return self.table("columns", size, self.k, "float64", init=init, seed=self.seed, updater="assign")

    def publish(self, table: paracel.Table, own: NDArray[np.intp], factors: Array) -> None:
        """Write this worker's rows. Who pulls after the commit waits for those of all workers."""
        table.push(own, factors if self.k > 1 else factors[:, 0])
        self.iter_commit()

    # ---- reading and writing

    def load(self, source: str | list[str], pattern: str) -> tuple[Ids, Ids, Array]:
        """The ids of the side that is solved, which this worker owns; those of the other side; and the ratings."""
        users, items, values = self.paracel_load_as_relations(source, ",", pattern)
        if not self.comm.allreduce(len(values)):
            raise ValueError(f"there is no rating in {source!r}; lines are user,item,rating")
        self.check_finite(source, values)
        return (users, items, values) if pattern == "fmap" else (items, users, values)

    def check_finite(self, source: str | list[str], numbers: Array) -> None:
        if not all(self.comm.allgather(bool(np.isfinite(numbers).all()))):
            raise ValueError(f"{source!r} has values that are no finite numbers; take these lines out")

    def everyones(self, ids: Ids) -> Ids:
        """The distinct ids of all workers, sorted."""
        return np.unique(np.concatenate(self.comm.allgather(np.unique(ids))))

    def held_out(self) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
        """The ratings to validate with, as places of rows and columns; without those that nothing is known of."""
        rows, columns, values = self.owned(*self.load(self.validate_input, self.pattern))
        (row, known), (column, known_too) = places(rows, self.ratings.ids), places(columns, self.column_ids)
        both = known & known_too
        if not self.comm.allreduce(int(both.sum())):
            raise ValueError(f"of no rating in {self.validate_input!r} both user and item have factors")
        return row[both], column[both], values[both]

    def owned(self, rows: Ids, columns: Ids, values: Array) -> tuple[Ids, Ids, Array]:
        """At least the ratings of the rows that this worker owns.

        A number and the same as a text hash to different workers: if one file has numbers and the other one texts, each
        gets the ratings of all.
        """
        if rows.dtype.kind == self.ratings.ids.dtype.kind:
            return rows, columns, values
        every = self.comm.allgather((rows, columns, values))
        return tuple(np.concatenate(parts) for parts in zip(*every, strict=True))

    def report(self, factors: Array, others: Array, label: str) -> float:
        """Print the root of the mean squared error, and that of the ratings to validate with; the last one is given."""
        matrix = self.ratings.matrix
        rows = np.repeat(np.arange(len(self.ratings.ids)), np.diff(matrix.indptr))
        error = self.rmse(matrix.data - products(factors[rows], others[matrix.indices]))
        self.say(f"training rmse{label}: {error:.6f}")
        if self.validate_input:
            rows, columns, values = self.validation
            error = self.rmse(values - products(factors[rows], others[columns]))
            self.say(f"validation rmse{label}: {error:.6f}")
        return error

    def rmse(self, errors: Array) -> float:
        """Over all workers."""
        count = self.comm.allreduce(len(errors))
        return float(np.sqrt(self.comm.allreduce(float(errors @ errors)) / max(1, count)))

    def say(self, line: str) -> None:
        if self.worker_id == 0:
            print(line)

    def dump(self, pattern: str, ids: Ids, factors: Array) -> None:
        if self.output:
            name = "W_" if pattern == "fmap" else "H_"
            self.paracel_dump_dict(dict(zip(ids.tolist(), factors.tolist(), strict=True)), name)


def pulled(table: paracel.Table) -> Array:
    """All rows, (size, dim)."""
    rows: Array = table.pull().result()
    return rows.reshape(table.size, table.dim)


if __name__ == "__main__":
    paracel.main(ALS)
