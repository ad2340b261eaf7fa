"""Similar items: for each item, those whose vectors are at the smallest angle to its own, by the cosine.

Each worker owns the items that hash to it. It makes their vectors unit length, writes them to the servers in chunks,
and then reads the chunks of all workers in turn: a product of two chunks is the similarity of every pair in them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

import paracel

Matrix = NDArray[np.float64] | sp.csr_array
CHUNK = 1024  # items: the similarities of two chunks take 8 MB


@dataclass(frozen=True, slots=True)
class Items:
    """Ids, int64 or str, each once, and their vectors, (n, k), dense or in CSR."""

    ids: NDArray[Any]
    vectors: Matrix

    def chunks(self) -> Iterator["Items"]:
        for start in range(0, len(self.ids), CHUNK):
            yield Items(self.ids[start : start + CHUNK], self.vectors[start : start + CHUNK])

    def packed(self) -> list[Any]:
        """As a value that servers hold."""
        if sp.issparse(self.vectors):
            csr = self.vectors
            return [self.ids.tolist(), list(csr.shape), csr.data, csr.indices, csr.indptr]
        return [self.ids.tolist(), self.vectors]

    @staticmethod
    def unpacked(value: list[Any]) -> "Items":
        ids, first, *rest = value
        return Items(np.array(ids), sp.csr_array(tuple(rest), shape=first) if rest else first)


@dataclass(slots=True)
class Nearest:
    """The best so far for each item of a chunk: arrays of equal length, by item, then the most similar first."""

    item: NDArray[np.intp]
    other: NDArray[Any]
    score: NDArray[np.float64]

    def improve(self, mine: Items, others: Items, topk: int, lowest: float, highest: float) -> None:
        """Take in the others, but for those with the item's own id. Of equal scores the lesser id comes first."""
        scores = similarities(mine, others)
        scores[scores > highest] = -math.inf
        # what is below an item's k-th score here cannot be among its k best: few pairs are left to be sorted
        kth = max(0, scores.shape[1] - topk)
        floor = np.maximum(lowest, np.partition(scores, kth, axis=1)[:, kth])
        found, place = np.nonzero(scores >= floor[:, None])
        item = np.concatenate([self.item, found])
        other = np.concatenate([self.other, others.ids[place]])
        score = np.concatenate([self.score, scores[found, place]])
        order = np.lexsort((other, -score, item))
        rank = np.arange(len(order)) - np.searchsorted(item[order], item[order])
        best = order[rank < topk]
        self.item, self.other, self.score = item[best], other[best], score[best]


def similarities(mine: Items, others: Items) -> NDArray[np.float64]:
    """Cosines of unit vectors, (len(mine), len(others)); -inf where both have the same id."""
    product = mine.vectors @ others.vectors.T
    scores = np.clip(product.toarray() if sp.issparse(product) else product, -1.0, 1.0)
    _, same, too = np.intersect1d(mine.ids, others.ids, assume_unique=True, return_indices=True)
    scores[same, too] = -math.inf
    return scores


def unit(vectors: Matrix) -> Matrix:
    """The vectors at length 1; those of zeros stay, and have the similarity 0 with all others."""
    lengths = sp.linalg.norm(vectors, axis=1) if sp.issparse(vectors) else np.linalg.norm(vectors, axis=1)
    inverse = 1 / np.where(lengths == 0, 1, lengths)
    return sp.csr_array(sp.diags_array(inverse) @ vectors) if sp.issparse(vectors) else vectors * inverse[:, None]


