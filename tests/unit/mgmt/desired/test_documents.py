"""Compiled documents: golden, accepted by the types they are sent as, and linear in their rules."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mgmt.desired import inputs
from mgmt.desired.console import ConsoleKeys, compile_console
from mgmt.desired.domain import Disk, Identity, Plug, VmInput, compile_guest, compile_system_vm
from mgmt.desired.host import PlacedNetwork, compile_host
from mgmt.desired.router import compile_router
from mgmt.desired.storage import StorageKeys, Template, compile_storage
from systemvm.spec import codec
from systemvm.spec.appliances import HostEndpoint
from systemvm.spec.bootstrap import Bootstrap
from systemvm.spec.host import TemplatePull
from tests.unit.mgmt.desired.samples import ROUTER, VM, full_network, rule_id

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent / "golden"
MACHINE = inputs.Machine(id=ROUTER, name="s-1-VM", generation=3)
LINKS = (
    inputs.Link(mac="02:00:00:00:00:01", purpose="linklocal", address="169.254.1.0"),
    inputs.Link(
        mac="02:00:00:00:00:02",
        purpose="management",
        address="172.31.240.10",
        netmask="255.255.255.0",
        gateway="172.31.240.1",
    ),
    inputs.Link(
        mac="02:00:00:00:00:03",
        purpose="public",
        address="172.31.241.10",
        netmask="255.255.255.0",
        gateway="172.31.241.1",
    ),
)


def assert_golden(document: msgspec.Struct, name: str) -> None:
    """The document parses as its own type, has no problems, and is the golden one."""
    raw = codec.encode(document)
    assert codec.problems(raw, type(document)) == []
    assert codec.decode(raw, type(document)) == document
    text = msgspec.json.format(raw, indent=2).decode() + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("PILEUS_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_router() -> None:
    assert_golden(compile_router(full_network()), "router")


def test_a_network_without_anything_has_no_balancer_and_denies_egress() -> None:
    bare = dataclasses.replace(
        full_network(), guests=(), firewall=(), egress=(), forwards=(), balancers=(), addresses=()
    )
    state = compile_router(bare)
    assert state.haproxy is None
    assert state.nftables is not None
    assert state.nftables.source_nat == ()
    assert [policy.allow for policy in state.nftables.egress_policies] == [False]
    assert state.interfaces.routes == ()


def test_compiling_is_linear_in_rules() -> None:
    def seconds(count: int) -> float:
        rules = tuple(
            inputs.Firewall(
                id=rule_id(number),
                public="172.31.241.11",
                protocol="tcp",
                cidrs=("0.0.0.0/0",),
                start_port=80,
            )
            for number in range(count)
        )
        wanted = dataclasses.replace(full_network(), firewall=rules)
        best = float("inf")
        for _ in range(3):
            started = time.process_time()
            codec.encode(compile_router(wanted))
            best = min(best, time.process_time() - started)
        return best

    # Ten times the rules: about ten times the work; a quadratic step would make it a hundred.
    assert seconds(10_000) < 30 * seconds(1_000) + 0.05


def test_console() -> None:
    keys = ConsoleKeys(
        certificate="C", key="K", ticket_key="T", client_certificate="CC", client_key="CK", server_ca="S"
    )
    hosts = [HostEndpoint(host=VM, name=f"{VM}.host.pileus.internal", address="172.31.240.1", port=8447)]
    assert_golden(compile_console(MACHINE, LINKS, keys, hosts, ["9.9.9.9"]), "console")


def test_storage_opens_one_address_for_an_operators_download() -> None:
    keys = StorageKeys(certificate="C", key="K", ticket_key="T")
    templates = [
        Template(id=rule_id(2), url="http://172.31.240.1:8448/x/tiny.qcow2", format="QCOW2", is_trusted=True),
        Template(id=rule_id(1), url="http://10.0.0.5/evil.raw", format="RAW", checksum="md5:00"),
    ]
    servers = ["10.0.0.53", "9.9.9.9", "149.112.112.112", "8.8.8.8"]
    state = compile_storage(MACHINE, LINKS, keys, templates, ["172.31.241.0/24"], servers)
    assert state.storage is not None
    assert state.storage.allowed_networks == ("172.31.240.1/32", "172.31.241.0/24")
    assert_golden(state, "storage")


def test_host_networks_list_the_other_hosts() -> None:
    networks = [
        PlacedNetwork(id=rule_id(2), vni=10001, hosts=("172.31.240.2", "172.31.240.1", "172.31.240.3")),
        PlacedNetwork(id=rule_id(1), vni=10000, hosts=("172.31.240.1",)),
    ]
    state = compile_host(VM, "172.31.240.1", 4, networks, "KEY")
    assert [(network.vni, network.peers) for network in state.networks] == [
        (10000, ()),
        (10001, ("172.31.240.2", "172.31.240.3")),
    ]
    assert_golden(state, "host")


def _vm(**more: Any) -> VmInput:
    return VmInput(id=VM, name="i-5-VM", power="running", cpus=1, memory=128, **more)


def test_guest_domain() -> None:
    base = TemplatePull(template=rule_id(1), url="https://172.31.240.10:8444/x", sha256="0" * 64)
    disks = (
        Disk(id=rule_id(2), pool="primary", bytes=1 << 26, base=base),
        Disk(id=rule_id(3), pool="primary", bytes=1 << 30),
    )
    plugs = (Plug(mac="02:00:00:00:00:09", bridge="brvx-10000"),)
    assert_golden(compile_guest(_vm(plugs=plugs, disks=disks, reboots=2)), "guest")


def test_system_vm_domain_carries_its_bootstrap() -> None:
    plugs = (
        Plug(mac="02:00:00:00:00:01", bridge="cloud0", purpose="linklocal", name="link0"),
        Plug(mac="02:00:00:00:00:02", bridge="pileus-public", purpose="public", name="public0"),
    )
    identity = Identity(
        role="router", linklocal_address="169.254.1.0", certificate="C", key="K", client_ca="CA"
    )
    domain = compile_system_vm(_vm(plugs=plugs), identity)
    assert_golden(domain, "system_vm")
    assert domain.config_disk is not None
    bootstrap = codec.decode(domain.config_disk.files["machine.json"].encode(), Bootstrap)
    assert bootstrap.linklocal_address == "169.254.1.0/16"
    assert [nic.name for nic in bootstrap.nics] == ["link0", "public0"]
