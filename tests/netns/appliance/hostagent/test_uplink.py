"""A way out for guests: a host, the outside at its uplink (without a route back), a router's public side."""

import json
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest

from appliance.hostagent import networks
from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.errors import Refused
from appliance.launcher import node
from appliance.launcher.down import clean_steps, down_steps
from appliance.launcher.settings import Settings
from systemvm.engine.processes import Processes
from tests.netns.host_bench import PROJECT, HostBench
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.netns

UPLINK, OUTSIDE = "198.51.100.1", "198.51.100.2"
ELSEWHERE = "203.0.113.2"
ROUTER, SERVICE = "172.31.241.20", "172.31.240.30"
#: Everything that may change on a machine that gets a way out, but for our own table and links.
SETTINGS = "cd /proc/sys/net/ipv4 && for f in ip_forward conf/*/forwarding; do echo $f $(cat $f); done"
#: Packets of foreign senders that reach the outside; packets at all that reach the other neighbour.
COUNTERS = """table ip seen {{
    counter strangers {{
    }}
    chain prerouting {{
        type filter hook prerouting priority -300;
        iifname "eth0" ip saddr {senders} counter name strangers
    }}
}}
"""
#: As container engines publish a port.
PUBLISHED = f"""table inet operators {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        tcp dport 8000 dnat ip to {ELSEWHERE}:80
    }}
}}
"""


class Site:
    """The machines; `hears` and `reached` ask with real packets."""

    def __init__(self, lab: Topology) -> None:
        self._lab = lab
        self.bench = HostBench(lab)
        self.host, self.paths = self.bench.machine, self.bench.paths
        self.bench.servers.issue("host1.pileus.internal").write(self.paths.host, "server")
        (self.paths.host / "server.crt").rename(self.paths.host / "server.pem")
        (self.paths.host / "clients-ca.pem").write_text(self.bench.clients.pem)
        self.outside, self.elsewhere = lab.machine("outside"), lab.machine("elsewhere")
        for machine, link, near, far in (
            (self.outside, "uplink0", UPLINK, OUTSIDE),
            (self.elsewhere, "lan1", "203.0.113.1", ELSEWHERE),
        ):
            lab.wire(self.host, link, machine, "eth0")
            self.host.run("ip", "addr", "add", f"{near}/24", "dev", link)
            machine.run("ip", "addr", "add", f"{far}/24", "dev", "eth0")
            serve(machine, 80)
        self.elsewhere.run("ip", "route", "add", "default", "via", "203.0.113.1")
        self.outside.run("nft", "-f", "-", stdin=COUNTERS.format(senders=f"!= {UPLINK}"))
        self.elsewhere.run("nft", "-f", "-", stdin=COUNTERS.format(senders=OUTSIDE))
        self.host.run("nft", "-f", "-", stdin="table inet operators {\n}\n")
        self.forward(False)
        serve(self.host, 22)

    def forward(self, is_router: bool) -> None:
        self.host.run("sysctl", "-qw", f"net.ipv4.ip_forward={int(is_router)}")

    def config(self, uplink: str) -> HostAgentConfig:
        """What the launcher tells the host agent."""
        return node.host_agent_config(self.paths, Settings(host=self.bench.host, uplink=uplink), "qemu")

    def apply(self, uplink: str) -> None:
        """What the host agent does when it starts."""
        with self.host.entered():
            networks.HostNetworks(self.config(uplink), self.paths).reapply()

    def plug(self, label: str, bridge: str, address: str, gateway: str) -> Machine:
        """A machine in the place of a VM: one link, a port of the bridge."""
        made = self._lab.machine(label)
        self._lab.wire(made, "eth0", self.host, f"p-{label}")
        self.host.run("ip", "link", "set", f"p-{label}", "master", bridge)
        made.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        made.run("ip", "route", "add", "default", "via", gateway)
        serve(made, 80)
        return made

    def router(self) -> Machine:
        return self.plug("router", "pileus-public", ROUTER, "172.31.241.1")

    def state(self) -> tuple[dict[str, str], str, str, list[tuple[int, str, str]]]:
        """Forwarding, firewall, addresses, links. With numbers: what was made anew is not the same."""
        links = json.loads(self.host.run("ip", "-j", "link").stdout)
        return (
            self.forwarding(),
            self.host.run("nft", "-a", "list", "ruleset").stdout,
            self.host.run("ip", "-o", "-4", "addr").stdout,
            [(link["ifindex"], link["ifname"], link.get("ifalias", "")) for link in links],
        )

    def forwarding(self) -> dict[str, str]:
        pairs = (line.split() for line in self.host.run("sh", "-c", SETTINGS).stdout.splitlines())
        return {name.removeprefix("conf/").removesuffix("/forwarding"): value for name, value in pairs}


