import subprocess
import sys
from pathlib import Path

import pytest

from paracel import cli
from paracel.errors import ConfigError, LaunchError
from paracel.launch.plan import Options


def test_the_defaults_are_one_worker_and_one_server_here():
    assert cli.parse(["train.py"]) == (Options("train.py"), False)


def test_every_option_arrives():
    words = ("-p 2 -w 3 -m mpi --m_server local --ppn 4 --ppn_server 5 --mem_limit 600 --mem_limit_server 700 "
             "--hostfile a --hostfile_server b -c cfg.json --dry-run --log-dir logs "
             "--heartbeat-timeout 90 --replicas 2 --shards 16 --replace --max-restarts 3 --on-worker-loss restart "
             "--checkpoint-every 5 --checkpoint-dir c --checkpoint-keep 2 --restore d -v train.py x=1")  # fmt: skip
    assert cli.parse(words.split()) == (
        Options(
            script="train.py", arguments=("x=1",), servers=2, workers=3, method="mpi", method_servers="local",
            per_host=4, per_host_servers=5, memory_mb=600, memory_servers_mb=700, hostfile="a", hostfile_servers="b",
            config_file="cfg.json", log_dir="logs", heartbeat_timeout=90.0, replicas=2, shards=16,
            replace=True, max_restarts=3, on_worker_loss="restart", checkpoint_every=5,
            checkpoint_dir="c", checkpoint_keep=2, restore="d", verbose=True,
        ),
        True,
    )  # fmt: skip


def test_the_long_names_are_paracels():
    long, _ = cli.parse(["--snum", "2", "--wnum", "3", "--method", "mpi", "--cfg_file", "c", "train.py"])
    short, _ = cli.parse(["-p", "2", "-w", "3", "-m", "mpi", "-c", "c", "train.py"])
    assert long == short


def test_what_follows_the_script_is_the_scripts():
    options, dry_run = cli.parse(["-w", "2", "train.py", "-w", "3", "--dry-run", "--", "-p", "x"])
    assert (options.workers, options.servers, dry_run) == (2, 1, False)
    assert options.arguments == ("-w", "3", "--dry-run", "--", "-p", "x")


@pytest.mark.parametrize("words", [[], ["-w", "two", "train.py"], ["--snu", "2", "train.py"], ["-w"]])
def test_misuse_exits_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.parse(words)
    assert caught.value.code == 2
    assert "usage: prun" in capsys.readouterr().err


def test_only_the_script_is_missing_where_it_is(capsys):
    with pytest.raises(SystemExit):
        cli.parse(["-w", "2"])
    assert capsys.readouterr().err.endswith("the following arguments are required: script\n")


def test_the_version_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(cli.metadata, "version", lambda name: f"1.2 of {name}")
    with pytest.raises(SystemExit) as caught:
        cli.parse(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "paracel 1.2 of paracel\n"


def test_what_is_not_installed_has_no_version(capsys, monkeypatch):
    def refuse(name):
        raise cli.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(cli.metadata, "version", refuse)
    with pytest.raises(SystemExit):
        cli.parse(["--version"])
    assert capsys.readouterr().out == "paracel of a source directory, not installed\n"


@pytest.mark.parametrize(("error", "status"), [(ConfigError("no"), 2), (LaunchError("no"), 1)])
def test_errors_become_a_line_and_a_status(monkeypatch, capsys, error, status):
    def refuse(options):
        raise error

    monkeypatch.setattr(cli, "survey", refuse)
    assert cli.main(["train.py"]) == status
    assert capsys.readouterr().err == "prun: error: no\n"


def test_a_python_without_what_paracel_needs_is_named():
    command = [sys.executable, "-S", str(Path(__file__).parents[2] / "prun.py"), "--help"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"prun: error: {sys.executable} has no module '")
    assert done.stderr.endswith("; install it with `pip install -e .`, or run .venv/bin/prun\n")
    assert done.stderr.count("\n") == 1


def test_mesos_is_refused_with_what_to_use(tmp_path, capsys):
    script = tmp_path / "train.py"
    script.touch()
    assert cli.main(["-m", "mesos", str(script)]) == 2
    assert "Apache Mesos was retired; use --method mpi" in capsys.readouterr().err
