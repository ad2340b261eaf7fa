"""The loops over words, compiled: a sweep of the sparse Gibbs sampler, and how well unseen documents are foretold.

Arrays in, arrays changed in place; no tables, no files. Documents are `words` (int32, each a row of `counts` or
`shares`) and `starts` (int64, where each document begins among them, and last where they all end).
"""

# ruff: noqa: PLR0917 - compiled functions take arrays, not objects
import numpy as np
from numba import njit

FIT_STEPS = 100  # of a document's mixture of topics


@njit(cache=True, nogil=True)
def used_topics(counts):
    """The topics that each word has, in the first places of its row, and how many they are."""
    used = np.empty_like(counts)
    sizes = np.zeros(len(counts), np.int64)
    for word in range(counts.shape[0]):
        for topic in range(counts.shape[1]):
            if counts[word, topic] > 0:
                used[word, sizes[word]] = topic
                sizes[word] += 1
    return used, sizes


@njit(cache=True, nogil=True)
def without(topic, used, size):
    """Take a topic out of the first `size` places; returns how many are left."""
    for place in range(size):
        if used[place] == topic:
            used[place] = used[size - 1]
            break
    return size - 1


@njit(cache=True, nogil=True)
def shift(topic, change, count, totals, in_document, weight, alpha, smoothing):
    """Count one word more or less in a topic; returns by how much the topic's weight has grown."""
    before = weight[topic]
    count[topic] += change
    totals[topic] += change
    in_document[topic] += change
    weight[topic] = (alpha + in_document[topic]) / (smoothing + totals[topic])
    return weight[topic] - before


@njit(cache=True, nogil=True)
def draw(uniform, count, used, weight, beta, smooth_mass):
    """A topic with probability in proportion to weight * (beta + count)."""
    own_mass = 0.0
    for topic in used:
        own_mass += weight[topic] * count[topic]
    at = uniform * (own_mass + smooth_mass)
    if at < own_mass:
        for topic in used:
            at -= weight[topic] * count[topic]
            if at < 0.0:
                return topic
        return used[-1]  # rounding has left a little
    at -= own_mass
    for topic in range(len(weight)):
        at -= weight[topic] * beta
        if at < 0.0:
            return topic
    return len(weight) - 1


@njit(
    "void(int32[::1], int64[::1], int32[::1], int32[:,::1], int32[::1], float64[::1], float64, float64, int64)",
    cache=True,
    nogil=True,
)
def sweep(words, starts, topics, counts, totals, uniforms, alpha, beta, vocabulary):
    """Draw each word's topic once from its distribution given all others (Griffiths and Steyvers, PNAS 2004).

    `topics` (int32, one a word), `counts` (int32, word by topic) and `totals` (int32, one a topic) are changed in
    place; `uniforms` (float64) has a number from [0, 1) for each word; `vocabulary` is how many words there are in all.

    The draw is SparseLDA's (Yao, Mimno and McCallum, KDD 2009). The probability of a topic,

        weight * (beta + count),  weight = (alpha + document's words in the topic) / (beta * vocabulary + total),

    has one part that most topics lack, `weight * count`, and one that all have, `weight * beta`. The sum of the first
    is taken over the word's own topics, that of the second is kept up to date, so that the other topics cost nothing.
    (The paper parts the second again; it is so seldom drawn from that here it is simply walked.)
    """
    used, sizes = used_topics(counts)
    in_document, weight = np.zeros(len(totals)), np.zeros(len(totals))
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1]
        in_document[:] = 0.0
        for at in range(begin, end):
            in_document[topics[at]] += 1.0
        weight[:] = (alpha + in_document) / (beta * vocabulary + totals)
        all_weight = weight.sum()
        for at in range(begin, end):
            word, topic = words[at], topics[at]
            all_weight += shift(topic, -1, counts[word], totals, in_document, weight, alpha, beta * vocabulary)
            if counts[word, topic] == 0:
                sizes[word] = without(topic, used[word], sizes[word])
            topic = draw(uniforms[at], counts[word], used[word, : sizes[word]], weight, beta, beta * all_weight)
            if counts[word, topic] == 0:
                used[word, sizes[word]] = topic
                sizes[word] += 1
            all_weight += shift(topic, 1, counts[word], totals, in_document, weight, alpha, beta * vocabulary)
            topics[at] = topic


@njit(cache=True, nogil=True)
def fitted(shares, words, alpha):
    """The mixture of topics of a document with these words."""
    topics = shares.shape[1]
    mixture = np.full(topics, 1.0 / topics)
    for _ in range(FIT_STEPS):
        expected = np.full(topics, alpha)
        for word in words:
            part = mixture * shares[word]
            expected += part / part.sum()
        mixture = expected / expected.sum()
    return mixture


@njit("float64(float64[:,::1], int32[::1], int64[::1], int32[::1], int64[::1], float64)", cache=True, nogil=True)
def log_likelihood(shares, seen, seen_starts, hidden, hidden_starts, alpha):
    """The sum over documents of log P(hidden words), when the mixture of topics is fitted to the seen words alone.

    `shares` (float64, word by topic) has the probability of each word in each topic. The fit is the fixed point of
    mixture ~ alpha + expected words in each topic, from a uniform start: the same figures for whoever made the shares.
    """
    found = 0.0
    for document in range(len(seen_starts) - 1):
        mixture = fitted(shares, seen[seen_starts[document] : seen_starts[document + 1]], alpha)
        for word in hidden[hidden_starts[document] : hidden_starts[document + 1]]:
            found += np.log((mixture * shares[word]).sum())
    return found
