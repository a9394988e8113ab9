"""The console proxy and a host's own relay process, as they meet in a cloud."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from appliance.hostagent.config import HostAgentConfig, write_config
from appliance.hostagent.networks import state_file
from appliance.paths import Paths
from systemvm.services.console import SERVICE
from systemvm.spec.host import HostState
from tests.netns.putting import install
from tests.netns.systemvm.services.console.console_bench import (
    HOST,
    HOST_ADDRESS,
    HOST_NAME,
    STOPPED_VM,
    VM,
    Bench,
    off,
    shake_hands,
    state_of,
    wire,
)
from tests.netns.topology import Machine, Topology, eventually
from tests.pki import Authority
from tests.tickets import Signer
from tests.vnc import firmware_screen

pytestmark = pytest.mark.netns
ROOT = Path(__file__).parents[5]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    paths = Paths(tmp_path_factory.mktemp("h"), tmp_path_factory.mktemp("cache"))
    paths.create()
    servers, clients, signer = Authority("servers"), Authority("clients"), Signer()
    with Topology() as topology, firmware_screen(paths.vnc) as screen:
        screen.rename(paths.vnc / f"{VM}.sock")
        browser, console, host = wire(topology)
        start_relay(host, paths, servers, clients, signer)
        installed = install(SERVICE, console)
        state = state_of(servers, clients, signer)
        installed.put(state)
        eventually(lambda: not installed.unhealthy(state), "the proxy serves", 20)
        yield Bench(browser, installed, signer, state, servers)
        installed.put(off(state))


def start_relay(host: Machine, paths: Paths, servers: Authority, clients: Authority, signer: Signer) -> None:
    certificate, key = servers.issue(HOST_NAME).write(paths.host, "host")
    authority = paths.host / "clients.pem"
    authority.write_text(clients.pem)
    config = HostAgentConfig(
        host=HOST,
        name=HOST_NAME,
        management_address=HOST_ADDRESS,
        certificate=str(certificate),
        key=str(key),
        client_ca=str(authority),
        pools={},
        acceleration="qemu",
    )
    write_config(paths, config)
    state = HostState(generation=1, host=HOST, ticket_key=signer.public)
    state_file(paths).write_bytes(msgspec.json.encode(state))
    host.start(
        *("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "appliance.hostagent.relay"),
        *("--home", str(paths.home)),
    )
    eventually(lambda: host.run("ss", "-Hltn", "sport", "=", ":8447").stdout, "the relay listens", 20)


def test_the_screen_comes_through_both(bench: Bench) -> None:
    token = bench.token()
    with bench.connected(token) as opened:
        width, _ = shake_hands(opened)
        assert width >= 640
        time.sleep(0.2)
        assert "used before" in bench.refusal(token)[1]


def test_the_hosts_own_words_reach_the_browser(bench: Bench) -> None:
    code, reason = bench.refusal(bench.token(STOPPED_VM))
    assert code == 4502
    assert f"VM {STOPPED_VM} does not run" in reason
    assert "no host" in bench.refusal(bench.token(host=str(uuid4())))[1]
