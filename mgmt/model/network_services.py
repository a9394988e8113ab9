"""Services that guest networks may have, their providers, and what they can do, by CloudStack's names."""

from typing import Final

VIRTUAL_ROUTER: Final = "VirtualRouter"
PROVIDERS: Final = (VIRTUAL_ROUTER,)

CAPABILITIES: Final[dict[str, dict[str, str]]] = {
    "Dhcp": {},
    "Dns": {"AllowDnsSuffixModification": "true"},
    "Firewall": {
        "SupportedProtocols": "tcp,udp,icmp",
        "SupportedEgressProtocols": "tcp,udp,icmp,all",
        "SupportedTrafficDirection": "ingress,egress",
        "TrafficStatistics": "per public ip",
    },
    "Lb": {
        "SupportedLbAlgorithms": "roundrobin,leastconn,source",
        "SupportedLbIsolation": "dedicated",
        "SupportedProtocols": "tcp",
        "LbSchemes": "Public",
    },
    "PortForwarding": {"SupportedProtocols": "tcp,udp"},
    "SourceNat": {"SupportedSourceNatTypes": "peraccount", "RedundantRouter": "false"},
    "StaticNat": {"ElasticIp": "false"},
    "UserData": {},
}
"""The capabilities of each service; all are the virtual router's."""
