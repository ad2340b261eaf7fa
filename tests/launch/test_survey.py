import os
import subprocess
import sys
from pathlib import Path

import pytest

import paracel
from paracel.errors import ConfigError
from paracel.launch import survey as module
from paracel.launch.hostfile import Host
from paracel.launch.plan import Options
from paracel.launch.survey import python_path, survey


@pytest.fixture
def script(tmp_path: Path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("train.py").touch()
    return "train.py"


def test_the_facts_of_a_local_job(script, tmp_path):
    site = survey(Options(script))
    assert site.directory == str(tmp_path)
    assert site.python == sys.executable
    assert site.address == "127.0.0.1"
    assert site.here == {"localhost"}
    assert site.root == (os.geteuid() == 0)
    assert set(site.variables) == set(os.environ)
    assert site.hosts == site.hosts_servers == ()


@pytest.mark.parametrize(("workers", "method", "taken"), [(1, "local", False), (2, "local", True), (1, "mpi", True)])
def test_an_mpiexec_on_path_is_not_taken_for_one_local_worker(script, monkeypatch, workers, method, taken):
    asked = []
    monkeypatch.setattr(module.mpi, "find_mpiexec", lambda *, on_path: asked.append(on_path))
    survey(Options(script, workers=workers, method=method))
    assert asked == [taken]


@pytest.mark.parametrize("missing", ["no.py", "."])
def test_a_script_that_is_no_file_is_refused(script, missing):
    with pytest.raises(ConfigError, match=r"is not a file \(in "):
        survey(Options(missing))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds list; it must hold one JSON object"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_wrong_config_file_is_refused(script, text, said):
    if text is not None:
        Path("cfg.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        survey(Options(script, config_file="cfg.json"))


def test_paths_become_absolute(script, tmp_path):
    Path("cfg.json").write_text("{}")
    site = survey(Options(script, config_file="cfg.json", log_dir="logs"))
    assert site.config_file == str(tmp_path / "cfg.json")
    assert site.log_dir == str(tmp_path / "logs")


@pytest.mark.parametrize("log_dir", ["train.py", "train.py/logs/of/today"])
def test_logs_in_a_file_are_refused(script, tmp_path, log_dir):
    with pytest.raises(ConfigError, match=f"--log-dir '{log_dir}': '{tmp_path}/train.py' is not a directory"):
        survey(Options(script, log_dir=log_dir))


def test_logs_where_nothing_can_be_written_are_refused(script, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigError, match=f"--log-dir 'logs/new': nothing can be written in '{tmp_path}'"):
        survey(Options(script, log_dir="logs/new"))


def test_servers_go_to_the_workers_hosts_unless_they_have_their_own(script):
    Path("a").write_text("localhost:2\n127.0.0.1\n")
    Path("b").write_text("localhost\n")
    one = survey(Options(script, method="mpi", hostfile="a"))
    assert one.hosts == one.hosts_servers == (Host("localhost", 2), Host("127.0.0.1"))
    assert one.here == {"localhost", "127.0.0.1"}
    assert one.address == "127.0.0.1"
    two = survey(Options(script, method="mpi", hostfile="a", hostfile_servers="b"))
    assert two.hosts_servers == (Host("localhost"),)


def test_an_unknown_host_is_refused(script):
    Path("hosts").write_text("no-such-host.invalid\n")
    with pytest.raises(ConfigError, match=r"'no-such-host.invalid' of the hostfile is not known here"):
        survey(Options(script, method="mpi", hostfile="hosts"))


def test_an_address_of_another_machine_is_not_here():
    assert module._is_here("127.0.0.1")
    assert not module._is_here("192.0.2.1")  # kept for documentation: nobody has it


def test_another_python_finds_paracel_under_the_python_path(tmp_path):
    environment = {"PATH": os.environ["PATH"]}
    if path := python_path():
        environment["PYTHONPATH"] = path
    code = "import paracel; print(paracel.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment,
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert found.stdout.strip() == paracel.__file__


def test_the_users_python_path_is_kept_behind_ours(monkeypatch):
    monkeypatch.setattr(module.site, "getsitepackages", list)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/a b", "", "/c"]))
    root = str(Path(paracel.__file__).parent.parent)
    assert python_path() == os.pathsep.join([root, "/a b", "/c"])


def test_an_installed_paracel_needs_no_python_path(monkeypatch):
    root = str(Path(paracel.__file__).parent.parent)
    monkeypatch.setattr(module.site, "getsitepackages", lambda: [root])
    assert python_path() == ""
