"""Redundancy: keepalived decides which of two routers holds the virtual addresses."""

from systemvm.engine.service import Service
from systemvm.services.keepalived.apply import apply
from systemvm.services.keepalived.check import check
from systemvm.services.keepalived.probe import probe
from systemvm.services.keepalived.render import render

SERVICE = Service(
    name="keepalived", check=check, render=render, apply=apply, probe=probe, after=("interfaces", "nftables")
)
