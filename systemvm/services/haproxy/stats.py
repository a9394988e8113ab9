"""Questions to a running haproxy over its unix socket (haproxy management guide, 9.3)."""

import csv
import socket
from pathlib import Path


def ask(path: Path, question: str, timeout: float = 5.0) -> str:
    """The answer to one command. Raises OSError when nobody answers within `timeout` seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(f"{question}\n".encode())
        parts: list[bytes] = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


def running_digest(path: Path) -> str:
    """The description of the configuration that serves now; see the template. Raises OSError."""
    for line in ask(path, "show info").splitlines():
        key, _, value = line.partition(": ")
        if key.lower() == "description":
            return value.strip()
    return ""


def rows(path: Path) -> list[dict[str, str]]:
    """Statistics of every balancer (`svname` BACKEND) and member, by haproxy's column names."""
    # 6: backends (2) and servers (4), no frontends; -1: all of them.
    text = ask(path, "show stat -1 6 -1")
    return list(csv.DictReader(text.removeprefix("# ").splitlines()))
