import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from paracel import comm
from paracel.comm import Comm, SerialComm, aborting, install_abort_hook, under_mpi, world
from paracel.errors import LaunchError

# As found in the environment of ranks; under other launchers' names a process is not a rank.
RANKS = {
    "mpich's mpiexec": {"PMI_FD": "9", "PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"},
    "Open MPI's mpiexec": {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"},
    "srun --mpi=pmi2": {"PMI_RANK": "0", "PMI_SIZE": "3", "SLURM_STEP_NUM_TASKS": "3"},
    "srun --mpi=pmix": {"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "3"},
    "srun --mpi=none": {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "3"},
}
NOT_RANKS = {
    "a shell": {"HOME": "/", "PATH": "/bin"},
    "a batch script": {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    "an interactive step": {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
}


@pytest.fixture
def no_launcher(monkeypatch):
    """This process as it would be without the launcher that the tests themselves may run under."""
    for name in (*comm._LAUNCHED, comm._SLURM_TASKS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    return monkeypatch


@pytest.fixture
def serial():
    return Comm(SerialComm())


@pytest.fixture
def wait_in_barrier(monkeypatch):
    """Let rank 1 of a world wait for so many seconds in a barrier of that name, by a clock that only sleep moves."""

    def wait(seconds: float, name: str) -> None:
        now = 0.0

        def sleep(_: float) -> None:
            nonlocal now
            now += 1.0

        monkeypatch.setattr(comm, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
        request = SimpleNamespace(Test=lambda: now >= seconds)
        own = SimpleNamespace(Ibarrier=lambda: request)
        Comm(SimpleNamespace(Get_rank=lambda: 1, Get_size=lambda: 2, Dup=lambda: own)).barrier(name)

    return wait


def test_a_long_wait_in_a_named_barrier_is_logged_ever_more_rarely(wait_in_barrier, caplog):
    wait_in_barrier(125.0, "paracel_sync()")
    assert [(record.levelno, record.getMessage().partition("; ")[0]) for record in caplog.records] == [
        (logging.WARNING, f"worker 1 has waited {seconds} s in paracel_sync()") for seconds in (30, 60, 120)
    ]


@pytest.mark.parametrize(("seconds", "name"), [(29.0, "paracel_sync()"), (1000.0, "")])
def test_a_short_wait_and_one_without_a_name_are_not_logged(wait_in_barrier, caplog, seconds, name):
    wait_in_barrier(seconds, name)
    assert not caplog.records


@pytest.mark.parametrize("environ", RANKS.values(), ids=RANKS)
def test_ranks_are_under_mpi(no_launcher, environ):
    assert under_mpi(environ)


@pytest.mark.parametrize("environ", NOT_RANKS.values(), ids=NOT_RANKS)
def test_other_processes_are_not(no_launcher, environ):
    assert not under_mpi(environ)


def test_the_environment_of_this_process_counts(no_launcher):
    assert not under_mpi()
    no_launcher.setenv("PMI_RANK", "0")
    assert under_mpi()


@pytest.mark.parametrize("initialised", [True, False])
def test_under_mpi_if_and_only_if_the_program_initialised_it(no_launcher, initialised):
    module = SimpleNamespace(Is_initialized=lambda: initialised)
    no_launcher.setitem(sys.modules, "mpi4py.MPI", module)
    assert under_mpi({}) is initialised


@pytest.mark.parametrize(
    ("environ", "ranks"),
    [
        (RANKS["mpich's mpiexec"], 2),
        (RANKS["Open MPI's mpiexec"], 2),
        (RANKS["srun --mpi=pmi2"], 3),
        (RANKS["srun --mpi=none"], 3),
        ({"PMI_SIZE": "1", "SLURM_STEP_NUM_TASKS": "2"}, 1),  # one rank, started through srun on two hosts
        ({}, 1),
    ],
)
def test_how_many_ranks_the_launcher_started(environ, ranks):
    assert comm._ranks_started(environ) == ranks


def test_without_a_launcher_mpi_is_not_even_imported(no_launcher):
    code = "import sys; from paracel.comm import world; w = world(); print(w.rank, w.size, 'mpi4py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0 1 False\n", "")


@pytest.fixture
def launched(no_launcher):
    """As if started by mpich's mpiexec."""
    for name, value in RANKS["mpich's mpiexec"].items():
        no_launcher.setenv(name, value)
    comm._mpi_world.cache_clear()
    yield no_launcher
    comm._mpi_world.cache_clear()


def test_a_missing_mpi4py_says_what_to_install(launched):
    launched.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(LaunchError, match=r"(?s)\(PMI_SIZE=2, PMI_RANK=0, .*pip install mpi4py mpich"):
        world()


def test_a_rank_that_believes_it_is_alone_is_refused(launched):
    alone = SimpleNamespace(COMM_WORLD=SerialComm(), Get_library_version=lambda: "Open MPI v5.0, and more")
    launched.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=alone))
    with pytest.raises(LaunchError, match=r"started 2 ranks \(PMI_SIZE=2.*'Open MPI v5.0' in .* sees one"):
        world()


def test_one_process_talks_to_itself(serial):
    assert (serial.rank, serial.size) == (0, 1)
    serial.barrier()
    assert serial.bcast_json({"a": (1, None)}) == {"a": [1, None]}
    assert serial.allgather_json("é\ud800") == ["é\ud800"]
    assert list(serial.gather_pieces(b"abc")) == [(0, b"abc")]


def test_json_is_checked_in_one_process_too(serial):
    for call in (serial.bcast_json, serial.allgather_json):
        with pytest.raises(TypeError, match="set is not JSON serializable"):
            call({1})


def test_the_stand_in_answers_as_mpi4py_would_for_one_rank():
    mpi = SerialComm()
    mpi.barrier()
    mpi.Barrier()
    assert (mpi.Get_rank(), mpi.Get_size(), mpi.rank, mpi.size) == (0, 1, 0, 1)
    assert mpi.bcast(5) == 5
    assert mpi.gather(5) == mpi.allgather(5) == [5]
    assert mpi.allreduce(5, op=max) == 5


@pytest.mark.parametrize("call", ["world().abort(7)", "world().mpi.Abort(7)"])
def test_abort_ends_the_process_with_its_code_and_keeps_what_was_printed(no_launcher, call):
    code = f"from paracel.comm import world\nprint('before')\ntry:\n    {call}\nfinally:\n    print('after')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (7, b"before\n")


class Aborted(BaseException):
    """Stands for the end of the process."""


def test_abort_comes_after_all_that_was_printed_is_taken(serial, monkeypatch):
    left = [5, 5, 0, 5, 0, 0]  # bytes in the pipes of stdout and stderr, each time they are looked at
    monkeypatch.setattr(comm, "_unread", lambda descriptor: left.pop(0))

    def abort(code):
        raise Aborted(code, list(left))

    serial.mpi = SimpleNamespace(Abort=abort)
    with pytest.raises(Aborted) as ended:
        serial.abort(3)
    assert ended.value.args == (3, [])


def test_what_is_unread_in_a_pipe(tmp_path):
    reader, writer = os.pipe()
    with open(reader, "rb") as taking, open(writer, "wb") as giving, open(tmp_path / "file", "wb") as file:
        for stream in (giving, file):
            stream.write(b"12345")
            stream.flush()
        assert comm._unread(giving.fileno()) == 5
        taking.read(5)
        assert comm._unread(giving.fileno()) == 0
        assert comm._unread(file.fileno()) == 0  # keeps what it was given


class FakeRank:
    """Rank 1 of 2, of which only the end is of interest."""

    rank, size = 1, 2

    def abort(self, code: int) -> None:
        raise Aborted(code)


def raised(text: str) -> tuple:
    error = ValueError(text)
    return type(error), error, None


@pytest.fixture
def hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.delitem(sys.modules, "mpi4py.run", raising=False)
    return monkeypatch


def test_an_uncaught_exception_is_printed_once_and_ends_all(hook, capsys):
    install_abort_hook(FakeRank())
    install_abort_hook(FakeRank())
    with pytest.raises(Aborted, match="1"):
        sys.excepthook(*raised("the cause"))
    assert capsys.readouterr().err == "rank 1 of 2 raised:\nValueError: the cause\n"


def test_a_hook_that_was_there_still_prints(hook, capsys):
    hook.setattr(sys, "excepthook", lambda kind, error, trace: print(f"nice {error}", file=sys.stderr))
    install_abort_hook(FakeRank())
    with pytest.raises(Aborted):
        sys.excepthook(*raised("text"))
    assert capsys.readouterr().err == "rank 1 of 2 raised:\nnice text\n"


def test_a_hook_that_raises_does_not_keep_the_job_alive(hook):
    hook.setattr(sys, "excepthook", lambda *_: json.loads("no"))
    install_abort_hook(FakeRank())
    with pytest.raises(Aborted):
        sys.excepthook(*raised("text"))


def test_no_hook_for_a_single_rank_or_under_mpi4py_itself(hook, serial):
    install_abort_hook(serial)
    assert sys.excepthook is sys.__excepthook__
    hook.setitem(sys.modules, "mpi4py.run", SimpleNamespace(set_abort_status=print))
    install_abort_hook(FakeRank())
    assert sys.excepthook is sys.__excepthook__


@pytest.mark.parametrize(
    ("status", "expected"), [(1, True), (SystemExit(3), True), (SystemExit("no"), True), (SystemExit(0), False)]
)
def test_that_mpi4py_will_end_all_ranks_is_known(hook, status, expected):
    told = []
    run = SimpleNamespace(set_abort_status=told.append)
    assert not aborting()
    hook.setitem(sys.modules, "mpi4py.run", run)
    for _ in range(2):
        install_abort_hook(FakeRank())
    assert not aborting()
    run.set_abort_status(status)
    assert told == [status]
    assert aborting() is expected


def test_arrays_of_one_rank_stay(serial):
    items = np.arange(3)
    assert serial.alltoallv(items, [3]) is items
    serial.free()


def test_the_ranks_of_what_functions_take(serial):
    with comm.ranks_of(serial) as same, comm.ranks_of(None) as alone, comm.ranks_of(SerialComm()) as given:
        assert same is serial
        assert [ranks.size for ranks in (alone, given)] == [1, 1]
