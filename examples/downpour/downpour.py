"""A neural network trained by Downpour SGD (Dean et al., Large Scale Distributed Deep Networks, NIPS 2012, section 4.1).

Each layer is a table, with AdaGrad on the servers. Each worker has a replica of the network and its own part of the
samples: it pulls the layers every few steps and pushes the gradients of every few steps, and waits for nobody.
"""

import time
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
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


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
    """Trains on `training_input`, lines `f1,...,fk,label` with labels 0, 1, 2, ...; tests on such lines of `test_input`.

    The features are divided by `scale`; between them and the classes are layers of as many units as `hidden` has. Each
    worker goes `rounds` times over its samples, `batch` at a time; it pulls every `fetch` steps and pushes every `push`
    steps. The servers' learning rate is `alpha`; between pulls a replica goes on by gradient descent with `local_alpha`.
    Writes `layer_<number>_0`, lines `input<TAB>w1|w2|...`, and `pred_v_<worker>`, a class for each line of the test.
    """

    def __init__(
        self,
        training_input: str | list[str],
        test_input: str | list[str],
        output: str = "",
        rounds: int = 30,
        alpha: float = 0.1,
        *,
        hidden: tuple[int, ...] | list[int] = (64,),
        batch: int = 16,
        fetch: int = 4,
        push: int = 2,
        local_alpha: float = 0.1,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(output=output, rounds=rounds)
        for name, value in [("batch", batch), ("fetch", fetch), ("push", push), *(("hidden", h) for h in hidden)]:
            if value < 1:
                raise ValueError(f"{name} has {value}; allowed: whole numbers from 1 on")
        if scale <= 0:
            raise ValueError(f"scale is {scale}; allowed: numbers above 0")
        self.training_input, self.test_input = training_input, test_input
        self.alpha, self.local_alpha, self.scale = alpha, local_alpha, scale
        self.hidden, self.batch, self.fetch, self.push, self.seed = hidden, batch, fetch, push, seed

    def solve(self) -> None:
        features, labels = self.load(self.training_input)
        every = self.comm.allgather((features.shape[1], len(labels), int(labels.max(initial=0))))
        widths, counts, highest = zip(*every, strict=True)
        if not sum(counts):
            raise ValueError(f"there is no sample in {self.training_input!r}")
        self.open([max(widths), *self.hidden, max(highest) + 1])
        started = time.perf_counter()
        self.descend(features, labels)
        self.paracel_sync()
        seconds = time.perf_counter() - started
        layers = [table.pull().result() for table in self.tables_of_layers]
        accuracies = [self.accuracy(layers, features, labels)]
        features, labels = self.load(self.test_input)
        accuracies.append(self.accuracy(layers, features, labels))
        if self.worker_id == 0:
            print(f"samples: {sum(counts)}\ntraining accuracy: {accuracies[0]:.4f}")
            print(f"test accuracy: {accuracies[1]:.4f}\nseconds to train: {seconds:.3f}")
        if self.output:
            self.dump(layers, features)

    def load(self, source: str | list[str]) -> tuple[Floats, Whole]:
        features, labels = self.paracel_load_csv(source)
        classes = labels.astype(np.int64)
        if (classes != labels).any() or (classes < 0).any():
            raise ValueError(f"labels in {source!r} are not all whole numbers from 0 on")
        return (features / self.scale).astype(np.float32), classes

    def open(self, widths: list[int]) -> None:
        """A table for each layer. Of each a row is what goes from one unit; how it begins is a function of the seed."""
        adagrad = paracel.optim.adagrad(self.alpha)
        self.tables_of_layers = [
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
        """The paper's algorithm 7.1; what is pulled travels while a gradient of older layers is computed."""
        random = np.random.default_rng([self.seed, self.worker_id])
        layers = [table.pull().result() for table in self.tables_of_layers]
        accrued = [np.zeros_like(layer) for layer in layers]
        steps = -(-len(labels) // self.batch)
        for step in range(self.rounds * steps):
            if step % steps == 0:
                order = random.permutation(len(labels))
            pulls = [table.pull() for table in self.tables_of_layers] if step % self.fetch == 0 else []
            chosen = order[step % steps :: steps]
            gradient = gradients(layers, features[chosen], labels[chosen])
            if pulls:
                layers = [pull.result() for pull in pulls]
            layers = [layer - self.local_alpha * each for layer, each in zip(layers, gradient, strict=True)]
            accrued = [sum_ + each for sum_, each in zip(accrued, gradient, strict=True)]
            if step % self.push == self.push - 1 or step == self.rounds * steps - 1:
                for table, sum_ in zip(self.tables_of_layers, accrued, strict=True):
                    table.push(slice(None), sum_)
                accrued = [np.zeros_like(layer) for layer in layers]

    def accuracy(self, layers: Layers, features: Floats, labels: Whole) -> float:
        """The share of the samples of all workers whose class is the likeliest."""
        right = int((self.classify(layers, features) == labels).sum())
        return self.comm.allreduce(right) / max(1, self.comm.allreduce(len(labels)))

    def classify(self, layers: Layers, features: Floats) -> Whole:
        return outputs(layers, features)[-1].argmax(axis=1)

    def dump(self, layers: Layers, features: Floats) -> None:
        if self.worker_id == 0:
            for number, layer in enumerate(layers):
                self.paracel_dump_dict(dict(enumerate(layer.tolist())), f"layer_{number}_")
        self.paracel_dump_vector(self.classify(layers, features).tolist(), "pred_v_")


if __name__ == "__main__":
    paracel.main(Downpour)
