"""Checks of the machine's networks: nothing of them may change, and nothing of them may be in the way."""

import json
import sys
from ipaddress import IPv4Network
from pathlib import Path

from appliance.hostagent.uplinks import MARK, uplink_problem
from appliance.preflight.check import Finding, Subject, fail, ok, warn
from systemvm.engine.errors import CommandError
from systemvm.spec.host import CONSOLE_RELAY_PORT, HOST_AGENT_PORT, LINKLOCAL_NETWORK, TUNNEL_PORT


def check_kernel_networking(subject: Subject) -> Finding:
    """Bridges, taps, VXLAN and NAT are tried in a network namespace that is thrown away."""
    argv = ("unshare", "--net", "--", sys.executable, "-m", "appliance.preflight.network_trial")
    folder = str(Path(__file__).parents[2])
    try:
        said = subject.machine.run(("env", f"PYTHONPATH={folder}", *argv), timeout=30.0).stdout.strip()
    except CommandError as error:
        return fail(
            f"the trial of the kernel's networking failed: {error}", "use Debian's own kernel, as root"
        )
    if said == "ok":
        return ok("bridge, veth, tap, VXLAN and NAT work")
    return fail(said.replace("\n", "; "), "use Debian's own kernel (linux-image-amd64), or load the modules")


def check_tun_device(subject: Subject) -> Finding:
    """VMs' NICs are taps."""
    if subject.machine.exists("/dev/net/tun"):
        return ok("/dev/net/tun is there")
    return fail("/dev/net/tun is missing", "modprobe tun; in a container, pass the device in")


def check_mount_namespaces(subject: Subject) -> Finding:
    """The private libvirtd runs in one."""
    try:
        subject.machine.run(("unshare", "--mount", "--propagation", "private", "--", "true"))
    except CommandError as error:
        return fail(
            f"no mount namespace can be made: {error}", "run on a machine, or in a privileged container"
        )
    return ok("mount namespaces work")


def check_ports(subject: Subject) -> Finding:
    """What the machine itself will listen on must be free, or be ours already."""
    settings = subject.settings
    wanted = {
        **settings.listeners,
        "host agent": (settings.management_address, HOST_AGENT_PORT),
        "tunnel": (settings.management_address, TUNNEL_PORT),
        "console relay": (settings.management_address, CONSOLE_RELAY_PORT),
    }
    taken = [
        f"{name} {address}:{port} by {listener.command or 'another process'}"
        for name, (address, port) in wanted.items()
        for listener in subject.machine.listeners()
        if listener.port == port
        and (listener.address in (address, "0.0.0.0") or address == "0.0.0.0")  # noqa: S104 (compared)
        and str(subject.paths.home) not in listener.command
    ]
    if taken:
        return fail(f"taken: {'; '.join(taken)}", "stop that program, or choose other ports in the settings")
    return ok(f"{len(wanted)} listeners are free")


def check_ranges(subject: Subject) -> Finding:
    """The cloud's networks must not hide any that the machine reaches now."""
    settings = subject.settings
    ours = {link.name for link in subject.machine.links() if link.mark == MARK}
    routes = [(network, link) for network, link in subject.machine.routes() if link not in ours]
    wanted = {
        "link-local": LINKLOCAL_NETWORK,
        "management": settings.management,
        "public": settings.public,
    }
    clashes = [
        f"{name} network {cidr} overlaps with the route to {network} by {link}"
        for name, cidr in wanted.items()
        for network, link in routes
        if IPv4Network(cidr, strict=False).overlaps(network)
    ]
    if clashes:
        return fail("; ".join(clashes), "choose other networks in the settings (169.254.0.0/16 must be free)")
    if any(IPv4Network(settings.guest, strict=False).overlaps(network) for network, _ in routes):
        repair = "guests could not reach those machines; choose another guest network"
        return warn(f"guest network {settings.guest} overlaps with a route of this machine", repair)
    return ok(f"{', '.join(wanted.values())} are free")


def check_bridges(subject: Subject) -> Finding:
    """The names of our bridges must be free, or be ours already."""
    settings = subject.settings
    wanted = {settings.cloud_bridge, settings.management_bridge, settings.public_bridge}
    foreign = sorted(
        link.name for link in subject.machine.links() if link.name in wanted and link.mark != MARK
    )
    if foreign:
        return fail(
            f"{', '.join(foreign)} exist and are not Pileus's", "rename or remove them: ip link del NAME"
        )
    return ok(f"{', '.join(sorted(wanted))} are free or ours")


def check_uplink(subject: Subject) -> Finding:
    """Guests leave the machine through it, if that is asked for."""
    uplink = subject.settings.uplink
    if not uplink:
        return ok("the public network stays closed inside this machine")
    links = subject.machine.links()
    if problem := uplink_problem(uplink, links):
        return fail(*problem)
    if not all(link.is_up for link in links if link.name == uplink):
        return fail(f"{uplink} is down", f"ip link set {uplink} up")
    return ok(f"guests may leave through {uplink}")


def check_forwarding(subject: Subject) -> Finding:
    """The machine's own setting is never changed; an uplink's is, for guests alone, and put back."""
    is_on = subject.machine.read("/proc/sys/net/ipv4/ip_forward").strip() == "1"
    if is_on:
        return ok("IPv4 forwarding is on; the cloud's networks are kept out of it")
    if subject.settings.uplink:
        return ok("IPv4 forwarding is off and stays so, but for guests while the cloud runs")
    return ok("IPv4 forwarding is off and stays so")


def check_foreign_firewall(subject: Subject) -> Finding:
    """Where bridged frames pass iptables, somebody's DROP policy cuts guests off from each other."""
    if subject.machine.read("/proc/sys/net/bridge/bridge-nf-call-iptables").strip() != "1":
        return ok("bridged frames do not pass the machine's firewall")
    try:
        listed = subject.machine.run(("nft", "-j", "list", "chains")).stdout
    except CommandError as error:
        return warn(f"nftables cannot be read: {error}", "look whether a firewall drops forwarded packets")
    dropping = [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for item in json.loads(listed)["nftables"]
        if (chain := item.get("chain")) and chain.get("hook") == "forward" and chain.get("policy") == "drop"
    ]
    if dropping:
        return fail(
            f"{', '.join(dropping)} drops forwarded packets, and bridged frames pass there",
            "sysctl net.bridge.bridge-nf-call-iptables=0 (Docker's own networks do not need it)",
        )
    return ok("no other firewall drops bridged frames")
