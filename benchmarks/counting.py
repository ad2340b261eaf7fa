"""Word count without paracel: `python -m benchmarks.counting CUTTER PROCESSES FILE`.

CUTTER is `translate`, which cuts words the way the example does, or `regex`. PROCESSES 1 is a serial
`collections.Counter`; more is a map-reduce over byte ranges of the file, cut at line ends, by a pool of processes,
whose results are added up here. It prints the ten most frequent words as the example does.
"""

import multiprocessing
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

_BATCH = 1 << 18
_WORD = re.compile(r"[-a-zA-Z0-9_]+")
_BLANK_OUT = bytes(byte if byte < 128 and _WORD.match(chr(byte)) else 32 for byte in range(256))

Cutter = Callable[[bytes], list[str]]


def by_translate(text: bytes) -> list[str]:
    """The words, by making all other bytes blanks."""
    return text.translate(_BLANK_OUT).decode("ascii").split()


def by_regex(text: bytes) -> list[str]:
    """The words, by the regular expression."""
    return _WORD.findall(text.decode("utf-8"))


CUTTERS: dict[str, Cutter] = {"translate": by_translate, "regex": by_regex}


def count(cutter: str, path: str, start: int, end: int) -> Counter[str]:
    """The words of the lines that begin in the byte range."""
    counts: Counter[str] = Counter()
    for text in _batches(path, start, end):
        counts.update(CUTTERS[cutter](text))
    return counts


def count_in_processes(cutter: str, path: str, processes: int) -> Counter[str]:
    """The same for the whole file, by several processes."""
    size = os.path.getsize(path)
    edges = [size * part // processes for part in range(processes + 1)]
    parts = [(cutter, path, start, end) for start, end in pairwise(edges)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        first, *others = pool.starmap(count, parts)
    for other in others:
        first.update(other)
    return first


def _batches(path: str, start: int, end: int) -> Iterator[bytes]:
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()
        while (at := file.tell()) < end:
            yield b"".join(file.readlines(min(_BATCH, end - at)))


def main() -> None:
    """Count and print."""
    cutter, processes, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    size = os.path.getsize(path)
    counts = count(cutter, path, 0, size) if processes == 1 else count_in_processes(cutter, path, processes)
    for word, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]:
        print(f"{word} : {number}")


if __name__ == "__main__":
    main()
