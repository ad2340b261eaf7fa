"""Files in a folder that may be anywhere: a path, or a URL that fsspec knows. Whole files; nothing is kept open."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from paracel.errors import CheckpointError, LoadError
from paracel.sources import open_store


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """A file of this host that is there, in the place of an older one, when the block has ended well, and whole."""
    folder, name = os.path.split(path)
    unfinished = os.path.join(folder, f".{name}.part")  # hidden: a reader's `name*` does not find it
    try:
        with open(unfinished, "wb") as file:
            yield file
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


class Folder:
    """A directory of this host, or a place that a URL names (`s3://...`; needs `paracel[remote]`).

    What changes something raises OSError; what reads raises CheckpointError, which names the file.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        self._fs, found = _filesystem(os.fspath(where))
        self.where = found.rstrip("/") or "/"

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.path(name))

    def path(self, name: str) -> str:
        """The path or URL of a file in it."""
        return f"{self.where.rstrip('/')}/{name}"

    def make(self) -> None:
        """Have it be there."""
        if self._fs is not None:
            self._fs.makedirs(self.where, exist_ok=True)
        elif not os.path.isdir(self.where):
            os.makedirs(self.where, exist_ok=True)
            _sync(os.path.dirname(self.where))

    def sizes(self) -> dict[str, int]:
        """The files and folders in it, with their sizes in bytes; nothing if it is not there."""
        try:
            if self._fs is None:
                return dict(_entries(self.where))
            self._fs.invalidate_cache()  # others write here
            listed = self._fs.ls(self.where, detail=True)
            return {each["name"].rstrip("/").rpartition("/")[2]: each["size"] or 0 for each in listed}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise _unreadable(self.where, error) from error

    def names(self) -> list[str]:
        """What is in it, in order; nothing if it is not there."""
        return sorted(self.sizes())

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """A file of it, to be read."""
        path = self.path(name)
        try:
            with open(path, "rb") if self._fs is None else self._fs.open(path, "rb") as file:
                yield file
        except OSError as error:
            raise _unreadable(path, error) from error

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A new file of it, of a name that is not there; on disk, or gone, when the block is left."""
        path = self.path(name)
        try:
            if self._fs is not None:
                with self._fs.open(path, "wb") as file:
                    yield file
                return
            with open(path, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise
        except BaseException:
            with contextlib.suppress(OSError):
                self.remove(name)
            raise

    def write(self, name: str, data: bytes) -> None:
        """Have a file with this in it, in the place of the one that may be there, or leave that one as it is.

        So it is on a disk, and in stores that put whole objects.
        """
        if self._fs is not None:
            self._fs.pipe_file(self.path(name), data)
            return
        beside = f".{name}.{os.getpid()}"
        self.remove(beside)
        with self.writing(beside) as file:
            file.write(data)
        try:
            _sync(self.where)  # what is there already is to be on disk before
            os.replace(self.path(beside), self.path(name))
        except OSError:
            self.remove(beside)
            raise
        _sync(self.where)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            if self._fs is None:
                os.unlink(self.path(name))
            else:
                self._fs.rm(self.path(name))

    def remove_if_empty(self) -> None:
        """Remove it, unless something is in it."""
        with contextlib.suppress(OSError):
            if self._fs is None:
                os.rmdir(self.where)
            elif not self.names():
                self._fs.rmdir(self.where)


def _entries(where: str) -> Iterator[tuple[str, int]]:
    with os.scandir(where) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                yield entry.name, entry.stat().st_size


def _filesystem(where: str) -> tuple[Any, str]:
    """What fsspec has for a URL, None for a path of this host; and the URL or path."""
    if "://" not in where:
        return None, where
    try:
        filesystem, path = open_store(where)
    except LoadError as error:
        raise CheckpointError(str(error)) from error
    # for this host's own files the system's calls promise more
    return (None, path) if "file" in _protocols(filesystem) else (filesystem, where)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _sync(folder: str) -> None:
    """Have what is in a directory be on disk, where the system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder or ".", os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _unreadable(path: str, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: {error.strerror or error}")
