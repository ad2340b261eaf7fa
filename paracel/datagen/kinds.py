"""The kinds of data: what each is drawn from, and what its lines are. No files, and no command line.

Lines are drawn a block at a time; only what they are drawn from (weights, centres, factors, topics) is in memory as a
whole. Each quantity has a random stream of its own, and what is added up is added up within a line, so that no line
depends on where blocks end.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paracel.datagen.pairs import distinct_pairs

#: How many numbers a block has, about: some 2 MB, and some 30 MB while they become text.
BLOCK = 1 << 18
_STREAMS = 8
#: Of ratings: their mean, and the standard deviation of the biases of users and items.
_MEAN_RATING, _BIAS = 3.5, 0.4

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Streams = Sequence[np.random.Generator]
#: The lines from number `first` on, so many of them; they are asked for in order.
Lines = Callable[[int, int], str]


@dataclass(frozen=True, slots=True)
class Option:
    """A setting of a kind: a whole number, a number or one of some texts, as its default is."""

    name: str
    default: int | float | str
    help: str
    least: float = 1
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """How lines are begun, made and counted. `width`: about how many numbers are drawn for a line."""

    format: str
    options: tuple[Option, ...]
    begin: Callable[[SimpleNamespace, Streams], Lines]
    width: Callable[[SimpleNamespace], int]
    lines: Callable[[SimpleNamespace], int] = lambda given: int(given.lines)


def blocks(kind: str, given: SimpleNamespace, block: int = BLOCK) -> Iterator[str]:
    """The text of a file, in blocks of about `block` numbers. `given` has `lines`, `seed` and the kind's options.

    ConfigError for settings that do not go together.
    """
    chosen = KINDS[kind]
    streams = [np.random.default_rng(each) for each in np.random.SeedSequence(given.seed).spawn(_STREAMS)]
    make, lines = chosen.begin(given, streams), chosen.lines(given)
    step = max(1, block // chosen.width(given))
    return (make(first, min(step, lines - first)) for first in range(0, lines, step))


# --- numbers ----------------------------------------------------------------------------------------------------------


def _regression(given: SimpleNamespace, streams: Streams) -> Lines:
    weights, form = _weights(given, streams[0]), _form(given.columns + 1)

    def make(_first: int, count: int) -> str:
        features = streams[1].standard_normal((count, given.columns))
        values = _products(features, weights) + given.noise * streams[2].standard_normal(count)
        return _lines(form, features, values)

    return make


def _classification(given: SimpleNamespace, streams: Streams) -> Lines:
    weights, form = _weights(given, streams[0]), _form(given.columns) + ",%d"

    def make(_first: int, count: int) -> str:
        features = streams[1].standard_normal((count, given.columns))
        chances = 1 / (1 + np.exp(-_products(features, weights)))
        return _lines(form, features, streams[2].random(count) < chances)

    return make


def _weights(given: SimpleNamespace, random: np.random.Generator) -> Floats:
    """Of which `informative` are not 0; all, if that is 0."""
    weights: Floats = random.standard_normal(given.columns)
    if given.informative:
        weights[random.permutation(given.columns)[given.informative :]] = 0
    return weights


def _svd(given: SimpleNamespace, streams: Streams) -> Lines:
    right, form = streams[0].standard_normal((given.rank, given.columns)), _form(given.columns)

    def make(_first: int, count: int) -> str:
        left = streams[1].standard_normal((count, given.rank))
        rows = given.noise * streams[2].standard_normal((count, given.columns))
        for one, other in zip(left.T, right, strict=True):
            rows += one[:, None] * other
        return _lines(form, rows)

    return make


def _points(given: SimpleNamespace, streams: Streams, separator: str) -> Lines:
    """Points around centres, which are spread evenly over a cube; or the numbers of their centres."""
    centres = streams[0].uniform(-10, 10, (given.clusters, given.columns))
    form = f"%d{separator}" + _form(given.columns)

    def make(first: int, count: int) -> str:
        ids, labels = np.arange(first, first + count), streams[1].integers(given.clusters, size=count)
        if given.part == "labels":
            return _lines(f"%d{separator}%d", ids, labels)
        noise = streams[2].standard_normal((count, given.columns))
        return _lines(form, ids, centres[labels] + given.spread * noise)

    return make


def _similarity(given: SimpleNamespace, streams: Streams) -> Lines:
    if given.format == "dense":
        return _points(given, streams, ",")
    pairs = distinct_pairs(given, "ids", "columns", streams[0])

    def make(first: int, count: int) -> str:
        ids, columns = pairs(np.arange(first, first + count))
        ends = (ids, columns) if given.format == "fsv" else (columns, ids)
        return _lines("%d,%d,%.6g", *ends, 1 - streams[1].random(count))

    return make


# --- graphs and ratings -----------------------------------------------------------------------------------------------


def _pagerank(given: SimpleNamespace, streams: Streams) -> Lines:
    def make(_first: int, count: int) -> str:
        sources = streams[0].integers(given.nodes, size=count)
        targets = _zipf(streams[1].random(count), given.nodes)
        return _lines("%d,%d", sources, np.where(targets == sources, (targets + 1) % given.nodes, targets))

    return make


def _mf(given: SimpleNamespace, streams: Streams) -> Lines:
    pairs = distinct_pairs(given, "users", "items", streams[0])
    user_factors = streams[1].standard_normal((given.users, given.rank)) / given.rank**0.5
    item_factors = streams[2].standard_normal((given.items, given.rank))
    user_biases, item_biases = (
        _BIAS * streams[n].standard_normal(size) for n, size in [(3, given.users), (4, given.items)]
    )

    def make(first: int, count: int) -> str:
        places = np.arange(first, first + count)
        if given.part == "predict":  # from the other end: as long as there are enough, pairs that have no rating
            return _lines("%d,%d", *pairs(given.users * given.items - 1 - places))
        users, items = pairs(places)
        exact = _MEAN_RATING + user_biases[users] + item_biases[items]
        exact += _products(user_factors[users], item_factors[items])
        ratings = np.rint(exact + given.noise * streams[5].standard_normal(count)).clip(1, 5)
        return _lines("%d %d %d %d", users, items, streams[6].integers(1_000_000_000, 1_400_000_000, count), ratings)

    return make


def _als(given: SimpleNamespace, streams: Streams) -> Lines:
    pairs = distinct_pairs(given, "users", "items", streams[0])
    most = 2 * (_MEAN_RATING / given.rank) ** 0.5  # the mean of a product is the mean rating
    factors = {
        "users": streams[1].uniform(0, most, (given.users, given.rank)),
        "items": streams[2].uniform(0, most, (given.items, given.rank)),
    }

    def make(first: int, count: int) -> str:
        places = np.arange(first, first + count)
        if given.part != "ratings":
            return _lines("%d\t" + _form(given.rank, "|"), places, factors[given.part][places])
        users, items = pairs(places)
        exact = _products(factors["users"][users], factors["items"][items])
        return _lines("%d,%d,%.6g", users, items, exact + given.noise * streams[5].standard_normal(count))

    return make


# --- texts ------------------------------------------------------------------------------------------------------------


def _word_count(given: SimpleNamespace, streams: Streams) -> Lines:
    vocabulary = _vocabulary(given.vocabulary)

    def make(_first: int, count: int) -> str:
        words = _zipf(streams[0].random(count * given.words), given.vocabulary)
        return _text(vocabulary, words, np.full(count, given.words))

    return make


def _lda(given: SimpleNamespace, streams: Streams) -> Lines:
    vocabulary, size = _vocabulary(given.vocabulary), given.vocabulary
    topics = np.arange(given.topics)[:, None]
    # One rising array: where topic + u stands in it, for u from 0 to 1, is a word of that topic.
    rising = (streams[0].dirichlet(np.full(size, given.beta), given.topics).cumsum(axis=1).clip(0, 1) + topics).ravel()

    def make(_first: int, count: int) -> str:
        lengths = 1 + streams[1].poisson(given.words - 1, count)
        shares = streams[2].dirichlet(np.full(given.topics, given.alpha), count).cumsum(axis=1)
        where, document = streams[3].random(lengths.sum()), np.repeat(np.arange(count), lengths)
        chosen = np.zeros(len(where), np.int64)
        for topic in range(given.topics - 1):
            chosen += where > shares[document, topic]
        words = np.searchsorted(rising, chosen + streams[4].random(len(where))) - chosen * size
        return _text(vocabulary, words.clip(0, size - 1), lengths)

    return make


def _vocabulary(size: int) -> NDArray[np.object_]:
    """Words with a blank after them, and then the same with a line end."""
    return np.array([f"w{n}{end}" for end in (" ", "\n") for n in range(size)], object)


def _text(vocabulary: NDArray[np.object_], words: Whole, lengths: Whole) -> str:
    """Lines of so many words each."""
    chosen = words.copy()
    chosen[np.cumsum(lengths) - 1] += len(vocabulary) // 2
    return "".join(vocabulary[chosen].tolist())


# --- all of them ------------------------------------------------------------------------------------------------------


def _form(columns: int, separator: str = ",") -> str:
    return separator.join(["%.6g"] * columns)


def _lines(form: str, *columns: NDArray[Any]) -> str:
    """Each row of the columns in this form. Whole numbers are exact up to 2**53."""
    table = np.column_stack([column.astype(np.float64, copy=False) for column in columns])
    text: str = (form + "\n") * len(table) % tuple(table.ravel().tolist())
    return text


def _products(rows: Floats, others: Floats) -> Floats:
    """Of each row with a vector, or with its own. Unlike BLAS it gives the same for a row whatever rows are with it."""
    products: Floats = (rows * others).sum(axis=1)
    return products


def _zipf(uniform: Floats, size: int) -> Whole:
    """Numbers below `size` from uniform ones in [0, 1); the probability of number r is about as 1 / (r + 1)."""
    return np.minimum((size + 1.0) ** uniform, size).astype(np.int64) - 1


_COLUMNS = Option("columns", 10, "how many numbers a row has")
_INFORMATIVE = Option("informative", 0, "how many weights are not 0; 0: all", least=0)
_CLUSTERS = Option("clusters", 10, "around how many centres, from -10 to 10, the points are")
_SPREAD = Option("spread", 1.0, "the standard deviation around a centre", least=0)
_NOISE = Option("noise", 0.1, "the standard deviation of what is added", least=0)
_RANK = Option("rank", 5, "how many factors are behind the numbers")
_USERS, _ITEMS = Option("users", 1000, "how many users"), Option("items", 500, "how many items")
_WORDS, _VOCABULARY = Option("words", 10, "words in a line"), Option("vocabulary", 1000, "how many words there are")


def _parts(*allowed: str) -> Option:
    return Option("part", allowed[0], "which file; those of the same seed and settings match", allowed=allowed)


KINDS = {
    "wc": Kind(
        "words separated by spaces, w0 the most frequent, by Zipf's law",
        (_WORDS, _VOCABULARY),
        _word_count,
        lambda given: given.words,
    ),
    "classification": Kind(
        "f1,...,fk,label: the label, 0 or 1, is drawn from a logistic model",
        (_COLUMNS, _INFORMATIVE),
        _classification,
        lambda given: given.columns + 1,
    ),
    "regression": Kind(
        "f1,...,fk,value: the value is a weighted sum, and noise",
        (_COLUMNS, _INFORMATIVE, _NOISE),
        _regression,
        lambda given: given.columns + 1,
    ),
    "pagerank": Kind(
        "src,dst: links to pages of which 0 has the most, by Zipf's law; a link may come twice",
        (Option("nodes", 1000, "how many pages", least=2),),
        _pagerank,
        lambda _given: 2,
    ),
    "similarity": Kind(
        "dense: id,f1,...,fk. fsv: id,column,value. sfv: column,id,value; no pair comes twice",
        (
            Option("format", "dense", "how the matrix is written", allowed=("dense", "fsv", "sfv")),
            Option("ids", 1000, "how many ids there are in fsv and sfv; dense has one a line"),
            _COLUMNS,
            _CLUSTERS,
            _SPREAD,
        ),
        lambda given, streams: _similarity(SimpleNamespace(**vars(given), part="points"), streams),
        lambda given: given.columns + 1 if given.format == "dense" else 3,
    ),
    "kmeans": Kind(
        "id<TAB>f1,...,fk. labels: id<TAB>centre",
        (_COLUMNS, _CLUSTERS, _SPREAD, _parts("points", "labels")),
        partial(_points, separator="\t"),
        lambda given: given.columns + 1,
    ),
    "lda": Kind(
        "a document a line: words separated by spaces, drawn from topics",
        (
            Option("topics", 10, "how many topics"),
            Option("alpha", 0.1, "Dirichlet parameter of the topics of a document", least=1e-3),
            Option("beta", 0.1, "Dirichlet parameter of the words of a topic", least=1e-3),
            Option("words", 100, "words in a document, on average"),
            _VOCABULARY,
        ),
        _lda,
        lambda given: given.words + given.topics,
    ),
    "svd": Kind(
        "f1,...,fk: a matrix of low rank, and noise",
        (_COLUMNS, _RANK, _NOISE),
        _svd,
        lambda given: given.columns + given.rank,
    ),
    "mf": Kind(
        "ratings: user item date rating. predict: user,item, others than the ratings'. No pair comes twice",
        (_USERS, _ITEMS, _RANK, _NOISE, _parts("ratings", "predict")),
        _mf,
        lambda given: 4 + 2 * given.rank,
    ),
    "als": Kind(
        "ratings: user,item,rating; no pair comes twice. users, items: id<TAB>f1|...|fk, a line for each",
        (_USERS, _ITEMS, _RANK, _NOISE, _parts("ratings", "users", "items")),
        _als,
        lambda given: 3 + 2 * given.rank,
        lambda given: given.lines if given.part == "ratings" else getattr(given, given.part),
    ),
}
