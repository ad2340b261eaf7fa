"""LDA: the sampler against the exact distribution, the program on bars and on the King James Bible."""

import importlib
import itertools
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import gammaln
from sklearn.decomposition import LatentDirichletAllocation

pytestmark = pytest.mark.examples

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "examples/lda"
SCRIPT = f"{FOLDER}/lda.py"
FILES = ("lda", "prepare", "sampler")
ROWS = {frozenset(f"r{row}c{column}" for column in range(5)) for row in range(5)}
COLUMNS = {frozenset(f"r{row}c{column}" for row in range(5)) for column in range(5)}


@pytest.fixture(scope="module")
def programs():
    """The example's modules, by name; its folder is where they are looked for, as when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / FOLDER))
        yield {name: importlib.import_module(name) for name in FILES}
    for name in FILES:
        del sys.modules[name]


@pytest.fixture(scope="module")
def sampler(programs):
    return programs["sampler"]


@pytest.fixture(scope="module")
def inputs(programs, tmp_path_factory):
    """The folder with the two inputs."""
    folder = tmp_path_factory.mktemp("lda")
    programs["prepare"].write(folder / "king_james.txt", programs["prepare"].king_james())
    programs["prepare"].write(folder / "bars.txt", programs["prepare"].bars())
    return folder


def documents_of(path):
    return [line.split() for line in path.read_text().splitlines()]


def table(path):
    """A file of lines `key<TAB>a|b|...` as the keys and an array of whole numbers."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [key for key, _ in lines], np.array([[int(number) for number in row.split("|")] for _, row in lines])


def tables(folder, name, workers):
    """The same over the files of all workers."""
    keys, rows = zip(*(table(folder / f"{name}{worker}") for worker in range(workers)))
    return [key for part in keys for key in part], np.concatenate([part for part in rows if part.size])


def topics_in(path):
    """The words of each topic of lda_topics_0."""
    lines = [line.split("\t")[1] for line in path.read_text().splitlines()]
    return [frozenset(pair.split(":")[0] for pair in line.split("|")) for line in lines]


# ---- the sampler


def tally(words, topics, shape):
    counts = np.zeros(shape, np.int32)
    np.add.at(counts, (words, topics), 1)
    return counts


def test_a_draw_has_each_topic_in_its_share_of_the_unit_interval(sampler):
    random = np.random.default_rng(1)
    for _ in range(20):
        weight, beta, steps = random.random(6), random.choice([0.01, 1.0]), 5000
        count = random.integers(1, 9, size=6, dtype=np.int32) * random.integers(2, size=6, dtype=np.int32)
        used = random.permutation(np.flatnonzero(count)).astype(np.int32)
        uniforms = (np.arange(steps) + 0.5) / steps
        drawn = [sampler.draw(uniform, count, used, weight, beta, beta * weight.sum()) for uniform in uniforms]
        expected = weight * (beta + count)
        share = np.bincount(drawn, minlength=6) / steps
        np.testing.assert_allclose(share, expected / expected.sum(), atol=3 / steps)


def test_sweeps_visit_assignments_as_often_as_the_exact_posterior_says(sampler):
    """All 2^6 assignments of a tiny corpus; other workers' words, which stay, are in the counts as well."""
    random = np.random.default_rng(2)
    alpha, beta, vocabulary, sweeps = 0.7, 0.4, 4, 200_000
    words, starts = np.array([0, 1, 1, 1, 2, 0], np.int32), np.array([0, 2, 5, 6])
    others = np.array([[0, 3], [1, 0], [2, 2]], np.int32)
    other_totals = others.sum(axis=0) + np.array([5, 0])  # words that are not in the block have topics, too

    def log_posterior(topics):
        documents = np.repeat(np.arange(3), np.diff(starts))
        in_document, counts = tally(documents, topics, (3, 2)), others + tally(words, topics, (3, 2))
        totals = other_totals + np.bincount(topics, minlength=2)
        return (
            gammaln(alpha + in_document).sum()
            + gammaln(beta + counts).sum()
            - gammaln(beta * vocabulary + totals).sum()
        )

    states = np.array(list(itertools.product(range(2), repeat=6)))
    exact = np.exp([log_posterior(state) for state in states])
    topics = np.zeros(6, np.int32)
    counts = others + tally(words, topics, (3, 2))
    totals = (other_totals + np.bincount(topics, minlength=2)).astype(np.int32)
    visits = np.zeros(64)
    for uniforms in random.random((sweeps, 6)):
        sampler.sweep(words, starts, topics, counts, totals, uniforms, alpha, beta, vocabulary)
        visits[topics @ (1 << np.arange(5, -1, -1))] += 1
    assert 0.5 * np.abs(visits / sweeps - exact / exact.sum()).sum() < 0.01
    np.testing.assert_array_equal(counts, others + tally(words, topics, (3, 2)))
    np.testing.assert_array_equal(totals, other_totals + np.bincount(topics, minlength=2))


