"""Load balancing: one haproxy for all balancers, reloaded without dropping a connection."""

from systemvm.engine.service import Service
from systemvm.services.haproxy.apply import apply
from systemvm.services.haproxy.check import check
from systemvm.services.haproxy.probe import probe
from systemvm.services.haproxy.render import render

SERVICE = Service(
    name="haproxy", check=check, render=render, apply=apply, probe=probe, after=("interfaces", "nftables")
)
