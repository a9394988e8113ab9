"""The console proxy: browsers in, tickets checked, one TLS connection to the VM's host for each session."""

from systemvm.engine.service import Service
from systemvm.services.console.apply import apply
from systemvm.services.console.check import check
from systemvm.services.console.probe import probe
from systemvm.services.console.render import render

SERVICE = Service(
    name="console",
    check=check,
    render=render,
    apply=apply,
    probe=probe,
    after=("interfaces", "nftables"),
    # A Python process takes its time to start on an emulated processor.
    deadline=45.0,
)