class Similarity(paracel.paralg):
    """Finds for each item its `topk` most similar ones, and writes them to `similarities_<rank>` in `output`.

    `format` is `dense`, lines `id,f1,...,fk`, or one of `fsv` and `sfv`, lines `first,second,value` of which the first
    ids are the items, or the second. Dense: similarities from `simbar` on count; with `input_a` and `input_b` instead
    of `input`, the items of a are compared with those of b. Sparse: those from `sim_bar` to `sim_ubar` count.
    """

    def __init__(
        self,
        input: str | list[str] = "",
        output: str = "",
        topk: int = 10,
        *,
        format: str = "dense",
        input_a: str | list[str] = "",
        input_b: str | list[str] = "",
        simbar: float | None = None,
        sim_bar: float | None = None,
        sim_ubar: float | None = None,
    ) -> None:
        super().__init__(output=output)
        if format not in ("dense", "fsv", "sfv"):
            raise ValueError(f"format is {format!r}; allowed: 'dense', 'fsv', 'sfv'")
        if topk < 1:
            raise ValueError(f"topk is {topk}; allowed: whole numbers from 1 on")
        if bool(input) == bool(input_a or input_b) or bool(input_a) != bool(input_b):
            raise ValueError("give either input, or both input_a and input_b")
        if format == "dense" and not sim_bar is sim_ubar is None:
            raise ValueError("sim_bar and sim_ubar are of the formats fsv and sfv; the dense one has simbar")
        if format != "dense" and not (simbar is None and input):
            raise ValueError("simbar, input_a and input_b are of the dense format; fsv and sfv have input and sim_bar")
        self.inputs = [input] if input else [input_a, input_b]
        self.format, self.topk = format, topk
        given = simbar if format == "dense" else sim_bar
        self.lowest = 0.0 if given is None else given
        self.highest = math.inf if sim_ubar is None else sim_ubar

    def solve(self) -> None:
        sides = [self.load(source) for source in self.inputs]
        mine, others = sides[0], sides[-1]
        self.check_alike(mine, others)
        chunks = self.publish(others)
        own = list(mine.chunks())
        nearest = [Nearest(np.zeros(0, np.intp), others.ids[:0], np.zeros(0)) for _ in own]
        for key in chunks:
            there = Items.unpacked(self.paracel_read(key))
            for part, best in zip(own, nearest, strict=True):
                best.improve(part, there, self.topk, self.lowest, self.highest)
        self.report(own, nearest)

    def load(self, source: str | list[str]) -> Items:
        """This worker's items. Those of all workers have as many columns, numbered alike."""
        if self.format == "dense":
            block = self.paracel_load_as_matrix(source, ",", "fvec")
            vectors, ids = block.matrix, block.row_ids
        elif self.format == "fsv":
            vectors, ids, _ = self.paracel_load_as_matrix(source, ",", "fmap")
        else:
            block = self.paracel_load_as_matrix(source, ",", "smap")
            vectors, ids = sp.csr_array(block.matrix.T), block.col_ids
        twice = ids[1:][ids[1:] == ids[:-1]]  # they are sorted
        if len(twice):
            raise ValueError(f"there are several lines with the id {twice[0]} in {source!r}")
        numbers = vectors.data if sp.issparse(vectors) else vectors
        if not all(self.comm.allgather(bool(np.isfinite(numbers).all()))):
            raise ValueError(f"{source!r} has values that are no finite numbers; take these lines out")
        if not self.comm.allreduce(len(ids)):
            raise ValueError(f"there is no item in {source!r}")
        return Items(ids, unit(vectors))

    def check_alike(self, mine: Items, others: Items) -> None:
        if mine.vectors.shape[1] != others.vectors.shape[1]:
            raise ValueError(
                f"items have {mine.vectors.shape[1]} features in {self.inputs[0]!r}, "
                f"and {others.vectors.shape[1]} in {self.inputs[-1]!r}"
            )
        if mine.ids.dtype.kind != others.ids.dtype.kind:
            raise ValueError(f"ids are numbers in one of {self.inputs}, and texts in the other")

    def publish(self, items: Items) -> list[str]:
        """Write this worker's chunks to the servers; the keys of all workers' chunks, this worker's own first."""
        written = 0
        for written, chunk in enumerate(items.chunks(), start=1):
            self.paracel_write(f"items_{self.worker_id}_{written - 1}", chunk.packed())
        counts = self.comm.allgather(written)  # now all are written
        workers = [*range(self.worker_id, self.worker_size), *range(self.worker_id)]
        return [f"items_{worker}_{number}" for worker in workers for number in range(counts[worker])]

    def report(self, own: list[Items], nearest: list[Nearest]) -> None:
        items = self.comm.allreduce(sum(len(part.ids) for part in own))
        pairs = self.comm.allreduce(sum(len(best.item) for best in nearest))
        if self.worker_id == 0:
            print(f"items: {items}\npairs: {pairs}")
        if self.output:
            every = [by_item(part.ids, best) for part, best in zip(own, nearest, strict=True)]
            self.paracel_dump_dict({item: pairs for part in every for item, pairs in part.items()}, "similarities_")


def by_item(ids: NDArray[Any], best: Nearest) -> dict[Any, list[tuple[Any, float]]]:
    """The others with their scores, of each item that has any."""
    items, starts = np.unique(best.item, return_index=True)
    pairs = list(zip(best.other.tolist(), best.score.tolist(), strict=True))
    ends = [*starts[1:], len(pairs)]
    return {item: pairs[start:end] for item, start, end in zip(ids[items].tolist(), starts, ends)}


if __name__ == "__main__":
    paracel.main(Similarity)
