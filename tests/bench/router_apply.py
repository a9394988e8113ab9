"""Router apply: a document of many rules through the real engine in a network namespace.

Baselines in the same namespace: `nft -f` of the very ruleset the engine rendered, nothing else done; and
one `nft add rule` per rule, as agents do that push rule after rule, measured on 100 and multiplied.
"""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from systemvm.engine.command import run
from systemvm.services.nftables.render import render
from systemvm.spec.network import IngressRule, Nftables, PortForward, SourceNat
from systemvm.spec.types import PortRange, Protocol
from tests.bench.measurement import Finding, Measurement, middle_of, seconds_of
from tests.netns.router_bench import ADDRESSES, PUBLIC, SECOND, THIRD, RouterBench
from tests.netns.topology import Topology

SIZES = (1000, 10_000)
#: Rules that are really added one by one, before multiplying.
SAMPLE = 100
ROUNDS = 3
FIRST_PORT = 1024


def measure() -> Iterator[Finding]:
    """For each size: the first apply, the apply of one changed rule, and their baselines."""
    for size in SIZES:
        with Topology() as lab:
            yield from _measure(RouterBench(lab), size)


def _measure(bench: RouterBench, size: int) -> Iterator[Finding]:
    bench.put()
    first = seconds_of(lambda: bench.put(nftables=section(size)))
    changes = iter(range(1, ROUNDS + 1))
    changed = middle_of(lambda: bench.put(nftables=section(size, shift=next(changes))), ROUNDS)
    unchanged = middle_of(lambda: bench.put(nftables=section(size, shift=ROUNDS)), ROUNDS)
    alone = _load_alone(bench, size)
    singly = _add_singly(bench) * size / SAMPLE
    for what, seconds in (("first apply", first), ("one changed", changed), ("nothing changed", unchanged)):
        yield Measurement(
            name=f"router: {size} rules, {what}",
            seconds=seconds,
            baseline="nft -f of the same ruleset",
            baseline_seconds=alone,
        )
    yield Measurement(
        name=f"router: {size} rules, first apply",
        seconds=first,
        baseline="one nft per rule",
        baseline_seconds=singly,
        goal=1.0,
        note=f"baseline: {SAMPLE} rules, multiplied",
    )


def section(size: int, *, shift: int = 0) -> Nftables:
    """`size` rules: half port forwardings, half ingress rules that open them, over three public addresses.

    `shift` moves the target of the first forwarding, the smallest change there is.
    """
    pairs = [_pair(number, shift if number == 0 else 0) for number in range(size // 2)]
    return Nftables(
        source_nat=(SourceNat(network="10.1.1.0/24", interface="eth1", public=PUBLIC),),
        port_forwards=tuple(forward for forward, _ in pairs),
        ingress=tuple(rule for _, rule in pairs),
    )


def _pair(number: int, shift: int) -> tuple[PortForward, IngressRule]:
    public = (PUBLIC, SECOND, THIRD)[number % 3]
    port = FIRST_PORT + number // 3
    ports = PortRange(first=port, last=port)
    inside = PortRange(first=port + shift, last=port + shift)
    forward = PortForward(
        id=_uuid(number, 1),
        public=public,
        protocol=Protocol.tcp,
        public_ports=ports,
        private=ADDRESSES["a"],
        private_ports=inside,
    )
    rule = IngressRule(
        id=_uuid(number, 2),
        public=public,
        protocol=Protocol.tcp,
        ports=ports,
        # Each its own sources, so that rules cannot be joined into one.
        sources=(f"198.18.{number // 250 % 250}.{number % 250}/32", "198.51.100.0/24"),
    )
    return forward, rule


def _uuid(number: int, kind: int) -> str:
    return str(UUID(int=kind << 32 | number))


def _load_alone(bench: RouterBench, size: int) -> float:
    """The engine's own ruleset, loaded by nft into a machine that has none."""
    text = "".join(file.text for file in render(bench.state(nftables=section(size))).files)
    path = "/run/pileus/bench.nft"
    machine = bench.lab.machine("alone")
    with machine.entered():
        Path(path).write_text(text)
        return middle_of(lambda: run(("nft", "-f", path), timeout=300), ROUNDS)


def _add_singly(bench: RouterBench) -> float:
    """SAMPLE rules, a process for each."""
    with bench.lab.machine("singly").entered():
        run(("nft", "add", "table", "ip", "bench"))
        run(("nft", "add chain ip bench rules { type filter hook forward priority 0; }"))
        return seconds_of(_add_sample)


def _add_sample() -> None:
    for number in range(SAMPLE):
        match = ("ip", "saddr", f"198.18.0.{number}", "tcp", "dport", str(FIRST_PORT + number), "accept")
        run(("nft", "add", "rule", "ip", "bench", "rules", *match))
