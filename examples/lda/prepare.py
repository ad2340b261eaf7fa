"""Writes the two inputs of the example, one document a line: the King James chapters and the synthetic bars.

Not a part of the job; it needs only numpy. A document is its words, separated by blanks, as Paracel's own LDA reads it.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
SHORTEST = 3  # letters in a word
FEWEST = 5  # chapters that a word is in
SIDE = 5  # of the bars' grid


def chapters(verses: list[str], index: Iterable[str]) -> Iterator[str]:
    """The text of each chapter. `index` has a line for each, `name<TAB>number of verses`."""
    begin = 0
    for line in index:
        end = begin + int(line.split("\t")[1])
        yield " ".join(verses[begin:end])
        begin = end


def without_common_and_rare(texts: Iterable[str], stop_words: set[str]) -> list[list[str]]:
    """The words of each text in lower case, without stop words, short words, and words that few texts have."""
    documents = [[word for word in WORD.findall(text.lower()) if len(word) >= SHORTEST] for text in texts]
    used_in = Counter(word for words in documents for word in set(words))
    kept = {word for word, count in used_in.items() if count >= FEWEST} - stop_words
    return [[word for word in words if word in kept] for words in documents]


def king_james() -> list[list[str]]:
    verses = (DATA / "kjv.txt").read_text(encoding="utf-8").splitlines()
    index = (DATA / "kjv_chapters.tsv").read_text(encoding="utf-8").splitlines()
    return without_common_and_rare(chapters(verses, index), set((HERE / "stop_words.txt").read_text().split()))


def bars(documents: int = 500, length: int = 100, mixing: float = 0.5, seed: int = 0) -> list[list[str]]:
    """Griffiths and Steyvers' figure 1: the words are the cells of a grid, the topics are its rows and its columns.

    A document's mixture of topics is drawn from a symmetric Dirichlet distribution with parameter `mixing`.
    """
    random = np.random.default_rng(seed)
    cells = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    topics = np.concatenate([cells, cells.T])
    mixtures = random.dirichlet(np.full(2 * SIDE, mixing), documents)
    drawn = [
        topics[random.choice(2 * SIDE, length, p=mixture), random.integers(SIDE, size=length)] for mixture in mixtures
    ]
    return [[f"r{cell // SIDE}c{cell % SIDE}" for cell in document] for document in drawn]


def write(path: Path, documents: list[list[str]]) -> None:
    path.write_text("".join(f"{' '.join(words)}\n" for words in documents), encoding="utf-8")
    words = sum(map(len, documents))
    print(f"{path}: {len(documents)} documents, {words} words, {len(set().union(*documents))} distinct")


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes king_james.txt and bars.txt, one document a line.")
    parser.add_argument("folder", type=Path, help="where to; it is made if it is missing")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "king_james.txt", king_james())
    write(folder / "bars.txt", bars())


if __name__ == "__main__":
    main()
