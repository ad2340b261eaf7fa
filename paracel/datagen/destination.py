"""Where data go: a file that is there once it is whole, packed if its name says so; a device; the standard output."""

import gzip
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, Any

from paracel.errors import ConfigError
from paracel.folders import replacing

#: What stands for the standard output, which may be a file that a shell has opened, and others go on to write to.
_STANDARD = ("-", "/dev/stdout")


@contextmanager
def writing(path: str) -> Iterator[IO[bytes]]:
    """What is written here gets to `path`, packed if it ends with .gz or .zst.

    A file is replaced by a whole one or not at all, and a link stays: it is the file that it leads to. `-` is the
    standard output, and what else is there and no regular file (a pipe, a device) is written to as it is. ConfigError
    if what packs is not installed.
    """
    with _opened(path) as file, _packing(path, file) as packed:
        yield packed


def _opened(path: str) -> Any:
    if path in _STANDARD:
        return open(sys.stdout.fileno(), "wb", closefd=False)
    if os.path.exists(path) and not os.path.isfile(path):
        return open(path, "wb")
    return replacing(os.path.realpath(path))


def _packing(path: str, file: IO[bytes]) -> Any:
    if path.endswith(".gz"):
        return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)  # the same data give the same bytes
    if path.endswith(".zst"):
        return _zstandard(path).ZstdCompressor().stream_writer(file, closefd=False)
    return nullcontext(file)


def _zstandard(path: str) -> Any:
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path!r} needs zstandard: pip install 'paracel[compress]', or give a .gz") from error
    return zstandard
