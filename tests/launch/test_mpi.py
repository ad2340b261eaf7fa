import stat
from pathlib import Path

import pytest

from paracel.errors import LaunchError
from paracel.launch import mpi
from paracel.launch.mpi import Mpiexec


@pytest.fixture
def make_mpiexec(tmp_path: Path):
    """Make an `mpiexec` in a folder of its own that does as the shell text says; answers its path."""

    def make(folder: str, text: str) -> Path:
        path = tmp_path / folder / "mpiexec"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


HYDRA = "echo HYDRA build details: "
OPEN_MPI = "echo 'mpiexec (Open MPI) 5.0.11'"


def test_the_mpiexec_beside_the_python_goes_before_the_one_on_path(make_mpiexec, monkeypatch):
    beside = make_mpiexec("bin", HYDRA)
    on_path = make_mpiexec("other", OPEN_MPI)
    monkeypatch.setenv("PATH", f"{on_path.parent}:/usr/bin:/bin")
    assert mpi.find_mpiexec(str(beside.parent / "python")) == Mpiexec(str(beside), "mpich")
    assert mpi.find_mpiexec("/nowhere/python") == Mpiexec(str(on_path), "openmpi")
    assert mpi.find_mpiexec(str(beside.parent / "python"), on_path=False) == Mpiexec(str(beside), "mpich")
    assert mpi.find_mpiexec("/nowhere/python", on_path=False) is None


def test_none_is_found_where_none_is(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert mpi.find_mpiexec("/nowhere/python") is None


def test_an_mpiexec_without_mpi4py_is_none(make_mpiexec, monkeypatch):
    beside = make_mpiexec("bin", HYDRA)
    monkeypatch.setattr(mpi, "find_spec", lambda name: None)
    assert mpi.find_mpiexec(str(beside.parent / "python")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo Some other MPI 1.0", "names neither MPICH's Hydra nor Open MPI, but 'Some other MPI 1.0"),
        ("exit 1", "names neither"),
    ],
)
def test_an_mpiexec_of_another_dialect_is_refused(make_mpiexec, text, said):
    path = make_mpiexec("bin", text)
    with pytest.raises(LaunchError, match=said):
        mpi.find_mpiexec(str(path.parent / "python"))


def test_an_mpiexec_that_cannot_run_is_refused(make_mpiexec):
    path = make_mpiexec("bin", HYDRA)
    path.write_text("#!/nowhere/sh\n")
    with pytest.raises(LaunchError, match=r"--version does not work"):
        mpi.find_mpiexec(str(path.parent / "python"))


def test_an_mpiexec_that_never_answers_is_refused(make_mpiexec, monkeypatch):
    monkeypatch.setattr(mpi, "_VERSION_SECONDS", 0.2)
    path = make_mpiexec("bin", "exec tail -f /dev/null")
    with pytest.raises(LaunchError, match="timed out"):
        mpi.find_mpiexec(str(path.parent / "python"))


def test_root_is_allowed_where_open_mpi_would_refuse():
    assert set(mpi.environment("openmpi", root=True)) == {
        "OMPI_ALLOW_RUN_AS_ROOT",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
    }
    assert not mpi.environment("openmpi", root=False)
    assert not mpi.environment("mpich", root=True)


@pytest.mark.parametrize(
    ("dialect", "status", "name"),
    [
        ("mpich", 9, "SIGKILL"),
        ("mpich", 11, "SIGSEGV"),
        ("mpich", 1, ""),  # an exception's, not SIGHUP
        ("mpich", 137, ""),
        ("mpich", 200, ""),
        ("openmpi", 9, ""),
        (None, 9, ""),
    ],
)
def test_only_mpichs_bare_number_of_a_deadly_signal_may_be_a_signal(dialect, status, name):
    assert mpi.maybe_signal(dialect, status) == name


def test_every_dialect_that_is_recognised_has_a_command_line():
    assert set(mpi._SIGNS.values()) == set(mpi._DIALECTS)
