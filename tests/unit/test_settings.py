import json
from dataclasses import asdict

import pytest

from paracel.errors import ConfigError
from paracel.settings import ServerConfig

CONFIG = ServerConfig(1, 2, "ipc://c", "tcp://*:*", "secret", 500, "INFO", ("/a b", "/\u00e9"))


@pytest.mark.parametrize("config", [CONFIG, ServerConfig(0, 1, "ipc://c", "ipc://s")])
def test_one_line_there_and_back(config):
    line = config.to_json()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert ServerConfig.from_json(line) == config


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "one line of JSON"),
        ("{", "one line of JSON"),
        ("5", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('""', "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "missing 4 required"),
        (json.dumps({**asdict(CONFIG), "port": 5}), r"does not know the settings \['port'\]"),
    ],
)
def test_anything_else_is_refused(line, text):
    with pytest.raises(ConfigError, match=text):
        ServerConfig.from_json(line)


def test_the_key_is_not_what_an_error_shows():
    with pytest.raises(ConfigError) as caught:
        ServerConfig.from_json(json.dumps({"key": "hush"}))
    assert "hush" not in str(caught.value)
