"""A neural network trained by Downpour SGD (Dean et al., Large Scale Distributed Deep Networks, NIPS 2012).

Each layer is a table, with AdaGrad on the servers. Each worker has a replica of the network and its own part of the
samples: it pulls the layers every few steps and pushes the gradients of every few steps, and waits for nobody.
"""

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

import paracel

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]
Layers = list[Floats]  # (inputs + 1, outputs) each: in the last row are the biases


def outputs(layers: Layers, features: Floats) -> Layers:
    """The features, and then what comes out of each layer, (n, its outputs). The last are logits."""
    found = [features]
    for layer in layers[:-1]:
        found.append(np.maximum(found[-1] @ layer[:-1] + layer[-1], 0))
    found.append(found[-1] @ layers[-1][:-1] + layers[-1][-1])
    return found


def chances(logits: Floats) -> Floats:
    """The softmax of each row."""
    powers: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def likeliest(layers: Layers, features: Floats) -> Whole:
    """The class of each sample that has the greatest chance."""
    classes: Whole = outputs(layers, features)[-1].argmax(axis=1)
    return classes


def gradients(layers: Layers, features: Floats, labels: Whole) -> Layers:
    """Of the mean cross-entropy, by backpropagation; shaped like the layers."""
    *entering, logits = outputs(layers, features)
    error = chances(logits)
    error[np.arange(len(labels)), labels] -= 1
    error /= len(labels)
    found = []
    for layer, inputs in zip(reversed(layers), reversed(entering), strict=True):
        found.append(np.vstack([inputs.T @ error, error.sum(axis=0)]))
        error = (error @ layer[:-1].T) * (inputs > 0)
    return found[::-1]


