"""How a list of files is cut into byte ranges, one share for each worker.

Pure arithmetic on paths and sizes: nothing here opens a file or knows what a line is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from paracel.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes `begin <= offset < end` of the file at `path`; never empty.

    A `whole` file cannot be cut: what it holds is to be read to its end, whatever `end` is.
    """

    path: str
    begin: int
    end: int
    whole: bool = False


def split(
    files: Sequence[tuple[str, int]], parts: int, whole: Collection[str] = frozenset()
) -> list[tuple[ByteRange, ...]]:
    """Cut the concatenation of `files`, each a (path, size in bytes), into `parts` shares.

    Every byte is in exactly one share, in order, and the shares' sizes differ by one byte at most; but a file that is
    `whole` is in the share to which the byte in its middle would belong. With more parts than bytes, some shares are
    empty.
    """
    if parts < 1:
        raise ConfigError(f"cannot split files into {parts} parts; give 1 or more")
    total = sum(size for _, size in files)
    shares: list[list[ByteRange]] = [[] for _ in range(parts)]
    cuts = [total * part // parts for part in range(parts + 1)]
    edges = [0, *accumulate(size for _, size in files)]
    part = 0
    for (path, size), (first, last) in zip(files, pairwise(edges), strict=True):
        begin = first
        while begin < last:
            uncut = path in whole
            while cuts[part + 1] <= begin + uncut * ((size - 1) // 2):
                part += 1
            end = last if uncut else min(last, cuts[part + 1])
            shares[part].append(ByteRange(path, begin - first, end - first, uncut))
            begin = end
    return [tuple(share) for share in shares]
