"""Matrix factorisation by stochastic gradient descent: a rating is about mean + bias_u + bias_i + w_u . h_i.

Each worker has the users that hash to it, with all their ratings, and keeps their rows itself. The items' rows are in a
table, where all workers' gradients meet; with bounded staleness (SSP) none waits for the others at every step.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

import paracel

Array = NDArray[np.float64]
Ids = NDArray[Any]  # int64 or str
GROWTH = 1.2  # so much more than at the start, the error on the training ratings is no accident of the first steps


@dataclass(frozen=True, slots=True)
class Ratings:
    """Places of users and items, and values, (n,) each."""

    users: NDArray[np.intp]
    items: NDArray[np.intp]
    values: Array

    def __len__(self) -> int:
        return len(self.values)

    def some(self, chosen: NDArray[np.intp]) -> "Ratings":
        return Ratings(self.users[chosen], self.items[chosen], self.values[chosen])


def interaction(users: Array, items: Array) -> Array:
    """bias_u + bias_i + w_u . h_i of each pair of rows; a row is the bias, and then the factors."""
    return users[:, 0] + items[:, 0] + np.einsum("ij,ij->i", users[:, 1:], items[:, 1:])


def steps(errors: Array, rows: Array, others: Array, alpha: float, beta: float) -> Array:
    """The gradient step of each rating for one of its two rows."""
    slope = others.copy()
    slope[:, 0] = 1  # of a bias
    return alpha * (2 * errors[:, None] * slope - beta * rows)


def added_up(values: Array, place: NDArray[np.intp], size: int) -> Array:
    """The sum of the rows of values that have the same place, (size, ...)."""
    return csr_array((np.ones(len(place)), (place, np.arange(len(place)))), shape=(size, len(place))) @ values


def fields(line: str) -> tuple[str, str, str]:
    """User, item and rating of a line `user item rating` or `user item date rating`."""
    found = line.split()
    if len(found) not in (3, 4):
        raise ValueError(f"it has {len(found)} fields; allowed: user item rating, or user item date rating")
    return found[0], found[1], found[-1]


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


def rows_of(ids: Ids, known: Ids, rows: Array) -> Array:
    """The row of each id; zeros for one that is not among the known ones."""
    place, there = places(ids, known)
    found = np.zeros((len(ids), rows.shape[1]))
    found[there] = rows[place[there]]
    return found


class MatrixFactorization(paracel.paralg):
    """Factors of `k` numbers for the users and items of `input`, lines `user item rating` or `user item date rating`.

    `rounds` times over the ratings, in `batches` each, with steps of alpha * (2 * error * slope - beta * row). With
    `ssp_switch`, items that a worker reads are at most `limit_s` batches old, else they are as new as can be. With
    `test_input`, more such lines, the error on them is printed. Of `predict_input`, lines `user,item`, `pred_v_<rank>`
    in `output` has `user,item,rating`; `W_0`, `H_0`, `ubias_0`, `ibias_0` and `miu_0` there have the model.
    """

    def __init__(
        self,
        input: str | list[str],
        predict_input: str | list[str] = "",
        test_input: str | list[str] = "",
        output: str = "",
        *,
        k: int = 10,
        rounds: int = 20,
        alpha: float = 0.01,
        beta: float = 0.1,
        ssp_switch: bool = True,
        limit_s: int = 3,
        debug: bool = False,
        batches: int = 20,
        seed: int = 0,
    ) -> None:
        if limit_s != np.inf and (not isinstance(limit_s, int) or limit_s < 0):
            raise ValueError(f"limit_s is {limit_s}; allowed: whole numbers from 0 on; ssp_switch=false: nobody waits")
        super().__init__(output=output, rounds=rounds, staleness=limit_s if ssp_switch else None)
        if k < 1 or batches < 1:
            raise ValueError(f"k is {k}, batches {batches}; allowed: whole numbers from 1 on")
        if not (0 < alpha < np.inf and 0 <= beta < np.inf):
            raise ValueError(f"alpha is {alpha}, beta {beta}; allowed: alpha above 0, beta from 0")
        self.input, self.predict_input, self.test_input = input, predict_input, test_input
        self.k, self.alpha, self.beta, self.debug, self.batches, self.seed = k, alpha, beta, debug, batches, seed
        self.random = np.random.default_rng([seed, self.worker_id])
        self.losses: list[float] = []

    def solve(self) -> None:
        self.start()
        if self.test_input:
            self.test = self.load_test()
        before = self.training_error(self.items.pull(staleness=None).result())
        for _ in range(self.rounds):
            for batch in np.array_split(self.random.permutation(len(self.ratings)), self.batches):
                if len(batch):
                    self.descend(self.ratings.some(batch))
                self.iter_commit()
            if self.debug:
                self.losses.append(self.training_error(self.items.pull().result()))
        self.paracel_sync()
        items = self.items.pull(staleness=None).result()
        error = self.training_error(items)
        if not error <= GROWTH * before:
            told = f"alpha is {self.alpha}, and the training rmse grew from {before:g} to {error:g}"
            raise ValueError(f"{told}; lower alpha, or raise batches")
        self.report(items, error)
        if self.output:
            self.dump(items)

    def start(self) -> None:
        """This worker's ratings, and rows to begin with."""
        users, items, values = self.load(self.input)
        self.user_ids, user = np.unique(users, return_inverse=True)
        self.item_ids = np.unique(np.concatenate(self.comm.allgather(np.unique(items))))
        self.ratings = Ratings(user, np.searchsorted(self.item_ids, items), values)
        self.count = self.comm.allreduce(len(values))
        self.mean = self.comm.allreduce(float(values.sum())) / self.count
        every = self.comm.allgather((values.min(initial=np.inf), values.max(initial=-np.inf)))
        self.lowest, self.highest = min(low for low, _ in every), max(high for _, high in every)
        # a row is the bias, and then the factors
        self.users = 0.1 * self.random.normal(size=(len(self.user_ids), 1 + self.k))
        init = ("normal", 0.1)
        self.items = self.table("items", len(self.item_ids), 1 + self.k, "float64", init=init, seed=self.seed)

    def load(self, source: str | list[str]) -> tuple[Ids, Ids, Array]:
        """Users, items and ratings; the users' ids hash to this worker."""
        users, items, values = self.paracel_load_as_relations(source, fields, "fmap")
        if not self.comm.allreduce(len(values)):
            raise ValueError(f"there is no rating in {source!r}; lines are user item rating, or user item date rating")
        if not all(self.comm.allgather(bool(np.isfinite(values).all()))):
            raise ValueError(f"{source!r} has ratings that are no finite numbers; take these lines out")
        return users, items, values

    def load_test(self) -> tuple[Ids, Ids, Array]:
        """The ratings to test with, of this worker's users."""
        users, items, values = self.owned(*self.load(self.test_input))
        both = places(users, self.user_ids)[1] & places(items, self.item_ids)[1]
        if not self.comm.allreduce(int(both.sum())):
            raise ValueError(f"of no rating in {self.test_input!r} both user and item are in {self.input!r}")
        return users, items, values

    def owned(self, users: Ids, items: Ids, values: Array) -> tuple[Ids, Ids, Array]:
        """Those of this worker's users; worker 0 has those of unknown ones, too.

        A number and the same as a text hash to different workers. If one file has numbers and the other one texts, all
        workers read all, and keep their own.
        """
        if users.dtype.kind == self.user_ids.dtype.kind:
            return users, items, values
        users, items, values = (np.concatenate(parts) for parts in zip(*self.comm.allgather((users, items, values))))
        every = self.comm.allgather(self.user_ids)
        place, known = places(users, np.concatenate(every))
        owner = np.repeat(np.arange(len(every)), [len(ids) for ids in every])[place]
        mine = np.where(known, owner, 0) == self.worker_id
        return users[mine], items[mine], values[mine]

    def descend(self, batch: Ratings) -> None:
        """One step for the users and items of these ratings; those of an item go to the servers, which add them."""
        user_keys, user = np.unique(batch.users, return_inverse=True)
        item_keys, item = np.unique(batch.items, return_inverse=True)
        pull = self.items.pull(item_keys)
        users, items = self.users[user_keys][user], pull.result()[item]
        errors = batch.values - self.mean - interaction(users, items)
        item_steps = added_up(steps(errors, items, users, self.alpha, self.beta), item, len(item_keys))
        self.items.push(item_keys, item_steps)
        self.users[user_keys] += added_up(steps(errors, users, items, self.alpha, self.beta), user, len(user_keys))

    # ---- results

    def training_error(self, items: Array) -> float:
        there = self.ratings
        return self.rmse(there.values - self.clipped(self.users[there.users], items[there.items]))

    def clipped(self, users: Array, items: Array) -> Array:
        """The ratings of pairs of rows, from the lowest one that was given to the highest."""
        return np.clip(self.mean + interaction(users, items), self.lowest, self.highest)

    def predicted(self, users: Ids, items: Ids, rows: Array) -> Array:
        """The ratings of pairs of ids; of an unknown user or item neither bias nor factors count."""
        return self.clipped(rows_of(users, self.user_ids, self.users), rows_of(items, self.item_ids, rows))

    def rmse(self, errors: Array) -> float:
        """The root of the mean square, over all workers."""
        count = self.comm.allreduce(len(errors))
        return float(np.sqrt(self.comm.allreduce(float(errors @ errors)) / max(1, count)))

    def report(self, rows: Array, error: float) -> None:
        self.say(f"ratings: {self.count}")
        self.say(f"training rmse: {error:.6f}")
        if self.test_input:
            users, items, values = self.test
            self.say(f"test rmse: {self.rmse(values - self.predicted(users, items, rows)):.6f}")

    def say(self, line: str) -> None:
        if self.worker_id == 0:
            print(line)

    def dump(self, rows: Array) -> None:
        """Paracel's files."""
        users = self.user_ids.tolist()
        self.paracel_dump_dict(dict(zip(users, self.users[:, 1:].tolist(), strict=True)), "W_", merge=True)
        self.paracel_dump_dict(dict(zip(users, self.users[:, 0].tolist(), strict=True)), "ubias_", merge=True)
        if self.worker_id == 0:
            items = self.item_ids.tolist()
            self.paracel_dump_dict(dict(zip(items, rows[:, 1:].tolist(), strict=True)), "H_")
            self.paracel_dump_dict(dict(zip(items, rows[:, 0].tolist(), strict=True)), "ibias_")
            self.paracel_dump_dict({"miu": self.mean, "rating_sz": self.count}, "miu_")
            if self.debug:
                self.paracel_dump_vector(self.losses, "mf_loss_error_train_")
        if self.predict_input:
            wanted = self.paracel_load_as_relations(self.predict_input, ",", "fmap")
            first, second, _ = self.owned(*wanted)
            ratings = self.predicted(first, second, rows).tolist()
            pairs = zip(first.tolist(), second.tolist(), ratings, strict=True)
            self.paracel_dump_vector([f"{user},{item},{rating}" for user, item, rating in pairs], "pred_v_")


if __name__ == "__main__":
    paracel.main(MatrixFactorization)
