"""The private file by which `paracel-ctl` finds a running job of this user. It knows nothing of the job.

It lies in a directory that only this user can enter, holds the job's key, and is removed when the job ends. One of a
prun that could not do that any more is removed by whoever looks next.
"""

import contextlib
import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from paracel.errors import ConfigError


@dataclass(frozen=True, slots=True)
class JobFile:
    """Where a job's coordinator is, and its key; whose job it is: prun's process, its script, and when it started."""

    coordinator: str
    key: str
    pid: int
    script: str
    started: float


def folder() -> Path:
    """This user's directory of job files, which need not be there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        return Path(runtime, "paracel")
    return Path(tempfile.gettempdir(), f"paracel-{os.geteuid()}")


def write(job: JobFile) -> Path:
    """Write the file of a job of this process. OSError, or ConfigError if the directory is not this user's alone."""
    where = folder()
    for old in _files(where):
        if not is_running(int(old.stem)):
            remove(old)
    with contextlib.suppress(FileExistsError):
        where.mkdir(mode=0o700)
    _check_private(where)
    path, written = where / f"{job.pid}.json", where / f".{job.pid}"
    with contextlib.suppress(FileNotFoundError):
        written.unlink()
    with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(job), file)
    return written.rename(path)


def remove(path: Path) -> None:
    """Remove a job's file, and the directory if it was the last."""
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()


def find(wanted: str | None = None) -> JobFile:
    """The job of a process id or a file; without, the one that runs. ConfigError if it is not there, or not one."""
    if wanted is not None and not wanted.isdigit():
        return read(Path(wanted))
    where = folder()
    running = [path for path in _files(where) if is_running(int(path.stem))]
    chosen = [path for path in running if wanted in (None, path.stem)]
    if len(chosen) == 1:
        return read(chosen[0])
    there = ", ".join(f"{path.stem} ({read(path).script})" for path in running)
    if wanted is None and chosen:
        raise ConfigError(f"{len(chosen)} jobs of this user run here; say with --job which: {there}")
    which = "no job" if wanted is None else f"no job {wanted}"
    others = f", but these: {there}" if there else ""
    raise ConfigError(f"{which} of this user runs on this host{others} (by the files in {str(where)!r})")


def read(path: Path) -> JobFile:
    """What a job's file says. ConfigError if it cannot be read, or others may have written it."""
    try:
        _check_private(path)
        return JobFile(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{str(path)!r} is not the file of a job that can be read: {error}") from error


def _files(where: Path) -> list[Path]:
    return sorted(path for path in where.glob("*.json") if path.stem.isdigit())


def is_running(pid: int) -> bool:
    """Whether this user has such a process."""
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):  # of one of another user, the number was given out anew
        return False
    return True


def _check_private(path: Path) -> None:
    there = path.lstat()
    if stat.S_ISLNK(there.st_mode) or there.st_uid != os.geteuid() or there.st_mode & 0o077:
        raise ConfigError(f"{str(path)!r} is not private to this user, and may be anybody's; remove it")
