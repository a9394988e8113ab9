"""The machine as the checks see it: readings only. Unit tests replace them one by one."""

import os
import platform
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from pyroute2 import IPRoute

from appliance.hostagent.uplinks import Link, read_links
from systemvm.engine.command import run
from systemvm.engine.service import Runner


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens (IPv4 dotted; 0.0.0.0 is all addresses), and its process's command line."""

    address: str
    port: int
    command: str


def read_text(path: str) -> str:
    """A file's text; empty when it is not there or not readable."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def free_bytes(path: Path) -> int:
    """Free space where `path` is, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def read_routes() -> list[tuple[IPv4Network, str]]:
    """Destinations of the main table and the interfaces they lead to; no default route."""
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        return [
            (IPv4Network(f"{route.get('dst')}/{route['dst_len']}"), names.get(route.get("oif"), ""))
            for route in netlink.get_routes(family=socket.AF_INET, table=254)
            if route.get("dst")
        ]


def read_listeners() -> list[Listener]:
    """All listening IPv4 and IPv6 TCP sockets (proc(5): state 0A); IPv6 wildcards count as 0.0.0.0."""
    found = []
    commands = _commands_by_socket()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in read_text(table).splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                host, _, port = fields[1].partition(":")
                found.append(Listener(_dotted(host), int(port, 16), commands.get(fields[9], "")))
    return found


def is_random_ready() -> bool:
    """Whether the kernel's random generator is seeded (getrandom(2))."""
    try:
        os.getrandom(16, os.GRND_NONBLOCK)
    except BlockingIOError:
        return False
    return True


def _commands_by_socket() -> dict[str, str]:
    """Socket inode to the command line of a process that holds it."""
    commands: dict[str, str] = {}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            targets = [os.readlink(handle) for handle in folder.iterdir()]
            command = (folder.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile, or is not ours to look into
        for target in targets:
            if target.startswith("socket:["):
                commands[target[8:-1]] = command.strip()
    return commands


def _dotted(words: str) -> str:
    """Hexadecimal address of /proc/net/tcp{,6} (host byte order per 32 bits) as dotted IPv4."""
    last = bytes.fromhex(words[-8:])
    return socket.inet_ntoa(last[::-1]) if len(words) == 8 or words[:16] == "0" * 16 else "::"


@dataclass(frozen=True)
class Machine:
    """Readings of one machine. Sizes in bytes, times in Unix seconds."""

    uid: Callable[[], int] = os.geteuid
    architecture: Callable[[], str] = platform.machine
    cpus: Callable[[], int] = lambda: len(os.sched_getaffinity(0))
    python: Callable[[], tuple[int, ...]] = lambda: tuple(sys.version_info[:3])
    now: Callable[[], float] = time.time
    read: Callable[[str], str] = read_text
    exists: Callable[[str], bool] = os.path.exists
    which: Callable[[str], str | None] = shutil.which
    free: Callable[[Path], int] = free_bytes
    open_files: Callable[[], tuple[int, int]] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)
    is_random_ready: Callable[[], bool] = is_random_ready
    links: Callable[[], list[Link]] = read_links
    routes: Callable[[], list[tuple[IPv4Network, str]]] = read_routes
    listeners: Callable[[], list[Listener]] = read_listeners
    run: Runner = run
