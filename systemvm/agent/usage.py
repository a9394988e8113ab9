"""Byte counters of the machine's links, from the kernel."""

from msgspec import Struct

from systemvm.engine.service import Doors


class LinkUsage(Struct, frozen=True, kw_only=True):
    """Bytes and packets of a link since it came up."""

    name: str
    mac: str
    received_bytes: int
    sent_bytes: int
    received_packets: int
    sent_packets: int


def read_links(doors: Doors) -> list[LinkUsage]:
    """Counters of every link except lo."""
    found = []
    for link in sorted((doors.root / "sys/class/net").iterdir()):
        statistics = link / "statistics"
        if link.name == "lo" or not statistics.is_dir():
            continue
        names = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")
        received, sent, packets_in, packets_out = (int((statistics / name).read_text()) for name in names)
        found.append(
            LinkUsage(
                name=link.name,
                mac=(link / "address").read_text().strip(),
                received_bytes=received,
                sent_bytes=sent,
                received_packets=packets_in,
                sent_packets=packets_out,
            )
        )
    return found
