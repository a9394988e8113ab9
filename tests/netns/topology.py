"""Machines made of Linux namespaces, wired with virtual cables: where real daemons meet real packets.

A `Machine` has a network namespace, a mount namespace and a host name of its own. `/etc/pileus`,
`/var/lib/pileus` and `/run/pileus` are empty memory file systems in it, so that a service's files and
daemons find their true absolute paths without touching this machine. Everything has a random name and is
gone after `Topology.close()`, daemons included.

    with Topology() as lab:
        router, guest = lab.machine("router"), lab.machine("guest")
        lab.wire(router, "eth0", guest, "eth0", mac_a="02:00:00:00:00:01")
        guest.run("ip", "addr", "add", "10.0.0.2/24", "dev", "eth0")
        with router.entered():
            ...  # this thread, and the processes it starts, are in the router now
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from uuid import uuid4

from systemvm.engine.processes import collect

PRIVATE_FOLDERS = ("/etc/pileus", "/var/lib/pileus", "/run/pileus")
# linux/sched.h
CLONE_FS, CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWNET = 0x200, 0x20000, 0x04000000, 0x40000000

T = TypeVar("T")


class Machine:
    """One namespace machine; it lives as long as its `sleep`, whose process id names its namespaces."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.name = f"pt-{label}-{uuid4().hex[:6]}"
        _call("ip", "netns", "add", self.name)
        self._keeper = subprocess.Popen(
            ["ip", "netns", "exec", self.name, "unshare", "--mount", "--uts", "sleep", "infinity"],
            stdin=subprocess.DEVNULL,
        )
        self.pid = self._keeper.pid
        self._started: list[subprocess.Popen[str]] = []
        eventually(lambda: Path(f"/proc/{self.pid}/comm").read_text() == "sleep\n", "the keeper sleeps")
        for folder in PRIVATE_FOLDERS:
            os.makedirs(folder, exist_ok=True)
            self.run("mount", "-t", "tmpfs", "-o", "mode=0755", "pileus-test", folder)
        self.run("ip", "link", "set", "lo", "up")

    def run(
        self, *argv: str, check: bool = True, timeout: float = 30.0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the machine to its end; a failure raises AssertionError with its words."""
        done = subprocess.run(
            self._enter(*argv), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise AssertionError(f"{self.label}: {' '.join(argv)}: exit code {done.returncode}: {said}")
        return done

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program in the machine; it ends, pipes included, with the machine at the latest."""
        started = subprocess.Popen(
            self._enter(*argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(started)
        return started

    def answers(self, *argv: str, timeout: float = 10.0) -> bool:
        """Whether a program ends with exit code 0."""
        return self.run(*argv, check=False, timeout=timeout).returncode == 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread works inside the machine: its sockets, its files, the processes that it starts."""
        libc = ctypes.CDLL(None, use_errno=True)
        here, folder = _open_namespaces("/proc/thread-self/ns"), os.getcwd()
        there = _open_namespaces(f"/proc/{self.pid}/ns")
        # A thread that shares its root folder with others may not change mount namespaces (setns(2)).
        _check(libc.unshare(CLONE_FS))
        try:
            for handle, kind in there:
                _check(libc.setns(handle, kind))
            os.chdir(folder)
            yield
        finally:
            # Threads that were started inside share our root folder again.
            _check(libc.unshare(CLONE_FS))
            for handle, kind in here:
                _check(libc.setns(handle, kind))
            os.chdir(folder)
            for handle, _ in (*here, *there):
                os.close(handle)

    def pids(self) -> list[int]:
        """Processes in the machine's network namespace."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False
        )
        return [int(word) for word in listed.stdout.split()]

    def close(self) -> None:
        """End everything in the machine, and the machine."""
        # By their own ids too: a program just started may not have entered the namespace yet.
        started = {program.pid for program in self._started if program.poll() is None}
        ended = {*self.pids(), *started, self.pid}
        for pid in ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        collect(ended)
        for program in self._started:
            program.communicate()
        self._keeper.wait()
        _call("ip", "netns", "del", self.name)

    def _enter(self, *argv: str) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--uts", "--", *argv]


class Switch(Machine):
    """A machine that is nothing but an Ethernet switch."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.ports = 0
        self.run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        self.run("ip", "link", "set", "br0", "up")


class Topology:
    """Makes machines and cables, and removes them all."""

    def __init__(self) -> None:
        self._machines: list[Machine] = []

    def machine(self, label: str) -> Machine:
        """A machine without links except lo."""
        made = Machine(label)
        self._machines.append(made)
        return made

    def switch(self, label: str) -> Switch:
        """A switch to plug machines into."""
        made = Switch(label)
        self._machines.append(made)
        return made

    def wire(
        self, a: Machine, name_a: str, b: Machine, name_b: str, *, mac_a: str = "", mac_b: str = ""
    ) -> None:
        """A cable between two machines; both ends are up."""
        near = ["name", name_a, *(["address", mac_a] if mac_a else [])]
        far = ["name", name_b, *(["address", mac_b] if mac_b else [])]
        _call("ip", "link", "add", *near, "netns", a.name, "type", "veth", "peer", *far, "netns", b.name)
        a.run("ip", "link", "set", name_a, "up")
        b.run("ip", "link", "set", name_b, "up")

    def plug(self, machine: Machine, name: str, switch: Switch, *, mac: str = "") -> None:
        """A cable from a machine's new link `name` into a free port of a switch."""
        port = f"port{switch.ports}"
        switch.ports += 1
        self.wire(machine, name, switch, port, mac_a=mac)
        switch.run("ip", "link", "set", port, "master", "br0")

    def close(self) -> None:
        """Remove everything, in reverse order."""
        while self._machines:
            self._machines.pop().close()

    def __enter__(self) -> "Topology":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def eventually(question: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Ask until the answer is true; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"never came true in {seconds} s: {what}"
        time.sleep(0.05)


def _open_namespaces(folder: str) -> list[tuple[int, int]]:
    kinds = (("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS), ("mnt", CLONE_NEWNS))
    return [(os.open(f"{folder}/{name}", os.O_RDONLY), kind) for name, kind in kinds]


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _call(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.strip()}"
