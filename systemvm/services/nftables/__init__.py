"""Firewall and NAT of the machine: one ruleset, one transaction, default drop."""

from systemvm.engine.service import Service
from systemvm.services.nftables.apply import apply
from systemvm.services.nftables.check import check
from systemvm.services.nftables.probe import probe
from systemvm.services.nftables.render import render

SERVICE = Service(
    name="nftables",
    check=check,
    render=render,
    apply=apply,
    probe=probe,
    after=("interfaces",),
    deadline=10.0,
)