class Downpour(paracel.paralg):
    """Trains on `training_input`, lines `f1,...,fk,label` with labels from 0 on; tests on such lines of `test_input`.

    The features are divided by `scale`; between them and the classes are layers of as many units as `hidden` has. Each
    worker goes `rounds` times over its samples, `batch` at a time; it pulls every `fetch` steps and pushes every `push`
    steps. The servers' learning rate is `alpha`; between pulls a replica goes on by itself, with `local_alpha`.
    Writes `layer_<number>_0`, lines `input<TAB>w1|w2|...`, and `pred_v_<worker>`, a class for each line of the test.
    """

    def __init__(
        self,
        training_input: str | list[str],
        test_input: str | list[str],
        output: str = "",
        rounds: int = 25,
        alpha: float = 0.1,
        *,
        hidden: int | list[int] = 128,
        batch: int = 16,
        fetch: int = 4,
        push: int = 2,
        local_alpha: float = 0.1,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(output=output, rounds=rounds)
        for name, value in {"batch": batch, "fetch": fetch, "push": push}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; allowed: whole numbers from 1 on")
        self.hidden = hidden if isinstance(hidden, list) else [hidden]
        if not all(isinstance(units, int) and units >= 2 for units in self.hidden):  # with 1, rows would be numbers
            raise ValueError(f"hidden is {hidden}; allowed: a list of whole numbers from 2 on, or one such number")
        for name, rate in {"scale": scale, "alpha": alpha}.items():
            if not 0 < rate < np.inf:
                raise ValueError(f"{name} is {rate}; allowed: numbers above 0")
        if not 0 <= local_alpha < np.inf:
            raise ValueError(f"local_alpha is {local_alpha}; allowed: numbers from 0")
        self.training_input, self.test_input = training_input, test_input
        self.alpha, self.local_alpha, self.scale = alpha, local_alpha, scale
        self.batch, self.fetch, self.push, self.seed = batch, fetch, push, seed

    def solve(self) -> None:
        features, labels = self.load(self.training_input)
        test_features, test_labels = self.load(self.test_input)
        width = features.shape[1]
        if test_features.shape[1] != width:
            raise ValueError(f"{self.test_input!r} has {test_features.shape[1]} features; needed: {width}")
        classes = 1 + max(self.comm.allgather(int(labels.max(initial=1))))
        self.open_layers([width, *self.hidden, classes])
        started = time.perf_counter()
        self.descend(features, labels)
        self.paracel_sync()
        seconds = time.perf_counter() - started
        layers = self.pulled()
        if not all(np.isfinite(layer).all() for layer in layers):
            rates = f"alpha is {self.alpha}, local_alpha {self.local_alpha}"
            raise ValueError(f"{rates}, and the weights grew without end; lower alpha or local_alpha, or raise scale")
        results = {
            "samples": self.comm.allreduce(len(labels)),
            "training accuracy": round(self.accuracy(layers, features, labels), 4),
            "test accuracy": round(self.accuracy(layers, test_features, test_labels), 4),
            "seconds to train": round(seconds, 3),
        }
        if self.worker_id == 0:
            print("\n".join(f"{name}: {value}" for name, value in results.items()))
        if self.output:
            self.dump(layers, test_features)

    def load(self, source: str | list[str]) -> tuple[Floats, Whole]:
        """This worker's samples, and their labels."""
        features, labels = self.paracel_load_csv(source)
        if not self.comm.allreduce(len(labels)):
            raise ValueError(f"there is no sample in {source!r}; lines are f1,...,fk,label")
        scaled = (features / self.scale).astype(np.float32)
        if not all(self.comm.allgather(bool(np.isfinite(scaled).all() and np.isfinite(labels).all()))):
            raise ValueError(
                f"{source!r} has labels, or features divided by {self.scale:g}, that are no finite numbers of 32 bits; "
                f"take these lines out, or raise scale"
            )
        classes = labels.astype(np.int64)
        wrong = labels[(classes != labels) | (classes < 0)]
        if len(wrong):
            raise ValueError(f"{source!r} has the label {wrong[0]:g}; allowed: whole numbers from 0 on")
        return scaled, classes

    def open_layers(self, widths: list[int]) -> None:
        """A table for each layer; a row is what goes from one unit. How it begins is a function of the seed."""
        adagrad = paracel.optim.adagrad(self.alpha)
        self.layers = [
            self.table(
                f"layer {number}",
                inputs + 1,
                units,
                init=("normal", (2 / inputs) ** 0.5),  # He et al., ICCV 2015
                seed=self.seed + number,
                updater=adagrad,
            )
            for number, (inputs, units) in enumerate(pairwise(widths))
        ]

    def descend(self, features: Floats, labels: Whole) -> None:
        """The paper's algorithm 7.1; what is pulled travels while a gradient of the older layers is computed."""
        layers = self.pulled()
        accrued = [np.zeros_like(layer) for layer in layers]
        for step, chosen in enumerate(self.batches(len(labels))):
            pulls = [table.pull() for table in self.layers] if step % self.fetch == 0 else []
            gradient = gradients(layers, features[chosen], labels[chosen])
            layers = [pull.result() for pull in pulls] or layers
            layers = [layer - self.local_alpha * slope for layer, slope in zip(layers, gradient, strict=True)]
            accrued = [total + slope for total, slope in zip(accrued, gradient, strict=True)]
            if step % self.push == self.push - 1:
                self.push_all(accrued)
                accrued = [np.zeros_like(layer) for layer in layers]
        self.push_all(accrued)

    def batches(self, count: int) -> Iterator[Whole]:
        """The numbers of the samples of each step, in another order in each round."""
        random = np.random.default_rng([self.seed, self.worker_id])
        steps = -(-count // self.batch)
        for _ in range(self.rounds if count else 0):
            yield from np.array_split(random.permutation(count), steps)

    def pulled(self) -> Layers:
        pulls = [table.pull() for table in self.layers]  # on their way together
        return [pull.result() for pull in pulls]

    def push_all(self, slopes: Layers) -> None:
        """What failed is raised at the next `paracel_sync`, or at the end."""
        for table, slope in zip(self.layers, slopes, strict=True):
            table.push(slice(None), slope)

    def accuracy(self, layers: Layers, features: Floats, labels: Whole) -> float:
        """The share of the samples of all workers whose class is the likeliest."""
        right = int((likeliest(layers, features) == labels).sum())
        return float(self.comm.allreduce(right) / self.comm.allreduce(len(labels)))

    def dump(self, layers: Layers, features: Floats) -> None:
        if self.worker_id == 0:
            for number, layer in enumerate(layers):
                self.paracel_dump_dict(dict(enumerate(layer.tolist())), f"layer_{number}_")
        self.paracel_dump_vector(likeliest(layers, features).tolist(), "pred_v_")


if __name__ == "__main__":
    paracel.main(Downpour)
