"""What a server is told by its launcher, as one line of JSON on its standard input. No I/O here."""

import json
from dataclasses import asdict, dataclass, fields

from paracel.checks import check_count
from paracel.errors import ConfigError

#: After how many seconds of silence a server is lost: where another takes its place, and where the job ends with it.
HEARTBEAT_TIMEOUT_REPLICATED = 3.0
HEARTBEAT_TIMEOUT = 30.0
#: With replicas, a server has so many shards, so that the loss of one is shared among all.
SHARDS_PER_SERVER = 4
MOST_SHARDS = 1024


def checked_replicas(replicas: int, servers: int) -> int:
    """How many copies each shard has; ConfigError if there cannot be as many."""
    check_count("replicas", replicas, 1)
    if replicas > servers:
        raise ConfigError(f"replicas={replicas} with {servers} servers: each copy is on a server of its own")
    return replicas


def checked_shards(shards: int | None, servers: int, replicas: int) -> int:
    """How many shards there are; ConfigError if there cannot be as many. None is the usual number."""
    if shards is None:
        return min(MOST_SHARDS, servers if replicas == 1 else SHARDS_PER_SERVER * servers)
    check_count("shards", shards, 1)
    if not servers <= shards <= MOST_SHARDS:
        raise ConfigError(f"shards={shards} for {servers} servers; allowed: {servers} to {MOST_SHARDS}")
    return shards


def checked_timeout(seconds: float | None, replicas: int) -> float:
    """After how long a server is lost that gives no sign of life; ConfigError for less than a second."""
    if seconds is None:
        return HEARTBEAT_TIMEOUT if replicas == 1 else HEARTBEAT_TIMEOUT_REPLICATED
    if not seconds >= 1:
        raise ConfigError(f"heartbeat_timeout {seconds!r} is too small; it must be at least 1 second")
    return seconds


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """What a job does by itself: a checkpoint every so many clocks (0: none) in `folder`, of which the newest `keep`
    stay; and the one from which it begins, if any."""

    every: int = 0
    folder: str = ""
    keep: int = 3
    restore: str = ""

    def __post_init__(self) -> None:
        check_count("checkpoint_every", self.every, 0)
        check_count("checkpoint_keep", self.keep, 1)
        if bool(self.every) != bool(self.folder):
            raise ConfigError(f"checkpoints every {self.every} clocks in {self.folder!r}: give both, or none")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server is told by its launcher. `bind` and `coordinator` are ZeroMQ endpoints, `key` the job's secret."""

    server: int
    workers: int
    coordinator: str
    bind: str
    key: str = ""
    memory_limit_mb: int | None = None
    log_level: str = "WARNING"
    paths: tuple[str, ...] = ()
    heartbeat_timeout: float = 30.0
    repair_mb_per_second: float = 200.0
    checkpoint_every: int = 0
    checkpoint_dir: str = ""
    checkpoint_token: str = ""
    restore: str = ""

    def to_json(self) -> str:
        """One line, for the server's standard input."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, line: str) -> "ServerConfig":
        """The reverse; ConfigError for anything else."""
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ConfigError(f"not a JSON object but a {type(values).__name__}")
            unknown = set(values) - {field.name for field in fields(cls)}
            if unknown:
                raise ConfigError(f"a server does not know the settings {sorted(unknown)}")
            return cls(**{**values, "paths": tuple(values.get("paths", ()))})
        except (ValueError, TypeError) as error:
            raise ConfigError(f"a server reads one line of JSON from standard input: {error}") from error
