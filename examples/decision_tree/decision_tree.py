"""A tree of questions about items, which tells what a new user is like from a few answers.

Each node of the tree is an item. A user says whether it is liked, disliked or unknown, and goes on to the node below
for that answer; at the end stands the average of all known users who answered alike (Golbandi, Koren and Lempel,
"Adaptive bootstrapping of recommender systems using decision trees", WSDM 2011). Here the answers are predicted by
factors, as in Paracel. Each worker has some users, and adds up what they answer; the servers add up the workers' sums.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import paracel

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Ids = NDArray[Any]  # int64 or str
NOBODY = -1  # the item of a node that no item splits
MOST_NUMBERS = 1 << 30  # in a level's table: 8 GB on all servers together
BATCH_NUMBERS = 1 << 20  # of predicted ratings at once: 8 MB


# ---- on the servers


@paracel.server_function
def best_splits(
    keys: NDArray[np.uint64], rows: Array, state: dict[str, Any], shape: list[int], most: int
) -> list[NDArray[Any]]:
    """Of each node the items, at most `most`, that leave the least squared error, the best first: see `leading`.

    The row of node * items + item has for each answer how many users gave it, and the sum of their factors; `shape` is
    the numbers of items and of answers.
    """
    items, answers = shape
    node, item = np.divmod(keys.astype(np.int64), items)
    sums = rows.reshape(len(rows), answers, rows.shape[1] // answers)
    counts, squares = sums[:, :, 0], np.square(sums[:, :, 1:]).sum(axis=2)
    # The error is a sum over all users of the node, less this. Sorted: answers that change places make no difference.
    gain = np.sort(squares / np.maximum(counts, 1), axis=1).sum(axis=1)
    splits = (counts > 0).sum(axis=1) > 1
    return leading([node[splits], item[splits], gain[splits], sums[splits]], most)


# ---- everywhere


def leading(found: list[NDArray[Any]], most: int) -> list[NDArray[Any]]:
    """Of arrays of nodes, items, gains and more: each node's `most` greatest gains, of equal ones the lesser items."""
    node, item, gain = found[:3]
    order = np.lexsort((item, -gain, node))
    nodes = node[order]
    place = np.arange(len(nodes)) - np.searchsorted(nodes, nodes)  # among those of the same node
    kept = order[place < most]
    return [array[kept] for array in found]


def groups(places: Numbers, width: int) -> Iterator[tuple[int, Numbers]]:
    """Of places (trees, users), each node that has any users, tree * width + place, and the users' numbers."""
    for tree, places_of_tree in enumerate(places):
        order = np.argsort(places_of_tree, kind="stable")
        nodes, starts = np.unique(places_of_tree[order], return_index=True)
        for node, members in zip(nodes.tolist(), np.split(order, starts[1:])):
            yield tree * width + node, members


