"""Every check, on machines that are not this one."""

import dataclasses
import json
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from appliance.hostagent.uplinks import MARK, Link
from appliance.launcher.settings import Settings
from appliance.paths import Paths
from appliance.preflight.check import CheckResult, Subject
from appliance.preflight.machine import Listener, Machine
from appliance.preflight.runner import CHECKS, run_preflight
from systemvm.engine.command import Result
from systemvm.engine.errors import CommandError
from systemvm.engine.testing import RecordedRunner

pytestmark = pytest.mark.unit
GIB = 1024**3
ANYWHERE = "0.0.0.0"  # noqa: S104 (nothing listens)
EPERM = CommandError(("unshare",), 1, "", "EPERM")
FILES = {
    "/etc/os-release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "/proc/meminfo": f"MemTotal: {16 * 1024**2} kB\nMemAvailable:   {8 * 1024**2} kB\n",
    "/proc/sys/net/ipv4/ip_forward": "0\n",
    "/proc/sys/net/bridge/bridge-nf-call-iptables": "1\n",
    "/proc/filesystems": "nodev\tproc\n\text4\n",
    "/proc/self/mounts": "none /tmp tmpfs rw 0 0\n",
}


def chains(policy: str) -> Result:
    """What `nft -j list chains` says."""
    chain = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": policy}
    return Result(json.dumps({"nftables": [{"metainfo": {}}, {"chain": chain}]}), "")


def runner(**answers: Any) -> RecordedRunner:
    good = {("env",): Result("ok\n", ""), ("nft",): chains("accept")}
    return RecordedRunner(good | {(name,): answer for name, answer in answers.items()})


def machine(files: dict[str, str] | None = None, **changes: Any) -> Machine:
    """A machine on which everything is fine, but for the changes."""
    texts = FILES | (files or {})
    good = Machine(
        uid=lambda: 0,
        architecture=lambda: "x86_64",
        cpus=lambda: 4,
        python=lambda: (3, 11, 2),
        read=lambda path: texts.get(path, ""),
        exists=lambda path: True,
        which=lambda name: f"/usr/bin/{name}",
        free=lambda path: 100 * GIB,
        open_files=lambda: (1024, 1 << 20),
        is_random_ready=lambda: True,
        links=lambda: [Link("lo", "", True), Link("eth0", "", True)],
        routes=lambda: [(IPv4Network("192.168.1.0/24"), "eth0")],
        listeners=lambda: [],
        run=runner(),
    )
    return dataclasses.replace(good, **changes)


def check(name: str, tmp_path: Path, machine: Machine, **settings: Any) -> CheckResult:
    subject = Subject(Paths(tmp_path / "home", tmp_path / "cache"), Settings(**settings), machine)
    return CheckResult(name, *CHECKS[name](subject))


def test_a_good_machine_passes_everything(tmp_path: Path) -> None:
    paths = Paths(Path("/tmp/h"), tmp_path / "cache")
    told: list[str] = []
    results = run_preflight(paths, Settings(), told.append, machine())
    assert told == list(CHECKS)
    assert len(results) >= 12
    # The acceleration is a matter of this very machine; an image ring test boots the kernel.
    assert [result for result in results if result.level != "ok" and result.name != "acceleration"] == []


def route(network: str, link: str = "eth0") -> Any:
    return lambda: [(IPv4Network(network), link)]


BAD: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("root", "fail", {"uid": lambda: 1000}, "user 1000", "root"),
    ("architecture", "fail", {"architecture": lambda: "aarch64"}, "aarch64", "x86-64"),
    ("processors", "warn", {"cpus": lambda: 1}, "one processor", "two"),
    ("disk space", "fail", {"free": lambda path: 3 * GIB}, "3.0 GiB", "PILEUS_HOME"),
    ("disk space", "warn", {"free": lambda path: 8 * GIB}, "8.0 GiB", "PILEUS_HOME"),
    ("programs", "fail", {"which": lambda name: None if name == "nft" else "/x"}, "nft", "install nftables"),
    ("Python", "fail", {"python": lambda: (3, 9, 2)}, "3.9.2", "Debian 12"),
    ("clock", "fail", {"now": lambda: 0.0}, "days slow", "date -s"),
    ("randomness", "fail", {"is_random_ready": lambda: False}, "not seeded", "virtio-rng"),
    ("open files", "warn", {"open_files": lambda: (256, 1024)}, "1024", "ulimit"),
    ("tap device", "fail", {"exists": lambda path: False}, "/dev/net/tun", "modprobe tun"),
    ("kernel networking", "fail", {"run": runner(env=Result("no NAT\n", ""))}, "no NAT", "kernel"),
    ("mount namespaces", "fail", {"run": runner(unshare=EPERM)}, "EPERM", "privileged"),
    ("bridge names", "fail", {"links": lambda: [Link("cloud0", "", True)]}, "cloud0", "ip link del"),
    ("other firewalls", "fail", {"run": runner(nft=chains("drop"))}, "filter FORWARD", "sysctl"),
    ("image builds", "fail", {"exists": lambda path: False}, "no loop devices", "repair"),
    (
        "address ranges",
        "fail",
        {"routes": route("172.31.0.0/16", "wg0")},
        "management network 172.31.240.0/24 overlaps with the route to 172.31.0.0/16 by wg0",
        "choose",
    ),
    ("address ranges", "fail", {"routes": route("169.254.0.0/16")}, "link-local", "choose"),
    ("address ranges", "warn", {"routes": route("10.0.0.0/8")}, "10.1.1.0/24", "choose"),
    (
        "ports",
        "fail",
        {"listeners": lambda: [Listener(ANYWHERE, 8080, "java -jar x")]},
        "API 127.0.0.1:8080 by java",
        "stop",
    ),
]