def plain_log_likelihood(shares, seen, hidden, alpha):
    found = 0.0
    for known, unknown in zip(seen, hidden):
        mixture = np.full(shares.shape[1], 1 / shares.shape[1])
        for _ in range(2000):
            parts = mixture * shares[known]
            mixture = alpha + (parts / parts.sum(axis=1, keepdims=True)).sum(axis=0)
            mixture /= mixture.sum()
        found += np.log(shares[unknown] @ mixture).sum()
    return found


def test_log_likelihood_of_hidden_words_equals_a_plain_computation(programs):
    random = np.random.default_rng(3)
    shares = random.dirichlet(np.full(30, 0.1), 4).T.copy()
    texts = [[f"{word}" for word in random.integers(33, size=size)] for size in (40, 1, 0, 7, 2)]  # 30 are known
    number = {f"{word}": word for word in range(30)}
    known = [[number[word] for word in text if word in number] for text in texts]
    expected = plain_log_likelihood(shares, [text[::2] for text in known], [text[1::2] for text in known], 0.2)
    found = programs["lda"].Unseen.of(texts, number).log_likelihood(shares, 0.2)
    assert found == pytest.approx(expected, rel=1e-6)


# ---- the data


def test_a_chapter_is_a_document_without_common_short_and_rare_words(programs, inputs):
    documents = documents_of(inputs / "king_james.txt")
    index = (ROOT / "examples/data/kjv_chapters.tsv").read_text().splitlines()
    names = [line.split("\t")[0] for line in index]
    assert (len(documents), len(set(names)), names[0], names[-1]) == (1189, 1189, "Ge1", "Rev22")
    assert sum(int(line.split("\t")[1]) for line in index) == 31_102
    psalm = documents[names.index("Psa23")]
    assert psalm[:3] + psalm[-3:] == ["lord", "shepherd", "want", "dwell", "house", "lord"]
    assert "jesus" not in documents[names.index("Mal4")]
    assert "jesus" in documents[names.index("Mat1")]
    in_chapters = Counter(word for words in documents for word in set(words))
    assert min(in_chapters.values()) >= 5
    assert min(map(len, in_chapters)) >= 3
    assert not {"the", "unto", "shalt"} & in_chapters.keys()


def test_bars_are_the_same_for_the_same_seed_and_every_document_is_of_few_bars(programs):
    bars = programs["prepare"].bars
    assert bars(20, seed=1) == bars(20, seed=1) != bars(20, seed=2)
    assert {word for words in bars() for word in words} == frozenset().union(*ROWS)


# ---- the program


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 2), (4, 1)])
def test_bars_are_recovered(run, inputs, tmp_path, workers, servers):
    arguments = [f"input={inputs}/bars.txt", f"output={tmp_path}/out"]
    done = run.prun(workers, servers, "-c", f"{FOLDER}/bars.json", SCRIPT, *arguments)
    assert done.status == 0, done.err
    found = topics_in(tmp_path / "out/lda_topics_0")
    assert len(found) == 10
    assert set(found) == ROWS | COLUMNS
    printed = [frozenset(line.split(": ")[1].split()) for line in done.out.splitlines() if line.startswith("topic ")]
    assert printed == found


def check_tables(out, workers, training, texts):
    """Each change that a worker made is in the tables once, whoever came first."""
    lines, of_documents = tables(out, "lda_documents_", workers)
    assert [int(line) for line in lines] == training.tolist()
    assert of_documents.sum(axis=1).tolist() == [len(texts[line]) for line in training]
    occurrences = Counter(word for line in training for word in texts[line])
    words, of_words = table(out / "lda_words_0")
    assert dict(zip(words, of_words.sum(axis=1))) == occurrences
    assert (of_words >= 0).all()
    np.testing.assert_array_equal(of_words.sum(axis=0), of_documents.sum(axis=0))


@pytest.fixture(scope="module")
def chapters(programs, inputs):
    """The documents, and which of them are held out."""
    texts = documents_of(inputs / "king_james.txt")
    return texts, programs["lda"].held_out(len(texts), 0.1)


@pytest.mark.parametrize(("workers", "staleness"), [(2, "0"), (3, "2"), (2, "Infinity")])
def test_the_tables_end_with_what_the_workers_documents_say(run, chapters, inputs, tmp_path, workers, staleness):
    arguments = [f"input={inputs}/king_james.txt", f"output={tmp_path}/out", "iters=3", "k_topics=7", "block_size=150"]
    done = run.prun(workers, 2, SCRIPT, *arguments, f"staleness={staleness}")
    assert done.status == 0, done.err
    texts, out = chapters
    check_tables(tmp_path / "out", workers, np.flatnonzero(~out), texts)


