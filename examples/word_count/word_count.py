"""Word count: how often each word occurs in a text, and the most frequent ones.

Every worker counts its own part of the text and sends the counts to the servers, which add them up.
Words are what is left between characters other than `-a-zA-Z0-9_`.
"""

import string
from collections import Counter
from collections.abc import Iterable, Iterator

import paracel

WORD_BYTES = frozenset((string.ascii_letters + string.digits + "-_").encode())
# every byte that is part of no word becomes a blank; those of characters beyond ASCII are among them
BLANK_OUT = bytes(byte if byte in WORD_BYTES else ord(" ") for byte in range(256))
BATCH = 2000  # lines cut at once: many enough to leave the interpreter's loop, few enough for the cache


def words_of(lines: Iterable[str]) -> list[str]:
    """The words of these lines, in order: what a regular expression finds as [-a-zA-Z0-9_]+, but faster."""
    text = "\n".join(lines).encode("utf-8", "replace")
    return text.translate(BLANK_OUT).decode("ascii").split()


def batches_of(lines: list[str]) -> Iterator[list[str]]:
    """The words of all lines, a batch at a time, so that the words of a long text are never all in memory."""
    for start in range(0, len(lines), BATCH):
        yield words_of(lines[start : start + BATCH])


class WordCount(paracel.paralg):
    """Counts the words of `input` (a path, a list of paths or a glob) and prints the `topk` most frequent.

    `update_function` and `filter_function` are functions in the file `handle_file`: the first adds a count
    to the one a server has, the second chooses the words to list. Without them counts are added, and all
    words are listed. `method` is `batch`, or `slow` for one blocking update per word.
    """

    def __init__(
        self,
        input: str | list[str],
        output: str = "",
        topk: int = 10,
        *,
        handle_file: str = "",
        update_function: str = "",
        filter_function: str = "",
        method: str = "batch",
    ) -> None:
        super().__init__(output=output)
        if method not in ("batch", "slow"):
            raise ValueError(f"method is {method!r}; allowed: 'batch', 'slow'")
        if (update_function or filter_function) and not handle_file:
            raise ValueError("update_function and filter_function are functions in handle_file, which is not given")
        self.input = input
        self.topk = topk
        self.method = method
        self.updater = f"{handle_file}:{update_function}" if update_function else "add"
        self.filter = f"{handle_file}:{filter_function}" if filter_function else ""

    def solve(self) -> None:
        lines = self.paracel_load(self.input)
        if self.method == "batch":
            self.count_in_batches(lines)
        else:
            self.count_word_by_word(lines)
        self.paracel_sync()  # all workers have sent all they have
        if self.worker_id == 0:
            self.report(self.most_frequent())

    def count_in_batches(self, lines: list[str]) -> None:
        """Count here, then send each distinct word once: one request per server for the whole text."""
        counts: Counter[str] = Counter()
        for words in batches_of(lines):
            counts.update(words)
        self.paracel_update_multi(dict(counts), updater=self.updater)

    def count_word_by_word(self, lines: list[str]) -> None:
        """The shortest program, and the slowest: a round trip to a server for every word of the text."""
        for words in batches_of(lines):
            for word in words:
                self.paracel_bupdate(word, 1, updater=self.updater)

    def most_frequent(self) -> list[tuple[str, int]]:
        if self.filter:
            return self.paracel_read_topk_with_key_filter(self.topk, self.filter)
        return self.paracel_read_topk(self.topk)

    def report(self, top: list[tuple[str, int]]) -> None:
        for word, count in top:
            print(f"{word} : {count}")
        if self.output:
            self.paracel_dump_dict(dict(top), "wc_")


if __name__ == "__main__":
    paracel.main(WordCount)