@pytest.mark.parametrize(("name", "level", "changes", "cause", "repair"), BAD)
def test_what_is_wrong_is_named_with_its_repair(
    tmp_path: Path, name: str, level: str, changes: dict[str, Any], cause: str, repair: str
) -> None:
    found = check(name, tmp_path, machine(**changes))
    assert found.level == level
    assert cause in found.cause
    assert repair in found.repair


@pytest.mark.parametrize(
    ("name", "path", "text", "level"),
    [
        ("operating system", "/etc/os-release", "ID=fedora\nPRETTY_NAME=Fedora\n", "warn"),
        ("memory", "/proc/meminfo", "MemAvailable: 3000000 kB\n", "warn"),
        ("memory", "/proc/meminfo", "MemAvailable: 1000000 kB\n", "fail"),
        ("image builds", "/proc/filesystems", "nodev\tproc\n", "fail"),
        ("scratch folder", "/proc/self/mounts", "none /tmp tmpfs rw,noexec 0 0\n", "warn"),
        ("other firewalls", "/proc/sys/net/bridge/bridge-nf-call-iptables", "0\n", "ok"),
    ],
)
def test_what_files_say(tmp_path: Path, name: str, path: str, text: str, level: str) -> None:
    assert check(name, tmp_path, machine({path: text})).level == level


def test_what_is_ours_already_is_not_in_the_way(tmp_path: Path) -> None:
    ours = machine(
        links=lambda: [Link("cloud0", MARK, True), Link("pileus-mgmt", MARK, True)],
        routes=lambda: [
            (IPv4Network("169.254.0.0/16"), "cloud0"),
            (IPv4Network("172.31.240.0/24"), "pileus-mgmt"),
        ],
        listeners=lambda: [Listener("127.0.0.1", 8080, f"python -m mgmt.server --home {tmp_path}/home")],
    )
    for name in ("bridge names", "address ranges", "ports"):
        assert check(name, tmp_path, ours).level == "ok", name


def test_uplinks(tmp_path: Path) -> None:
    down = machine(links=lambda: [Link("eth0", "", True), Link("eth1", "", False)])
    assert check("uplink", tmp_path, down, uplink="eth0").level == "ok"
    assert check("uplink", tmp_path, down, uplink="eth1").cause == "eth1 is down"


@pytest.mark.parametrize(
    ("uplink", "words"),
    [
        ("eth9", "there is no network interface 'eth9'"),
        ("lo", "loopback"),
        ("public0", "one of Pileus's own"),
        ("eth2", "a port of br0"),
        ('eth0"; drop', "is no name of a network interface"),
        ("-eth0\n", "is no name"),
        ("..", "is no name"),
    ],
)
def test_uplinks_that_cannot_be(tmp_path: Path, uplink: str, words: str) -> None:
    there = [
        Link("lo", "", True, is_loopback=True),
        Link("eth0", "", True),
        Link("public0", MARK, True),
        Link("br0", "", True),
        Link("eth2", "", True, bridge="br0"),
    ]
    found = check("uplink", tmp_path, machine(links=lambda: there), uplink=uplink)
    assert found.level == "fail"
    assert words in found.cause
    assert found.repair == "choose one of: eth0, br0"


def test_a_check_that_breaks_is_a_failed_check(tmp_path: Path) -> None:
    def broken() -> int:
        raise OSError("boom")

    results = run_preflight(Paths(tmp_path / "h"), Settings(), machine=machine(uid=broken))
    assert results[0].level == "fail"
    assert "boom" in results[0].cause
