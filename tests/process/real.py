"""What the tests with real processes share: waits with deadlines, jobs with every option, programs, raw peers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import zmq

from paracel import wire
from paracel.client import Client
from paracel.coordinator import Coordinator
from paracel.launch.process import ServerProcess, server_command, stop_all
from paracel.messages import Envelope, Message

#: Generous: it is reached only by a test that fails.
DEADLINE = 40.0
MARK = "PARACEL_TEST_PROCESSES"
SHARED_MEMORY = Path("/dev/shm")


def eventually(condition: Callable[[], object], seconds: float = DEADLINE, what: str = "") -> None:
    """Look again and again until the condition holds; fail when it has not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what or condition}"
        time.sleep(0.02)


class Surroundings:
    """Where a test keeps its sockets, and how its processes are known."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="pt-"))
        self._shared = set(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else set()

    @contextlib.contextmanager
    def entered(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """All that is started inside has the mark and this temporary directory."""
        monkeypatch.setenv(MARK, self.mark)
        monkeypatch.setenv("TMPDIR", str(self.folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        try:
            yield
        finally:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)

    def check_nothing_left(self) -> None:
        """No process, no socket directory, no shared memory of this test."""
        eventually(lambda: not self.processes(), 20.0, f"the processes are gone: {self.processes()}")
        assert not self.sockets(), f"left: {self.sockets()}"
        shared = set(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else set()
        assert not [name for name in shared - self._shared if "paracel" in name]

    def sockets(self) -> list[Path]:
        """The socket directories that exist."""
        return list(self.folder.glob("paracel-*"))

    def processes(self) -> dict[int, str]:
        """The living processes with the mark, and their commands."""
        found = {}
        mine = f"{MARK}={self.mark}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mine in (entry / "environ").read_bytes() and not ended(int(entry.name)):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended meanwhile
        return found


def ended(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def resident_mb(pid: int) -> int:
    """The memory that a process has in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


class Job:
    """A coordinator and servers with every option; what `Cluster` is without options."""

    def __init__(
        self,
        servers: int = 1,
        workers: int = 1,
        *,
        endpoint: str | None = None,
        heartbeat_timeout: float = 30.0,
        memory_limit_mb: int | None = None,
        log: Path | None = None,
    ) -> None:
        self.coordinator = Coordinator(
            servers=servers, workers=workers, endpoint=endpoint, heartbeat_timeout=heartbeat_timeout
        )
        self.servers: list[ServerProcess] = []
        self._log = log.open("wb") if log else None
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        try:
            self.coordinator.start()
            for server in range(servers):
                config = self.coordinator.server_config(server, bind=endpoint, memory_limit_mb=memory_limit_mb)
                self.servers.append(ServerProcess(server, server_command(), config, stderr=self._log))
            self.coordinator.wait_ready(DEADLINE)
            self._watcher.start()
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self) -> list[str]:
        """The servers' addresses."""
        return [known.address for known in self.coordinator.statistics().servers]

    def connect(self, worker: int | None = None, **options: Any) -> Client:
        """A client in this process."""
        return Client(self.coordinator.address, key=self.coordinator.key, worker=worker, **options)

    def close(self) -> None:
        """End it; stopped servers too."""
        self._closing.set()
        for server in self.servers:
            if server.poll() is None:
                os.kill(server.pid, signal.SIGCONT)
        stop_all(self.servers)
        if self._watcher.is_alive():
            self._watcher.join(DEADLINE)
        self.coordinator.close()
        if self._log:
            self._log.close()

    def _watch(self) -> None:
        living = list(self.servers)
        while living and not self._closing.wait(0.05):
            for server in list(living):
                status = server.poll()
                if status is not None:
                    living.remove(server)
                    self.coordinator.server_exited(server.server, status)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Program:
    """A Python program that runs; what it prints can be waited for."""

    def __init__(self, code: str, arguments: Sequence[str], folder: Path) -> None:
        name = folder / uuid.uuid4().hex
        self._out, self._err = name.with_suffix(".out"), name.with_suffix(".err")
        script = name.with_suffix(".py")
        script.write_text(textwrap.dedent(code))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-u", str(script), *arguments],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def wait_said(self, text: str) -> str:
        """Wait until it has printed a whole line that begins with the text; the rest of that line."""
        found: list[str] = []

        def said() -> bool:
            whole = self.out.splitlines(keepends=True)
            found.extend(line for line in whole if line.startswith(text) and line.endswith("\n"))
            assert found or self.process.poll() is None, f"ended with {self.process.poll()}: {self.out}\n{self.err}"
            return bool(found)

        eventually(said, what=f"{text!r} is printed")
        return found[0].removeprefix(text).strip()

    def wait(self) -> int:
        """Wait until it ends; its exit status."""
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not end: {self.out}\n{self.err}")

    def check_ended_well(self) -> None:
        """Wait until it ends, without an error."""
        status = self.wait()
        assert status == 0, f"status {status}: {self.out}\n{self.err}"

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.process.kill()
        self.wait()


class Programs:
    """The programs of one test."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._folder = surroundings.folder
        self._started: list[Program] = []

    def start(self, code: str, *arguments: object) -> Program:
        """Start a program; `sys.argv[1:]` are the arguments."""
        self._started.append(Program(code, list(map(str, arguments)), self._folder))
        return self._started[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        for program in self._started:
            if program.process.poll() is None:
                program.kill()


class Raw:
    """A peer that speaks ZeroMQ and nothing more."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(address)

    def send(self, *frames: bytes) -> None:
        """Send a message of these frames."""
        self._socket.send_multipart(frames)

    def ask(self, request: int, message: Message, confirmed: int = 0, shard: int = 0) -> None:
        """Send a well-formed message."""
        self.send(*wire.encode(Envelope(request, confirmed, 0, message, shard)))

    def receive(self, seconds: float = DEADLINE) -> Envelope | None:
        """The next message, None if none comes in time."""
        if not self._socket.poll(seconds * 1000):
            return None
        return wire.decode(self._socket.recv_multipart())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._context.destroy(linger=2000)


def plain_socket(address: str) -> socket.socket:
    """A bare connection to an `ipc://` or `tcp://` address."""
    kind, _, where = address.partition("://")
    if kind == "ipc":
        bare = socket.socket(socket.AF_UNIX)
        bare.connect(where)
        return bare
    host, _, port = where.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=DEADLINE)


class Background:
    """A call on a thread of its own, whose outcome can be waited for."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._outcome: list[Any] = []
        self._error: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append(self._call())
        except BaseException as error:
            self._error.append(error)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, seconds: float = DEADLINE) -> Any:
        """Its value, or its error raised here."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still running after {seconds} s"
        if self._error:
            raise self._error[0]
        return self._outcome[0]