class DecisionTree(paracel.paralg):
    """Grows trees from `user_fac_input` and `item_fac_input`, lines `id<TAB>f1|f2|...`.

    A user is asked `level` questions, or as many as split any users. Tree number n, of `tree_start_index` to
    `tree_end_index`, begins with the item that is the n-th best beginning, from 0. An item is liked if the product of
    the factors is at least `neutral` + `unknown_bar`, disliked if it is at most `neutral` - `unknown_bar`, and unknown
    between, so that with an `unknown_bar` of 0 there are two answers. Writes the items to `tree_0` and the averages of
    users to `average_user_factor_<n>_0` in `output`. `test_input` are factors of users that the trees are tried with.
    """

    def __init__(
        self,
        user_fac_input: str | list[str],
        item_fac_input: str | list[str],
        output: str = "",
        *,
        level: int = 5,
        tree_start_index: int = 0,
        tree_end_index: int = 0,
        neutral: float = 0.0,
        unknown_bar: float = 0.0,
        test_input: str | list[str] = "",
    ) -> None:
        super().__init__(output=output, staleness=0)
        if level < 1 or unknown_bar < 0:
            raise ValueError(f"level is {level}, unknown_bar {unknown_bar}; allowed: level from 1, unknown_bar from 0")
        if not 0 <= tree_start_index <= tree_end_index:
            raise ValueError(f"trees {tree_start_index} to {tree_end_index}; allowed: from 0, and the last not before")
        self.user_fac_input, self.item_fac_input, self.test_input = user_fac_input, item_fac_input, test_input
        self.level, self.start, self.end = level, tree_start_index, tree_end_index
        self.neutral, self.unknown_bar = neutral, unknown_bar
        self.answers = 3 if unknown_bar else 2

    def solve(self) -> None:
        self.load_items()
        self.check_size()
        users = self.exact(self.load(self.user_fac_input).matrix)
        self.grow(users)
        self.report("", users)
        if self.test_input:
            self.report("test ", self.load(self.test_input).matrix)
        self.dump()

    def check_size(self) -> None:
        """Of the last level's table."""
        nodes = (self.end - self.start + 1) * self.answers ** min(self.level - 1, 64)
        if nodes * len(self.items) * self.answers * (1 + self.items.shape[1]) > MOST_NUMBERS:
            raise ValueError(
                f"level is {self.level}; with {len(self.items)} items the last level's table has more than "
                f"{MOST_NUMBERS:,} numbers, which is the most; take a lower level, or fewer trees or items"
            )

    # ---- the trees, all at once

    def grow(self, users: Array) -> None:
        """Level by level: `questions[l]`, (trees, nodes), are numbers of items; `averages[l]`, (trees, nodes, k)."""
        trees = self.end - self.start + 1
        mean = self.summed(users.sum(axis=0)) / self.summed(np.array([len(users)]))
        self.questions: list[Numbers] = []
        self.averages = [np.broadcast_to(mean, (trees, 1, len(mean)))]
        places = np.zeros((1, len(users)), np.int64)  # in the first level all trees are one
        for level in range(self.level):
            item, sums = self.split(level, places, users)
            question = item.reshape(trees, -1)
            self.questions.append(question)
            counts, totals = sums[..., :1], sums[..., 1:]
            parents = self.averages[-1].reshape(-1, 1, len(mean))  # for answers that nobody gave
            averages = np.where(counts > 0, totals / np.maximum(counts, 1), parents)
            self.averages.append(averages.reshape(trees, -1, len(mean)))
            if (question == NOBODY).all():  # in all workers; nor would any node below split
                return
            places = self.descend(users, places, question)

    def split(self, level: int, places: Numbers, users: Array) -> tuple[Numbers, Array]:
        """The item of each node, shape (n,), and the numbers and sums of users by their answers, (n, answers, 1 + k).

        `places`, (trees, users), are the nodes of this worker's users.
        """
        n, m, width = len(places) * self.answers**level, len(self.items), self.answers * (1 + users.shape[1])
        # With `apply="commit"` the servers add up what all workers push.
        table = self.table(f"level_{level}", n * m, width, "float64", updater="assign", apply="commit")
        counted = np.column_stack([np.ones(len(users)), users])
        for node, members in groups(places, self.answers**level):
            for items in self.batches(len(members)):
                chosen = slice(node * m + items.start, node * m + items.stop)
                table.push(chosen, self.statistics(counted[members], self.items[items]))
        self.iter_commit()
        most = self.end + 1 if level == 0 else 1
        splits = table.run(best_splits, [m, self.answers], most, once_per_clock=True)  # waits for all commits
        found = leading([np.concatenate(parts) for parts in zip(*splits.result(), strict=True)], most)
        if level == 0:
            return self.beginnings(found)
        item, sums = np.full(n, NOBODY), np.zeros((n, self.answers, 1 + users.shape[1]))
        item[found[0]], sums[found[0]] = found[1], found[3]
        return item, sums

    def beginnings(self, found: list[NDArray[Any]]) -> tuple[Numbers, Array]:
        """The first items of the trees."""
        _, item, _, sums = found
        if len(item) <= self.end:
            raise ValueError(
                f"{len(item)} items split the users; tree_end_index is {self.end}, allowed: below that number"
            )
        return item[self.start :], sums[self.start :]

    def statistics(self, counted: Array, items: Array) -> Array:
        """For each item and answer the sum of the rows of `counted`, (n, 1 + k), shape (items, answers * (1 + k))."""
        answer = self.answer(counted[:, 1:] @ items.T)
        return np.column_stack([(answer == each).T.astype(np.float64) @ counted for each in range(self.answers)])

    def answer(self, ratings: Array) -> Numbers:
        """0: like, 1: dislike, 2: unknown."""
        above = ratings - self.neutral
        return np.where(above >= self.unknown_bar, 0, np.where(above <= -self.unknown_bar, 1, 2))

    def descend(self, users: Array, places: Numbers, question: Numbers) -> Numbers:
        """Where in the next level each tree's users, (trees, users), are; from a node without a question, the first."""
        asked = np.take_along_axis(question, places, axis=1)
        ratings = np.einsum("nk,tnk->tn", users, self.items[asked])
        return places * self.answers + np.where(asked == NOBODY, 0, self.answer(ratings))

    def batches(self, users: int) -> Iterator[slice]:
        size = max(1, BATCH_NUMBERS // users)
        for start in range(0, len(self.items), size):
            yield slice(start, min(start + size, len(self.items)))

    # ---- factors

    def load(self, source: str | list[str]) -> paracel.loading.Block:
        """Those whose ids hash to this worker."""
        block = self.paracel_load_as_matrix(source, "\t|", "fvec")
        if self.comm.allreduce(len(block.row_ids)) == 0:
            raise ValueError(f"there are no factors in {source!r}; lines are id<TAB>f1|f2|...")
        if not np.isfinite(block.matrix).all():
            raise ValueError(f"{source!r} has factors that are no finite numbers")
        twice = block.row_ids[1:][block.row_ids[1:] == block.row_ids[:-1]]  # they are sorted
        if len(twice):
            raise ValueError(f"there are several lines with the id {twice[0]} in {source!r}")
        if source != self.item_fac_input and block.matrix.shape[1] != self.items.shape[1]:
            raise ValueError(f"{source!r} has {block.matrix.shape[1]} factors a line, items {self.items.shape[1]}")
        return block

    def load_items(self) -> None:
        """Each worker writes the factors of the items that it owns, and reads those of all."""
        block = self.load(self.item_fac_input)
        self.item_ids: Ids = np.sort(np.concatenate(self.comm.allgather(block.row_ids)))
        m, k = len(self.item_ids), block.matrix.shape[1]
        table = self.table("items", m, k, "float64", updater="assign")
        table.push(np.searchsorted(self.item_ids, block.row_ids), block.matrix if k > 1 else block.matrix[:, 0])
        self.iter_commit()
        self.items: Array = table.pull().result().reshape(m, k)

    def exact(self, users: Array) -> Array:
        """Rounded so that any sum over users is exact: then trees do not depend on the number of workers.

        It takes 2^-52 of the greatest factor times the number of users at most: 1e-9 for a million users' factors of 4.
        """
        greatest = max(self.comm.allgather(float(np.abs(users).max(initial=0)))) * self.comm.allreduce(len(users))
        bits = 52 - int(np.frexp(greatest)[1])
        return np.ldexp(np.rint(np.ldexp(users, bits)), -bits)

    # ---- results

    def report(self, label: str, users: Array) -> None:
        """Print how far the ratings that a tree predicts are from those by the users' own factors."""
        trees, gram = len(self.questions[0]), self.items.T @ self.items
        places = np.zeros((trees, len(users)), np.int64)
        ratings = trees * self.comm.allreduce(len(users)) * len(self.items)
        for asked, averages in enumerate(self.averages):
            missing = users - np.take_along_axis(averages, places[:, :, None], axis=1)
            squares = self.comm.allreduce(float(np.sum(missing @ gram * missing)))
            self.say(f"{label}rmse after {asked} questions: {(squares / ratings) ** 0.5:.6f}")
            if asked < len(self.questions):
                places = self.descend(users, places, self.questions[asked])

    def summed(self, part: Array) -> Array:
        """Over all workers."""
        return np.sum(self.comm.allgather(part), axis=0)

    def say(self, line: str) -> None:
        if self.worker_id == 0:
            print(line)

    def dump(self) -> None:
        """Nodes are written level by level, and in a level those below one node together."""
        if not self.output or self.worker_id:
            return
        ids = [*self.item_ids.tolist(), ""]  # the last one is NOBODY's
        trees = [[ids[item] for item in row] for row in np.concatenate(self.questions, axis=1).tolist()]
        self.paracel_dump_dict({f"tree_{self.start + n}": tree for n, tree in enumerate(trees)}, "tree_")
        for n, rows in enumerate(np.concatenate(self.averages, axis=1).tolist()):
            self.paracel_dump_vector(rows, f"average_user_factor_{self.start + n}_")


if __name__ == "__main__":
    paracel.main(DecisionTree)
