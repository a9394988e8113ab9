"""API latency: signed list commands on a cloud of 500 VMs, beside a bare Flask page of the same server.

One client, one connection, one call after the other: the time a caller waits, not throughput.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec

from images.builder.boot import free_port
from mgmt.api.testing import sign
from tests.bench.api_server import KEYS_FILE, Keys
from tests.bench.measurement import Finding, Measurement, Missing, middles_of

ROUNDS = 100
#: Seconds for the server to make its 500 VMs.
START = 120.0
COMMANDS: tuple[tuple[str, dict[str, str]], ...] = (
    ("listZones", {}),
    ("listNetworks", {}),
    ("listVirtualMachines", {"page": "1", "pagesize": "20"}),
    ("listVirtualMachines", {"page": "1", "pagesize": "500"}),
    ("listApis", {}),
)


def measure() -> Iterator[Finding]:
    """The latency of each list command."""
    with tempfile.TemporaryDirectory(prefix="pileus-bench-") as name:
        folder, port = Path(name), free_port()
        argv = [sys.executable, "-m", "tests.bench.api_server", str(folder), str(port)]
        with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as server:
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http:
                    if not _wait(http, server):
                        words = (folder / "log").read_text(errors="replace")[-400:]
                        yield Missing(name="api: list commands", why=f"the server did not come up: {words}")
                        return
                    yield from _measure(
                        http, msgspec.json.decode((folder / KEYS_FILE).read_bytes(), type=Keys)
                    )
            finally:
                server.terminate()


def _measure(http: httpx.Client, keys: Keys) -> Iterator[Finding]:
    def hello() -> None:
        http.get("/bare/hello").raise_for_status()

    for command, parameters in COMMANDS:
        call = _caller(http, keys, command, parameters)
        call()
        ours, theirs = middles_of(call, hello, ROUNDS)
        words = "".join(f" {name}={value}" for name, value in parameters.items() if name == "pagesize")
        yield Measurement(
            name=f"api: {command}{words}",
            seconds=ours,
            baseline="bare Flask page, same server",
            baseline_seconds=theirs,
            note=f"median of {ROUNDS} calls",
        )


def _caller(http: httpx.Client, keys: Keys, command: str, parameters: dict[str, str]) -> Callable[[], None]:
    sent = {**parameters, "command": command, "response": "json", "apiKey": keys.key}
    sent["signature"] = sign(sent, keys.secret)

    def call() -> None:
        http.post("/client/api", data=sent).raise_for_status()

    return call


def _wait(http: httpx.Client, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return http.get("/bare/hello").is_success
        except httpx.TransportError:
            time.sleep(0.2)
    return False
