"""What a server is told by its launcher, as one line of JSON on its standard input. No I/O here."""

import json
from dataclasses import asdict, dataclass, fields

from paracel.errors import ConfigError


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
