"""Truncated SVD: the largest singular values of a matrix and their vectors, by randomised subspace iteration.

Each worker has some rows A_w of the matrix. The column space is found by multiplying a few vectors with A and its
transpose in turn; the products with the transpose, the sum of A_w^T Y_w over the workers, are added up on the servers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import paracel

Array = NDArray[np.float64]


class SVD(paracel.paralg):
    """The `k` largest singular values of the matrix in `input`, and their vectors (Halko, Martinsson and Tropp, 2011).

    `pattern` says how the matrix is written: `linesplit`, lines `f1,...,fk`; `fvec`, lines `id,f1,...,fk`; or `fmap`,
    lines `row,column,value` of a sparse one. It is algorithm 4.4 there with `rounds` iterations and `oversampling`
    vectors more than k, and then algorithm 5.1: `sigma_0` in `output` has the singular values, the largest first,
    `U_<rank>` and `V_0` have lines `id<TAB>u1|u2|...` of the left and right vectors.
    """

    def __init__(
        self,
        input: str | list[str],
        output: str = "",
        k: int = 10,
        rounds: int = 20,
        *,
        pattern: str = "linesplit",
        oversampling: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(output=output, rounds=rounds, staleness=0)
        if pattern not in ("linesplit", "fvec", "fmap"):
            raise ValueError(f"pattern is {pattern!r}; allowed: 'linesplit', 'fvec', 'fmap'")
        if k < 1 or oversampling < 0:
            raise ValueError(f"k is {k}, oversampling {oversampling}; allowed: k from 1, oversampling from 0")
        self.input, self.pattern, self.k, self.oversampling, self.seed = input, pattern, k, oversampling, seed

    def solve(self) -> None:
        self.rows = self.paracel_load_as_matrix(self.input, ",", self.pattern)
        count, n = self.comm.allreduce(self.rows.matrix.shape[0]), self.rows.matrix.shape[1]
        numbers = self.rows.matrix.data if self.pattern == "fmap" else self.rows.matrix
        if not all(self.comm.allgather(bool(np.isfinite(numbers).all()))):
            raise ValueError(f"{self.input!r} has values that are no finite numbers; take these lines out")
        if not count:
            raise ValueError(f"there is no row in {self.input!r}")
        if self.k > min(count, n):
            raise ValueError(f"k is {self.k}; allowed: at most {min(count, n)}, of a matrix of {count} x {n}")
        self.width = min(self.k + self.oversampling, count, n)
        # pushes of one clock are added up, and become the rows: what all workers pull is the same, bit by bit
        settings: dict[str, Any] = {"dtype": "float64", "updater": "assign", "apply": "commit"}
        self.sums = self.table("sums", n, self.width, **settings)
        self.triangles = self.table("triangles", self.worker_size * self.width, self.width, **settings)
        left, sigma, right = self.decompose(self.rows.matrix, n)
        self.report(count, left, sigma, right)

    def decompose(self, matrix: Any, n: int) -> tuple[Array, Array, Array]:
        """This worker's rows of U, (m, k); the singular values, (k,); and V, (n, k)."""
        start = np.random.default_rng(self.seed).normal(size=(n, self.width))
        basis = self.orthonormal(matrix @ start)
        for _ in range(self.rounds):
            columns, _ = np.linalg.qr(self.summed(matrix.T @ basis))
            basis = self.orthonormal(matrix @ columns)
        # A is about basis @ basis^T A: the SVD of this product, which is small, is that of A
        right, sigma, inner = np.linalg.svd(self.summed(matrix.T @ basis), full_matrices=False)
        right, inner = right[:, : self.k], inner[: self.k].T
        # vectors may be turned around: the greatest number of each right one is made positive
        signs = np.sign(right[np.abs(right).argmax(axis=0), np.arange(self.k)])
        return basis @ inner * signs, sigma[: self.k], right * signs

    def summed(self, product: Array) -> Array:
        """The sum of all workers' products, (n, width)."""
        return self.exchanged(self.sums, slice(None), product)

    def orthonormal(self, rows: Array) -> Array:
        """Of a tall matrix of which each worker has some rows, an orthonormal basis of the columns, as it has it.

        By the direct TSQR of Benson, Gleich and Demmel (2013): the triangles of the workers' own QR are stacked, and
        their QR gives what each has to multiply its part with.
        """
        own, triangle = np.linalg.qr(rows)
        begin = self.worker_id * self.width
        stack = self.exchanged(self.triangles, np.arange(begin, begin + len(triangle)), triangle)
        return own @ np.linalg.qr(stack).Q[begin : begin + len(triangle)]

    def exchanged(self, table: paracel.Table, keys: NDArray[np.intp] | slice, values: Array) -> Array:
        """Push to a table; all of it, (size, width), when all workers have."""
        table.push(keys, values if self.width > 1 else values[:, 0])
        self.iter_commit()
        rows: Array = table.pull().result()
        return rows.reshape(-1, self.width)

    def report(self, count: int, left: Array, sigma: Array, right: Array) -> None:
        if self.worker_id == 0:
            print(f"rows: {count}\ncolumns: {len(right)}")
            for number, value in enumerate(sigma.tolist(), start=1):
                print(f"singular value {number}: {value:.10g}")
        if self.output:
            self.dump("U_", self.rows.row_ids, left)
            if self.worker_id == 0:
                self.paracel_dump_vector(sigma, "sigma_")
                self.dump("V_", self.rows.col_ids, right)

    def dump(self, name: str, ids: NDArray[Any], vectors: Array) -> None:
        self.paracel_dump_dict(dict(zip(ids.tolist(), vectors.tolist(), strict=True)), name)


if __name__ == "__main__":
    paracel.main(SVD)
