"""DHCP with static leases and DNS, for guests only, by dnsmasq(8)."""

from systemvm.engine.service import Service
from systemvm.services.dnsmasq.apply import apply
from systemvm.services.dnsmasq.check import check
from systemvm.services.dnsmasq.probe import probe
from systemvm.services.dnsmasq.render import render

SERVICE = Service(
    name="dnsmasq",
    check=check,
    render=render,
    apply=apply,
    probe=probe,
    after=("interfaces", "nftables"),
    deadline=15.0,
)
