"""Servers that a program starts for itself: they end with it, however it ends, and nothing is left."""

import os
import signal
import socket
import tempfile

import pytest
from real import Background, Programs, Surroundings, ended, eventually

import paracel
from paracel.launch.embedded import Cluster

HEAD = """
import os, signal, sys, time
import paracel
client = paracel.connect(servers=2)
client.write("k", 1)
print("servers", *[server.server for server in client.statistics().servers], flush=True)
"""

ENDINGS = {
    "close": ("client.close()", 0),
    "close twice": ("client.close(); client.close()", 0),
    "with": ("with client: client.write('k', 2)", 0),
    "an error in with": ("with client: raise ValueError('mine')", 1),
    "an error": ("raise ValueError('mine')", 1),
    "nothing": ("", 0),
    "nothing, without servers": ("for pid in client._on_close.__self__.pids: os.kill(pid, signal.SIGKILL)", 0),
    "exit": ("sys.exit(3)", 3),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -2),
    "Ctrl-C in a wait": ("os.kill(os.getpid(), signal.SIGINT); client.read('k')", -2),
    "at once": ("os._exit(4)", 4),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -15),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -9),
    "a crash": ("import ctypes; ctypes.string_at(0)", -11),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_nothing_is_left_however_a_program_ends(name: str, programs: Programs, surroundings: Surroundings) -> None:
    code, status = ENDINGS[name]
    program = programs.start(HEAD + code)
    assert program.wait() == status, program.err
    assert "servers 0 1" in program.out
    eventually(lambda: not server_processes(surroundings), 20.0, "the servers end")
    eventually(lambda: not surroundings.sockets(), 20.0, "the sockets are gone")
    if status == 1:
        assert "ValueError: mine" in program.err


def server_processes(surroundings: Surroundings) -> list[int]:
    return [pid for pid, command in surroundings.processes().items() if "paracel.server" in command]


def test_servers_end_although_a_child_of_their_launcher_lives(programs: Programs, surroundings: Surroundings) -> None:
    code = """
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
print("child", child)
time.sleep(60)
"""
    program = programs.start(HEAD + code)
    child = int(program.wait_said("child"))
    program.kill()
    eventually(lambda: not server_processes(surroundings), 20.0, "the servers end")
    eventually(lambda: not surroundings.sockets(), 20.0, "the sockets are gone")
    assert not ended(child)
    os.kill(child, signal.SIGKILL)


def test_a_job_ends_while_a_forked_child_lives_on(programs: Programs, surroundings: Surroundings) -> None:
    code = """
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
client.close()
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""
    programs.start(HEAD + code).check_ended_well()
    assert not surroundings.sockets()


def test_who_waits_for_workers_says_for_whom(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paracel.launch.embedded._REPORT_SECONDS", 0.0)
    with Cluster(1, workers=2) as cluster:
        client = paracel.connect(cluster.address, worker=1)
        waiting = Background(cluster.wait_departed)
        said = f"the servers stay until these have left: worker 1 ({socket.gethostname()}, pid {os.getpid()})"
        eventually(lambda: said in caplog.messages)
        assert waiting.running
        client.close()
        waiting.result()


def test_two_clusters_at_once_know_nothing_of_each_other() -> None:
    with paracel.connect(servers=2) as one, paracel.connect(servers=3) as other:
        one.write_multi({str(n): "one" for n in range(100)})
        other.write_multi({str(n): "other" for n in range(50)})
        assert set(one.readall().values()) == {"one"}
        assert set(other.readall().values()) == {"other"}
        assert (one.server_size, other.server_size) == (2, 3)
        one.close()
        assert len(other.readall()) == 50


def test_many_jobs_one_after_the_other_leave_nothing(surroundings: Surroundings) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with paracel.connect(servers=1) as client:
            assert client.bupdate("k", 1) == 1
        assert not surroundings.sockets()
        assert not server_processes(surroundings)
    assert len(os.listdir("/proc/self/fd")) <= open_files + 4


def test_a_server_that_cannot_start_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setattr("paracel.launch.embedded.server_command", lambda: ["false"])
    with pytest.raises(paracel.LaunchError, match="server 0 did not start: it ended with exit code 1"):
        Cluster(2)


def test_a_long_temporary_directory(surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a socket has at most 107 bytes."""
    deep = surroundings.folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with paracel.connect(servers=1) as client:
        client.write("k", 1)
        assert client.address.startswith("ipc://")


def test_servers_end_when_told_although_busy(programs: Programs, surroundings: Surroundings) -> None:
    code = "while True: client.update_multi({str(i): 1 for i in range(1000)})"
    program = programs.start(HEAD + code)
    program.wait_said("servers")
    servers = server_processes(surroundings)
    program.kill()
    eventually(lambda: all(map(ended, servers)), 20.0)
    eventually(lambda: not surroundings.sockets(), 20.0, "the sockets are gone")
