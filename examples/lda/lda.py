"""Latent Dirichlet allocation by collapsed Gibbs sampling. The topics are two tables that all workers change.

Each word of each document has a topic. A worker keeps its documents and their words' topics to itself; the table
`word_topic` counts how often each word has each topic, over all documents, and `topic_total` how many words each topic
has. A block of documents at a time, a worker pulls the counts of the block's words, draws their topics anew
(`sampler.py`), and pushes the changes. Nobody waits for anybody, but for what the staleness asks.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import sampler
from numpy.typing import NDArray

import paracel

Numbers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Documents:
    """Their words, by number, one after the other; where each begins, and last where they all end."""

    words: Numbers
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, texts: list[list[str]], number: dict[str, int]) -> "Documents":
        """Words that have no number are left out."""
        known = [[number[word] for word in text if word in number] for text in texts]
        starts = np.cumsum([0, *map(len, known)], dtype=np.int64)
        return cls(np.array([word for text in known for word in text], np.int32), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def in_blocks(self, size: int) -> Iterator["Documents"]:
        """`size` documents at a time."""
        for begin in range(0, len(self), size):
            starts = self.starts[begin : begin + size + 1]
            yield Documents(self.words[starts[0] : starts[-1]], starts - starts[0])


class Block:
    """Documents that are sampled between one pull and one push: `keys` are their distinct words."""

    def __init__(self, documents: Documents, k_topics: int, random: np.random.Generator) -> None:
        self.keys, rows = np.unique(documents.words, return_inverse=True)
        self.rows, self.starts = rows.astype(np.int32), documents.starts  # `rows`: each word's place in `keys`
        self.topics = random.integers(k_topics, size=len(rows), dtype=np.int32)
        self.k_topics = k_topics

    def word_topic(self) -> Numbers:
        """How many of this block's words, by place in `keys`, have each topic."""
        return self.tally(self.rows, len(self.keys))

    def document_topic(self) -> Numbers:
        """How many words of each document have each topic."""
        return self.tally(np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts)), len(self.starts) - 1)

    def tally(self, rows: NDArray[np.integer], size: int) -> Numbers:
        cells = np.bincount(rows * np.int64(self.k_topics) + self.topics, minlength=size * self.k_topics)
        return cells.reshape(size, self.k_topics).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Held-out documents, every second word hidden: the others say which topics a document is of."""

    seen: Documents
    hidden: Documents

    @classmethod
    def of(cls, texts: list[list[str]], number: dict[str, int]) -> "Unseen":
        known = [[word for word in text if word in number] for text in texts]
        seen, hidden = ([text[first::2] for text in known] for first in (0, 1))
        return cls(Documents.of(seen, number), Documents.of(hidden, number))

    def log_likelihood(self, shares: NDArray[np.float64], alpha: float) -> float:
        """Of all the hidden words, if `shares[word, topic]` is the probability of a word in a topic."""
        texts = self.seen.words, self.seen.starts, self.hidden.words, self.hidden.starts
        return float(sampler.log_likelihood(shares, *texts, alpha))


def held_out(total: int, share: float) -> NDArray[np.bool_]:
    """Which of `total` documents are held out: the same ones for any number of workers and any seed."""
    return np.random.default_rng(0).random(total) < share


class LDA(paracel.paralg):
    """Finds `k_topics` topics in the documents of `input`, lines of words, in `iters` sweeps over them.

    `alpha` is the prior of a document's topics, `beta` that of a topic's words, each the same for all. A share
    `heldout` of the documents is kept from training; every `report_every` sweeps the perplexity of their hidden
    words is printed. `block_size` documents are sampled between a pull and a push; `staleness` bounds how many sweeps
    old the counts of other workers may be (None: as fresh as the servers have them, waiting for nobody).
    """

    def __init__(
        self,
        input: str | list[str],
        output: str = "",
        *,
        alpha: float = 0.1,
        beta: float = 0.1,
        k_topics: int = 20,
        iters: int = 100,
        top_words: int = 10,
        heldout: float = 0.1,
        report_every: int = 10,
        block_size: int = 300,
        staleness: float | None = None,
        seed: int = 0,
    ) -> None:
        at_least = {"k_topics": (k_topics, 2), "report_every": (report_every, 1), "block_size": (block_size, 1)}
        for name, (value, least) in at_least.items():
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        if not (alpha > 0 and beta > 0 and 0 <= heldout < 1):
            raise ValueError(f"alpha={alpha} and beta={beta} must be above 0, and heldout={heldout} in [0, 1)")
        super().__init__(output=output, rounds=iters, staleness=staleness)
        self.input, self.top_words, self.heldout = input, top_words, heldout
        self.alpha, self.beta, self.k_topics = alpha, beta, k_topics
        self.report_every, self.block_size = report_every, block_size
        self.random = np.random.default_rng([seed, self.worker_id])
        self.perplexities: dict[float, float] = {}  # by seconds of sampling

    def solve(self) -> None:
        self.load()
        self.start()
        for done in range(1, self.rounds + 1):
            self.sweep()
            if done % self.report_every == 0 or done == self.rounds:
                self.note_perplexity(done)
        self.report()
        self.dump()

    # ---- sampling

    def start(self) -> None:
        """A topic at random for each word, and the counts of them all in the tables."""
        size = len(self.vocabulary)
        self.word_topic = self.table("word_topic", size, self.k_topics, dtype="int32")
        self.topic_total = self.table("topic_total", 1, self.k_topics, dtype="int32")
        documents = self.training.in_blocks(self.block_size)
        self.blocks = [Block(part, self.k_topics, self.random) for part in documents]
        for block in self.blocks:
            self.push(block, block.word_topic())
        self.paracel_sync()
        self.seconds, self.began = 0.0, time.perf_counter()

    def sweep(self) -> None:
        """A new topic for every word of this worker."""
        for block in self.blocks:
            # a server takes a worker's messages in their order: all of its own changes are in what it draws from
            words, topics = self.word_topic.pull(block.keys), self.topic_total.pull()
            old, totals = words.result(), topics.result()[0].copy()
            new = old.copy()
            uniforms, priors = self.random.random(len(block.rows)), (self.alpha, self.beta, len(self.vocabulary))
            sampler.sweep(block.rows, block.starts, block.topics, new, totals, uniforms, *priors)
            self.push(block, new - old)
        self.iter_commit()

    def push(self, block: Block, change: Numbers) -> None:
        """Only the rows that have changed."""
        rows = change.any(axis=1)
        self.word_topic.push(block.keys[rows], change[rows])
        self.topic_total.push([0], change.sum(axis=0, dtype=np.int32)[None])

    # ---- reading

    def load(self) -> None:
        """This worker's documents, in part for training and in part held out; and the words of all workers'."""
        texts = [text for text in map(str.split, self.paracel_load(self.input)) if text]
        sizes = self.comm.allgather(len(texts))
        begin = sum(sizes[: self.worker_id])
        out = held_out(sum(sizes), self.heldout)[begin : begin + len(texts)]
        training = [text for text, is_out in zip(texts, out) if not is_out]
        words = self.comm.allgather(list(set().union(*training)))
        self.vocabulary = sorted(set().union(*words))
        if not self.vocabulary:
            raise ValueError(f"there is no word to train on in input={self.input!r}")
        number = {word: place for place, word in enumerate(self.vocabulary)}
        self.training = Documents.of(training, number)
        self.training_lines = begin + np.flatnonzero(~out)
        self.unseen = Unseen.of([text for text, is_out in zip(texts, out) if is_out], number)
        self.hidden_words = self.comm.allreduce(len(self.unseen.hidden.words))

    # ---- results

    def note_perplexity(self, done: int) -> None:
        """Of the held-out documents. The workers wait for each other; the time it takes is not counted."""
        self.paracel_sync()
        self.seconds += time.perf_counter() - self.began
        if self.hidden_words:
            perplexity = self.perplexity()
            self.perplexities[self.seconds] = perplexity  # its collective call kept the others from going on too soon
            self.say(f"sweep {done}: {self.seconds:.2f} s, perplexity {perplexity:.1f}")
        self.began = time.perf_counter()

    def perplexity(self) -> float:
        counts = self.word_topic.pull(staleness=None).result()
        shares = (counts + self.beta) / (counts.sum(axis=0) + self.beta * len(counts))
        found = self.comm.allreduce(self.unseen.log_likelihood(shares, self.alpha))
        return float(np.exp(-found / self.hidden_words))

    def report(self) -> None:
        """All workers' changes are in the tables: `note_perplexity` waited for them."""
        self.counts = self.word_topic.pull(staleness=None).result()
        documents = self.comm.allreduce(len(self.training))
        self.say(f"{documents} documents, {self.counts.sum()} words, {len(self.counts)} distinct")
        for topic, words in enumerate(self.topics()):
            self.say(f"topic {topic}: {' '.join(words)}")
        if self.perplexities:
            self.say(f"perplexity: {list(self.perplexities.values())[-1]:.1f}")

    def topics(self) -> list[dict[str, int]]:
        """The words that each topic has most often, with their counts."""
        orders = np.argsort(-self.counts, axis=0, kind="stable")[: self.top_words].T
        return [
            {self.vocabulary[word]: int(self.counts[word, topic]) for word in order}
            for topic, order in enumerate(orders)
        ]

    def say(self, line: str) -> None:
        if self.worker_id == 0:
            print(line, flush=True)

    def dump(self) -> None:
        """What was found: the topics, the counts of each word and of each document, and how it came about."""
        if not self.output:
            return
        tallies = [counts for block in self.blocks for counts in block.document_topic()]
        self.paracel_dump_dict(dict(zip(self.training_lines.tolist(), map(joined, tallies))), "lda_documents_")
        if self.worker_id == 0:
            tops = [joined(f"{word}:{count}" for word, count in top.items()) for top in self.topics()]
            self.paracel_dump_dict(dict(enumerate(tops)), "lda_topics_")
            self.paracel_dump_dict(dict(zip(self.vocabulary, map(joined, self.counts))), "lda_words_")
            trace = {f"{seconds:.4f}": f"{value:.4f}" for seconds, value in self.perplexities.items()}
            self.paracel_dump_dict(trace, "lda_perplexity_")


def joined(values: Iterable[object]) -> str:
    return "|".join(map(str, values))


if __name__ == "__main__":
    paracel.main(LDA)