@pytest.fixture
def site(lab: Topology) -> Iterator[Site]:
    made = Site(lab)
    yield made
    made.bench.close()


def serve(machine: Machine, port: int) -> None:
    """A TCP server that says who asked."""
    machine.start("socat", f"TCP-LISTEN:{port},reuseaddr,fork", "SYSTEM:echo hello $SOCAT_PEERADDR")
    eventually(lambda: f":{port} " in machine.run("ss", "-ltn").stdout, f"port {port} listens")


def hears(machine: Machine, address: str, port: int = 80) -> str:
    """The address that the server saw; empty when no connection came about."""
    said = machine.run(
        "socat", "-T1", "-", f"TCP:{address}:{port},connect-timeout=1", check=False, timeout=15
    ).stdout
    return said.removeprefix("hello").strip()


def heard(*questions: tuple[Machine, str, int]) -> list[str]:
    """Which of these connections came about; all are tried at once, because refusals are silent."""
    with ThreadPoolExecutor(len(questions)) as pool:
        answers = list(pool.map(lambda question: hears(*question), questions))
    return [
        f"{machine.label} → {address}:{port} as {answer}"
        for (machine, address, port), answer in zip(questions, answers, strict=True)
        if answer
    ]


def strangers(machine: Machine) -> int:
    listed = machine.run("nft", "list", "counter", "ip", "seen", "strangers").stdout
    found = re.search(r"packets (\d+)", listed)
    assert found is not None, listed
    return int(found[1])


@pytest.mark.parametrize("is_router", [False, True])
def test_nothing_gets_out_and_nothing_is_changed_without(site: Site, is_router: bool) -> None:
    site.forward(is_router)
    before = site.forwarding()
    operators = site.host.run("nft", "-a", "list", "table", "inet", "operators").stdout
    site.apply("")
    router = site.router()
    assert heard((router, OUTSIDE, 80), (router, ELSEWHERE, 80), (router, UPLINK, 22)) == []
    assert strangers(site.outside) == 0
    assert {name: site.forwarding()[name] for name in before} == before
    assert site.host.run("nft", "-a", "list", "table", "inet", "operators").stdout == operators
    assert "masquerade" not in site.host.run("nft", "list", "ruleset").stdout


@pytest.mark.parametrize("is_router", [False, True])
def test_guests_get_out_and_nobody_gets_in(site: Site, is_router: bool) -> None:
    site.forward(is_router)
    site.apply("uplink0")
    router = site.router()
    service = site.plug("service", "pileus-mgmt", SERVICE, "172.31.240.1")
    assert hears(router, OUTSIDE) == UPLINK, "seen from the uplink's address"
    assert heard(
        # Neither the management network, nor the host's services by any address, nor its other networks.
        (router, SERVICE, 80),
        (router, "172.31.240.1", 22),
        (router, "172.31.241.1", 22),
        (router, UPLINK, 22),
        (router, ELSEWHERE, 80),
        (service, OUTSIDE, 80),
    ) == []  # fmt: skip
    # What lies: nothing leaves with a sender's address that is not the uplink's.
    router.run("ip", "addr", "add", "192.0.2.66/32", "dev", "eth0")
    site.host.run("ip", "route", "add", "192.0.2.66", "dev", "pileus-public")
    router.answers("ping", "-c1", "-W1", "-I", "192.0.2.66", OUTSIDE)
    assert strangers(site.outside) == 0

    # A neighbour that knows the cloud's networks, and sends them to the host.
    for network in ("172.31.240.0/24", "172.31.241.0/24", "203.0.113.0/24"):
        site.outside.run("ip", "route", "add", network, "via", UPLINK)
    assert heard(
        (site.outside, ROUTER, 80),
        (site.outside, SERVICE, 80),
        (site.outside, "172.31.240.1", 22),
        (site.outside, "172.31.241.1", 22),
    ) == []  # fmt: skip
    assert hears(site.outside, UPLINK, 22), "the machine's own services are its operator's business"
    assert bool(hears(site.outside, ELSEWHERE)) == is_router
    assert bool(strangers(site.elsewhere)) == is_router, "who is no router stays none, for single packets too"


