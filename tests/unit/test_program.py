"""How a program's settings come from a file and from arguments."""

import json
import math

import pytest

from paracel.errors import ConfigError
from paracel.functions import Process
from paracel.program import main, read_settings


class Program:
    """Stands for a paralg: only its constructor counts here."""

    def __init__(self, input: str, output: str = "", rounds: int = 1, lambda_: float = 0.1, *, method=None):
        pass


class Typed:
    """Settings that are annotated, or have a default, of kinds that are never a text."""

    def __init__(
        self, switch: bool = True, lamp=False, count: "int" = 1, bound: int | None = None, rate: float = 0.5,
        either: str | bool = True, others: list[str] | None = None,
    ):  # fmt: skip
        pass


class Free:
    def __init__(self, input, **others):
        pass


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch):
    monkeypatch.delenv("PARACEL_CONFIG", raising=False)


@pytest.fixture
def config(tmp_path):
    def write(content):
        path = tmp_path / "job's config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("method=5", 5),
        ("method=5.5", 5.5),
        ("method=[1, 2]", [1, 2]),
        ('method={"a": null}', {"a": None}),
        ("method=true", True),
        ("method=True", "True"),
        ("method=a b", "a b"),
        ("method=", ""),
        ("method=a=b", "a=b"),
        ("method=-3", -3),
        ("method=inf", math.inf),
        ("method=math.inf", math.inf),
        ("method=None", None),
    ],
)
def test_values_are_json_where_they_are_json(argument, value):
    assert read_settings(Program, ["input=x", argument]) == {"input": "x", "method": value}


def test_a_parameter_that_is_a_str_stays_one():
    assert read_settings(Program, ["input=5", "method=5"]) == {"input": "5", "method": 5}


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("switch=False", "true or false"),
        ("lamp=False", "true or false"),
        ("count=two", "whole numbers"),
        ("count=", "whole numbers"),
        ("bound=none", "whole numbers, null"),
        ("rate=0,5", "numbers"),
    ],
)
def test_a_text_is_no_number_and_no_bool(config, argument, allowed):
    name, value = argument.split("=")
    text = f"^{name}='{value}' is a text; values are JSON, and here allowed: {allowed}$"
    for given in ([argument], ["-c", config({name: value})]):
        with pytest.raises(ConfigError, match=text):
            read_settings(Typed, given)


def test_what_may_be_a_text_is_one():
    given = ["switch=false", "lamp=true", "count=2", "bound=None", "rate=inf", "either=False", "others=all"]
    expected = {"switch": False, "lamp": True, "count": 2, "bound": None, "rate": math.inf}
    assert read_settings(Typed, given) == expected | {"either": "False", "others": "all"}


def test_arguments_come_after_the_file_and_the_last_one_counts(config):
    path = config({"input": "from file", "rounds": 3, "method": ["a"]})
    assert read_settings(Program, ["-c", path]) == {"input": "from file", "rounds": 3, "method": ["a"]}
    expected = {"input": "here", "rounds": 4, "method": ["a"]}
    assert read_settings(Program, ["-c", path, "input=here", "rounds=2", "rounds=4"]) == expected
    assert read_settings(Program, ["input=here", "--cfg_file", path, "rounds=4"]) == expected
    assert read_settings(Program, ["input=here", "rounds=4", f"-c{path}"]) == expected


def test_the_launchers_file_is_used_where_none_is_given(config, monkeypatch):
    monkeypatch.setenv("PARACEL_CONFIG", config({"input": "launcher's"}))
    assert read_settings(Program, []) == {"input": "launcher's"}


def test_settings_that_are_words_of_python_get_an_underscore(config):
    assert read_settings(Program, ["-c", config({"input": "x", "lambda": 1}), "lambda=0.5"])["lambda_"] == 0.5


def test_constructors_that_take_anything_get_anything():
    assert read_settings(Free, ["anything=1"]) == {"anything": 1}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["input=x", "round=3"], r"no setting 'round'; Program has input, output, rounds, .* Did you mean 'rounds'\?"),
        (["rounds=3"], "Program needs input: give name=value, or -c FILE"),
        (["input"], "argument 'input' is not of the form name=value"),
        (["-c", "/nowhere/c.json"], "cannot read the configuration /nowhere/c.json: No such file"),
    ],
)
def test_what_is_wrong_is_said(arguments, text):
    with pytest.raises(ConfigError, match=text):
        read_settings(Program, arguments)


@pytest.mark.parametrize(
    ("content", "text"), [("{", "is not JSON: "), ("[1]", "must be a JSON object"), ("\ufeff{}", "is not JSON")]
)
def test_files_that_are_no_settings(config, content, text):
    with pytest.raises(ConfigError, match=text):
        read_settings(Program, ["-c", config(content)])


def test_help_names_the_settings_and_a_usage_error_ends_with_2(capsys):
    class Percent(Program):
        """Counts 100% of it."""

        def __init__(self, fmt: str = "%d%%s", rounds: int = 1):
            pass

    for arguments, status in [(["--help"], 0), (["--rounds", "3"], 2)]:
        with pytest.raises(SystemExit) as ended:
            read_settings(Percent, arguments)
        assert ended.value.code == status
    helped = capsys.readouterr().out
    assert "rounds: int = 1" in " ".join(helped.split())
    assert "%d%%s" in helped


def test_a_wrong_setting_ends_the_program_with_a_message(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["job.py"])
    with pytest.raises(SystemExit) as ended:
        main(Program, ["rounds=3"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "job.py: Program needs input: give name=value, or -c FILE\n"


def test_on_a_server_a_script_runs_nothing(monkeypatch):
    monkeypatch.setattr(Process, "is_server", True)
    assert main(Program, ["nonsense"]) is None