@pytest.fixture(scope="module")
def king_james(programs, chapters):
    """The vocabulary of the training chapters, these as a sparse matrix, and a function: shares -> perplexity."""
    lda, (texts, out) = programs["lda"], chapters
    training = [text for text, is_out in zip(texts, out) if not is_out]
    vocabulary = sorted(set().union(*training))
    number = {word: place for place, word in enumerate(vocabulary)}
    documents = lda.Documents.of(training, number)
    unseen = lda.Unseen.of([text for text, is_out in zip(texts, out) if is_out], number)
    ones = np.ones(len(documents.words))
    matrix = sp.csr_array((ones, documents.words.copy(), documents.starts.copy()), (len(training), len(vocabulary)))
    matrix.sum_duplicates()

    def perplexity(shares):
        return np.exp(-unseen.log_likelihood(np.ascontiguousarray(shares), 0.1) / len(unseen.hidden.words))

    return vocabulary, matrix, perplexity


@pytest.fixture(scope="module")
def scikit_learns(king_james):
    """The perplexity of its online LDA, of as many topics."""
    _, matrix, perplexity = king_james
    settings = {"doc_topic_prior": 0.1, "topic_word_prior": 0.1, "learning_method": "online", "random_state": 0}
    learner = LatentDirichletAllocation(20, max_iter=10, **settings).fit(matrix)
    return perplexity((learner.components_ / learner.components_.sum(axis=1, keepdims=True)).T)


@pytest.mark.parametrize("workers", [1, 2])
def test_perplexity_is_not_worse_than_scikit_learns_online_lda(
    run, inputs, chapters, king_james, scikit_learns, tmp_path, workers
):
    arguments = [f"input={inputs}/king_james.txt", f"output={tmp_path}/out", "iters=60"]
    done = run.prun(workers, 1, "-c", f"{FOLDER}/lda.json", SCRIPT, *arguments)
    assert done.status == 0, done.err
    texts, out = chapters
    check_tables(tmp_path / "out", workers, np.flatnonzero(~out), texts)
    vocabulary, _, perplexity = king_james
    words, counts = table(tmp_path / "out/lda_words_0")
    assert words == vocabulary
    shares = (counts + 0.1) / (counts + 0.1).sum(axis=0)
    assert done.figure("perplexity") == pytest.approx(perplexity(shares), abs=0.06)
    assert done.figure("perplexity") <= scikit_learns
    trace = np.loadtxt(tmp_path / "out/lda_perplexity_0", delimiter="\t", ndmin=2)
    assert (np.diff(trace[:, 0]) > 0).all()
    assert trace[-1, 1] < trace[0, 1]


def test_one_worker_without_a_launcher_finds_the_same_each_time(run, inputs, tmp_path):
    def found(name):
        arguments = [f"input={inputs}/bars.txt", f"output={tmp_path}/{name}", "iters=5"]
        done = run.python(SCRIPT, "-c", f"{FOLDER}/bars.json", *arguments)
        assert done.status == 0, done.err
        return (tmp_path / name / "lda_words_0").read_text()

    assert found("a") == found("b")


def test_under_mpiexec_with_embedded_servers(run, inputs):
    done = run.mpiexec(2, SCRIPT, "-c", f"{FOLDER}/bars.json", f"input={inputs}/bars.txt", "iters=20")
    assert done.status == 0, done.err
    assert done.out.count("topic ") == 10


def test_tokens_between_blanks_or_tabs_and_more_workers_than_documents(run, tmp_path):
    path = tmp_path / "text"
    path.write_text("naïve\tcafé  naïve\n\n \t\nserver_clock a\r\n")
    arguments = [f"input={path}", f"output={tmp_path}/out", "iters=4", "k_topics=2", "heldout=0", "top_words=9"]
    done = run.prun(3, 2, SCRIPT, *arguments)
    assert done.status == 0, done.err
    assert "perplexity" not in done.out
    words, counts = table(tmp_path / "out/lda_words_0")
    assert dict(zip(words, counts.sum(axis=1))) == {"naïve": 2, "café": 1, "server_clock": 1, "a": 1}
    lines, of_documents = tables(tmp_path / "out", "lda_documents_", 3)
    assert (lines, of_documents.sum(axis=1).tolist()) == (["0", "1"], [3, 2])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"k_topics": 1}, "k_topics is 1; it must be at least 2"),
        ({"block_size": 0}, "block_size is 0; it must be at least 1"),
        ({"report_every": 0}, "report_every is 0"),
        ({"alpha": 0}, "alpha=0 "),
        ({"beta": -1}, "beta=-1 "),
        ({"heldout": 1}, "heldout=1 "),
    ],
)
def test_wrong_settings_are_told_in_words(programs, settings, told):
    with pytest.raises(ValueError, match=told):
        programs["lda"].LDA("text", **settings)


def test_a_wrong_key_and_no_word_to_train_on_are_told_in_words(run, tmp_path):
    path = tmp_path / "blank"
    path.write_text("\n \n")
    run.check_told(SCRIPT, [([f"input={path}", "topics=5"], "k_topics"), ([f"input={path}"], "no word to train on")])
