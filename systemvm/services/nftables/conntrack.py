"""The kernel's tracked connections, through conntrack(8): listed once, deleted in one batch."""

from collections.abc import Iterable

from systemvm.engine.service import Runner
from systemvm.services.nftables.flows import Flow

#: Seconds for a full table: about a million flows.
LIST_SECONDS = 60.0


def list_flows(run: Runner) -> list[Flow]:
    """All IPv4 flows. Raises CommandError."""
    listed = run(("conntrack", "-L", "-f", "ipv4", "-o", "extended"), timeout=LIST_SECONDS)
    return [flow for line in listed.stdout.splitlines() if (flow := parse_flow(line))]


def parse_flow(line: str) -> Flow | None:
    """A line of `conntrack -L -o extended`; None for one that describes no IPv4 flow.

    `ipv4 2 tcp 6 431999 ESTABLISHED src=… dst=… sport=… dport=… src=… dst=… sport=… dport=… [ASSURED] …`:
    the first of each pair is the flow as it was sent, the second its answers.
    """
    words = line.split()
    if len(words) < 4 or words[0] != "ipv4":
        return None
    found: dict[str, list[str]] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if separator:
            found.setdefault(key, []).append(value)
    if len(found.get("src", ())) != 2 or len(found.get("dst", ())) != 2:
        return None

    def number(key: str, index: int) -> int:
        values = found.get(key, ())
        return int(values[index]) if len(values) > index else 0

    return Flow(
        protocol=words[2],
        source=found["src"][0],
        destination=found["dst"][0],
        reply_source=found["src"][1],
        reply_destination=found["dst"][1],
        source_port=number("sport", 0),
        destination_port=number("dport", 0),
        reply_source_port=number("sport", 1),
        reply_destination_port=number("dport", 1),
        icmp_type=number("type", 0),
        icmp_code=number("code", 0),
        icmp_id=number("id", 0),
    )


def delete_flows(flows: Iterable[Flow], run: Runner) -> None:
    """Forget flows; one that has ended meanwhile is no error. Raises CommandError."""
    batch = "".join(f"{_deletion(flow)}\n" for flow in flows)
    if batch:
        run(("conntrack", "-R", "-"), stdin=batch, timeout=LIST_SECONDS)


def _deletion(flow: Flow) -> str:
    words = ["-D", "-s", flow.source, "-d", flow.destination, "-p", flow.protocol]
    if flow.protocol == "icmp":
        words += ["--icmp-type", str(flow.icmp_type), "--icmp-code", str(flow.icmp_code)]
        words += ["--icmp-id", str(flow.icmp_id)]
    elif flow.source_port or flow.destination_port:
        words += ["--sport", str(flow.source_port), "--dport", str(flow.destination_port)]
    return " ".join(words)
