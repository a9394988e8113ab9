"""User data, metadata and one-time passwords: to each guest its own, the way cloud-init asks for them."""

from systemvm.engine.service import Service
from systemvm.services.metadata.apply import apply
from systemvm.services.metadata.check import check
from systemvm.services.metadata.probe import probe
from systemvm.services.metadata.render import render

SERVICE = Service(
    name="metadata",
    check=check,
    render=render,
    apply=apply,
    probe=probe,
    after=("interfaces", "nftables"),
    deadline=30.0,
)
