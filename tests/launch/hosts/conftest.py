"""Several hosts on one machine: network namespaces with a name, an address and an sshd each, joined by a bridge.

It needs root, iproute2, util-linux and the OpenSSH server, and installs nothing. All is private to the run: keys and
configurations lie in a temporary directory, and what a host sees of them is mounted in its own mount namespace.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_TOOLS = ("ip", "nsenter", "unshare", "ssh", "ssh-keygen", "sshd")
_PORT = 2222
_SECONDS = 30.0


def why_not() -> str:
    """What is missing for hosts on this machine; empty if nothing is."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        return f"hosts in network namespaces need {', '.join(missing)} (packages openssh-server, iproute2, util-linux)"
    if not Path("/etc/ssh/ssh_config").exists():
        return "hosts in network namespaces need an /etc/ssh/ssh_config to mount over"
    probe = f"probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    _run("ip", "netns", "del", probe)
    return ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS).stdout


@dataclass
class Hosts:
    """Hosts `host1` to `hostN` at 10.99.0.1 to 10.99.0.N. One more name, `host9`, has an address and no host."""

    folder: Path
    count: int

    def namespace(self, number: int) -> str:
        return f"prun{os.getpid()}h{number}"

    @property
    def _switch(self) -> str:
        return f"prun{os.getpid()}sw"

    def __enter__(self) -> "Hosts":
        self._write_configuration()
        _run("ip", "netns", "add", self._switch)
        _run("ip", "-n", self._switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self._switch, "link", "set", "br0", "up")
        for number in range(1, self.count + 1):
            self._start(number)
        return self

    def __exit__(self, *_: object) -> None:
        names = [self.namespace(number) for number in range(1, self.count + 1)]
        known = _run("ip", "netns", "list").split()
        for name in [name for name in (*names, self._switch) if name in known]:
            while pids := _run("ip", "netns", "pids", name).split():
                for pid in pids:
                    _kill(int(pid))
                time.sleep(0.02)
            _run("ip", "netns", "del", name)

    def on(self, number: int, directory: Path) -> list[str]:
        """What to put before a command to run it on a host; it has the pid that is waited for."""
        pid = (self.folder / f"{number}.pid").read_text().strip()
        return ["nsenter", "-t", pid, "--net", "--uts", "--mount", f"--wd={directory}", "--"]

    @contextlib.contextmanager
    def cut_off(self, number: int) -> Iterator[None]:
        """A host that nobody reaches meanwhile, and that reaches nobody."""
        port = ("ip", "-n", self._switch, "link", "set", f"port{number}")
        _run(*port, "down")
        try:
            yield
        finally:
            _run(*port, "up")

    def processes(self) -> dict[int, str]:
        """What runs on the hosts besides the listening sshd, with the command lines."""
        found = {}
        for number in range(1, self.count + 1):
            for pid in map(int, _run("ip", "netns", "pids", self.namespace(number)).split()):
                command = _command(pid)
                if command and str(self.folder / f"{number}.sshd_config") not in command:
                    found[pid] = f"{self.namespace(number)[-2:]}: {command}"
        return found

    def _write_configuration(self) -> None:
        for key in ("user", "host"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key))
        addresses = {f"host{number}": f"10.99.0.{number}" for number in (*range(1, self.count + 1), 9)}
        host_key = (self.folder / "host.pub").read_text()
        lines = [f"{address} {name}\n" for name, address in addresses.items()]
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))
        known = [f"[{address}]:{_PORT},[{name}]:{_PORT} {host_key}" for name, address in addresses.items()]
        (self.folder / "known_hosts").write_text("".join(known))
        (self.folder / "ssh_config").write_text(
            f"Port {_PORT}\nUser root\nIdentityFile {self.folder}/user\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {self.folder}/known_hosts\nStrictHostKeyChecking yes\nLogLevel ERROR\n"
        )

    def _start(self, number: int) -> None:
        name, port = self.namespace(number), f"port{number}"
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", self._switch)
        _run("ip", "-n", self._switch, "link", "set", port, "master", "br0", "up")
        _run("ip", "-n", name, "addr", "add", f"10.99.0.{number}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        configuration, pid_file = self.folder / f"{number}.sshd_config", self.folder / f"{number}.pid"
        configuration.write_text(
            f"Port {_PORT}\nListenAddress 10.99.0.{number}\nHostKey {self.folder}/host\nPidFile {pid_file}\n"
            f"AuthorizedKeysFile {self.folder}/user.pub\nStrictModes no\nUsePAM no\nUseDNS no\nMaxStartups 100\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        )
        # sysfs anew: it shows the network devices of the namespace that it was mounted in
        setting_up = f"""
            hostname host{number}
            umount -l /sys || true
            mount -t sysfs sysfs /sys
            mount --bind {self.folder}/hosts /etc/hosts
            mount --bind {self.folder}/ssh_config /etc/ssh/ssh_config
            PATH=$PATH:/usr/sbin:/sbin
            exec $(command -v sshd) -f {configuration} -E {self.folder}/{number}.log
        """
        own = ("unshare", "--uts", "--mount", "--propagation", "private")
        _run("ip", "netns", "exec", name, *own, "sh", "-ec", setting_up)
        deadline = time.monotonic() + _SECONDS
        while not (pid_file.exists() and pid_file.read_text().strip()):
            assert time.monotonic() < deadline, f"no sshd: {(self.folder / f'{number}.log').read_text()}"
            time.sleep(0.02)


def _command(pid: int) -> str:
    """The command line of a process; empty if it has ended, also when nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """Three hosts."""
    if reason := why_not():
        pytest.skip(reason)
    # sshd's directory for its unprivileged part: the package's service would make it
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="prun-hosts-"))
    try:
        with Hosts(folder, 3) as hosts:
            yield hosts
    finally:
        shutil.rmtree(folder, ignore_errors=True)