def test_only_guests_are_routed_and_published_ports_stay(site: Site) -> None:
    """The machine's own setting stays; what the operator publishes by DNAT is not ours to close."""
    site.apply("uplink0")
    router = site.router()
    on = {name for name, value in site.forwarding().items() if value == "1"}
    assert on == {"uplink0", "pileus-public"}
    site.forward(True)
    site.host.run("nft", "-f", "-", stdin=PUBLISHED)
    assert hears(site.outside, UPLINK, 8000)
    assert hears(router, OUTSIDE) == UPLINK
    site.apply("")
    assert hears(site.outside, UPLINK, 8000), "a router of the operator's own will, since then, stays one"
    assert not hears(router, OUTSIDE)


class Launcher:
    """`pileus up` as far as networks go: agent and relay, as real processes of the host."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._daemons = Processes(site.paths.daemons)

    def up(self, uplink: str) -> list[int | None]:
        with self._site.host.entered():
            node.start_host_agent(self._site.paths, self._daemons, self._site.config(uplink))
            return [self._daemons.pid(name) for name in (node.HOST_AGENT, node.RELAY)]

    def run(self, command: Literal["down", "clean"]) -> None:
        paths = self._site.paths
        with self._site.host.entered():
            steps = down_steps(paths) if command == "down" else clean_steps(paths, keep_images=True)
            for step in steps:
                # The namespace has its own networks, not its own users.
                if step.name != "User":
                    step.run(lambda words: None)


def test_the_way_out_is_closed_again_and_leaves_no_trace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILEUS_DAEMONS", "processes")
    launcher, before = Launcher(site), site.state()
    pids = launcher.up("uplink0")
    router = site.router()
    assert hears(router, OUTSIDE) == UPLINK
    opened = site.state()
    assert launcher.up("uplink0") == pids, "a second up changes nothing"
    assert site.state() == opened

    assert launcher.up("") != pids
    assert not hears(router, OUTSIDE)
    assert "1" not in site.forwarding().values()
    assert "masquerade" not in site.host.run("nft", "list", "ruleset").stdout

    launcher.up("uplink0")
    launcher.run("down")
    router.run("ip", "link", "del", "eth0")  # like a tap, which libvirt removes with its VM
    assert site.state() == before
    assert not list(site.paths.host.glob("forwarding*"))

    launcher.up("uplink0")
    assert site.state() != before
    launcher.run("clean")
    assert site.state() == before
    site.paths.home.mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("uplink", "words"),
    [
        ("nope0", "there is no network interface 'nope0' on this machine: choose one of: .*uplink0"),
        ('uplink0" accept; #', "is no name of a network interface: choose one of: .*uplink0"),
        ("lo", "'lo' is the loopback interface"),
        ("pileus-mgmt", "'pileus-mgmt' is one of Pileus's own interfaces"),
        ("nic7", "'nic7' is a port of br7"),
    ],
)
def test_the_agent_refuses_what_is_no_way_out(site: Site, uplink: str, words: str) -> None:
    site.host.run("ip", "link", "add", "br7", "type", "bridge")
    site.host.run("ip", "link", "add", "nic7", "master", "br7", "type", "veth", "peer", "name", "nic8")
    site.apply("")
    before = site.state()
    with pytest.raises(Refused, match=words):
        site.apply(uplink)
    assert site.state() == before


@pytest.mark.parametrize("uplink", ["nope0", 'uplink0"; drop', "$(touch pwned)", "--yes"])
def test_make_up_names_what_is_wrong_before_anything_is_made(site: Site, uplink: str, tmp_path: Path) -> None:
    pileus = f"{sys.executable} -m appliance.cli.main"
    done = site.host.run(
        "env", f"PATH={os.environ['PATH']}", f"PILEUS_HOME={site.paths.home}", f"PILEUS_CACHE={tmp_path}",
        "PILEUS_DAEMONS=processes", f"UPLINK={uplink}",
        # Without its prerequisite, `setup`, which is done where tests run.
        "make", "--no-print-directory", "-C", str(PROJECT), "-o", "setup", "up", f"PILEUS={pileus}",
        check=False, timeout=120,
    )  # fmt: skip
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert repr(uplink) in said, said
    assert "uplink0" in said.partition("choose one of: ")[2], said
    assert not (site.paths.home / "pileus.json").exists()
    assert not (PROJECT / "pwned").exists()
    assert "pileus-public" not in json.dumps(sorted(site.bench.links()))
